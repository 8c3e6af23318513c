"""What the workspace returns: typed values, with a text for an LLM and a JSON form for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.markers.marker import TINY, Marker
from langchain_vipllava.markers.pages import MarkedPages
from langchain_vipllava.regions.region import Region
from langchain_vipllava.text import counted, quote

_MAX_LABEL = 80
"""Characters of a label that an LLM is shown. Chosen: a class name or a short phrase."""

_MAX_ANSWER = 8000
"""Characters of an answer that an LLM is shown. Chosen: some 2,000 tokens, eight times the default of `max_tokens`."""

_MAX_LISTED = 200
"""Regions of an image that an LLM is shown. Chosen: what `detect_regions` returns at most."""


@dataclass(frozen=True)
class Opened:
    """An image was opened.

    Attributes:
        image_id: its id in the session.
        size: (width, height) in pixels, upright.
    """

    image_id: str
    size: tuple[int, int]

    @property
    def text(self) -> str:
        """What an LLM is told."""
        width, height = self.size
        return f"Opened as {self.image_id}: {width} x {height} pixels."

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON."""
        return {"image_id": self.image_id, "width": self.size[0], "height": self.size[1]}


@dataclass(frozen=True)
class Detected:
    """Regions were detected or segmented.

    Attributes:
        image_id: id of the image.
        regions: each with its id.
        notes: what was read in another way than it was written, for an LLM.

    Example:
        >>> print(Detected("img1", (Region(box=(1, 2, 30, 40), label="cat", score=0.9, id="r1"),)).text)
        1 region in img1:
        r1: "cat" (0.90) at box [1, 2, 30, 40]
    """

    image_id: str
    regions: tuple[Region, ...]
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What an LLM is told."""
        if not self.regions:
            return f"No regions found in {self.image_id}. Try without labels or min_score, or mark boxes yourself."
        lines = [region_line(region) for region in self.regions[:_MAX_LISTED]]
        notes = [f"Note: {note}" for note in self.notes]
        head = f"{counted(len(self.regions), 'region')} in {self.image_id}:"
        return "\n".join([head, *lines, *_rest(self.regions), *notes])

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON, without masks."""
        return {"image_id": self.image_id, "regions": [region_dict(region) for region in self.regions]}


@dataclass(frozen=True)
class Marked:
    """Regions were marked.

    Attributes:
        image_id: id of the marked image.
        source_id: id of the image without markers.
        marked: the marked image, or its pages.
        zoomed: whether the caller asked for a zoom.
        notes: what was read in another way than it was written, for an LLM.
    """

    image_id: str
    source_id: str
    marked: MarkedImage | MarkedPages
    zoomed: bool = False
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What an LLM is told: the words that name each marker, and which regions are hard to see."""
        markers = self.marked.markers
        notes = [f"Note: {note}" for note in self.notes]
        notes += [self._tiny_note(marker) for marker in markers if marker.is_tiny]
        notes += [self._faint_note(marker) for marker in markers if marker.is_faint]
        if isinstance(self.marked, MarkedImage):
            return "\n".join([f"Marked {self.source_id} as {self.image_id}:", *map(_marker_line, markers), *notes])
        lines = [
            line
            for number, page in enumerate(self.marked, 1)
            for line in (f"page {number}:", *map(_marker_line, page.markers))
        ]
        return "\n".join(
            [
                f"Marked {self.source_id} as {self.image_id}, on {len(self.marked)} pages. The vision model sees one "
                "page at a time: name regions of one page in each question, by their ids.",
                *lines,
                *notes,
            ]
        )

    @property
    def pages(self) -> tuple[MarkedImage, ...]:
        """What the model sees: the marked image, or its pages."""
        return (self.marked,) if isinstance(self.marked, MarkedImage) else self.marked.pages

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON, without masks."""
        order = None if isinstance(self.marked, MarkedImage) else self.marked.order
        markers = [
            {
                **region_dict(marker.region),
                "phrase": marker.phrase,
                **({} if order is None else {"page": order[index][0]}),
            }
            for index, marker in enumerate(self.marked.markers)
        ]
        return {"image_id": self.image_id, "source_id": self.source_id, "markers": markers}

    def _faint_note(self, marker: Marker) -> str:
        again = f'with color "{marker.clearer}" or without a color' if marker.clearer else "with another kind"
        return (
            f"Note: the vision model can hardly see the {marker.color} {marker.kind} of {marker.region.id} against the "
            f"image. Mark it again {again}."
        )

    def _tiny_note(self, marker: Marker) -> str:
        # `mark` warns the program of the same. The warning cannot be caught here: catch_warnings is not thread-safe.
        advice = (
            "Mark fewer regions that lie nearer together."
            if self.zoomed
            else 'Call mark_regions with zoom "auto" to crop around it.'
        )
        width, height = marker.seen
        return (
            f"Note: {marker.region.id} is {width:.1f} x {height:.1f} px where the vision model looks; below {TINY:.0f} "
            f"px little of it is left. {advice}"
        )


