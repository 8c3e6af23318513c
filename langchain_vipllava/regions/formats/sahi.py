"""sahi's `ObjectPrediction`s, and the `PredictionResult` around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import field


def _predictions(output: Any) -> Any:
    found = field(output, "object_prediction_list")
    if found is None:
        found = [output] if _is_prediction(output) else output
    return found


def _is_prediction(output: Any) -> bool:
    box = getattr(output, "bbox", None)
    return all(hasattr(box, side) for side in ("minx", "miny", "maxx", "maxy"))


def _is_sahi(output: Any) -> bool:
    if hasattr(output, "object_prediction_list"):
        return True
    found = _predictions(output)
    return isinstance(found, (list, tuple)) and bool(found) and _is_prediction(found[0])


def _read_sahi(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(_predictions(output), _row)


def _row(prediction: Any) -> Row:
    box = prediction.bbox
    mask = field(prediction, "mask")
    category = field(prediction, "category")
    shape = field(mask, "full_shape")  # the image, of which a slice may be the mask
    rings = field(mask, "segmentation") if mask is not None else None
    return Row(
        box=[box.minx, box.miny, box.maxx, box.maxy],
        rings=rings or (),
        label=field(category, "name"),
        class_id=field(category, "id"),
        score=field(field(prediction, "score"), "value"),
        image_size=None if shape is None else (shape[1], shape[0]),
    )


FORMATS = (
    Format(
        "sahi",
        "sahi prediction",
        _is_sahi,
        _read_sahi,
        Precedence.IMAGE,
        clues=("bbox", "category", "object_prediction_list", "score"),
    ),
)
