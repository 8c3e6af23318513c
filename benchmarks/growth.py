"""Plot how cost grows with work: `python -m benchmarks.growth docs/growth.png`.

Above: the time to the first token by turn, compared with the pipeline, which keeps no cache; the memory of the prefix
cache by number of conversations, with and without a limit. Below: the time and the memory of questions about one image
at the same time, with prefixes that are shared and with copies.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.answering import FORMAT, Bench, ask, make_request, timings
from benchmarks.checkpoint import make_image
from benchmarks.sharing import ROWS, compare
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.prompt.conversation import Conversation, Turn

TURNS, CONVERSATIONS, LIMIT_MIB = 10, 24, 512


def time_turns(bench: Bench) -> tuple[list[float], list[float]]:
    """Measure the seconds to the first token of turns 1 to TURNS: ours, and the pipeline's."""
    runner = bench.make_runner()
    turns: tuple[Turn, ...] = (Turn("What is it?", (bench.images[0],)),)
    ours, theirs = [], []
    bench.pipeline.first_token(FORMAT.render(Conversation(turns)).text, bench.images[0])  # warm up
    for _ in range(TURNS):
        conversation = Conversation(turns)
        theirs.append(bench.pipeline.first_token(FORMAT.render(conversation).text, bench.images[0]))
        answer = ask(runner, make_request(conversation, 12))
        ours.append(timings(answer).first_token)
        answered = replace(turns[-1], answer=answer.text, answer_ids=answer.token_ids)
        turns = (*turns[:-1], answered, Turn("And then?"))
    return ours, theirs


def measure_memory(bench: Bench) -> tuple[list[float], list[float]]:
    """Measure the MiB of the KV cache after each conversation, with a limit and without."""
    runners = [ModelRunner(bench.loaded, bench.processor, cache_bytes=size) for size in (LIMIT_MIB * 2**20, 2**40)]
    sizes: tuple[list[float], list[float]] = ([], [])
    for number in range(CONVERSATIONS):
        conversation = Conversation((Turn("What is it?", (make_image(100 + number),)),))
        for runner, mib in zip(runners, sizes, strict=True):
            ask(runner, make_request(conversation, 2))
            mib.append(runner.stats().cache_bytes / 2**20)
    return sizes


def main() -> None:
    """Measure, and save the plot."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("path", type=Path, nargs="?", default=Path("docs/growth.png"), help="file of the plot")
    options = parser.parse_args()
    bench = Bench(1)
    figure, ((left, right), (times, memory)) = plt.subplots(2, 2, figsize=(9, 6.8), layout="constrained")
    ours, theirs = time_turns(bench)
    numbers = range(1, TURNS + 1)
    left.plot(numbers, theirs, marker="o", color="#b0b0b0", label="transformers pipeline")
    left.plot(numbers, ours, marker="o", color="#c0392b", label="langchain-vipllava")
    left.set(xlabel="turn of a conversation", ylabel="seconds to the first token", ylim=(0, None))
    limited, unlimited = measure_memory(bench)
    numbers = range(1, CONVERSATIONS + 1)
    right.plot(numbers, unlimited, color="#b0b0b0", label="without a limit")
    right.plot(numbers, limited, color="#c0392b", label=f"cache_bytes = {LIMIT_MIB} MiB")
    right.set(xlabel="conversations so far", ylabel="MiB of keys and values", ylim=(0, None))
    found = [compare(bench.loaded, bench.processor, rows, 16, 1) for rows in ROWS]
    for which, color, label in ((1, "#b0b0b0", "a copy for each"), (0, "#c0392b", "shared")):
        times.plot(ROWS, [one.times[which].median for one in found], marker="o", color=color, label=label)
        memory.plot(ROWS, [one.mib[which] for one in found], marker="o", color=color, label=label)
    memory.plot(ROWS, [one.needed for one in found], linestyle=":", color="#333333", label="distinct tokens")
    times.set(xlabel="questions about one image at once", ylabel="seconds for all answers", ylim=(0, None))
    memory.set(xlabel="questions about one image at once", ylabel="MiB of keys and values", ylim=(0, None))
    for axes in (left, right, times, memory):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    options.path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.path, dpi=110)
    print("first token, seconds:", *(f"{a:.3f}/{b:.3f}" for a, b in zip(ours, theirs, strict=True)))
    for one in found:
        print(f"{one.rows} at once: {one.times[0]} and {one.times[1]}; MiB: {one.mib[0]:.0f}, {one.mib[1]:.0f}")
    print("MiB of keys and values:", f"{limited[-1]:.0f} of {unlimited[-1]:.0f}, {options.path}")


if __name__ == "__main__":
    main()
