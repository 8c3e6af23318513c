"""The comparison with llama.cpp, without llama.cpp: its weights, and fakes of its process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.gguf_weights import gguf_weights, interleave
from benchmarks.llama_cpp import Comparison, Reply, Worker
from benchmarks.llama_worker import write_gguf
from langchain_vipllava.engine.prefix_cache import common_length
from tests.support.checkpoints import make_model, make_processor

FAKE = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if not asked["ids"]:
        sys.exit("no ids")
    ids = [sum(asked["ids"]) + index for index in range(asked["tokens"])]
    print(json.dumps({"ids": ids, "first": 0.25, "whole": 1.5, "reused": 3, "logits": [0.5, 2.0]}), flush=True)
"""
"""A fake of llama_worker.py: it has no model and answers with sums."""


@pytest.fixture
def worker(tmp_path: Path):
    with Worker([sys.executable, "-c", FAKE], tmp_path / "log") as worker:
        yield worker


def test_a_process_answers_one_prompt_after_another(worker):
    assert worker([5, 6], 3) == Reply([11, 12, 13], 0.25, 1.5, 3, [0.5, 2.0])
    assert worker((7,), 1).ids == [7]


def test_a_process_that_ended_names_its_log(worker, tmp_path):
    for _ in range(2):  # also where its input is closed already
        with pytest.raises(SystemExit, match=f"ended with 1; see {tmp_path / 'log'}"):
            worker([], 1)
    assert (tmp_path / "log").read_text().strip() == "no ids"


