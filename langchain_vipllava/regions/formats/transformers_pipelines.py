"""The pipelines and the segmentation post-processing of transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from langchain_vipllava.regions.columns import column
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.corners import corner_row, find_corners
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import SegmentMask
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import first_row, keys_of, plain, rows


def _is_object_detection(output: Any) -> bool:
    row = first_row(output)
    return keys_of(row) >= {"score", "label", "box"} and keys_of(row["box"]) >= {"xmin", "ymin", "xmax", "ymax"}


def _read_object_detection(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(rows(output), lambda row: corner_row(row, row["box"], context))


def _is_image_segmentation(output: Any) -> bool:
    row = first_row(output)
    # Gemini writes masks as text. A box beside the mask is not of the pipeline, and must not be lost.
    return (
        keys_of(row) >= {"mask", "label"}
        and find_corners(row) is None
        and row["mask"] is not None
        and not isinstance(row["mask"], str)
    )


def _read_image_segmentation(output: Any, _context: Context) -> Iterator[Row]:
    for row in rows(output):
        yield Row(mask=row["mask"], label=row["label"], score=row.get("score"))


def _is_mask_generation(output: Any) -> bool:
    return isinstance(output, Mapping) and keys_of(output) >= {"masks", "scores"} and "boxes" not in output


def _read_mask_generation(output: Any, _context: Context) -> Iterator[Row]:
    masks = output["masks"]
    for mask, score in zip(masks, column(output["scores"], len(masks), "scores"), strict=True):
        yield Row(mask=mask, score=score)


def _is_panoptic(output: Any) -> bool:
    return isinstance(output, Mapping) and keys_of(output) >= {"segmentation", "segments_info"}


def _read_panoptic(output: Any, _context: Context) -> Iterator[Row]:
    segment_of_pixel = np.asarray(plain(output["segmentation"]))
    for segment in output["segments_info"]:
        mask = SegmentMask(segment_of_pixel, segment["id"])
        yield Row(mask=mask, class_id=segment["label_id"], score=segment.get("score"))


_CLUES = ("box", "label", "mask", "masks", "score", "segmentation", "segments_info")

FORMATS = (
    Format(
        "transformers",
        "transformers object-detection pipeline result",
        _is_object_detection,
        _read_object_detection,
        Precedence.ROWS,
        clues=_CLUES,
    ),
    Format(
        "transformers",
        "transformers image-segmentation pipeline result",
        _is_image_segmentation,
        _read_image_segmentation,
        Precedence.ROWS,
        clues=_CLUES,
    ),
    Format(
        "transformers",
        "transformers mask-generation pipeline result",
        _is_mask_generation,
        _read_mask_generation,
        Precedence.LOOSE_IMAGE,
        clues=_CLUES,
    ),
    Format(
        "transformers",
        "transformers segmentation post-processing dict",
        _is_panoptic,
        _read_panoptic,
        Precedence.IMAGE,
        clues=_CLUES,
    ),
)
