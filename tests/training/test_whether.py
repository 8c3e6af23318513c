"""Questions of the training set whether an object has a color or a shape: answered rightly, and pointed to rightly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

if int(transformers.__version__.split(".")[0]) < 5:
    pytest.skip("training runs with the versions of constraints.txt", allow_module_level=True)

from tests.support.askers import make_asker
from training.labels import dense_labels
from training.losses import OBJECT_OUTPUTS, tell_loss
from training.packing import Packer, RowBatch
from training.scene import PAINT_NAMES, SHAPES
from training.tokenizer import build_tokenizer
from training.wordings import COMPARISONS, HELD_OUT, YES_OR_NO


def asked_for(turn, names):
    """Return the one name that a question asks for, behind the phrase that names the object."""
    end = turn.named[0][0] if turn.named else 0
    [found] = [name for name in names if name in turn.question[end:].replace("?", " ").split()]
    return found


@pytest.fixture(scope="module")
def packer():
    return Packer(build_tokenizer())


@pytest.mark.parametrize(("kind", "names"), [("is_color", PAINT_NAMES), ("is_shape", SHAPES)])
def test_half_of_the_answers_are_yes_and_all_are_true(kind, names):
    rng, answers, named_by_others = np.random.default_rng(5), [], 0
    for _ in range(200):
        asker = make_asker(rng)
        turn = asker.ask_whether(1, kind)
        true = getattr(asker.thing(1), kind.removeprefix("is_"))
        said = asked_for(turn, names)
        assert (turn.answer == "Yes.") == (said == true)
        assert turn.thing == asker.looks[1].thing
        answers.append(turn.answer)
        others = {getattr(thing, kind.removeprefix("is_")) for thing in asker.scene.things} - {true}
        named_by_others += said in others
    assert 75 <= answers.count("Yes.") <= 125
    assert named_by_others >= 30  # what another object is, is the harder question


def test_follow_ups_are_true():
    rng, kinds = np.random.default_rng(6), set()
    for _ in range(100):
        asker = make_asker(rng)
        turn = asker.is_it(0)
        aspect, names = ("color", PAINT_NAMES) if turn.kind == "it_is_color" else ("shape", SHAPES)
        assert (turn.answer == "Yes.") == (asked_for(turn, names) == getattr(asker.thing(0), aspect))
        kinds.add(turn.kind)
    assert kinds == {"it_is_color", "it_is_shape"}


def test_the_answer_looks_at_the_phrase_and_at_the_word(packer):
    rng = np.random.default_rng(7)
    for _ in range(60):
        asker = make_asker(rng)
        turn = asker.ask_whether(0)
        tokens = packer.tokenize([turn])
        pieces = packer.tokenizer.convert_ids_to_tokens(tokens.ids)
        [comparison] = tokens.comparisons
        said = asked_for(turn, (*PAINT_NAMES, *SHAPES))
        assert pieces[comparison.second] == f"▁{said}"
        assert COMPARISONS[comparison.relation - 1] == turn.kind
        assert tokens.things[comparison.first] == turn.thing + 1
        target = packer.tokenizer.convert_ids_to_tokens(tokens.targets[comparison.answer])
        assert target == ("▁Yes" if turn.answer == "Yes." else "▁N")


def test_the_answer_to_a_follow_up_looks_at_the_word(packer):
    rng = np.random.default_rng(8)
    for _ in range(60):
        asker = make_asker(rng)
        turn = asker.is_it(0)
        tokens = packer.tokenize([asker.ask_one(0, "identify"), turn])
        pieces = packer.tokenizer.convert_ids_to_tokens(tokens.ids)
        [source] = [source for source in tokens.sources if source >= 0]
        assert pieces[source] == f"▁{asked_for(turn, (*PAINT_NAMES, *SHAPES))}"


def test_nothing_is_told_of_a_word(packer):
    """A comparison of an object and a word has a loss for the object's outputs alone."""
    rng = np.random.default_rng(9)
    asker = make_asker(rng)
    row, _ = packer.pack([[asker.ask_whether(0, "is_color")]])
    rows = RowBatch.stack([row]).long(torch.device("cpu"))
    labels = torch.from_numpy(dense_labels(asker.scene, asker.looks))[None]
    outputs = torch.zeros(*rows.ids.shape, 2, OBJECT_OUTPUTS)
    before = tell_loss(outputs.flatten(2), rows, labels)
    outputs[:, :, 1] = torch.randn(OBJECT_OUTPUTS)
    assert tell_loss(outputs.flatten(2), rows, labels) == before
    outputs[:, :, 0] = torch.randn(OBJECT_OUTPUTS)
    assert tell_loss(outputs.flatten(2), rows, labels) != before


@pytest.mark.parametrize("kind", YES_OR_NO)
def test_wordings_for_the_evaluation_are_new(kind):
    assert not set(YES_OR_NO[kind]) & set(HELD_OUT[kind])
