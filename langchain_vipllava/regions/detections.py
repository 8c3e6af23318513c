"""`regions_from`: the output of any detector as regions."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context, Labels
from langchain_vipllava.regions.geometry import BoxFormat, parse_box_format
from langchain_vipllava.regions.reading import read_regions
from langchain_vipllava.regions.region import Region
from langchain_vipllava.regions.values import describe, number_or_none


def regions_from(
    detections: Any,
    *,
    image_size: tuple[int, int] | None = None,
    box_format: BoxFormat | None = None,
    labels: Labels | None = None,
    min_score: float = 0.0,
    max_regions: int | None = None,
) -> list[Region]:
    """Convert a detector's output to regions, in the detector's order.

    The format is recognized by its structure; no detector's library is imported. Supported are the outputs of
    transformers, torchvision, Ultralytics, supervision, Segment Anything, detectron2, mmdet, Florence-2, OpenCV,
    scikit-image, MediaPipe, Google Vision and AWS Rekognition; COCO, YOLO, Pascal VOC and LabelMe annotations, parsed
    or as text; lists of dicts that name their corners; and formats added with `register_format`. Output that could
    mean two things raises an error until `box_format` says which.

    Args:
        detections: one image's detections.
        image_size: `(width, height)` of the upright image (EXIF orientation applied) in pixels. Needed for
            coordinates in 0..1 and for objects made of several polygons. Boxes are clipped to it. `Region` objects
            are returned as they are.
        box_format: layout of boxes whose format does not say it: `xyxy`, `xywh` or `cxcywh` in pixels, `xyxyn`,
            `xywhn` or `cxcywhn` in 0..1 of the image's sides.
        labels: names of class ids, `labels[id]`. They override the detector's own names. A class without a name is
            labeled `class {id}`.
        min_score: drop rows whose score is below this. Rows without a score are kept.
        max_regions: keep at most this many rows, those with the highest scores. A missing score counts as 1.0.

    Returns:
        Regions in pixels of the upright image. Track and annotation ids become their `id`; other regions have none.

    Raises:
        DetectionError: the format is unknown or ambiguous, the output holds several images, or a row that is kept
            (rows are counted from 0) is not a region: NaN, inverted, empty, outside the image, a mask of another size.

    Example:
        >>> from langchain_vipllava import regions_from
        >>> output = [{"score": 0.9, "label": "cat", "box": {"xmin": 5, "ymin": 6, "xmax": 50, "ymax": 60}}]
        >>> regions_from(output)
        [Region(box=(5.0, 6.0, 50.0, 60.0), label='cat', score=0.9)]
    """
    if box_format is not None:
        parse_box_format(box_format)
    if labels is not None and (isinstance(labels, (str, bytes)) or not hasattr(labels, "__getitem__")):
        raise DetectionError(f"labels={describe(labels)}; expected a list of names, or a dict of id to name.")
    lowest = number_or_none(min_score, "min_score")
    if lowest is None or math.isnan(lowest):
        raise DetectionError(f"min_score={min_score!r}; expected a number, 0.0 to keep every row.")
    if max_regions is not None and (isinstance(max_regions, bool) or not _is_count(max_regions)):
        raise DetectionError(f"max_regions={describe(max_regions)}; expected a whole number, 0 or more.")
    context = Context(image_size=image_size, box_format=box_format, labels=labels)
    return read_regions(detections, context, min_score=lowest, max_regions=max_regions)


def _is_count(value: object) -> bool:
    return isinstance(value, Integral) and int(value) >= 0
