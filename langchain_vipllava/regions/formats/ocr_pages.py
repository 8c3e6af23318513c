"""OCR results as one dict or object a page: surya, MMOCR, yomitoku."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.columns import column
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import outline_row
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import field, keys_of

_SURYA = ("text_lines", "bboxes")


def _lines(output: Any) -> Any:
    """Return the lines, layout boxes or cells of a page of surya; None if it has none."""
    lines = field(output, *_SURYA)
    return lines if isinstance(lines, (list, tuple)) and field(output, "image_bbox") is not None else None


def _is_surya(output: Any) -> bool:
    return _lines(output) is not None


def _read_surya(output: Any, _context: Context) -> Iterator[Row]:
    left, top, right, bottom = field(output, "image_bbox")
    size = (int(right - left), int(bottom - top))
    for line in _lines(output):
        outline = field(line, "polygon")
        yield outline_row(
            field(line, "bbox") if outline is None else outline,
            label=field(line, "text", "label"),
            score=field(line, "confidence"),
            image_size=size,
        )


def _is_surya_file(output: Any) -> bool:
    """Match `results.json`: the pages of each file under its name."""
    return (
        isinstance(output, Mapping)
        and bool(output)
        and all(isinstance(pages, list) and pages and _is_surya(pages[0]) for pages in output.values())
    )


def _read_surya_file(output: Any, context: Context) -> Iterator[Row]:
    pages = [page for found in output.values() for page in found]
    if len(pages) > 1:
        raise DetectionError(f"it holds {len(pages)} pages; pass one: results['name'][0].")
    yield from _read_surya(pages[0], context)


def _mmocr(output: Any) -> Any:
    predictions = field(output, "predictions")
    return predictions[0] if isinstance(predictions, list) and predictions else output


def _is_mmocr(output: Any) -> bool:
    return "det_polygons" in keys_of(_mmocr(output))


def _read_mmocr(output: Any, _context: Context) -> Iterator[Row]:
    predictions = field(output, "predictions") or ()
    if len(predictions) > 1:
        raise DetectionError(f"it holds {len(predictions)} images; pass one: result['predictions'][0].")
    page = _mmocr(output)
    outlines = page["det_polygons"]
    texts = column(page.get("rec_texts"), len(outlines), "rec_texts")
    scores = column(field(page, "rec_scores", "det_scores"), len(outlines), "scores")
    for outline, text, score in zip(outlines, texts, scores, strict=True):
        yield outline_row(outline, label=text, score=score)


def _is_yomitoku(output: Any) -> bool:
    words = field(output, "words")
    return isinstance(words, list) and (
        all(field(words[0], name) is not None for name in ("points", "content", "rec_score"))
        if words
        else keys_of(output) == {"words"}
    )


def _read_yomitoku(output: Any, _context: Context) -> Iterator[Row]:
    for word in field(output, "words"):
        yield outline_row(field(word, "points"), label=field(word, "content"), score=field(word, "rec_score"))


FORMATS = (
    Format("surya", "surya result", _is_surya, _read_surya, Precedence.IMAGE),
    Format("surya", "surya results.json", _is_surya_file, _read_surya_file, Precedence.IMAGE),
    Format("mmocr", "MMOCR result", _is_mmocr, _read_mmocr, Precedence.IMAGE),
    Format("yomitoku", "yomitoku result", _is_yomitoku, _read_yomitoku, Precedence.IMAGE),
)
