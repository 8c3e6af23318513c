"""Pipelines and segmentation post-processing of transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from langchain_vipllava.regions.formats.columns import column
from langchain_vipllava.regions.formats.context import Context, Format, Row
from langchain_vipllava.regions.formats.corners import corner_row
from langchain_vipllava.regions.formats.values import first_row, keys_of, plain, rows


def _is_object_detection(found: Any) -> bool:
    row = first_row(found)
    return keys_of(row) >= {"score", "label", "box"} and keys_of(row["box"]) >= {"xmin", "ymin", "xmax", "ymax"}


def _read_object_detection(found: Any, context: Context) -> Iterator[Row]:
    for row in rows(found):
        yield corner_row(row, row["box"], context)


def _is_image_segmentation(found: Any) -> bool:
    row = first_row(found)
    return keys_of(row) >= {"mask", "label"} and row["mask"] is not None


def _read_image_segmentation(found: Any, _context: Context) -> Iterator[Row]:
    for row in rows(found):
        yield Row(mask=row["mask"], label=row["label"], score=row.get("score"))


def _is_mask_generation(found: Any) -> bool:
    return isinstance(found, Mapping) and keys_of(found) >= {"masks", "scores"} and "boxes" not in found


def _read_mask_generation(found: Any, _context: Context) -> Iterator[Row]:
    masks = found["masks"]
    for mask, score in zip(masks, column(found["scores"], len(masks), "scores"), strict=True):
        yield Row(mask=mask, score=score)


def _is_panoptic(found: Any) -> bool:
    return isinstance(found, Mapping) and keys_of(found) >= {"segmentation", "segments_info"}


def _read_panoptic(found: Any, _context: Context) -> Iterator[Row]:
    segment_of_pixel = np.asarray(plain(found["segmentation"]))
    for segment in found["segments_info"]:
        yield Row(mask=segment_of_pixel == segment["id"], class_id=segment["label_id"], score=segment.get("score"))


FORMATS = (
    Format("transformers object-detection pipeline result", _is_object_detection, _read_object_detection),
    Format("transformers image-segmentation pipeline result", _is_image_segmentation, _read_image_segmentation),
    Format("transformers mask-generation pipeline result", _is_mask_generation, _read_mask_generation),
    Format("transformers segmentation post-processing dict", _is_panoptic, _read_panoptic),
)
