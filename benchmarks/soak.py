"""`python -m benchmarks.soak`: mixed requests from threads, tasks and signals at once; every answer is compared.

Each answer is compared with its solo answer: that of an engine of its own, before the soak. It exits with 1 if one is
wrong or a request hangs.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from langchain_vipllava import GenerationError
from langchain_vipllava.backends.local import LocalBackend
from langchain_vipllava.engine.engine import Engine
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol.answer import Answer
from langchain_vipllava.protocol.chat_request import ChatRequest
from langchain_vipllava.protocol.output_spec import OutputSpec
from langchain_vipllava.protocol.sampling import Sampling

HANG_SECONDS = 300.0
"""A request without an answer after this time hangs. Chosen: a hundred times what the slowest one takes."""

THREADS = TASKS = 16

FAULT_SHARE = 0.03
"""Share of forward passes that fail, half of them out of memory. Chosen: about one in every four requests."""

SCHEMA = {"title": "seen", "type": "object", "properties": {"red": {"type": "boolean"}}, "required": ["red"]}

OUTCOMES = ("right", "cancelled", "interrupted", "failed as injected", "wrong", "hangs")

Ids = tuple[int, ...]


class _Interrupted(BaseException):
    """What the signal handler raises in the main thread."""


@dataclass
class Counts:
    """What came of the requests.

    Attributes:
        outcomes: number of requests by outcome.
        worst_seconds: longest time of one request.
        notes: what went wrong, for the log.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    worst_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, outcome: str, seconds: float = 0.0, note: str = "") -> None:
        """Count a request."""
        with self._lock:
            self.outcomes[outcome] += 1
            self.worst_seconds = max(self.worst_seconds, seconds)
            if note:
                self.notes.append(note)


class Faults:
    """Makes forward passes fail now and then while it is switched on. Both kinds are injected: no device is lost."""

    def __init__(self, backend: LocalBackend, rng: random.Random) -> None:
        self.on, self.injected = False, 0
        self._rng = rng
        language_model = backend.runner.model.model.language_model
        language_model.register_forward_pre_hook(self._fail, with_kwargs=True)

    def _fail(self, *_: Any) -> None:
        if self.on and self._rng.random() < FAULT_SHARE:
            self.injected += 1
            if self._rng.random() < 0.5:
                raise torch.OutOfMemoryError("injected: out of memory")
            raise RuntimeError("injected: the device is lost")


def make_requests() -> list[ChatRequest]:
    """Make different requests: with and without images, shared beginnings, several turns, schemas, sampled."""
    images = []
    for color in ("red", "blue", "green"):
        image = Image.new("RGB", (120, 90), "gray")
        ImageDraw.Draw(image).ellipse((20, 20, 80, 80), fill=color)
        images.append(EncodedImage.from_pixels(image))
    questions = ["What is it?", "What color is it?", "Who are you?"]
    talks = [Conversation((Turn(question, (image,)),)) for question in questions for image in images]
    talks += [Conversation((Turn(question),)) for question in questions]
    talks += [Conversation((Turn("What is it?", (image,), "A circle."), Turn("Why?"))) for image in images]
    requests = [ChatRequest(talk, max_tokens=12) for talk in talks]
    requests += [ChatRequest(talk, max_tokens=30, output=OutputSpec(schema=SCHEMA)) for talk in talks[:4]]
    requests += [ChatRequest(talk, max_tokens=12, sampling=Sampling(temperature=2.0, seed=7)) for talk in talks[:4]]
    return requests


