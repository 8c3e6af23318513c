"""What the memory of a process grows by with pictures: `python -m benchmarks.memory`, on Linux.

Questions about one picture after the other, each with an answer of a few tokens. The caches count what they hold. The
rest is memory that was freed and that the C library keeps for later: the last line is after glibc's `malloc_trim(0)`.
"""

from __future__ import annotations

import argparse
import ctypes
import os
from pathlib import Path

from benchmarks.answering import ask, make_request
from benchmarks.checkpoint import make_image, make_parts
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.pixel_cache import PIXELS
from langchain_vipllava.prompt.conversation import Conversation, Turn

COLUMNS = ("pictures", "resident", "keys and values", "features", "pixel values", "decoded images", "the rest")


def resident() -> float:
    """Return the memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Growth:
    """Asks about pictures, and writes what the memory has grown by since the model was loaded, in MiB."""

    def __init__(self, cache_mib: int) -> None:
        model, processor = make_parts()
        self._runner = ModelRunner(model, processor, cache_bytes=cache_mib * 2**20)
        self._loaded = resident()
        print("|", " | ".join(COLUMNS), "|\n|" + "---|" * len(COLUMNS))

    def ask(self, picture: int, questions: int) -> None:
        """Ask about a picture that came as encoded bytes."""
        data = make_image(1000 + picture).data
        for number in range(questions):
            image = EncodedImage(data)
            ask(self._runner, make_request(Conversation((Turn(f"What is object {number}?", (image,)),)), 4))

    def report(self, label: object) -> None:
        """Write a line of the table."""
        stats = self._runner.stats()
        kept = (stats.cache_bytes, stats.feature_bytes, self._runner.encoder.pixel_values.bytes, PIXELS.bytes)
        grown, mib = resident() - self._loaded, [size / 2**20 for size in kept]
        print("|", label, "|", " | ".join(f"{n:.0f}" for n in (grown, *mib, grown - sum(mib))), "|", flush=True)


def main() -> None:
    """Ask, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=64, help="number of pictures")
    parser.add_argument("--questions", type=int, default=4, help="questions about each")
    parser.add_argument("--cache", type=int, default=96, help="bound of the prefix cache in MiB")
    options = parser.parse_args()
    growth = Growth(options.cache)
    for picture in range(1, options.pictures + 1):
        growth.ask(picture, options.questions)
        if picture & (picture - 1) == 0 or picture == options.pictures:
            growth.report(picture)
    ctypes.CDLL(None).malloc_trim(0)
    growth.report("trimmed")


if __name__ == "__main__":
    main()
