"""Rows that run together read the prefixes that they share from one place: the same answers, in less memory."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import pytest
import torch

from benchmarks.sharing import distinct_bytes, kv_bytes
from langchain_vipllava.engine import compiled_decode, shared_attention
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.engine.shared_attention import attend_shared, reading
from langchain_vipllava.engine.shared_prefix import SharedPrefix, group_rows, worth_sharing
from langchain_vipllava.prompt.conversation import Conversation, Turn
from tests.support.plain_generate import WORDS, request

LONG = " ".join(WORDS * 12)
"""What questions begin with that share more than an image."""


class Watched:
    """Runs an engine step by step, and records what its rows share after each."""

    def __init__(self, runner):
        self.peak = 0
        self.groups = []  # of each step: how many rows read each shared prefix
        engine = runner._engine
        step = engine.step

        def watched():
            step()
            self.peak = max(self.peak, kv_bytes(engine))
            prefixes = engine._kv_cache.row_prefixes
            readers = [group.rows or tuple(range(len(prefixes))) for group in group_rows(prefixes)]
            self.groups.append(sorted(map(len, readers), reverse=True))

        engine.step = watched


def ask_together(runner, talks, tokens):
    handles = [runner.submit(request(talk, max_tokens=tokens)) for talk in talks]
    return [list(handle.future.result(60).token_ids) for handle in handles]


def about(image, *questions):
    return [Conversation((Turn(question, (image,)),)) for question in questions]


@pytest.fixture(params=[False, True], ids=["modules", "fused"])
def runner(request, parts, monkeypatch):
    """The second one runs compiled code as Python code."""
    monkeypatch.setattr(compiled_decode, "_BACKEND", "eager")
    return ModelRunner(*parts, compile_decode=request.param)


def test_sixteen_questions_about_one_image_hold_their_distinct_tokens(parts, plain, images):
    runner = ModelRunner(*parts)
    watched = Watched(runner)
    talks = about(images[0], *(f"{LONG} {n}" for n in range(16)))
    answers = ask_together(runner, talks, 6)
    assert answers == [plain.ids(talk, 6) for talk in talks]
    assert max(groups[0] for groups in watched.groups if groups) == 16
    assert watched.peak <= 1.15 * distinct_bytes(runner, talks, answers)


def test_an_image_and_a_conversation_are_shared_by_those_who_have_them(runner, plain, images):
    watched = Watched(runner)
    turns = (Turn(LONG, (images[0],), " ".join(WORDS * 2)),)
    talks = [Conversation((*turns, Turn(word))) for word in WORDS[:3]] + about(images[0], "why is it lime", "what")
    assert ask_together(runner, talks, 8) == [plain.ids(talk, 8) for talk in talks]
    assert any(groups[0] == 5 and 3 in groups for groups in watched.groups if groups)


def test_different_images_share_nothing_and_a_row_alone_keeps_its_columns(runner, plain, images):
    watched = Watched(runner)
    talks = [talk for image in images for talk in about(image, "what is it")]
    assert ask_together(runner, talks, 6) == [plain.ids(talk, 6) for talk in talks]
    assert ask_together(runner, about(images[0], LONG), 6) == [plain.ids(about(images[0], LONG)[0], 6)]
    assert not any(watched.groups)


def test_what_is_shared_outlives_its_place_in_the_prefix_cache(parts, plain, images):
    runner = ModelRunner(*parts)
    engine = runner._engine
    step = engine.step

    def forgetful_step():
        step()
        engine.prefix_cache.clear()

    engine.step = forgetful_step
    talks = about(images[0], *(f"{LONG} {n}" for n in range(5)))
    assert ask_together(runner, talks, 9) == [plain.ids(talk, 9) for talk in talks]


def test_a_row_shares_with_a_later_one_what_it_shared_with_others(runner, plain, images):
    """The prefix of the first two splits where the third parts; the first row reads both halves."""
    watched = Watched(runner)
    talks = about(images[0], f"{LONG} a", f"{LONG} b", "is it")
    first, second = (runner.submit(request(talk, max_tokens=n)) for talk, n in zip(talks, (300, 3), strict=False))
    second.future.result(60)
    assert list(runner.submit(request(talks[2], max_tokens=3)).future.result(60).token_ids) == plain.ids(talks[2], 3)
    first.cancel()
    found = list(first.future.result(60).token_ids)
    assert found == plain.ids(talks[0], 300)[: len(found)]
    assert [2, 1] in watched.groups


def test_an_idle_engine_holds_no_prefix_but_those_in_its_cache(runner, images):
    engine, held = runner._engine, []
    step = engine.step

    def watched():
        step()
        held.extend(weakref.ref(prefix) for row in engine._kv_cache.row_prefixes for prefix in row)

    engine.step = watched
    ask_together(runner, about(images[0], *(f"{LONG} {n}" for n in range(3))), 6)
    runner.stop()
    engine.prefix_cache.clear()
    gc.collect()
    assert held
    assert not any(prefix() for prefix in held)


def test_runners_of_one_model_switch_its_attention_once(parts):
    """Each has a thread: one that switched back alone left the other one without its prefixes."""
    language_model = parts[0].model.language_model
    before = language_model.config._attn_implementation
    groups = group_rows([[SharedPrefix(torch.zeros(1, 2, 1, 20, 4))]] * 2)
    one, other = reading(language_model, groups), reading(language_model, groups)
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert language_model.config._attn_implementation != before
    other.__exit__(None, None, None)
    assert language_model.config._attn_implementation == before


def test_modules_with_eager_attention_share_nothing(parts, plain, images):
    """Another thread that runs the model would get the masks of one attention and the sums of another."""
    model, _ = parts
    model.set_attn_implementation("eager")
    try:
        runner = ModelRunner(*parts)
        watched = Watched(runner)
        talks = about(images[0], f"{LONG} a", f"{LONG} b")
        assert ask_together(runner, talks, 6) == [plain.ids(talk, 6) for talk in talks]
    finally:
        model.set_attn_implementation("sdpa")
    assert not any(watched.groups)


@pytest.mark.parametrize(
    ("capability", "size", "has"), [((8, 0), 128, True), ((7, 5), 128, False), ((9, 0), 100, False)]
)
def test_flash_attention_is_called_where_it_exists(monkeypatch, capability, size, has):
    """Torch has it from Ampere on, and the call used here takes some head sizes. A GPU is simulated."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    queries = SimpleNamespace(device=torch.device("cuda"), dtype=torch.float16, shape=(1, 4, 1, size))
    assert shared_attention._has_flash(queries) is has