def rotate(rows: np.ndarray, position: int, *, neighbors: bool) -> np.ndarray:
    """Rotate a head (size,) to a position: halves as in transformers, or neighbors as in llama.cpp's LLaMA."""
    angles = position * 10000.0 ** (-2 * np.arange(len(rows) // 2) / len(rows))
    left, right = (rows[::2], rows[1::2]) if neighbors else np.split(rows, 2)
    turned = left * np.cos(angles) - right * np.sin(angles), right * np.cos(angles) + left * np.sin(angles)
    return np.stack(turned, axis=1).ravel() if neighbors else np.concatenate(turned)


def test_reordered_projections_give_the_same_scores():
    rng = np.random.default_rng(0)
    query, key, x, y = (rng.normal(size=shape) for shape in ((24, 10), (24, 10), 10, 10))

    def scores(query: np.ndarray, key: np.ndarray, *, neighbors: bool) -> list[float]:
        heads = zip((query @ x).reshape(3, 8), (key @ y).reshape(3, 8), strict=True)
        return [float(rotate(q, 7, neighbors=neighbors) @ rotate(k, 2, neighbors=neighbors)) for q, k in heads]

    exact = scores(query, key, neighbors=False)
    assert scores(interleave(query, 3), interleave(key, 3), neighbors=True) == pytest.approx(exact)
    assert scores(query, key, neighbors=True) != pytest.approx(exact)


@pytest.fixture(scope="module")
def parts():
    processor = make_processor()
    model = make_model(processor)
    model.config.text_config.max_position_embeddings = 2048  # of 512
    model.generation_config.eos_token_id = model.config.text_config.eos_token_id = None
    return model, processor


def test_every_weight_of_the_language_model_is_written(parts, tmp_path):
    gguf = pytest.importorskip("gguf")
    model, _ = parts
    write_gguf(gguf_weights(model), tmp_path / "model.gguf")
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    text = model.model.language_model
    assert sum(data.size for data in tensors.values()) == sum(
        part.numel() for part in (*text.parameters(), model.lm_head.weight)
    )
    up = text.layers[1].mlp.up_proj.weight.detach().numpy()
    assert np.array_equal(tensors["blk.1.ffn_up.weight"], up)
    key = text.layers[1].self_attn.k_proj.weight.detach().numpy()
    assert np.array_equal(tensors["blk.1.attn_k.weight"][:4], key[[0, 8, 1, 9]])
    fields = {name: reader.get_field(name).contents() for name in reader.fields if name.startswith("llama.")}
    assert fields == pytest.approx(
        {
            "llama.context_length": 2048,
            "llama.embedding_length": 64,
            "llama.block_count": 2,
            "llama.feed_forward_length": 128,
            "llama.attention.head_count": 4,
            "llama.attention.head_count_kv": 4,
            "llama.attention.layer_norm_rms_epsilon": 1e-6,
            "llama.rope.dimension_count": 16,
            "llama.rope.freq_base": 10000,
            "llama.vocab_size": model.lm_head.out_features,
        }
    )
    assert reader.get_field("general.architecture").contents() == "llama"
    assert reader.get_field("tokenizer.ggml.model").contents() == "no_vocab"


class Plain:
    """A fake of `Worker`: plain transformers, which takes 1 s for a first token and 0.5 s for each that follows."""

    def __init__(self, model, change: Callable[[list[int], Reply], Reply] = lambda ids, reply: reply):
        self.model, self.change = model, change
        self.prompts: list[list[int]] = []
        self.held: list[int] = []

    def __call__(self, ids: Sequence[int], tokens: int) -> Reply:
        self.prompts.append(list(ids))
        reused = common_length(self.held, list(ids)[:-1])
        with torch.inference_mode():
            found = self.model.generate(
                input_ids=torch.tensor([list(ids)]),
                max_new_tokens=tokens,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            )
        answer = found.sequences[0, len(ids) :].tolist()
        logits = found.logits[0][0].tolist()
        reply = self.change(list(ids), Reply(answer, 1.0, 1.0 + 0.5 * (tokens - 1), reused, logits))
        self.held = [*ids, *reply.ids[:-1]]
        return reply


def test_both_get_the_same_prompts_and_their_answers_are_compared(parts):
    model, processor = parts
    plain = Plain(model)
    cold, rest, follow = Comparison(model, processor, model, plain).rows("a fake", 2)
    assert [row.same_answers for row in (cold, rest, follow)] == [True] * 3
    assert "2 of 2 answers are the same" in follow.note
    assert [row.theirs.median for row in (cold, rest, follow)] == [1.0, 31.5, 1.0]
    asked = plain.prompts[3:]  # the first conversation is not counted
    assert cold.workload == f"cold prompt of {len(asked[0])} tokens, first token"
    for prompt, held, longer in zip(asked[::3], asked[1::3], asked[2::3], strict=True):
        assert longer[: len(prompt) + 63] == held  # all but the last token of the answer are cached
        assert held[: len(prompt)] == prompt
        new = len(longer) - len(held)
        assert follow.workload == f"follow-up of {new} tokens, first token"
        assert new < 40


def test_answers_that_part_are_counted_with_their_distance(parts):
    model, processor = parts
    gaps = []

    def part(ids: list[int], reply: Reply) -> Reply:
        """Write another third token, and move one logit."""
        if len(reply.ids) == 1:
            return reply
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([[*ids, *reply.ids[:2]]])).logits[0, -1]
        (best, second), (_, other) = (part.tolist() for part in logits.topk(2))
        gaps.append((best - second) / float(logits.std()))
        moved = torch.tensor(reply.logits)
        moved[7] += 0.1 * moved.std()
        return replace(reply, ids=[*reply.ids[:2], other, *reply.ids[3:]], logits=moved.tolist())

    cold, _, follow = Comparison(model, processor, model, Plain(model, part)).rows("a fake", 1)
    assert (cold.same_answers, follow.same_answers) == (False, False)
    assert " or " not in follow.workload  # both hold as many tokens
    seen = gaps[2:]  # the first conversation is not counted
    assert cold.note == (
        "0 of 1 answers are the same; a first token's logits differ from plain float32's by up to 0.1 sd; "
        f"where answers part, by {min(seen):.2g} to {max(seen):.2g} sd"
    )
