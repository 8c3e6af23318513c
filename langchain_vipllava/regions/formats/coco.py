"""COCO: the dict of a dataset, its annotations, and the result files of detectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context, Row
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import Size
from langchain_vipllava.regions.values import field, first_row, keys_of, rows


def _is_dataset(output: Any) -> bool:
    annotations = field(output, "annotations")
    return isinstance(annotations, (list, tuple)) and (
        bool(keys_of(output) & {"images", "categories"}) or _are_annotations(annotations)
    )


def _read_dataset(output: Any, _context: Context) -> Iterator[Row]:
    images = field(output, "images") or []
    if len(images) > 1:
        raise DetectionError(
            f"it holds {len(images)} images; keep those of one: "
            "[a for a in coco['annotations'] if a['image_id'] == ...]."
        )
    names = {row["id"]: row["name"] for row in field(output, "categories") or []}
    width, height = (field(first_row(images), side) for side in ("width", "height"))
    yield from _annotations(output["annotations"], names, (width, height) if width and height else None)


def _are_annotations(output: Any) -> bool:
    keys = keys_of(first_row(output))
    return ("category_id" in keys and bool(keys & {"bbox", "segmentation"})) or (
        "bbox" in keys and bool(keys & {"image_id", "segmentation", "iscrowd"})
    )


def _read_annotations(output: Any, _context: Context) -> Iterator[Row]:
    yield from _annotations(output, {}, None)


def _annotations(annotations: Any, names: Mapping[Any, str], image_size: Size | None) -> Iterator[Row]:
    listed = list(rows(annotations))
    images = {str(row["image_id"]) for row in listed if "image_id" in row}
    if len(images) > 1:
        raise DetectionError(
            f"its rows are of {len(images)} images; keep those of one: [row for row in rows if row['image_id'] == ...]."
        )
    for row in listed:
        segmentation = row.get("segmentation")
        class_id = row.get("category_id")
        box = row.get("bbox")
        if box is not None and segmentation and len(box) == 0:
            box = None  # derived from the segmentation
        if box is None and not segmentation:
            raise KeyError("bbox")
        yield Row(
            box=box,
            box_format="xywh",
            mask=segmentation if isinstance(segmentation, Mapping) else None,
            rings=_rings(segmentation),
            label=names.get(class_id),
            class_id=class_id,
            score=row.get("score"),
            id=row.get("id"),
            image_size=image_size,
        )


def _rings(segmentation: Any) -> Sequence[Any]:
    if not segmentation or isinstance(segmentation, Mapping):
        return ()
    # Some tools write one polygon without the list around it.
    return [segmentation] if isinstance(segmentation[0], (int, float)) else segmentation


FORMATS = (
    Format("COCO dataset", _is_dataset, _read_dataset, Precedence.IMAGE),
    Format("COCO result", _are_annotations, _read_annotations, Precedence.SHARED_ROWS),
)
