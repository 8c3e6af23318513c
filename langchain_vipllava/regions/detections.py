"""`regions_from`: the output of any detector as regions."""

from __future__ import annotations

from typing import Any

from langchain_vipllava.regions.context import Labels
from langchain_vipllava.regions.detection_options import DetectionOptions
from langchain_vipllava.regions.format_names import DetectionFormat
from langchain_vipllava.regions.geometry import BoxFormat
from langchain_vipllava.regions.limits import DEFAULT_LIMITS, RegionLimits
from langchain_vipllava.regions.reading import OnError
from langchain_vipllava.regions.region import Region


def regions_from(
    detections: Any,
    *,
    image_size: tuple[int, int] | None = None,
    format: DetectionFormat | None = None,
    box_format: BoxFormat | None = None,
    labels: Labels | None = None,
    min_score: float = 0.0,
    max_regions: int | None = None,
    on_error: OnError = "raise",
    limits: RegionLimits = DEFAULT_LIMITS,
) -> list[Region]:
    """Convert a detector's output to regions, in the detector's order.

    The format is recognized by its structure; no detector's library is imported. The page "Layouts of detections" lists
    what is read. What an output says about its own layout wins. Ambiguous output raises an error until `format` or
    `box_format` settles it.

    Args:
        detections: one image's detections: an object of a library, parsed or as text; or a `pathlib.Path`, which is
            read as JSON, JSON lines, CSV, TSV, XML or text. A path in a string is not opened.
        image_size: `(width, height)` of the upright image (EXIF orientation applied) in pixels. Needed for
            coordinates in 0..1 and for objects made of several polygons. Boxes are clipped to it. `Region` objects
            are returned as they are.
        format: name of the reader, for output that cannot be told from another, and for callers that want no
            recognition.
        box_format: layout of boxes whose format does not say it: `xyxy`, `xywh`, `cxcywh` or `yxyx` in pixels, the
            same with an `n` at the end in 0..1 of the image's sides.
        labels: names of class ids, `labels[id]`. They override the detector's own names. A class without a name is
            labeled `class {id}`.
        min_score: drop rows whose score is below this. Rows without a score are kept.
        max_regions: keep at most this many rows, those with the highest scores. A missing score counts as 1.0.
        on_error: "raise", or "skip" to drop rows that are not regions. One `SkippedRowsWarning` then lists them.
        limits: how much the output may hold; more is an error, raised before it is parsed, decoded or converted.

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
    options = DetectionOptions(
        format=format,
        box_format=box_format,
        labels=labels,
        min_score=min_score,
        max_regions=max_regions,
        on_error=on_error,
        limits=limits,
    )
    return options.read(detections, image_size)
