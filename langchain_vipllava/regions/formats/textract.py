"""AWS Textract's `Blocks`: words, in 0..1 of the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import outline_row
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import first_row, keys_of, percent, rows


def _blocks(output: Any) -> Any:
    return output.get("Blocks") if isinstance(output, Mapping) else output


def _is_textract(output: Any) -> bool:
    blocks = _blocks(output)
    if isinstance(output, Mapping) and blocks == []:
        return True
    return keys_of(first_row(blocks)) >= {"BlockType", "Geometry"}


def _read_textract(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    blocks = list(rows(_blocks(output)))
    pages = {block.get("Page", 1) for block in blocks}
    if len(pages) > 1:
        raise DetectionError(f"it holds {len(pages)} pages; keep the Blocks of one Page.")
    words = {block.get("Id") for block in blocks if block["BlockType"] == "WORD"}
    yield from each([block for block in blocks if _is_read(block, words)], _row)


def _is_read(block: Mapping[str, Any], words: set[str | None]) -> bool:
    """Whether a block is a word, a line whose words are missing, or a thing without text."""
    if block["BlockType"] == "LINE":
        children = {id for related in block.get("Relationships") or () for id in related.get("Ids") or ()}
        return None not in words and not children & words
    return block["BlockType"] in ("WORD", "SIGNATURE", "SELECTION_ELEMENT") or (
        not words and block["BlockType"].startswith(("LAYOUT_", "TABLE"))
    )


def _row(block: Mapping[str, Any]) -> Row:
    geometry = block["Geometry"]
    label, score = block.get("Text") or block["BlockType"].lower(), percent(block.get("Confidence"))
    polygon = geometry.get("Polygon")
    if polygon:
        points = [(point["X"], point["Y"]) for point in polygon]
        return outline_row(points, normalized=True, label=label, score=score)
    box = [geometry["BoundingBox"][side] for side in ("Left", "Top", "Width", "Height")]
    return Row(box=box, box_format="xywhn", label=label, score=score)


FORMATS = (
    Format("textract", "AWS Textract Blocks", _is_textract, _read_textract, Precedence.IMAGE, ("Blocks", "BlockType")),
)
