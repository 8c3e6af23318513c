"""`JsonList`: a benchmark whose questions are a JSON list in one file, and whose answers are letters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

from langchain_vipllava.bench.benchmark import Data
from langchain_vipllava.bench.files import find_file, read_json
from langchain_vipllava.bench.item import Answered, Item
from langchain_vipllava.bench.letters import score_letters
from langchain_vipllava.bench.scores import Scores
from langchain_vipllava.errors import BenchmarkError, RegionError
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.regions.region import Region


class JsonList:
    """The part of such a benchmark that does not depend on its layout.

    Args:
        data: the folder with one of `names`, or the file.
    """

    names: ClassVar[Sequence[str]]
    """Where the file may lie in the folder of the data."""

    def __init__(self, data: Data) -> None:
        self._file = find_file(data.folder, self.names)
        self._open = data.opener(self._file.parent)

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        rows = read_json(self._file)
        if not isinstance(rows, list) or not rows:
            raise BenchmarkError(f"{self._file.name} holds no list of questions; expected the official layout.")
        return rows

    def count(self) -> int:
        """Count the questions."""
        return len(self._rows)

    def items(self) -> Iterator[Item]:
        """Yield the questions."""
        return (self._item(index, row) for index, row in enumerate(self._rows))

    def score(self, answered: Sequence[Answered]) -> Scores:
        """Score letters, per type of question where the items have one."""
        return score_letters(answered)

    def _item(self, index: int, row: dict[str, Any]) -> Item:
        raise NotImplementedError

    def _marked(
        self, image: str, shapes: Iterable[Mapping[str, Any]]
    ) -> tuple[tuple[Region, ...], Callable[[], EncodedImage]]:
        """Return the regions of an item, and what opens its image: a wrong region is an error of this item alone.

        Args:
            image: as the row names it.
            shapes: arguments of each `Region`.
        """
        try:
            return tuple(Region(**shape) for shape in shapes), partial(self._open, image)
        except RegionError as error:
            return (), partial(_refuse, error)


def _refuse(error: RegionError) -> EncodedImage:
    raise error