@pytest.mark.parametrize("key_value", [6, 2])
@pytest.mark.parametrize("new", [1, 5])
@pytest.mark.parametrize("rows_of_second", [(0, 1, 2), (0, 2), (1,)])
def test_attention_over_shared_prefixes_is_that_over_copies(key_value, new, rows_of_second):
    torch.manual_seed(0)
    rows, heads, columns, size = 3, 6, 9, 16
    queries = torch.randn(rows, heads, new, size)
    keys, values = torch.randn(2, rows, key_value, columns, size)
    first, second = (SharedPrefix(torch.randn(1, 2, key_value, tokens, size)) for tokens in (20, 33))
    prefixes = [[first, second] if row in rows_of_second else [first] for row in range(rows)]
    starts = torch.tensor([0, 2, 4])  # padding of each row, before its own columns
    places = torch.arange(columns)
    ends = columns - new + torch.arange(new)
    mask = ((places >= starts[:, None])[:, None] & (places <= ends[:, None]))[:, None]  # (rows, 1, new, columns)
    found = attend_shared(queries, keys, values, mask, group_rows(prefixes), 0)
    for row, read in enumerate(prefixes):
        copies = [
            torch.cat([*(prefix.kv[0, which] for prefix in read), own[row]], dim=1)
            for which, own in ((0, keys), (1, values))
        ]
        copies = [copy.repeat_interleave(heads // key_value, dim=0)[None] for copy in copies]
        seen = torch.cat([torch.ones(1, new, sum(p.tokens for p in read), dtype=torch.bool), mask[row]], dim=-1)
        expected = torch.nn.functional.scaled_dot_product_attention(queries[row : row + 1], *copies, attn_mask=seen)
        torch.testing.assert_close(found[row], expected[0], atol=1e-5, rtol=1e-5)


def test_short_and_many_prefixes_are_not_worth_sharing():
    made = [SharedPrefix(torch.zeros(1, 2, 1, tokens, 4)) for tokens in (3, 40, 20, 5, 30, 7)]
    assert worth_sharing(made, 0) == made[:3]  # of four at most, the last is too short
    assert worth_sharing(made[:2], 0) == made[:2]
    assert worth_sharing(made[:1], 0) == []
    assert worth_sharing(made, 68) == made[:4]  # it shares these already
