"""`python -m benchmarks.llama_cpp PYTHON`: compare with llama.cpp, which runs in the environment of PYTHON.

Text only: llama.cpp gets the language model of `benchmarks.checkpoint` as a GGUF file, in float32 and in its Q8_0, and
prompts as token ids. Its time is what its process measures from token ids to token ids; this package's includes
encoding the prompt. Both use as many threads. Every run has a new conversation of two turns.

Its threads spin while they wait for one another: on a machine with other work, it takes many times as long.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from benchmarks.answering import QUESTIONS, Row, ask, make_request, timings, token_ids
from benchmarks.checkpoint import as_loaded, make_parts
from benchmarks.gguf_weights import gguf_weights
from benchmarks.report import make_table
from benchmarks.serving import save
from benchmarks.timing import Measured
from langchain_vipllava.engine.loading import load_checkpoint
from langchain_vipllava.engine.prefix_cache import common_length
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol.load_options import LoadOptions

SCRIPT = Path(__file__).with_name("llama_worker.py")
TOKENS = 64
"""Tokens of an answer to a cold prompt."""


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        ids: its token ids.
        first: seconds to its first token.
        whole: seconds to its last token.
        reused: tokens of the prompt whose keys and values were cached.
        logits: (vocabulary,) of its first token; empty for this package's.
    """

    ids: list[int]
    first: float
    whole: float
    reused: int
    logits: Sequence[float] = ()


@dataclass(frozen=True)
class Asked:
    """A prompt's token ids, and both answers to it."""

    prompt: tuple[int, ...]
    ours: Reply
    theirs: Reply


