"""`python -m benchmarks.callers PYTHON`: this package in process and served by vLLM, side by side in one run.

1, 8 and 24 callers ask about an image of their own each, and read the answer as it is written. Both have the same
weights in float32 and as many threads. vLLM runs in the environment of PYTHON, from an export, started as
`langchain-vipllava serve` starts it; `ServedBackend` asks it over loopback.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.answering import QUESTIONS
from benchmarks.checkpoint import as_loaded, make_image, make_parts
from langchain_vipllava.backends.local import LocalBackend
from langchain_vipllava.backends.served import ServedBackend
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol.answer import Answer
from langchain_vipllava.protocol.backend import Backend
from langchain_vipllava.protocol.chat_request import ChatRequest
from langchain_vipllava.protocol.load_options import LoadOptions
from langchain_vipllava.serving.export import export_checkpoint
from langchain_vipllava.serving.served_folder import ServedFolder
from langchain_vipllava.serving.server_process import ServerProcess
from langchain_vipllava.serving.vllm_command import VllmCommand
from langchain_vipllava.serving.vllm_environment import VllmEnvironment

CALLERS = (1, 8, 24)
TOKENS = 32
START_SECONDS = 900.0


@dataclass(frozen=True)
class Asked:
    """One answer: seconds to its first piece, and itself."""

    first: float
    answer: Answer


@dataclass(frozen=True)
class Round:
    """What callers at once got: tokens a second together, and the seconds to the first piece of each."""

    rate: float
    firsts: tuple[float, ...]
    answers: tuple[Answer, ...]


def ask(backend: Backend, request: ChatRequest) -> Asked:
    """Ask and read the answer as it is written."""
    began = time.perf_counter()
    first, answer = None, None
    for piece in backend.stream(request):
        first = time.perf_counter() - began if first is None else first
        if isinstance(piece, Answer):
            answer = piece
    assert answer is not None  # noqa: S101  # a stream ends with its answer
    return Asked(first or 0.0, answer)


def ask_together(backend: Backend, requests: Sequence[ChatRequest]) -> Round:
    """Ask all at once, each from its own thread."""
    with ThreadPoolExecutor(len(requests)) as pool:
        began = time.perf_counter()
        asked = list(pool.map(lambda request: ask(backend, request), requests))
        seconds = time.perf_counter() - began
    tokens = sum(one.answer.output_tokens for one in asked)
    return Round(tokens / seconds, tuple(one.first for one in asked), tuple(one.answer for one in asked))


def make_requests(callers: int, run: int) -> list[ChatRequest]:
    """Make a question about a new image for each caller."""
    images = [make_image(10_000 * callers + 100 * run + index) for index in range(callers)]
    turns = [Turn(QUESTIONS[index % len(QUESTIONS)], (image,)) for index, image in enumerate(images)]
    return [ChatRequest(Conversation((turn,)), max_tokens=TOKENS) for turn in turns]


def compare(local: Backend, served: Backend, repeats: int) -> list[str]:
    """Run both alternately, and return the rows of the table."""
    rows = [
        "| callers | tokens/s: in process | vLLM | first token: in process | vLLM | same answers |",
        "|---|---|---|---|---|---|",
    ]
    for callers in CALLERS:
        rounds: dict[str, list[Round]] = {"local": [], "served": []}
        for run in range(repeats + 1):
            requests = make_requests(callers, run)
            for name, backend in (("local", local), ("served", served)):
                done = ask_together(backend, requests)
                if run:  # the first is not counted
                    rounds[name].append(done)
        pairs = [
            (mine.token_ids, other.token_ids)
            for ours, theirs in zip(rounds["local"], rounds["served"], strict=True)
            for mine, other in zip(ours.answers, theirs.answers, strict=True)
        ]
        same = sum(mine == other for mine, other in pairs)
        rates = [f"{statistics.median(one.rate for one in rounds[name]):.1f}" for name in rounds]
        firsts = [statistics.median(first for one in rounds[name] for first in one.firsts) for name in rounds]
        rows.append(
            f"| {callers} | {rates[0]} | {rates[1]} | {firsts[0]:.2f} s | {firsts[1]:.2f} s | {same} of {len(pairs)} |"
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Export the weights, serve them, compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="Python interpreter of an environment with vLLM")
    parser.add_argument("--repeats", type=int, default=2, help="counted runs of each")
    options = parser.parse_args()
    environment = VllmEnvironment.find(options.python)
    threads = torch.get_num_threads()
    model, processor = make_parts()
    with tempfile.TemporaryDirectory() as root:
        model.save_pretrained(Path(root, "saved"))
        processor.save_pretrained(Path(root, "saved"))
        folder = export_checkpoint(LoadOptions(str(Path(root, "saved"))), Path(root, "served")).folder
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        command = VllmCommand(ServedFolder.read(folder), "random", port=port, on_cpu=environment.on_cpu)
        variables = {**os.environ, **command.environment(), "OMP_NUM_THREADS": str(threads)}
        with ServerProcess(command.command(environment.python), variables, Path(root, "vllm.log")) as server:
            server.wait_until_ready(command.url.removesuffix("/v1"), START_SECONDS)
            local = LocalBackend.from_model(as_loaded(model), processor)
            served = ServedBackend(command.url, tokenizer=str(folder))
            rows = compare(local, served, options.repeats)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"\n{datetime.now(tz=UTC).date()}, {platform.machine()}, {threads} threads, torch {torch.__version__}, "
        f"vLLM {environment.version}, {parameters / 1e6:.0f}M random weights, float32, {TOKENS} tokens an answer, "
        f"medians of {options.repeats} runs\n"
    )
    print("\n".join(rows))


if __name__ == "__main__":
    main()
