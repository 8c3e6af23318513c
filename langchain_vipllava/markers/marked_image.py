"""`MarkedImage`: an image with its markers, and the phrases that name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from PIL import Image

from langchain_vipllava.errors import ImageError, MarkerError
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.pydantic_value import value_schema
from langchain_vipllava.locks import cached_property
from langchain_vipllava.markers.answers_schema import answers_schema
from langchain_vipllava.markers.html import marked_image_html
from langchain_vipllava.markers.marked_json import marked_from_json, marked_to_json
from langchain_vipllava.markers.marker import Marker
from langchain_vipllava.markers.question_template import fill_question
from langchain_vipllava.regions.region import Region
from langchain_vipllava.text import quote

if TYPE_CHECKING:
    from langchain_core.messages import HumanMessage

    from langchain_vipllava.images.store import ImageStore


_MAX_LABEL = 80
"""Characters of a label in the `repr`. Chosen: a class name or a short phrase."""


@dataclass(frozen=True, eq=False)
class MarkedImage:
    """An image with markers, as `mark` returns it. Immutable.

    It is a collection of its markers: `len(marked)`, `marked[0]`, `for marker in marked`. `np.asarray(marked)` is what
    the model gets, (H, W, 3) uint8 RGB.

    Attributes:
        image: RGB, with the markers, cropped if `mark(zoom="auto")` zoomed in. What the model gets.
        original: RGB, upright, without markers, not cropped.
        markers: one per region, in the order of the regions.
        crop: `(left, top, right, bottom)` of `image` in pixels of `original`; None if it was not cropped.

    Example:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from langchain_vipllava import Region, mark
        >>> marked = mark(Image.new("RGB", (336, 240)), [Region(box=(10, 10, 90, 90)), Region(box=(99, 10, 200, 90))])
        >>> len(marked), marked[1].color, np.asarray(marked).shape
        (2, 'lime', (240, 336, 3))
    """

    image: Image.Image
    original: Image.Image = field(repr=False)
    markers: tuple[Marker, ...]
    crop: tuple[int, int, int, int] | None = None

    def __len__(self) -> int:
        return len(self.markers)

    def __bool__(self) -> bool:
        return True  # an image without markers is one too

    def __iter__(self) -> Iterator[Marker]:
        return iter(self.markers)

    @overload
    def __getitem__(self, index: int) -> Marker: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Marker, ...]: ...
    def __getitem__(self, index: int | slice) -> Marker | tuple[Marker, ...]:
        return self.markers[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the marked image as (H, W, 3) uint8 RGB, or as another dtype.

        Raises:
            ValueError: `copy=False`, as NumPy expects it: the pixels have to be copied.
        """
        if copy is False:
            raise ValueError("a MarkedImage has no array inside; expected copy=None or True.")
        return np.array(self.image, dtype=dtype)

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
        """`(width, height)` of each region in pixels of the square that the model reads: see `mark(view_size=)`."""
        return [marker.seen for marker in self.markers]

    def question(self, template: str) -> str:
        """Fill the placeholders of a question with the phrases of the markers.

        Args:
            template: `{0}`, `{1}` stand for markers by index, from 0; `{name}` for markers by region id. `{{0}}` is a
                literal `{0}`. Braces around anything else, such as JSON, stay as they are.

        Raises:
            MarkerError: a placeholder names no marker, or more than one.

        Example:
            >>> from PIL import Image
            >>> from langchain_vipllava import Region, mark
            >>> marked = mark(Image.new("RGB", (336, 336)), [Region(box=(10, 10, 90, 90), id="dog")])
            >>> marked.question("What is the animal {dog} doing?")
            'What is the animal within the red rectangle doing?'
        """
        return fill_question(template, self.markers)

    def message(self, question: str) -> HumanMessage:
        """Make the message that asks a question about this image.

        Later questions of a conversation do not repeat the image: `HumanMessage(marked.question("And the one {1}?"))`.

        Args:
            question: words, with placeholders as in `question`.

        Returns:
            A `HumanMessage` with a standard v1 image block and a text block.

        Raises:
            MarkerError: the question is empty, or a placeholder names no marker.
        """
        return message_about(self, self.question(question))

    def answers_schema(self, answer: Any = None) -> dict[str, Any]:
        """Make a JSON schema with one answer per marker, for `ChatVipLlava.with_structured_output`.

        Args:
            answer: JSON schema of one answer, or its type: a pydantic class, `bool`, `Literal["red", "blue"]`,
                `list[str]`; a string by default.

        Returns:
            The schema of an object with a key per marker: its region's id, or its index without an id.

        Raises:
            MarkerError: there are no markers, or two regions share an id.

        Example:
            >>> from PIL import Image
            >>> from langchain_vipllava import Region, mark
            >>> marked = mark(Image.new("RGB", (336, 336)), [Region(box=(10, 10, 90, 90), id="dog")])
            >>> marked.answers_schema({"type": "boolean"})["properties"]
            {'dog': {'type': 'boolean', 'description': 'the object within the red rectangle'}}
        """
        return answers_schema(self.markers, answer)

    def content_block(self) -> dict[str, Any]:
        """The image as a standard LangChain v1 image block: PNG, base64, markers (and crop) in `extras`."""
        extras: dict[str, Any] = {"regions": [marker.describe() for marker in self.markers]}
        if self.crop is not None:
            extras["crop"] = list(self.crop)
        return {
            "type": "image",
            "base64": self.encoded.base64,
            "mime_type": "image/png",
            "extras": extras,
        }

    def save(self, path: str | Path) -> Path:
        """Write the marked image. The suffix chooses the format; missing folders are created.

        Raises:
            ImageError: an unknown format, or the file cannot be written.
        """
        target = Path(path)
        try:
            target = target.expanduser()
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.suffix.lower() == ".png":
                target.write_bytes(self.encoded.data)
            else:
                self.image.save(target)
        except (OSError, ValueError, RuntimeError, KeyError) as error:  # KeyError: a format that Pillow only reads
            raise ImageError(f"cannot write {str(target)!r}: {error}. Use .png, .jpg or .webp.") from error
        return target

    def show(self) -> None:
        """Show the marked image: in the cell of a notebook, else in a viewer of the system."""
        try:
            from IPython import get_ipython  # noqa: PLC0415  # only where it runs
            from IPython.display import display  # noqa: PLC0415
        except ImportError:
            self.image.show()
            return
        if get_ipython() is None:
            self.image.show()
        else:
            display(self)  # type: ignore[no-untyped-call]

    def _repr_html_(self) -> str:
        return marked_image_html(self.image, self.markers, self.original.size, self.crop)

    def _repr_png_(self) -> bytes:
        return self.encoded.data

    def to_json(self, store: ImageStore | None = None) -> dict[str, Any]:
        """Write it as plain JSON types: for a database, a request, or a LangGraph state.

        A LangGraph checkpoint takes a `MarkedImage` itself too, and embeds both images in every step.

        Args:
            store: where the images go; the JSON then holds their ids. None embeds them as base64.

        Raises:
            ImageError: the store cannot be written.

        Example:
            >>> from PIL import Image
            >>> from langchain_vipllava import ImageStore, MarkedImage, Region, mark
            >>> store = ImageStore()
            >>> marked = mark(Image.new("RGB", (336, 336)), [Region(box=(10, 10, 90, 90), id="dog")])
            >>> MarkedImage.from_json(marked.to_json(store), store).phrases
            ['within the red rectangle']
        """
        return marked_to_json(self, store)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], store: ImageStore | None = None) -> MarkedImage:
        """Read what `to_json` wrote.

        Args:
            data: its result, or what came of it in JSON.
            store: the store of the images; None if they are embedded.

        Raises:
            MarkerError: it is something else, or damaged.
            ImageError: an image that the store no longer has, or that cannot be decoded.
        """
        return marked_from_json(cls, data, store)

    def model_dump(self) -> dict[str, Any]:
        """As `to_json()`. LangGraph's serializer calls it by this name."""
        return self.to_json()

    @classmethod
    def model_construct(cls, **data: Any) -> MarkedImage:
        """As `from_json`. LangGraph's serializer calls it by this name."""
        return cls.from_json(data)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """A field of a pydantic model takes a marked image, or its JSON."""
        return value_schema(cls, cls.from_json, cls.to_json)

    @classmethod
    def from_encoded(
        cls,
        image: EncodedImage,
        original: Image.Image,
        markers: tuple[Marker, ...],
        crop: tuple[int, int, int, int] | None,
    ) -> MarkedImage:
        """Make a marked image of one that was encoded before, which it keeps; see the attributes."""
        marked = cls(image.decode(), original, markers, crop)
        marked.__dict__["encoded"] = image  # where cached_property keeps it
        return marked

    @cached_property
    def encoded(self) -> EncodedImage:
        """The marked image as the value that travels to the model; encoded, as PNG, only where bytes are needed."""
        return EncodedImage.from_pixels(self.image)

    @cached_property
    def encoded_original(self) -> EncodedImage:
        """The image without markers, as `encoded`."""
        return EncodedImage.from_pixels(self.original)

    def __repr__(self) -> str:
        markers = ", ".join(
            f"{m.phrase} ({_name(m.region)}, seen {m.seen[0]:.0f} x {m.seen[1]:.0f} px)" for m in self.markers
        )
        crop = f", crop={self.crop}" if self.crop else ""
        return f"<MarkedImage {self.image.width} x {self.image.height}{crop}: {markers}>"


def _name(region: Region) -> str:
    return quote(region.label, _MAX_LABEL) if region.label else "region"


def message_about(marked: MarkedImage, question: str) -> HumanMessage:
    """Make the message of a marked image and a question whose placeholders are filled.

    Raises:
        MarkerError: the question is empty.
    """
    from langchain_core.messages import HumanMessage  # noqa: PLC0415  # drawing does not need LangChain

    if not question.strip():
        raise MarkerError("the question is empty; expected words, such as 'What is the object {0}?'.")
    return HumanMessage(content=[marked.content_block(), {"type": "text", "text": question}])
