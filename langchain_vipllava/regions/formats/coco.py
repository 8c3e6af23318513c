"""COCO: the dict of a dataset, its annotations, and the result files of detectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.corners import described, turned
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import Size
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import field, first_row, keys_of, numbers, rows


def _is_dataset(output: Any) -> bool:
    annotations = field(output, "annotations")
    return isinstance(annotations, (list, tuple)) and (
        bool(keys_of(output) & {"images", "categories"}) or _are_annotations(annotations)
    )


def _read_dataset(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    images = field(output, "images") or []
    if len(images) > 1:
        raise DetectionError(
            f"it holds {len(images)} images; keep those of one: "
            "[a for a in coco['annotations'] if a['image_id'] == ...]."
        )
    names = {row["id"]: row["name"] for row in field(output, "categories") or []}
    image = first_row(images) or output  # Grounded-SAM-2 writes the size beside the annotations
    width, height = field(image, "width", "img_width"), field(image, "height", "img_height")
    yield from _annotations(output["annotations"], names, (width, height) if width and height else None, context)


def _are_annotations(output: Any) -> bool:
    keys = keys_of(first_row(output))
    return ("category_id" in keys and bool(keys & {"bbox", "segmentation", "keypoints"})) or (
        "bbox" in keys and bool(keys & {"image_id", "segmentation", "iscrowd"})
    )


def _read_annotations(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    yield from _annotations(output, {}, None, context)


def _annotations(
    annotations: Any, names: Mapping[Any, str], image_size: Size | None, context: Context
) -> Iterator[Row | UnreadableRow]:
    listed = list(rows(annotations))
    images = {str(row["image_id"]) for row in listed if "image_id" in row}
    if len(images) > 1:
        raise DetectionError(
            f"its rows are of {len(images)} images; keep those of one: [row for row in rows if row['image_id'] == ...]."
        )
    yield from each(listed, lambda row: _annotation(row, names, image_size, context))


def _annotation(row: Mapping[str, Any], names: Mapping[Any, str], image_size: Size | None, context: Context) -> Row:
    segmentation = row.get("segmentation")
    class_id = row.get("category_id")
    box = row.get("bbox")
    if box is not None and segmentation and len(box) == 0:
        box = None  # derived from the segmentation
    if box is None and not segmentation:
        read = Row(box=_around_keypoints(row))
    else:
        read = Row() if box is None else context.assumed(box, "xywh", row)
    read = replace(
        read,
        mask=segmentation if isinstance(segmentation, Mapping) else None,
        rings=_rings(segmentation),
        label=names.get(class_id),
        image_size=image_size,
    )
    read = turned(described(read, row), row)
    return read if row.get("id") is None else replace(read, id=row["id"])


def _around_keypoints(row: Mapping[str, Any]) -> list[float]:
    """Return the box around the keypoints of a pose. Results of COCO's keypoint task have no other place."""
    if not row.get("keypoints"):
        raise KeyError("bbox")
    points = numbers(row["keypoints"], "keypoints").reshape(-1, 3)
    seen = points[points[:, 2] > 0]
    if len(seen) < 2:
        raise DetectionError(f"{len(seen)} of its keypoints are visible, and there is no bbox; expected two or more.")
    return [*seen[:, :2].min(axis=0).tolist(), *seen[:, :2].max(axis=0).tolist()]


def _rings(segmentation: Any) -> Sequence[Any]:
    if not segmentation or isinstance(segmentation, Mapping):
        return ()
    # Some tools write one polygon without the list around it.
    return [segmentation] if isinstance(segmentation[0], (int, float)) else segmentation


_CLUES = ("annotations", "bbox", "categories", "category_id", "image_id", "images", "iscrowd", "segmentation")

FORMATS = (
    Format("coco", "COCO dataset", _is_dataset, _read_dataset, Precedence.IMAGE, clues=_CLUES),
    Format("coco", "COCO result", _are_annotations, _read_annotations, Precedence.SHARED_ROWS, clues=_CLUES),
)
