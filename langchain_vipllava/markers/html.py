"""HTML of a marked image for notebooks: the image, and a table of its markers."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image

from langchain_vipllava.markers.kinds import COLORS
from langchain_vipllava.markers.marker import Marker
from langchain_vipllava.text import cut, printable

MAX_SIDE = 640
"""Largest side in pixels of an image on a page; larger images are shown smaller. Chosen: it fits a notebook's cell."""

_MAX_TEXT = 200
"""Characters of a label on a page. Chosen: a sentence."""

_HEADS = ("", "", "phrase", "label", "score", "box", "seen by the model")


def show_image(image: Image.Image) -> str:
    """Return an `<img>` element with the image as a data URI, at most `MAX_SIDE` pixels wide or high."""
    small = image.copy()
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    width, height = image.size
    return f'<img src="data:image/png;base64,{data}" alt="image of {width} x {height} pixels">'


def marked_image_html(
    image: Image.Image,
    markers: Sequence[Marker],
    original_size: tuple[int, int],
    crop: tuple[int, int, int, int] | None,
) -> str:
    """Return a marked image as HTML: the image, its size, and a row per marker with a swatch of its color.

    Args:
        image: with the markers.
        markers: in the order of the rows.
        original_size: `(width, height)` of the image before a crop.
        crop: `(left, top, right, bottom)` of the image in the original; None if it was not cropped.
    """
    width, height = original_size
    shown = f"{width} x {height} pixels"
    if crop is not None:
        shown += f", cropped to {crop}"
    rows = "".join(_row(_cells(index, marker)) for index, marker in enumerate(markers))
    heads = "".join(f"<th>{head}</th>" for head in _HEADS)
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>" if markers else ""
    return f"<div>{show_image(image)}<div>{shown}</div>{table}</div>"


def _cells(index: int, marker: Marker) -> Sequence[str]:
    region = marker.region
    rgb = ", ".join(map(str, COLORS[marker.color]))
    swatch = f'<span style="color: rgb({rgb})" title="{marker.color}">&#9632;</span>'
    name = f"{{{region.id or index}}}"
    score = "" if region.score is None else f"{region.score:.2f}"
    box = ", ".join(f"{number:.0f}" for number in region.box)
    seen = f"{marker.seen[0]:.0f} x {marker.seen[1]:.0f} px{' (tiny)' if marker.is_tiny else ''}"
    return swatch, _text(name), _text(marker.phrase), _text(region.label or ""), score, box, seen


def _text(text: str) -> str:
    return escape(printable(cut(text, _MAX_TEXT), keep=""))


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
