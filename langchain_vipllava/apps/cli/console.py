"""What is written: answers on standard output; tables, notes and errors on standard error."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from langchain_vipllava.apps.cli import exits
from langchain_vipllava.apps.cli.wording import in_options
from langchain_vipllava.errors import VipLlavaError
from langchain_vipllava.text import printable, quote

if TYPE_CHECKING:
    from langchain_vipllava.markers.marked_image import MarkedImage
    from langchain_vipllava.markers.marker import Marker

_MAX_LABEL = 80
"""Characters of a label in the table of markers. Chosen: a class name or a short phrase."""

_GAP = "  "
_COLUMNS = ("", "marked", "region", "box", "seen by the model")


@dataclass(frozen=True)
class Screen:
    """Writes for one command.

    Attributes:
        quiet: write nothing but answers and errors.
        as_json: answers are JSON documents, one per line.
    """

    quiet: bool = False
    as_json: bool = False

    def answer(self, text: str, end: str = "\n") -> None:
        """Write text from outside to standard output, but for control and bidirectional characters: escapes."""
        _write(sys.stdout, printable(text) + end)

    def record(self, fields: Mapping[str, Any]) -> None:
        """Write a JSON document on one line."""
        text = json.dumps(fields, ensure_ascii=False)
        _write(sys.stdout, "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text) + "\n")

    def note(self, text: str, end: str = "\n") -> None:
        """Write a line for a person."""
        if not self.quiet:
            _write(sys.stderr, printable(text) + end)

    def markers(self, marked: MarkedImage) -> None:
        """Write a table of the markers and the phrases that name them."""
        if not self.quiet and marked.markers:
            _write(sys.stderr, marker_table(marked, colored=_takes_colors(sys.stderr)))

    @contextmanager
    def warnings_as_lines(self) -> Iterator[None]:
        """Write warnings as lines."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            yield
        for warning in caught:
            self.note(f"Note: {printable(in_options(str(warning.message)), keep='')}")


def show_error(error: VipLlavaError) -> None:
    """Write an error as one line on standard error, in the words of the command line."""
    line = f"{type(error).__name__}: {printable(in_options(str(error)), keep='')}"
    _write(sys.stderr, (f"\x1b[31m{line}\x1b[0m" if _takes_colors(sys.stderr) else line) + "\n")


def marker_table(marked: MarkedImage, *, colored: bool = False) -> str:
    """Return a table of the markers, one line each."""
    rows = [_COLUMNS, *(_row(index, marker) for index, marker in enumerate(marked.markers))]
    widths = [max(_width(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = []
    for index, row in enumerate(rows):
        cells = [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        if colored and index:
            cells[1] = _swatch(marked.markers[index - 1]) + cells[1]
        elif colored:
            cells[1] = _GAP + cells[1]
        lines.append(_GAP.join(cells).rstrip() + "\n")
    return "".join(lines)


def _row(index: int, marker: Marker) -> tuple[str, ...]:
    region = marker.region
    label = quote(region.label, _MAX_LABEL)[1:-1] if region.label else "region"
    score = "" if region.score is None else f" {region.score:.2f}"
    box = ", ".join(f"{number:.0f}" for number in region.box)
    return f"{{{index}}}", marker.phrase, label + score, box, f"{marker.seen[0]:.0f} x {marker.seen[1]:.0f} px"


def _swatch(marker: Marker) -> str:
    from langchain_vipllava.markers.kinds import COLORS  # noqa: PLC0415  # loads OpenCV

    red, green, blue = COLORS[marker.color]
    return f"\x1b[38;2;{red};{green};{blue}m\N{BLACK SQUARE}\x1b[0m "


def _width(text: str) -> int:
    """Columns of a text in a terminal."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def _takes_colors(stream: IO[str]) -> bool:
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _write(stream: IO[str], text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        exits.end_now(exits.BROKEN_PIPE)
    except UnicodeEncodeError:  # a terminal that knows no Unicode
        encoding = getattr(stream, "encoding", None) or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
