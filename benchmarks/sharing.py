"""`python -m benchmarks.sharing`: questions about one image at the same time, with shared prefixes and with copies.

Both ways run interleaved on the model of `benchmarks.checkpoint`. Memory is that of all keys and values: of the running
rows, of the prefixes that they share and of the prefix cache.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.answering import QUESTIONS, ask_together, make_request, token_ids
from benchmarks.checkpoint import make_image, make_parts
from benchmarks.timing import Measured, measure
from langchain_vipllava.engine.engine import Engine
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.prompt.conversation import Conversation, Turn

ROWS = (1, 4, 8, 16)


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
        engine._can_share = shares
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


def main() -> None:
    """Print a table with a line for each number of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=16, help="tokens per answer")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    model, processor = make_parts()
    image = make_image(0)
    table = Table(title=f"questions about one image, {options.tokens} tokens each, {torch.get_num_threads()} threads")
    for column in ("rows", "shared", "copied", "faster", "decode step, ms", "KV, MiB", "of distinct tokens", "same"):
        table.add_column(column)
    for rows in ROWS:
        asked = [Conversation((Turn(f"{QUESTIONS[n % 9]} {n}", (image,)),)) for n in range(rows)]
        made: dict[bool, Watched] = {}
        found: dict[bool, list[list[int]]] = {}

        def run(shares: bool, asked: list[Conversation] = asked) -> None:
            made[shares] = Watched(model, processor, shares=shares)  # noqa: B023
            answers = ask_together(made[shares].runner, asked, [options.tokens] * len(asked))  # noqa: B023
            found[shares] = [token_ids(answer) for answer in answers]  # noqa: B023

        times = measure({"shared": lambda: run(True), "copied": lambda: run(False)}, options.repeats)
        shared, copied = (sorted(made[way].steps)[len(made[way].steps) // 2] * 1e3 for way in (True, False))
        needed = distinct_bytes(made[True].runner, asked, found[True])
        ratios = [made[way].peak / needed for way in (True, False)]
        table.add_row(
            str(rows),
            str(times["shared"]),
            str(times["copied"]),
            f"{_ratio(times['copied'], times['shared']):.2f}x",
            f"{shared:.1f}, {copied:.1f}",
            f"{made[True].peak / 2**20:.0f}, {made[False].peak / 2**20:.0f}",
            f"{ratios[0]:.2f}x, {ratios[1]:.2f}x",
            "yes" if found[True] == found[False] else "NO",
        )
    Console(width=150).print(table)


def _ratio(one: Measured, other: Measured) -> float:
    return one.median / other.median


if __name__ == "__main__":
    main()
