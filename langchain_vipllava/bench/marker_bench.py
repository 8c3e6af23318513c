"""`MarkerBench`: which markers a model perceives: the same questions, asked with markers of every look.

Its data: `markers.jsonl`, a line per question: `image`, `regions` (each with `box`, `polygon`, `mask` or `point`),
`question` with `{0}`, `{1}` for the regions, `answer` (a text, or a list of right ones) and, if the questions are of
several sorts, `group`. Its result files: `results/MODEL_markers.csv`, a row per look, and `results/MODEL_markers.md`,
tables.
"""

from __future__ import annotations

import csv
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from langchain_vipllava.bench.benchmark import Data, Outputs
from langchain_vipllava.bench.files import field_of, find_file, read_json_lines, write_file
from langchain_vipllava.bench.item import Answered, Item, Marking, Posed, split_tags, write
from langchain_vipllava.bench.scores import Scores
from langchain_vipllava.errors import BenchmarkError, RegionError, shorten
from langchain_vipllava.markers.kinds import COLOR_NAMES, KINDS, MarkerColor, MarkerKind, spec_of
from langchain_vipllava.markers.layout import Sizes
from langchain_vipllava.markers.mark import draw
from langchain_vipllava.markers.style import LINE_WIDTH, POINT_RADIUS
from langchain_vipllava.regions.region import Region
from langchain_vipllava.workspace.voted import same_answer

_TAG = re.compile(r"\{(\d{1,8})\}")

_PROPERTIES = ("kind", "color", "width", "opacity", "group")

WIDTHS = (1.5, 3.0, 6.0)
"""Line widths in pixels of the model's square. Chosen: half, once and twice the constant style; training has 2 to 8."""

OPACITIES = (0.4, 0.7, 1.0)
"""Shares of a kind's full opacity: of 1 for lines and points, of 128/255 for masks. Training goes down to 0.38."""


@dataclass(frozen=True)
class MarkerLook:
    """How the region in question is marked; the others are marked likewise, in colors that stand out.

    Attributes:
        kind: of all markers.
        color: of the first region's.
        width: of lines, in pixels of the model's square; the radius of a point is 8/3 of it, and a mask has none.
        opacity: share of the kind's full opacity.
    """

    kind: MarkerKind
    color: MarkerColor
    width: float
    opacity: float

    def __str__(self) -> str:
        return f"{self.color} {self.kind}, {self.width:g} px, {self.opacity:g}"

    @property
    def sizes(self) -> Sizes:
        """The sizes to draw with."""
        full = spec_of(self.kind).opacity.constant
        radius = self.width * POINT_RADIUS.constant / LINE_WIDTH.constant
        return Sizes(width=self.width, radius=radius, opacity=self.opacity * full)

    @property
    def values(self) -> Mapping[str, str]:
        """What it is, by property."""
        width = "-" if self.kind == "mask" else f"{self.width:g}"
        return {"kind": self.kind, "color": self.color, "width": width, "opacity": f"{self.opacity:g}"}


