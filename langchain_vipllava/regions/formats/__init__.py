"""The formats that `regions_from` knows, in the order in which they are tried."""

from __future__ import annotations

from langchain_vipllava.regions.formats import (
    annotation_text,
    bare,
    cloud_vision,
    coco,
    corners,
    florence,
    instances,
    labelme,
    mediapipe,
    opencv,
    segment_anything,
    supervision,
    torchvision,
    transformers_pipelines,
    ultralytics,
)
from langchain_vipllava.regions.formats.context import Context, Format, Row

__all__ = ["FORMATS", "Context", "Format", "Row"]

FORMATS: tuple[Format, ...] = (
    *bare.REGIONS,
    *annotation_text.FORMATS,
    # Objects and dicts that stand for a whole image.
    *supervision.FORMATS,
    *ultralytics.FORMATS,
    *torchvision.FORMATS,
    *instances.FORMATS,
    *florence.FORMATS,
    *labelme.FORMATS,
    *mediapipe.FORMATS,
    *cloud_vision.FORMATS,
    # Lists of dicts; Segment Anything before COCO, which shares its keys, and the loosest last.
    *segment_anything.FORMATS,
    *coco.FORMATS,
    *transformers_pipelines.FORMATS,
    *opencv.FORMATS,
    *corners.FORMATS,
    *bare.NUMBERS,
)