@dataclass(frozen=True)
class Answered:
    """A question was answered.

    Attributes:
        image_id: id of the image.
        question: as the model read it, with the words of the markers.
        answer: the model's words.
        forgotten: oldest questions that were left out of the conversation, now and for good: it was full.
        page: index of the page that was asked about, for an image that is marked on several.
    """

    image_id: str
    question: str
    answer: str
    forgotten: int = 0
    page: int | None = None

    @property
    def text(self) -> str:
        """What an LLM is told: the answer as data. It may repeat any text that can be read in the image."""
        answer = f"The vision model answered: {quote(self.answer, _MAX_ANSWER)}"
        if not self.forgotten:
            return answer
        return (
            f"{answer}\nNote: to make room, the vision model forgot the {counted(self.forgotten, 'oldest question')} "
            f"about {self.image_id} and the {'answer' if self.forgotten == 1 else 'answers'}. Say again in your next "
            "question what it needs of them."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON."""
        described = {"image_id": self.image_id, "question": self.question, "answer": self.answer}
        forgotten = {"forgotten": self.forgotten} if self.forgotten else {}
        return {**described, **forgotten, **({} if self.page is None else {"page": self.page})}


@dataclass(frozen=True)
class ImageSummary:
    """An image of a session.

    Attributes:
        image_id: its id.
        size: (width, height) in pixels, upright.
        regions: each with its id.
        phrases: the words that name its markers; empty for an image without markers.
        questions: number of questions asked about it so far.
    """

    image_id: str
    size: tuple[int, int]
    regions: tuple[Region, ...]
    phrases: tuple[str, ...] = ()
    questions: int = 0

    @property
    def text(self) -> str:
        """What an LLM is told."""
        width, height = self.size
        listed = [f"{region.id} ({name_of(region)})" for region in self.regions[:_MAX_LISTED]]
        regions = ", ".join([*listed, *_rest(self.regions)]) or "no regions"
        marked = f"; marked: {'; '.join(self.phrases)}" if self.phrases else ""
        return f"{self.image_id}: {width} x {height} pixels, {regions}{marked}"

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON, without masks."""
        return {
            "image_id": self.image_id,
            "width": self.size[0],
            "height": self.size[1],
            "regions": [region_dict(region) for region in self.regions],
            "phrases": list(self.phrases),
            "questions": self.questions,
        }


def region_dict(region: Region) -> dict[str, Any]:
    """Return a region as JSON, without its mask; coordinates in pixels."""
    described = {
        "id": region.id,
        "label": region.label,
        "score": None if region.score is None else round(region.score, 3),
        "box": [round(number, 1) for number in region.box],
    }
    return {key: value for key, value in described.items() if value is not None}


def name_of(region: Region) -> str:
    """Return a region's label as data: text that was read in an image must not look like a line of ours."""
    return quote(region.label, _MAX_LABEL) if region.label else "region"


def _marker_line(marker: Marker) -> str:
    return f'{marker.region.id} ({name_of(marker.region)}): "{marker.phrase}"'


def region_line(region: Region) -> str:
    """Describe a region in one line."""
    score = f" ({region.score:.2f})" if region.score is not None else ""
    x0, y0, x1, y1 = (round(number) for number in region.box)
    return f"{region.id}: {name_of(region)}{score} at box [{x0}, {y0}, {x1}, {y1}]"


def _rest(regions: Sequence[Region]) -> list[str]:
    """What stands in place of the regions that are not shown."""
    return [f"and {len(regions) - _MAX_LISTED} more"] if len(regions) > _MAX_LISTED else []