@dataclass(frozen=True)
class MarkerLooks:
    """The looks to compare: every combination.

    Attributes:
        kinds, colors, widths, opacities: of the looks.
        per_look: questions that each is asked, drawn for each by itself, the same in every run.
    """

    kinds: Sequence[MarkerKind] = KINDS
    colors: Sequence[MarkerColor] = COLOR_NAMES
    widths: Sequence[float] = WIDTHS
    opacities: Sequence[float] = OPACITIES
    per_look: int = 12

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            BenchmarkError, MarkerError: one out of range.
        """
        if self.per_look < 1:
            raise BenchmarkError(f"{self.per_look} questions per look; expected at least 1.")
        for look in self:
            look.sizes.check()

    def __iter__(self) -> Iterator[MarkerLook]:
        for kind, color, width, opacity in product(self.kinds, self.colors, self.widths, self.opacities):
            if kind != "mask" or width == self.widths[0]:  # a mask has no line
                yield MarkerLook(kind, color, width, opacity)

    def draw_from(self, count: int) -> Iterator[tuple[MarkerLook, list[int]]]:
        """Yield each look with the indices of its questions, of `count`."""
        for look in self:
            rng = np.random.default_rng(zlib.crc32(str(look).encode()))
            yield look, sorted(rng.permutation(count)[: self.per_look].tolist())


@dataclass(frozen=True)
class MarkerItem(Item):
    """A question about regions in one look.

    Attributes:
        look: how the regions are marked; the run's own marking has no say.
    """

    look: MarkerLook = field(kw_only=True)

    def pose(self, marking: Marking) -> Posed:
        """Open the image, draw the markers, and write the words that name them; see `Item.pose`."""
        others = [None] * (len(self.regions) - 1)
        marked = draw(
            self.open_image().decode(),
            self.regions,
            kind=self.look.kind,
            color=[self.look.color, *others],
            sizes=self.look.sizes,
            view_size=marking.view_size,
        )
        prompt = write(self.prompt, marked.phrases)
        return Posed(marked.encoded, prompt, prompt, {})


class MarkerBench:
    """The same questions with markers of every look.

    Args:
        data: the folder with `markers.jsonl`, or the file.
        looks: what is compared.
    """

    title = "Markers"
    max_tokens = 24
    marking = Marking()
    measure = "right"

    def __init__(self, data: Data, looks: MarkerLooks) -> None:
        self._file = find_file(data.folder, ["markers.jsonl"])
        self._open = data.opener(self._file.parent)
        self._looks = looks

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        rows = [self._row(where, row) for where, row in read_json_lines(self._file)]
        if not rows:
            raise BenchmarkError(f"{self._file.name} has no questions.")
        return rows

    def _row(self, where: str, row: Any) -> dict[str, Any]:
        answers = field_of(row, "answer", (str, list), where)
        listed = field_of(row, "regions", list, where)
        try:
            regions = tuple(Region.model_validate(region) for region in listed)
        except (RegionError, ValidationError) as error:
            raise BenchmarkError(
                f"{where}: regions {shorten(listed)} cannot be read: {shorten(str(error))}."
            ) from error
        if not 1 <= len(regions) <= len(COLOR_NAMES):
            raise BenchmarkError(f"{where} has {len(regions)} regions; expected 1 to {len(COLOR_NAMES)}.")

        def index_of(name: str) -> int:
            if int(name) >= len(regions):
                raise BenchmarkError(f"{{{name}}} in {where}, which has {len(regions)} regions.")
            return int(name)

        return {
            "prompt": split_tags(field_of(row, "question", str, where), _TAG, index_of),
            "truth": answers if isinstance(answers, str) else "\n".join(map(str, answers)),
            "open_image": partial(self._open, field_of(row, "image", str, where)),
            "regions": regions,
            "groups": (f"group {row['group']}",) if "group" in row else (),
        }

    def count(self) -> int:
        """Count the questions in all looks."""
        return sum(len(chosen) for _, chosen in self._looks.draw_from(len(self._rows)))

    def items(self) -> Iterator[Item]:
        """Yield the questions, look by look."""
        for look, chosen in self._looks.draw_from(len(self._rows)):
            for index in chosen:
                row = self._rows[index]
                groups = (*(f"{name} {value}" for name, value in look.values.items()), *row["groups"])
                yield MarkerItem(f"{look}, {index}", **{**row, "groups": groups}, look=look)

    def answers_file(self, outputs: Outputs) -> Path:
        """Return the file of the answers."""
        return outputs.folder / "answers" / f"{outputs.model}_markers.jsonl"

    def score(self, answered: Sequence[Answered]) -> Scores:
        """Score by kind, color, width, opacity and group; case, spaces and the signs around an answer do not count."""
        scores = Scores.of((each.item.groups, [float(_is_right(each))]) for each in answered)
        *groups, total = scores.groups
        order = list(dict.fromkeys(group for each in answered for group in each.item.groups))
        groups.sort(key=lambda each: (_PROPERTIES.index(each.group.split()[0]), order.index(each.group)))
        return Scores((*groups, total))

    def write(self, answered: Sequence[Answered], outputs: Outputs) -> list[Path]:
        """Write `results/MODEL_markers.csv` and `.md`."""
        folder = outputs.folder / "results"
        cells: dict[MarkerLook, list[bool]] = {}
        for each in answered:
            if isinstance(each.item, MarkerItem):
                cells.setdefault(each.item.look, []).append(_is_right(each))
        return [
            write_file(folder / f"{outputs.model}_markers.csv", _csv(cells)),
            write_file(folder / f"{outputs.model}_markers.md", "\n".join(_tables(cells))),
        ]


def _is_right(answered: Answered) -> bool:
    return answered.error is None and same_answer(answered.text) in map(same_answer, answered.item.truth.split("\n"))


def _csv(cells: Mapping[MarkerLook, Sequence[bool]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kind", "color", "width", "opacity", "questions", "right"])
    for look, right in cells.items():
        writer.writerow([*look.values.values(), len(right), sum(right)])
    return text.getvalue()


def _tables(cells: Mapping[MarkerLook, Sequence[bool]]) -> Iterator[str]:
    """Yield the lines of Markdown tables: the share of right answers by kind and each other property."""
    for name in ("color", "width", "opacity"):
        values = list(dict.fromkeys(look.values[name] for look in cells if look.values[name] != "-"))
        yield f"| {name} | {' | '.join(values)} | all |"
        yield "|---" * (len(values) + 2) + "|"
        for kind in dict.fromkeys(look.kind for look in cells):
            yield _line(kind, name, values, {look: right for look, right in cells.items() if look.kind == kind})
        yield _line("all", name, values, cells)
        yield ""


def _line(title: str, name: str, values: Sequence[str], cells: Mapping[MarkerLook, Sequence[bool]]) -> str:
    shown = [_share([one for look, right in cells.items() if look.values[name] == value for one in right])
             for value in values]  # fmt: skip
    return f"| {title} | {' | '.join([*shown, _share([one for right in cells.values() for one in right])])} |"


def _share(right: Sequence[bool]) -> str:
    return f"{100 * sum(right) / len(right):.1f}" if right else "-"
