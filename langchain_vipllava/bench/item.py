"""`Item`: one question of a benchmark; `Posed`: what a model gets of it; `Answered`: what came back."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_vipllava.errors import BenchmarkError
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.locks import cached_property
from langchain_vipllava.markers.assignment import ColorChoice, KindChoice
from langchain_vipllava.markers.kinds import COLORS
from langchain_vipllava.markers.layout import Sizes
from langchain_vipllava.markers.mark import draw
from langchain_vipllava.regions.region import Region

Text = tuple[str | int, ...]
"""Words, and where a marker is named the index of its region. No text of a benchmark can be mistaken for a name."""


@dataclass(frozen=True)
class Marking:
    """How the regions of a benchmark are marked.

    Attributes:
        kind: kind of all markers; with more regions than colors, further kinds too.
        opacity: 0 to 1; None draws as `mark` does.
        view_size: side of the square that the model reads, in pixels.
    """

    kind: KindChoice = "rectangle"
    opacity: float | None = None
    view_size: int = 336


@dataclass(frozen=True)
class Posed:
    """What a model gets.

    Attributes:
        image: with its markers.
        prompt: the whole question, as the benchmark words it.
        question: the question alone, without options and instructions.
        options: what each letter stands for.
    """

    image: EncodedImage
    prompt: str
    question: str
    options: Mapping[str, str]


@dataclass(frozen=True)
class Item:
    """One question of a benchmark.

    Attributes:
        id: as in the data.
        prompt: what the model reads, in the words of the official evaluation.
        truth: the right answer, as in the data.
        open_image: opens the image, at each call.
        regions: what to mark, in pixels of the image; empty where the image has its markers already.
        groups: the categories in which it counts.
        question: the question alone; empty where it is all of the prompt.
        options: what each letter stands for; empty for an open question.
        colors: colors of the markers that the data demands; empty for none.
        row: what else the data says of it, for the result files.
    """

    id: str | int
    prompt: Text
    truth: str
    open_image: Callable[[], EncodedImage]
    regions: tuple[Region, ...] = ()
    groups: tuple[str, ...] = ()
    question: Text = ()
    options: Mapping[str, Text] = field(default_factory=dict)
    colors: tuple[ColorChoice, ...] = ()
    row: Mapping[str, Any] = field(default_factory=dict)

    def pose(self, marking: Marking) -> Posed:
        """Open the image, draw the markers, and write the words that name them.

        Raises:
            ImageError: the image cannot be opened.
            RegionError: a region lies outside the image.
            MarkerError: more regions than combinations of color and kind.
        """
        image = self.open_image()
        phrases: list[str] = []
        if self.regions:
            kind = marking.kind if len(self.regions) <= len(COLORS) else "auto"
            marked = draw(
                image.decode(),
                self.regions,
                kind=kind,
                color=self.colors or None,
                sizes=Sizes(opacity=marking.opacity),
                view_size=marking.view_size,
            )
            image, phrases = marked.encoded, marked.phrases
        options = {letter: write(text, phrases) for letter, text in self.options.items()}
        return Posed(image, write(self.prompt, phrases), write(self.question or self.prompt, phrases), options)

    @cached_property
    def digest(self) -> str:
        """Identifies what is asked: the texts, and what is marked. The image itself is not read."""
        marked = [
            (region.box, region.polygon, region.point, region.mask is not None and zlib.crc32(region.mask.tobytes()))
            for region in self.regions
        ]
        asked = repr((self.prompt, self.question, sorted(self.options.items()), self.colors, marked))
        return hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def without_image(self) -> Item:
        """Return the same without what opens the image, which may hold its bytes."""
        bare = replace(self, open_image=_gone, regions=())
        bare.__dict__["digest"] = self.digest  # where cached_property keeps it
        return bare


def _gone() -> EncodedImage:
    raise BenchmarkError("the image was let go.")


@dataclass(frozen=True)
class Answered:
    """An item with its answer.

    Attributes:
        item: without its image.
        prompt: what the model read.
        text: what it said; empty where it failed.
        error: why there is no answer; None where there is one.
        finish_reason: see `Answer`.
    """

    item: Item
    prompt: str
    text: str
    error: str | None = None
    finish_reason: str = "stop"


def write(text: Text, phrases: Sequence[str]) -> str:
    """Write a text with the phrases that name its markers.

    Example:
        >>> write(("What is ", 0, "?"), ["within the red rectangle"])
        'What is within the red rectangle?'
    """
    return "".join(part if isinstance(part, str) else phrases[part] for part in text)


def split_tags(text: str, tag: re.Pattern[str], index_of: Callable[[str], int], noun: str = "") -> Text:
    r"""Split a text at the tags that stand for regions.

    Args:
        text: a text of the data.
        tag: matches a tag; its group 1 names the region.
        index_of: returns the index of a region by that name.
        noun: words in front of the phrase of a marker, such as "the object ".

    Example:
        >>> split_tags("Is <Prompt0> red?", re.compile(r"<Prompt(\d+)>"), int, "the object ")
        ('Is the object ', 0, ' red?')
    """
    parts: list[str | int] = []
    end = 0
    for found in tag.finditer(text):
        parts += [text[end : found.start()] + noun, index_of(found[1])]
        end = found.end()
    return tuple(part for part in (*parts, text[end:]) if part != "")
