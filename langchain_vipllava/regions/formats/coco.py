"""COCO: a dataset's dict, its annotations, and the results files of detectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.formats.context import Context, Format, Row
from langchain_vipllava.regions.formats.geometry import Size
from langchain_vipllava.regions.formats.values import field, first_row, keys_of, rows


def _is_dataset(found: Any) -> bool:
    annotations = field(found, "annotations")
    return isinstance(annotations, (list, tuple)) and (
        bool(keys_of(found) & {"images", "categories"}) or _are_annotations(annotations)
    )


def _read_dataset(found: Any, _context: Context) -> Iterator[Row]:
    images = field(found, "images") or []
    if len(images) > 1:
        raise DetectionError(
            f"it holds {len(images)} images; keep one: [a for a in coco['annotations'] if a['image_id'] == ...]."
        )
    names = {row["id"]: row["name"] for row in field(found, "categories") or []}
    width, height = (field(first_row(images), side) for side in ("width", "height"))
    yield from _annotations(found["annotations"], names, (width, height) if width and height else None)


def _are_annotations(found: Any) -> bool:
    keys = keys_of(first_row(found))
    return ("category_id" in keys and bool(keys & {"bbox", "segmentation"})) or (
        "bbox" in keys and bool(keys & {"image_id", "segmentation", "iscrowd"})
    )


def _read_annotations(found: Any, _context: Context) -> Iterator[Row]:
    yield from _annotations(found, {}, None)


def _annotations(annotations: Any, names: Mapping[Any, str], image_size: Size | None) -> Iterator[Row]:
    listed = list(rows(annotations))
    images = {str(row["image_id"]) for row in listed if "image_id" in row}
    if len(images) > 1:
        raise DetectionError(
            f"its rows are of {len(images)} images; keep one: [row for row in rows if row['image_id'] == ...]."
        )
    for row in listed:
        segmentation = row.get("segmentation")
        class_id = row.get("category_id")
        box = row.get("bbox")
        if box is not None and segmentation and len(box) == 0:
            box = None  # it is where its outline is
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
    # Some tools write one ring without the list around it.
    return [segmentation] if isinstance(segmentation[0], (int, float)) else segmentation


FORMATS = (
    Format("COCO dataset", _is_dataset, _read_dataset),
    Format("COCO result", _are_annotations, _read_annotations),
)
