"""Rows of OCR libraries without keys: an outline, its text, a confidence. EasyOCR, RapidOCR, PaddleOCR 2, keras-ocr."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import fractions, is_points, outline_row
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import describe, field, keys_of


def _first(output: Any) -> Sequence[Any]:
    first = output[0] if isinstance(output, (list, tuple)) and output else ()
    return first if isinstance(first, (list, tuple)) else ()


def _is_number(value: Any) -> bool:
    # Old releases of RapidOCR write scores as text.
    return not isinstance(value, bool) and (isinstance(value, (int, float, str)) or hasattr(value, "item"))


def _is_easyocr(output: Any) -> bool:
    row = _first(output)
    return (
        len(row) in (2, 3)
        and is_points(row[0], 4)
        and isinstance(row[1], str)
        and (len(row) == 2 or _is_number(row[2]))
    )


def _read_easyocr(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(output, _easyocr_row)


def _easyocr_row(row: Any) -> Row:
    quad, text, *score = row  # paragraph=True leaves the score out
    return outline_row(quad, label=text, score=float(score[0]) if score else None)


def _is_easyocr_json(output: Any) -> bool:
    return _is_texts(output) and all(keys_of(json.loads(text)) >= {"boxes", "text"} for text in output)


def _read_easyocr_json(output: Any, _context: Context) -> Iterator[Row]:
    for text in output:
        row = json.loads(text)
        yield outline_row(row["boxes"], label=row["text"], score=row.get("confident"))


def _is_texts(output: Any) -> bool:
    return isinstance(output, (list, tuple)) and bool(output) and all(isinstance(text, str) for text in output)


def _refuse_texts(output: Any, _context: Context) -> Iterator[Row]:
    raise DetectionError(
        f"{describe(output)} says what was read, and not where. Let EasyOCR's readtext run with detail=1, its default."
    )


def _is_rapidocr_tuple(output: Any) -> bool:
    """Match `(rows, seconds)` of RapidOCR 1."""
    if not isinstance(output, tuple) or len(output) != 2:
        return False
    return (output[1] is None or isinstance(output[1], (list, float))) and _is_easyocr(output[0])


def _read_rapidocr_tuple(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    yield from _read_easyocr(output[0], context)


def _is_rapidocr(output: Any) -> bool:
    return all(hasattr(output, name) for name in ("boxes", "txts", "scores"))


def _read_rapidocr(output: Any, _context: Context) -> Iterator[Row]:
    boxes, texts, scores = (field(output, name) for name in ("boxes", "txts", "scores"))
    if boxes is None and texts is not None:
        raise DetectionError("it says what was read, and not where; let RapidOCR run with use_det=True.")
    boxes = () if boxes is None else boxes
    for number, quad in enumerate(boxes):
        # With use_rec=False there are boxes only.
        yield outline_row(
            quad,
            label=None if texts is None else texts[number],
            score=None if scores is None else scores[number],
        )


def _is_paddleocr(output: Any) -> bool:
    """Match `[[quad, (text, score)], ...]`."""
    row = _first(output)
    return len(row) == 2 and is_points(row[0], 4) and _is_reading(row[1])


def _is_reading(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[0], str) and _is_number(value[1])


def _read_paddleocr(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(output, lambda row: outline_row(row[0], label=row[1][0], score=float(row[1][1])))


def _is_nothing(output: Any) -> bool:
    return output in ([None], (None, None))


def _refuse_nothing(output: Any, _context: Context) -> Iterator[Row]:
    raise DetectionError(f"{output} is what PaddleOCR 2 and RapidOCR 1 return where they found no text; pass [] then.")


def _is_keras_ocr(output: Any) -> bool:
    row = _first(output)
    return len(row) == 2 and isinstance(row[0], str) and is_points(row[1], 4)


def _read_keras_ocr(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(output, lambda row: outline_row(row[1], label=row[0]))


def _is_ocrmac(output: Any) -> bool:
    row = _first(output)
    return len(row) == 3 and isinstance(row[0], str) and _is_number(row[1]) and len(row[2]) == 4 and max(row[2]) <= 1


def _read_ocrmac(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(output, _ocrmac_row)


def _ocrmac_row(row: Any) -> Row:
    text, score, box = row
    x, y, width, height = fractions(box, 1, "box")
    # Apple's Vision framework counts y from the bottom, and a box from its lower left corner.
    return Row(box=(x, 1 - y - height, width, height), box_format="xywhn", label=text, score=score)


FORMATS = (
    Format("easyocr", "EasyOCR rows [outline, text, score]", _is_easyocr, _read_easyocr, Precedence.ROWS),
    Format("easyocr", "EasyOCR rows as JSON", _is_easyocr_json, _read_easyocr_json, Precedence.ROWS),
    Format("easyocr", "list of texts", _is_texts, _refuse_texts, Precedence.SHARED_ROWS),
    Format("rapidocr", "RapidOCR tuple (rows, seconds)", _is_rapidocr_tuple, _read_rapidocr_tuple, Precedence.ROWS),
    Format("rapidocr", "RapidOCROutput", _is_rapidocr, _read_rapidocr, Precedence.IMAGE),
    Format("paddleocr", "PaddleOCR 2 rows [outline, (text, score)]", _is_paddleocr, _read_paddleocr, Precedence.ROWS),
    Format("paddleocr", "PaddleOCR result without text", _is_nothing, _refuse_nothing, Precedence.ROWS),
    Format("keras-ocr", "keras-ocr rows (text, outline)", _is_keras_ocr, _read_keras_ocr, Precedence.ROWS),
    Format("ocrmac", "ocrmac rows (text, score, box) of Apple Vision", _is_ocrmac, _read_ocrmac, Precedence.ROWS),
)
