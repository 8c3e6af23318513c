"""How cost grows with work: `python -m benchmarks.growth docs/growth.png`.

Two images in one: the time of a turn against its number, and the memory of the host against the
number of conversations, each ours beside what it would be without keeping anything, or everything.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.answering import FORM, Bench, make_request
from benchmarks.checkpoint import make_image
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.prompt.conversation import Conversation, Turn

TURNS, CONVERSATIONS, BOUND_MIB = 10, 24, 512


def time_turns(bench: Bench) -> tuple[list[float], list[float]]:
    """Seconds to the first token of turns 1 to TURNS: ours, and the pipeline's."""
    host = bench.host()
    turns: tuple[Turn, ...] = (Turn("What is it?", (bench.images[0],)),)
    ours, theirs = [], []
    bench.pipeline.first_token(FORM.render(Conversation(turns)).text, bench.images[0])  # warm
    for _ in range(TURNS):
        talk = Conversation(turns)
        theirs.append(bench.pipeline.first_token(FORM.render(talk).text, bench.images[0]))
        said = host.generate(make_request(talk, 12))
        ours.append(said.timings.first_token)
        turns = (*turns[:-1], Turn(turns[-1].question, turns[-1].images, said.text, said.ids), Turn("And then?"))
    return ours, theirs


def measure_memory(bench: Bench) -> tuple[list[float], list[float]]:
    """MiB of keys and values after each conversation: kept by a host with a bound, and by one without."""
    hosts = [ModelRunner(bench.model, bench.processor, cache_bytes=size) for size in (BOUND_MIB * 2**20, 2**40)]
    kept: tuple[list[float], list[float]] = ([], [])
    for number in range(CONVERSATIONS):
        talk = Conversation((Turn("What is it?", (make_image(100 + number),)),))
        for host, sizes in zip(hosts, kept, strict=True):
            host.generate(make_request(talk, 2))
            sizes.append(host.stats().cache_bytes / 2**20)
    return kept


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("image", type=Path, nargs="?", default=Path("docs/growth.png"))
    options = parser.parse_args()
    bench = Bench(1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    ours, theirs = time_turns(bench)
    numbers = range(1, TURNS + 1)
    left.plot(numbers, theirs, marker="o", color="#b0b0b0", label="transformers pipeline")
    left.plot(numbers, ours, marker="o", color="#c0392b", label="langchain-vipllava")
    left.set(xlabel="turn of a conversation", ylabel="seconds to the first token", ylim=(0, None))
    bounded, unbounded = measure_memory(bench)
    numbers = range(1, CONVERSATIONS + 1)
    right.plot(numbers, unbounded, color="#b0b0b0", label="without a bound")
    right.plot(numbers, bounded, color="#c0392b", label=f"cache_bytes = {BOUND_MIB} MiB")
    right.set(xlabel="conversations so far", ylabel="MiB of keys and values kept", ylim=(0, None))
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    options.image.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.image, dpi=110)
    print("first token, seconds:", *(f"{a:.3f}/{b:.3f}" for a, b in zip(ours, theirs, strict=True)))
    print("MiB kept:", f"{bounded[-1]:.0f} of {unbounded[-1]:.0f}, {options.image}")


if __name__ == "__main__":
    main()
