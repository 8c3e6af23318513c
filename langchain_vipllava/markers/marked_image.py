"""`MarkedImage`: an image with its markers, and the words that name them."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from langchain_vipllava.errors import ImageError, MarkerError
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.markers.kinds import MarkerColor, MarkerKind, marker_phrase
from langchain_vipllava.regions.region import Region

if TYPE_CHECKING:
    from langchain_core.messages import HumanMessage

_BRACES = re.compile(r"\{\{([^{}]*)\}\}|\{([^{}]*)\}")
_NAME = re.compile(r"(?=.*\w)[\w.:# -]+")


TINY = 8.0
"""Short side in model pixels below which little of a region is left: about half a 14 px patch of the vision tower."""


class TinyRegionWarning(UserWarning):
    """A marked region is only a few pixels wide where the model looks."""


@dataclass(frozen=True)
class Marker:
    """One marker: what it marks and how a question names it.

    Attributes:
        region: in pixels of the original image.
        kind: one of the eight kinds.
        color: one of the nine colors.
        number: the number drawn beside the region, None without number labels.
        seen: (width, height) of the region's box in pixels of the square that the model reads.
    """

    region: Region
    kind: MarkerKind
    color: MarkerColor
    seen: tuple[float, float]
    number: int | None = None

    @property
    def is_tiny(self) -> bool:
        """Whether the model sees next to nothing of the region; of a bare point, there is nothing to see."""
        return min(self.seen) < TINY and not self.region.is_point

    @property
    def phrase(self) -> str:
        """How the model was taught to name it: "within the red rectangle"."""
        return marker_phrase(self.kind, self.color)


@dataclass(frozen=True, eq=False)
class MarkedImage:
    """An image with markers drawn on it. Made by `mark`; nothing in it changes.

    Attributes:
        image: RGB, with the markers, cropped when `mark(zoom="auto")` zoomed in. What the model gets.
        original: RGB, upright, without markers, whole.
        markers: one per region, in the order of the regions.
        crop: `(left, top, right, bottom)` of `image` in pixels of `original`, None for all of it.
    """

    image: Image.Image
    original: Image.Image = field(repr=False)
    markers: tuple[Marker, ...]
    crop: tuple[int, int, int, int] | None = None

    @property
    def regions(self) -> tuple[Region, ...]:
        """The marked regions, in pixels of `original`."""
        return tuple(marker.region for marker in self.markers)

    @property
    def phrases(self) -> list[str]:
        """One phrase per marker: "within the red rectangle", "pointed to by the lime arrow"."""
        return [marker.phrase for marker in self.markers]

    @property
    def sizes_seen(self) -> list[tuple[float, float]]:
        """(width, height) of each region in pixels of the 336 px square that the model reads."""
        return [marker.seen for marker in self.markers]

    def question(self, template: str) -> str:
        """Fill a question's placeholders with the phrases of the markers.

        Args:
            template: `{0}`, `{1}` stand for markers by index, from 0, `{name}` by region id. `{{0}}` is a
                literal `{0}`; braces around anything else (JSON, say) stay as they are.

        Raises:
            MarkerError: a placeholder that names no marker, or more than one.

        Example:
            >>> from PIL import Image
            >>> from langchain_vipllava import Region, mark
            >>> marked = mark(Image.new("RGB", (336, 336)), [Region(box=(10, 10, 90, 90), id="dog")])
            >>> marked.question("What is the animal {dog} doing?")
            'What is the animal within the red rectangle doing?'
        """
        if not isinstance(template, str):
            raise MarkerError(f"the question is a {type(template).__name__}; expected words.")

        def fill(match: re.Match[str]) -> str:
            escaped, name = match[1], match[2]
            inner = (name if escaped is None else escaped).strip()
            if not _NAME.fullmatch(inner) and inner not in self._ids:
                return match[0]
            return self._find(inner).phrase if escaped is None else f"{{{escaped}}}"

        return _BRACES.sub(fill, template)

    def message(self, question: str) -> HumanMessage:
        """Make the message that asks a question (placeholders filled) about this image.

        Later questions of the same conversation do not repeat the image:
        `HumanMessage(marked.question("And the one {1}?"))`.

        Returns:
            A `HumanMessage` of a standard v1 image block and a text block.

        Raises:
            MarkerError: the question is empty, or a placeholder names no marker.
        """
        from langchain_core.messages import HumanMessage  # noqa: PLC0415  # drawing does not need LangChain

        text = self.question(question)
        if not text.strip():
            raise MarkerError("the question is empty; expected words, such as 'What is the object {0}?'.")
        return HumanMessage(content=[self.content_block(), {"type": "text", "text": text}])

    def answers_schema(self, answer: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make a JSON schema for one answer per marker, for `ChatVipLlava.with_structured_output`.

        Args:
            answer: JSON schema of one answer; a text by default.

        Returns:
            A schema of an object with a key for every marker: its region's id, or its index where that has none.

        Raises:
            MarkerError: no markers, or two regions of one id.

        Example:
            >>> from PIL import Image
            >>> from langchain_vipllava import Region, mark
            >>> marked = mark(Image.new("RGB", (336, 336)), [Region(box=(10, 10, 90, 90), id="dog")])
            >>> marked.answers_schema({"type": "boolean"})["properties"]
            {'dog': {'type': 'boolean', 'description': 'the object within the red rectangle'}}
        """
        properties = {
            marker.region.id or str(index): {
                **(answer or {"type": "string"}),
                "description": f"the object {marker.phrase}",
            }
            for index, marker in enumerate(self.markers)
        }
        if len(properties) < len(self.markers) or not self.markers:
            raise MarkerError(f"{len(self.markers)} markers with ids {self._ids}; expected some, each with its own id.")
        return {
            "title": "answers",
            "description": "One answer for each marked object.",
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def content_block(self) -> dict[str, Any]:
        """The image as a standard LangChain v1 image block: PNG, base64, markers (and crop) in `extras`."""
        extras: dict[str, Any] = {"regions": [_describe(marker) for marker in self.markers]}
        if self.crop is not None:
            extras["crop"] = list(self.crop)
        return {
            "type": "image",
            "base64": base64.b64encode(self.encoded.data).decode("ascii"),
            "mime_type": "image/png",
            "extras": extras,
        }

    def save(self, path: str | Path) -> Path:
        """Write the marked image; the suffix chooses the format. Missing folders are made.

        Raises:
            ImageError: no such format, or the file cannot be written.
        """
        target = Path(path)
        try:
            target = target.expanduser()
            target.parent.mkdir(parents=True, exist_ok=True)
            self.image.save(target)
        except (OSError, ValueError, RuntimeError, KeyError) as error:  # KeyError: a format that Pillow only reads
            raise ImageError(f"cannot write {str(target)!r}: {error}. Use .png, .jpg or .webp.") from error
        return target

    def _repr_html_(self) -> str:
        from langchain_vipllava.markers.html import show_marked  # noqa: PLC0415  # for notebooks only

        return show_marked(self)

    def _repr_png_(self) -> bytes:
        return self.encoded.data

    @cached_property
    def encoded(self) -> EncodedImage:
        """The marked image as the value that travels to the model; encoded, as PNG, only where bytes are needed."""
        return EncodedImage.from_pixels(self.image)

    @cached_property
    def _ids(self) -> list[str]:
        return [marker.region.id for marker in self.markers if marker.region.id]

    def _find(self, name: str) -> Marker:
        index = int(name) if name.isdecimal() and len(name) < 9 else len(self.markers)
        by_index = self.markers[index] if index < len(self.markers) else None
        named = [marker for marker in self.markers if marker.region.id == name]
        if by_index is not None and any(marker is not by_index for marker in named):
            raise MarkerError(
                f"the question's placeholder {{{name}}} is the index of one marker and the id of another; give the "
                "regions ids with a letter in them, or none: region.model_copy(update={'id': None})."
            )
        if by_index is not None:
            return by_index
        if len(named) == 1:
            return named[0]
        if named:
            raise MarkerError(f"the question's placeholder {{{name}}} names {len(named)} markers; use their indices.")
        if not self.markers:
            raise MarkerError(
                f"the question's placeholder {{{name}}} names no marker; this image has none. Mark first."
            )
        by_id = f", or by id {', '.join(self._ids)}" if self._ids else ""
        known = f"{{0}} to {{{len(self.markers) - 1}}}" + by_id
        raise MarkerError(f"the question's placeholder {{{name}}} names no marker; expected {known}.")

    def __repr__(self) -> str:
        markers = ", ".join(
            f"{m.phrase} ({m.region.label or 'region'}, seen {m.seen[0]:.0f} x {m.seen[1]:.0f} px)"
            for m in self.markers
        )
        crop = f", crop={self.crop}" if self.crop else ""
        return f"<MarkedImage {self.image.width} x {self.image.height}{crop}: {markers}>"


def _describe(marker: Marker) -> dict[str, Any]:
    region = marker.region
    described = {
        "id": region.id,
        "label": region.label,
        "box": [round(n, 2) for n in region.box],
        "kind": marker.kind,
        "color": marker.color,
        "phrase": marker.phrase,
    }
    return {key: value for key, value in described.items() if value is not None}