class Worker:
    """A process that answers token ids: a line of JSON for each prompt, and one for each answer.

    Args:
        command: starts it.
        log: file for what it writes to standard error.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("w") as errors:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True)  # noqa: S603

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()  # the end of its input ends it

    def __call__(self, ids: Sequence[int], tokens: int) -> Reply:
        """Return the greedy answer of `tokens` tokens to a prompt."""
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018  # pipes
        with suppress(BrokenPipeError):  # it has ended, and so has its output
            print(json.dumps({"ids": list(ids), "tokens": tokens}), file=self._process.stdin, flush=True)
        if line := self._process.stdout.readline():
            return Reply(**json.loads(line))
        raise SystemExit(f"llama.cpp's process ended with {self._process.wait()}; see {self._log}.")


class Comparison:
    """This package and llama.cpp on the same weights.

    Args:
        model, processor: what this package runs.
        plain: the same model in float32.
        worker: llama.cpp's process.
    """

    def __init__(self, model: Any, processor: Any, plain: Any, worker: Worker) -> None:
        self.model, self.plain, self.worker = model, plain, worker
        self.runner = ModelRunner(as_loaded(model), processor, cache_bytes=4 * 2**30)

    def rows(self, name: str, repeats: int) -> list[Row]:
        """Time both on conversations of two turns, after one that is not counted."""
        cold, follow = zip(*[self._converse(run) for run in range(repeats + 1)][1:], strict=True)
        fresh = {len(one.prompt) - reply.reused for one in follow for reply in (one.ours, one.theirs)}
        notes = self._notes([*cold, *follow])
        return [
            _row(f"cold prompt of {len(cold[0].prompt)} tokens, first token", name, cold, lambda one: one.first, notes),
            _row(f"the {TOKENS - 1} tokens after it", name, cold, lambda one: one.whole - one.first),
            _row(
                f"follow-up of {' or '.join(map(str, fresh))} tokens, first token", name, follow, lambda one: one.first
            ),
        ]

    def _converse(self, run: int) -> tuple[Asked, Asked]:
        """Ask a cold prompt, which is new in every run, and a follow-up."""
        questions = QUESTIONS * 7
        random.Random(run).shuffle(questions)
        opening = Turn(" ".join([f"{run}.", *questions]))
        cold = self._ask(Conversation((opening,)), TOKENS)
        self.worker([*cold.prompt, *cold.ours.ids[:-1]], 1)  # or it would hold less where its own answer is another
        text = self.runner.encoder.tokenizer.decode(cold.ours.ids)
        answered = replace(opening, answer=text, answer_ids=tuple(cold.ours.ids))
        return cold, self._ask(Conversation((answered, Turn(QUESTIONS[0]))), 8)

    def _ask(self, conversation: Conversation, tokens: int) -> Asked:
        request = make_request(conversation, tokens)
        answer = ask(self.runner, request)
        took, prompt = timings(answer), self.runner.encoder.encode(request).ids
        whole = took.first_token + took.decode
        ours = Reply(token_ids(answer), took.first_token, whole, took.reused_tokens)
        return Asked(prompt, ours, self.worker(prompt, tokens))

    def _notes(self, asked: Sequence[Asked]) -> str:
        """Say how far apart the logits of first tokens are, and those of two tokens at which answers part."""
        errors, gaps = [], []
        for one in asked:
            exact = _logits(self.plain, one.prompt)
            errors.append([_largest(torch.tensor(one.theirs.logits) - exact, exact)])
            if self.model is not self.plain:
                errors[-1].append(_largest(_logits(self.model, one.prompt) - exact, exact))
            if one.ours.ids != one.theirs.ids and self.model is self.plain:
                shared = common_length(one.ours.ids, one.theirs.ids)
                exact = _logits(self.plain, (*one.prompt, *one.ours.ids[:shared]))
                gaps.append(_largest(exact[one.ours.ids[shared]] - exact[one.theirs.ids[shared]], exact))
        worst = [f"{max(error):.2g}" for error in zip(*errors, strict=True)]
        note = f"; a first token's logits differ from plain float32's by up to {worst[0]} sd"
        if worst[1:]:
            note += f", ours by {worst[1]}"
        return note + (f"; where answers part, by {min(gaps):.2g} to {max(gaps):.2g} sd" if gaps else "")


def _logits(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """Compute the logits (vocabulary,) of the next token with plain transformers."""
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=torch.tensor([list(ids)]), logits_to_keep=1).logits
    return logits[0, -1]


def _largest(differences: torch.Tensor, logits: torch.Tensor) -> float:
    """Return the largest difference in standard deviations of the logits."""
    return float(differences.abs().max() / logits.std())


def _row(name: str, baseline: str, asked: Sequence[Asked], seconds: Callable[[Reply], float], note: str = "") -> Row:
    same = sum(one.ours.ids == one.theirs.ids for one in asked)
    ours, theirs = zip(*[(seconds(one.ours), seconds(one.theirs)) for one in asked], strict=True)
    note = f"{same} of {len(asked)} answers are the same" + note
    return Row(name, baseline, Measured.of(ours), Measured.of(theirs), 1.0, same == len(asked), note)


def main() -> None:
    """Write the files, start llama.cpp for each, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="Python interpreter of an environment with llama-cpp-python, gguf and numpy")
    parser.add_argument("--repeats", type=int, default=5, help="counted runs of each")
    parser.add_argument("--log", type=Path, default=Path(tempfile.gettempdir(), "llama_cpp.log"), help="its messages")
    options = parser.parse_args()
    model, processor = make_parts()
    with torch.no_grad():  # no special tokens in answers, or follow-ups tokenize them anew
        model.lm_head.weight[processor.tokenizer.all_special_ids] = 0
    threads = str(torch.get_num_threads())
    script = [options.python, "-I", str(SCRIPT)]  # or `import llama_cpp` would find this file
    rows: list[Row] = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        weights, full, packed = (str(Path(folder, name)) for name in ("weights.npz", "full.gguf", "packed.gguf"))
        np.savez(weights, **gguf_weights(model))
        subprocess.run([*script, "write", weights, full], check=True)  # noqa: S603
        subprocess.run([*script, "quantize", full, packed], check=True, capture_output=True)  # noqa: S603
        save(model, processor, folder)
        eight, _ = load_checkpoint(LoadOptions(folder, dtype="float32", device="cpu", quantization="8bit"))
        for name, path, settings, ours in (
            ("llama.cpp, all in float32", full, "exact", model),
            ("llama.cpp, its defaults", full, "default", model),
            ("llama.cpp, its defaults, Q8_0; ours in 8 bits", packed, "default", eight),
        ):
            with Worker([*script, path, threads, settings], options.log) as worker:
                rows += (done := Comparison(ours, processor, model, worker).rows(name, options.repeats))
            for row in done:  # at once, in case a later one fails
                print(f"{row.workload}, {name}: {row.ours}, theirs {row.theirs}; {row.note}", flush=True)
    print(f"Load average: {load:.1f} before, {os.getloadavg()[0]:.1f} after")
    Console(width=160).print(make_table(rows, sum(p.numel() for p in model.parameters())))


if __name__ == "__main__":
    main()
