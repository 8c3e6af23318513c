"""How a marked image shows itself in a notebook: the image, and a table of its regions."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from PIL import Image

from langchain_vipllava.markers.kinds import COLORS

if TYPE_CHECKING:
    from langchain_vipllava.markers.marked_image import MarkedImage, Marker

WIDEST = 640
"""Long side in pixels of an image on a page; larger ones are shown smaller."""

_HEADS = ("", "", "phrase", "label", "score", "box", "seen by the model")


def show_image(image: Image.Image) -> str:
    """An image as an HTML element of its own: a data URI, at most WIDEST pixels wide or high."""
    small = image.copy()
    small.thumbnail((WIDEST, WIDEST))
    buffer = io.BytesIO()
    small.save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    width, height = image.size
    return f'<img src="data:image/png;base64,{data}" alt="image of {width} x {height} pixels">'


def show_marked(marked: MarkedImage) -> str:
    """A marked image as HTML: the image, its size, and a row per marker with a swatch of its color."""
    width, height = marked.original.size
    shown = f"{width} x {height} pixels"
    if marked.crop is not None:
        shown += f", cropped to {marked.crop}"
    rows = "".join(_row(_cells(index, marker)) for index, marker in enumerate(marked.markers))
    heads = "".join(f"<th>{head}</th>" for head in _HEADS)
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>" if marked.markers else ""
    return f"<div>{show_image(marked.image)}<div>{shown}</div>{table}</div>"


def _cells(index: int, marker: Marker) -> Sequence[str]:
    region = marker.region
    rgb = ", ".join(map(str, COLORS[marker.color]))
    swatch = f'<span style="color: rgb({rgb})" title="{marker.color}">&#9632;</span>'
    name = f"{{{region.id or index}}}"
    score = "" if region.score is None else f"{region.score:.2f}"
    box = ", ".join(f"{number:.0f}" for number in region.box)
    seen = f"{marker.seen[0]:.0f} x {marker.seen[1]:.0f} px{' (tiny)' if marker.is_tiny else ''}"
    return swatch, escape(name), escape(marker.phrase), escape(region.label or ""), score, box, seen


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
