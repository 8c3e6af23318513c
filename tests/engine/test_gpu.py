"""The engine on a CUDA GPU: `make test-gpu`. On a machine without one these tests are left out."""

from __future__ import annotations

import pytest
import torch

from langchain_vipllava.engine import compiled_decode
from langchain_vipllava.engine.cuda_graph import CudaGraph
from langchain_vipllava.engine.decode_attention import attend
from langchain_vipllava.engine.fused_model import attend_newest
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.prompt.conversation import Conversation, Turn
from tests.support.plain_generate import WORDS, PlainGenerate, request

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(scope="module")
def gpu_parts(tiny_checkpoint):
    from transformers import AutoProcessor, VipLlavaForConditionalGeneration

    model = VipLlavaForConditionalGeneration.from_pretrained(tiny_checkpoint, dtype=torch.float32).eval().cuda()
    return model, AutoProcessor.from_pretrained(tiny_checkpoint)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("count", [1, 5, 16])
def test_answers_are_those_of_plain_generate_on_the_cpu(gpu_parts, parts, images, count, compiled):
    plain = PlainGenerate(*parts)
    runner = ModelRunner(*gpu_parts, compile_decode=compiled)
    talks = [Conversation((Turn(f"{WORDS[n % len(WORDS)]} {n}", (images[n % 2],)),)) for n in range(count)]
    handles = [runner.submit(request(talk, max_tokens=12)) for talk in talks]
    answers = [list(handle.future.result(300).token_ids) for handle in handles]
    assert answers == [plain.ids(talk, 12) for talk in talks]
    assert runner.decode_path.startswith("compiled" if compiled else "eager")


@pytest.mark.parametrize("compiled", [False, True])
def test_follow_ups_and_guesses_are_those_of_plain_generate_on_the_cpu(gpu_parts, parts, images, compiled):
    """Both take the recorded step of several tokens, also in KV buffers with rows of answers that have ended."""
    plain = PlainGenerate(*parts)
    runner = ModelRunner(*gpu_parts, compile_decode=compiled, prompt_lookup_num_tokens=5)
    turns = (Turn(" ".join(WORDS), (images[0],)),)
    for handle in [runner.submit(request(Conversation((Turn(word),)), max_tokens=40)) for word in WORDS[:3]]:
        handle.future.result(300)
    for question in ("why", "is it lime", "why"):
        talk = Conversation(turns)
        answer = runner.submit(request(talk, max_tokens=40)).future.result(300)
        assert list(answer.token_ids) == plain.ids(talk, 40)
        turns = (*turns[:-1], Turn(turns[-1].question, turns[-1].images, answer.text), Turn(question))
    assert compiled_decode.WIDE_TOKENS in runner._engine._passes._compiled._recorded


@pytest.mark.parametrize(("rows", "heads", "key_value", "columns", "size"), [(1, 32, 32, 768, 128), (16, 8, 2, 96, 64)])
def test_the_kernels_compute_the_attention_of_the_newest_token(rows, heads, key_value, columns, size):
    generator = torch.Generator("cuda").manual_seed(0)
    draw = lambda *shape: torch.randn(shape, device="cuda", generator=generator)  # noqa: E731
    queries, keys, values = draw(rows, heads, 1, size), *(draw(rows, key_value, columns, size) for _ in range(2))
    starts = torch.randint(0, columns // 2, (rows,), device="cuda", generator=generator)
    column = torch.tensor([columns - 5], device="cuda")
    numbers = torch.arange(columns, device="cuda")
    seen = (numbers >= starts[:, None]) & (numbers <= column)
    bias = torch.where(seen, 0.0, torch.finfo(torch.float32).min)[:, None, None]
    expected, expected_logs = attend_newest(queries.double(), keys.double(), values.double(), bias)
    attended, logs = attend(queries, keys, values, starts, column)
    torch.testing.assert_close(attended, expected.float(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(logs, expected_logs.float(), atol=1e-5, rtol=1e-4)


def test_a_graph_runs_on_new_input():
    device = torch.device("cuda")
    numbers = torch.ones(3, device=device)
    doubled = CudaGraph(lambda: numbers * 2, device)
    assert doubled().tolist() == [2, 2, 2]
    numbers.fill_(5)
    assert doubled().tolist() == [10, 10, 10]
