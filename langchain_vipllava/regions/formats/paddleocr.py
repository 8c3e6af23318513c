"""PaddleOCR 3 and PaddleX: `OCRResult` and the results of detection, as dicts and as `.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import outline_row
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import field, first_row, keys_of, rows

_OUTLINES = ("rec_polys", "rec_boxes", "dt_polys")


def _result(output: Any) -> Any:
    inner = field(output, "res") if isinstance(output, Mapping) else None
    return inner if isinstance(inner, Mapping) else output


def _is_ocr(output: Any) -> bool:
    return bool(keys_of(_result(output)) & {*_OUTLINES, "rec_texts"})


def _read_ocr(output: Any, _context: Context) -> Iterator[Row]:
    result = _result(output)
    texts = result.get("rec_texts")
    # dt_polys may be more: lines that were found and whose text was dropped for its score.
    name = next((name for name in _OUTLINES if result.get(name) is not None), None)
    if name is None:
        raise DetectionError("it says what was read, and not where; expected rec_polys, rec_boxes or dt_polys.")
    if texts is not None and len(texts) != len(result[name]):
        raise DetectionError(f"it has {len(texts)} rec_texts, but {len(result[name])} {name}; expected one for each.")
    scores = result.get("dt_scores" if texts is None else "rec_scores")
    for number, outline in enumerate(result[name]):
        yield outline_row(
            outline,
            label=None if texts is None else texts[number],
            score=None if scores is None else scores[number],
        )


def _is_detection(output: Any) -> bool:
    boxes = field(_result(output), "boxes")
    return isinstance(boxes, list) and keys_of(first_row(boxes)) >= {"coordinate", "label"}


def _read_detection(output: Any, _context: Context) -> Iterator[Row]:
    for row in rows(_result(output)["boxes"]):
        # The detectors of turned boxes write eight numbers.
        yield outline_row(row["coordinate"], label=row["label"], score=row.get("score"))


def _is_structure(output: Any) -> bool:
    return keys_of(first_row(output)) >= {"type", "bbox", "res"}


def _read_structure(output: Any, _context: Context) -> Iterator[Row]:
    for row in rows(output):
        yield Row(box=row["bbox"], label=row["type"], score=row.get("score"))


FORMATS = (
    Format("paddleocr", "PaddleOCR 3 result", _is_ocr, _read_ocr, Precedence.IMAGE),
    Format("paddleocr", "PaddleX detection result", _is_detection, _read_detection, Precedence.IMAGE),
    Format("paddleocr", "PP-Structure rows", _is_structure, _read_structure, Precedence.ROWS),
)
