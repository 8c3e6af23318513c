"""Pins the training data: the bundled checkpoint was trained on these scenes, questions and tokens.

The hashes come from the code that trained it. A hash that changes means that a seed no longer leads to the same data.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import transformers

if int(transformers.__version__.split(".")[0]) < 5:
    pytest.skip("training runs with the versions of constraints.txt", allow_module_level=True)

import langchain_vipllava
from training.cases import aspect, chain, cropped, follow_up, identify, moved, two_regions, unmarked, whole_image
from training.labels import dense_labels, turn_sample
from training.packing import Packer, RowBatch
from training.questions import BINDING, COMPARING, EVERYTHING, Asker
from training.tokenizer import build_tokenizer, corpus
from training.tool_calls import draw_toolbox
from training.vision import draw_sample
from training.wordings import HELD_OUT, MORE_WORDINGS, WORDINGS, YES_OR_NO

SEED, SAMPLES = 2024, 12


def digest(*parts: object) -> str:
    """Hash arrays and anything that JSON can write. Floats are rounded: CPUs differ in their last bits."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype.kind != "f":
            total.update(f"{part.dtype} {part.shape}".encode() + part.tobytes())
        else:
            values = np.round(part, 6).tolist() if isinstance(part, np.ndarray) else part
            total.update(json.dumps(values).encode())
    return total.hexdigest()[:16]


def load_bundled():
    return transformers.AutoTokenizer.from_pretrained(Path(langchain_vipllava.__file__).parent / "bundled")


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(SEED)
    return [draw_sample(rng, unmarked=0.1) for _ in range(SAMPLES)]


@pytest.fixture(scope="module")
def talks(samples):
    rng = np.random.default_rng(SEED)
    mixes = (BINDING, COMPARING, EVERYTHING, EVERYTHING)
    return [
        [Asker(rng, scene, looks).converse(mixes[number % 4]) for number in range(8)] for scene, looks, _ in samples
    ]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_scenes(samples):
    things = [(thing.shape, thing.color) for scene, _, _ in samples for thing in scene.things]
    outlines = [thing.outline for scene, _, _ in samples for thing in scene.things]
    centers = [np.array(thing.center) for scene, _, _ in samples for thing in scene.things]
    looks = [[(look.thing, str(look.kind), str(look.color)) for look in looks] for _, looks, _ in samples]
    assert digest(things, looks, *outlines, *centers) == "599fa1f085e2e54e"
    assert digest(*(scene.image for scene, _, _ in samples)) == "38897eee9b68a393"


def test_marked_pixels(samples):
    assert digest(*(pixels for _, _, pixels in samples)) == "d524202e00361ecb"


def test_labels(samples):
    labels = [dense_labels(scene, looks) for scene, looks, _ in samples]
    turned = [
        turn_sample(pixels, grid, turn + 1)[1]
        for turn, ((_, _, pixels), grid) in enumerate(zip(samples[:7], labels[:7], strict=True))
    ]
    assert digest(*labels, *turned) == "b5e990cd5880a3b4"


def test_wordings():
    assert (
        digest(list(WORDINGS.items()), list(MORE_WORDINGS.items()), list(YES_OR_NO.items()), list(HELD_OUT.items()))
        == "3268130b207e1a70"
    )


def test_questions(talks):
    assert digest([[[astuple(turn) for turn in talk] for talk in image] for image in talks]) == "9bdecd08892c90df"


def test_tokenizer(tokenizer):
    assert digest(corpus()) == "379e92902ac3d5a1"
    built, bundled = (json.loads(one.backend_tokenizer.to_str())["model"] for one in (tokenizer, load_bundled()))
    assert built["vocab"] == bundled["vocab"]
    assert built["merges"] == bundled["merges"]


def test_rows(talks, tokenizer):
    packer = Packer(tokenizer)
    rows = [packer.pack(image) for image in talks]
    arrays = [getattr(row, name) for row, _ in rows for name in RowBatch._fields]
    assert digest(*arrays, [(row.kinds, packed) for row, packed in rows]) == "64b4110aa0586396"


def test_rows_with_tools(samples, tokenizer):
    rng, packer = np.random.default_rng(SEED), Packer(tokenizer)
    asker = [Asker(rng, scene, looks) for scene, looks, _ in samples if looks]
    toolboxes = [draw_toolbox(rng) for _ in asker]
    rows = [
        packer.pack([toolbox.converse(one) for _ in range(4)], toolbox.output.instructions)[0]
        for toolbox, one in zip(toolboxes, asker, strict=True)
    ]
    assert digest(*(getattr(row, name) for row in rows for name in RowBatch._fields)) == "cc53c1058ff873b4"


def test_evaluation_cases():
    rng = np.random.default_rng(SEED)
    cases = [
        identify(rng, "ellipse"),
        identify(rng, None, "wide", held_out=True),
        aspect(rng, "color"),
        *moved(rng),
        unmarked(rng),
        *cropped(rng),
        follow_up(rng, "it_shape"),
        follow_up(rng, "and", held_out=True),
        chain(rng),
        two_regions(rng),
        two_regions(rng, ("same_color",), held_out=True),
        whole_image(rng, "count"),
        whole_image(rng, "describe", held_out=True),
    ]
    texts = [(case.questions, case.answer, case.style, case.objects, bool(case.is_off_center)) for case in cases]
    assert digest(texts, *(np.asarray(case.image) for case in cases)) == "edce7de5cdc1b649"
