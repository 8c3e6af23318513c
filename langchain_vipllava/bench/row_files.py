"""Rows with an image in base64 each, read one by one: such files have gigabytes."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any

from langchain_vipllava.errors import BenchmarkError, ImageError, describe_error, shorten
from langchain_vipllava.images.access import ImageAccessPolicy
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.inline import Base64Text

MAX_CELL = 256 * 2**20
"""Characters of a cell. Chosen: base64 of an image of 192 MB."""

_MAX_REFERENCE = 64
"""Characters up to which VLMEvalKit takes the image of a row for the index of the row that has it."""

OpenImage = Callable[[], EncodedImage]


class TsvRows:
    """The rows of a TSV file with a header.

    Args:
        file: in UTF-8, quoted as by pandas.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        csv.field_size_limit(max(MAX_CELL, csv.field_size_limit()))

    def count(self) -> int:
        """Count the rows. Reads the file once."""
        return len(self._places)

    def rows(self) -> Iterator[tuple[str, Mapping[str, Any], OpenImage]]:
        """Yield where a row stands, its cells, and what opens its image."""
        for number, (_, row) in enumerate(self._read(0), start=1):
            open_image = partial(self._open_image, str(row.get("image") or ""), row.get("index"))
            if len(row.get("image") or "") > _MAX_REFERENCE:  # not held in memory until it is asked about
                open_image = partial(self._open_at, row["index"])
            yield f"row {number} of {self._file.name}", row, open_image

    def _open_at(self, index: str) -> EncodedImage:
        image = str(self._row(index).get("image") or "")
        return self._open_image(image, index)

    def _open_image(self, image: str, index: str | None) -> EncodedImage:
        if len(image) <= _MAX_REFERENCE and image in self._places:
            image = str(self._row(image).get("image") or "")
        return open_base64(image, f"row {index}")

    def _row(self, index: str) -> Mapping[str, str]:
        try:
            place = self._places[index]
        except KeyError as error:
            raise ImageError(f"no row of {self._file.name} has the index {shorten(index)}.") from error
        return next(row for _, row in self._read(place))

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where each row begins, in bytes, by its index."""
        places: dict[str, int] = {}
        for place, row in self._read(0):
            index = row.get("index")
            if index is None:
                raise BenchmarkError(f"{self._file.name} has no column 'index'; it has {shorten(sorted(row))}.")
            if index in places:
                raise BenchmarkError(f"two rows of {self._file.name} have the index {shorten(index)}.")
            places[index] = place
        if not places:
            raise BenchmarkError(f"{self._file.name} has no rows.")
        return places

    @cached_property
    def _header(self) -> list[str]:
        with self._opened() as file:
            return next(csv.reader([file.readline().decode("utf-8-sig")], delimiter="\t"), [])

    def _read(self, place: int) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield the byte at which a row begins, and its cells; from a place on, 0 for the first row."""
        with self._opened() as file:
            if place:
                file.seek(place)
            else:
                file.readline()
            begin = file.tell()
            try:
                for cells in csv.reader(_lines(file), delimiter="\t"):
                    if cells:
                        if len(cells) != len(self._header):
                            raise BenchmarkError(
                                f"a row of {self._file.name} has {len(cells)} cells, its header {len(self._header)}; "
                                "expected as many."
                            )
                        yield begin, dict(zip(self._header, cells, strict=True))
                    begin = file.tell()
            except (csv.Error, UnicodeDecodeError, OSError) as error:
                raise BenchmarkError(f"cannot read {self._file.name}: {describe_error(error)}.") from error

    def _opened(self) -> IO[bytes]:
        try:
            return self._file.open("rb")
        except OSError as error:
            raise BenchmarkError(f"cannot read {shorten(str(self._file))}: {describe_error(error)}.") from error


def _lines(file: IO[bytes]) -> Iterator[str]:
    while line := file.readline():
        yield line.decode("utf-8")


class ParquetRows:
    """The rows of a Parquet file, some at a time.

    Args:
        file: needs pyarrow.
    """

    def __init__(self, file: Path) -> None:
        try:
            # optional, and its types are partial
            from pyarrow import parquet  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: PLC0415
        except ImportError as error:
            raise BenchmarkError(
                f"{file.name} is Parquet, which needs pyarrow: pip install pyarrow. Or take vp_bench_stage_1.tsv."
            ) from error
        self._file = file
        try:
            self._parquet = parquet.ParquetFile(file)
        except Exception as error:  # pyarrow's errors have several types
            raise BenchmarkError(f"cannot read {shorten(str(file))}: {describe_error(error)}.") from error

    def count(self) -> int:
        """Count the rows."""
        return int(self._parquet.metadata.num_rows)

    def rows(self) -> Iterator[tuple[str, Mapping[str, Any], OpenImage]]:
        """Yield where a row stands, its cells, and what opens its image."""
        number = 0
        for batch in self._parquet.iter_batches(batch_size=_AT_ONCE):
            for row in batch.to_pylist():
                number += 1
                where = f"row {number} of {self._file.name}"
                yield where, row, partial(open_base64, row.get("image") or "", where)


_AT_ONCE = 16
"""Rows of a Parquet file that are read together. Chosen: as many as are answered together."""


def open_base64(image: str, where: str) -> EncodedImage:
    """Open an image in base64.

    Raises:
        ImageError: it is none.
    """
    if not image:
        raise ImageError(f"{where} has no image.")
    return ImageAccessPolicy().resolve(Base64Text(image))