class Soak:
    """Asks, and compares.

    Args:
        count: number of requests, without those that signals interrupt.
        seed: of every choice.
    """

    def __init__(self, count: int, seed: int = 0) -> None:
        self.count = count
        self.counts = Counts()
        self.rng = random.Random(seed)
        self.backend = LocalBackend.load(model="bundled")
        self.requests = make_requests()
        self.solo = [self._solo(request) for request in self.requests]
        self.faults = Faults(self.backend, random.Random(seed + 1))
        self.most_inside = 0
        self._count_inside()

    def _solo(self, request: ChatRequest) -> Ids:
        runner = self.backend.runner
        alone = LocalBackend.from_model(runner.model, runner.processor, cache_bytes=0)
        return alone.generate(request).token_ids or ()

    def _count_inside(self) -> None:
        step: Callable[[Engine], None] = Engine.step
        inside: list[None] = []

        def counted(engine: Engine) -> None:
            inside.append(None)
            self.most_inside = max(self.most_inside, len(inside))
            try:
                step(engine)
            finally:
                inside.pop()

        Engine.step = counted  # type: ignore[assignment, method-assign]

    def run(self) -> None:
        """Ask from threads and tasks, while signals interrupt the main thread."""
        self.faults.on = True
        each = self.count // (THREADS + TASKS)
        with ThreadPoolExecutor(THREADS + 1) as pool:
            asked = [pool.submit(self._ask_in_thread, random.Random(number), each) for number in range(THREADS)]
            asked.append(pool.submit(lambda: asyncio.run(self._ask_in_tasks(self.count - THREADS * each))))
            self._ask_under_signals(lambda: all(future.done() for future in asked))
            for future in asked:
                future.result()
        self.faults.on = False
        self.backend.runner.stop()
        for index in range(len(self.requests)):  # alone, from what the prefix cache holds by now
            self._judge(index, partial(self._generate, index))

    def _generate(self, index: int) -> Answer:
        return self.backend.generate(self.requests[index], timeout=HANG_SECONDS)

    def _stream(self, index: int) -> Answer:
        *_, answer = self.backend.stream(self.requests[index], timeout=HANG_SECONDS)
        assert isinstance(answer, Answer)  # noqa: S101
        return answer

    def _judge(self, index: int, ask: Callable[[], Answer]) -> None:
        began = time.perf_counter()
        try:
            answer = ask()
        except GenerationError as error:
            self._count_error(error, began)
        else:
            self._count(index, answer.token_ids or (), began)

    def _count(self, index: int, ids: Ids, began: float) -> None:
        right = tuple(ids) == self.solo[index]
        note = "" if right else f"request {index}: {ids}, alone {self.solo[index]}"
        self.counts.add("right" if right else "wrong", time.perf_counter() - began, note)

    def _count_error(self, error: GenerationError, began: float) -> None:
        seconds = time.perf_counter() - began
        if "injected" in str(error) or "out of memory" in str(error):
            self.counts.add("failed as injected", seconds)
        elif seconds >= HANG_SECONDS:
            self.counts.add("hangs", seconds, str(error))
        else:
            self.counts.add("wrong", seconds, str(error))

    def _ask_in_thread(self, rng: random.Random, count: int) -> None:
        for _ in range(count):
            index = rng.randrange(len(self.requests))
            request, kind = self.requests[index], rng.random()
            if kind < 0.1:
                began = time.perf_counter()
                pieces = self.backend.stream(request, timeout=HANG_SECONDS)
                try:
                    next(pieces)
                    pieces.close()
                    self.counts.add("cancelled", time.perf_counter() - began)
                except GenerationError as error:
                    self._count_error(error, began)
            elif kind < 0.4:
                self._judge(index, partial(self._stream, index))
            else:
                self._judge(index, partial(self._generate, index))

    async def _ask_in_tasks(self, count: int) -> None:
        left = list(range(count))

        async def ask_on(rng: random.Random) -> None:
            while left:
                left.pop()
                await self._ask_in_task(rng)

        await asyncio.gather(*(ask_on(random.Random(100 + number)) for number in range(TASKS)))

    async def _ask_in_task(self, rng: random.Random) -> None:
        index = rng.randrange(len(self.requests))
        request, kind, began = self.requests[index], rng.random(), time.perf_counter()
        try:
            if kind < 0.2:
                asking = asyncio.ensure_future(self.backend.agenerate(request, timeout=HANG_SECONDS))
                await asyncio.sleep(rng.random() * 0.5)
                asking.cancel()
                try:
                    self._count(index, (await asking).token_ids or (), began)
                except asyncio.CancelledError:
                    self.counts.add("cancelled", time.perf_counter() - began)
            elif kind < 0.5:
                pieces = [piece async for piece in self.backend.astream(request, timeout=HANG_SECONDS)]
                self._count(index, pieces[-1].token_ids, began)  # type: ignore[union-attr, arg-type]
            else:
                self._count(index, (await self.backend.agenerate(request, timeout=HANG_SECONDS)).token_ids or (), began)
        except GenerationError as error:
            self._count_error(error, began)

    def _ask_under_signals(self, done: Callable[[], bool]) -> None:
        """Ask in the main thread, where a signal handler raises now and then."""
        armed = False

        def handler(*_: object) -> None:
            if armed:
                raise _Interrupted

        before = signal.signal(signal.SIGALRM, handler)
        while not done():
            index, began = self.rng.randrange(len(self.requests)), time.perf_counter()
            try:
                try:
                    armed = True
                    signal.setitimer(signal.ITIMER_REAL, self.rng.uniform(1e-4, 2.0))
                    self._judge(index, partial(self._generate, index))
                finally:
                    armed = False
            except _Interrupted:
                armed = False
                self.counts.add("interrupted", time.perf_counter() - began)
            signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def figures(soak: Soak, before: tuple[float, int], seconds: float) -> dict[str, str | int | float]:
    """Return what a table shows."""
    outcomes = soak.counts.outcomes
    rss, threads = measure()
    return {
        "asked": sum(outcomes.values()),
        **{
            name: outcomes[name]
            for name in ("right", "cancelled", "interrupted", "failed as injected", "wrong", "hangs")
        },
        "faults injected": soak.faults.injected,
        "threads inside the engine at most": soak.most_inside,
        "memory before, MiB": round(before[0]),
        "memory after, MiB": round(rss),
        "threads before": before[1],
        "threads after": threads,
        "worst time of a request, s": round(soak.counts.worst_seconds, 1),
        "whole time, s": round(seconds),
    }


def measure() -> tuple[float, int]:
    """Return the resident memory of this process in MiB, and its number of Python threads."""
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20, threading.active_count()


def main() -> None:
    """Run the soak and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1500, help="number of requests")
    parser.add_argument("--seed", type=int, default=0, help="of every choice")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    soak = Soak(options.count, options.seed)
    before, began = measure(), time.perf_counter()
    soak.run()
    result = figures(soak, before, time.perf_counter() - began)
    table = Table("what", "figure", title="soak")
    for name, value in result.items():
        table.add_row(name, str(value))
    Console().print(table)
    for note in soak.counts.notes[:20]:
        print(note)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    passed = not (result["wrong"] or result["hangs"]) and soak.most_inside == 1
    sys.exit(0 if passed and result["asked"] >= options.count else 1)


if __name__ == "__main__":
    main()
