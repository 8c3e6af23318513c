"""`Benchmark`: the data of a benchmark in its official layout, how it scores, and the files that it wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from langchain_vipllava.bench.item import Answered, Item, Marking
from langchain_vipllava.bench.scores import Scores
from langchain_vipllava.errors import ImageError, shorten
from langchain_vipllava.images.access import ImageAccessPolicy
from langchain_vipllava.images.image import EncodedImage


@dataclass(frozen=True)
class Data:
    """Where the data of a benchmark lies.

    Attributes:
        folder: in the official layout; or the file of questions.
        images: another folder of images; None where they lie beside the questions.
    """

    folder: Path
    images: Path | None = None

    def opener(self, beside: Path) -> Callable[[str], EncodedImage]:
        """Return what opens an image by the name that the data has for it: only files, and none outside of a folder.

        Args:
            beside: the folder of images, unless there is another one.

        Raises:
            ImageError: there is no such folder.
        """
        folder = self.images or beside
        policy = ImageAccessPolicy(image_root=folder)

        def open_image(name: str) -> EncodedImage:
            path = Path(name)
            if "\\" in name and not _is_there(folder / path):  # written on Windows
                path = Path(name.replace("\\", "/"))
            try:
                return policy.resolve(path)
            except ImageError as error:
                if _is_there(folder / path):
                    raise
                raise ImageError(f"there is no image {shorten(name, 80)} in {shorten(str(folder), 120)}.") from error

        return open_image


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a null character
        return False


@dataclass(frozen=True)
class Outputs:
    """Where results go.

    Attributes:
        folder: they lie below it, in the folders of the official evaluation.
        model: the name of the model in them.
    """

    folder: Path
    model: str


class Benchmark(Protocol):
    """A benchmark.

    Attributes:
        title: its name, for people.
        max_tokens: tokens of an answer in the official evaluation.
        marking: how the official evaluation marks regions.
        measure: what the score is, in a word or two.
    """

    title: str
    max_tokens: int
    marking: Marking
    measure: str

    def count(self) -> int:
        """Count the items."""

    def items(self) -> Iterator[Item]:
        """Yield the items in their order.

        Raises:
            BenchmarkError: the data is missing or damaged.
        """

    def answers_file(self, outputs: Outputs) -> Path:
        """Return the file of the answers, which grows while they come."""

    def score(self, answered: Sequence[Answered]) -> Scores:
        """Score answers as the official evaluation does."""

    def write(self, answered: Sequence[Answered], outputs: Outputs) -> list[Path]:
        """Write the official result files, and return their paths."""
