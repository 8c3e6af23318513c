"""`python -m benchmarks.sharing`: questions about one image at the same time, with shared prefixes and with copies.

Both ways run interleaved on the model of `benchmarks.checkpoint`. Memory is that of all keys and values: of the running
rows, of the prefixes that they share and of the prefix cache.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.answering import QUESTIONS, ask_together, make_request, token_ids
from benchmarks.checkpoint import as_loaded, make_image, make_parts
from benchmarks.timing import Measured, measure
from langchain_vipllava.engine.engine import Engine
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.prompt.conversation import Conversation, Turn

ROWS = (1, 4, 8, 16)
WAYS = ("shared", "copied")


class Watched:
    """A runner whose keys and values are counted after every step.

    Attributes:
        runner: the runner.
        peak: most bytes of keys and values so far.
        steps: seconds of each step in which every sequence decoded and none was prefilled.
    """

    def __init__(self, model: object, processor: object, *, shares: bool) -> None:
        self.runner = ModelRunner(model, processor, cache_bytes=4 * 2**30)
        self.peak = 0
        self.steps: list[float] = []
        engine = self.runner._engine
        engine._passes.can_share = shares
        step = engine.step

        def watched_step() -> None:
            waiting, running = len(engine.scheduler.waiting), len(engine.scheduler.running)
            started = time.perf_counter()
            step()
            if not waiting and running == len(engine.scheduler.running):
                self.steps.append(time.perf_counter() - started)
            self.peak = max(self.peak, kv_bytes(engine))

        engine.step = watched_step  # type: ignore[method-assign]


def kv_bytes(engine: Engine) -> int:
    """Count the bytes of all keys and values, each tensor once."""
    cache = engine._kv_cache
    tree = {node.stored for node in engine.prefix_cache.nodes() if node.stored is not None}
    shared = {prefix for row in cache.row_prefixes for prefix in row}
    return cache.bytes + sum(prefix.kv.nbytes for prefix in tree | shared)


def distinct_bytes(runner: ModelRunner, asked: Sequence[Conversation], answers: Sequence[list[int]]) -> int:
    """Count the bytes that the keys and values of the distinct tokens of prompts and answers need."""
    paths = set()
    for conversation, answer in zip(asked, answers, strict=True):
        key = (*runner.encoder.encode(make_request(conversation, 1)).key, *answer[:-1])
        paths |= {key[: end + 1] for end in range(len(key))}
    config = runner.model.config.text_config
    size = config.hidden_size // config.num_attention_heads
    values = 2 * config.num_hidden_layers * config.num_key_value_heads * size
    return int(len(paths) * values * torch.finfo(runner.model.dtype).bits // 8)


@dataclass(frozen=True)
class Compared:
    """Questions at the same time, with shared prefixes and with copies: each pair has the shared way first.

    Attributes:
        rows: number of questions.
        times: seconds for all answers.
        steps: median milliseconds of a decoding step.
        mib: most MiB that all keys and values took.
        needed: MiB that those of the distinct tokens take.
        same: whether the answers are the same.
    """

    rows: int
    times: tuple[Measured, Measured]
    steps: tuple[float, float]
    mib: tuple[float, float]
    needed: float
    same: bool


def compare(model: object, processor: object, rows: int, tokens: int, repeats: int) -> Compared:
    """Ask questions about one image at the same time, interleaved in both ways."""
    image = make_image(0)
    asked = [Conversation((Turn(f"{QUESTIONS[n % 9]} {n}", (image,)),)) for n in range(rows)]
    made: dict[str, Watched] = {}
    found: dict[str, list[list[int]]] = {}

    def run(way: str) -> None:
        made[way] = Watched(model, processor, shares=way == "shared")
        answers = ask_together(made[way].runner, asked, [tokens] * len(asked))
        found[way] = [token_ids(answer) for answer in answers]

    times = measure({way: partial(run, way) for way in WAYS}, repeats)
    shared, copied = (made[way] for way in WAYS)
    return Compared(
        rows,
        (times["shared"], times["copied"]),
        (statistics.median(shared.steps) * 1e3, statistics.median(copied.steps) * 1e3),
        (shared.peak / 2**20, copied.peak / 2**20),
        distinct_bytes(shared.runner, asked, found["shared"]) / 2**20,
        found["shared"] == found["copied"],
    )


def main() -> None:
    """Print a table with a line for each number of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=16, help="tokens per answer")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    model, processor = make_parts()
    model = as_loaded(model)
    table = Table(title=f"questions about one image, {options.tokens} tokens each, {torch.get_num_threads()} threads")
    for column in ("rows", "shared", "copied", "faster", "decode step, ms", "KV, MiB", "of distinct tokens", "same"):
        table.add_column(column)
    for rows in ROWS:
        found = compare(model, processor, rows, options.tokens, options.repeats)
        table.add_row(
            str(rows),
            *map(str, found.times),
            f"{found.times[1].median / found.times[0].median:.2f}x",
            "{:.1f}, {:.1f}".format(*found.steps),
            "{:.0f}, {:.0f}".format(*found.mib),
            ", ".join(f"{mib / found.needed:.2f}x" for mib in found.mib),
            "yes" if found.same else "NO",
        )
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
