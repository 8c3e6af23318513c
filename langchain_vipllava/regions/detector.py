"""Running a detector: anything that is called with an image."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from langchain_vipllava.errors import DetectionError, VipLlavaError
from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.region import Region

Detector = Callable[..., Any]
"""Called with an RGB PIL image; gives its detections in any format that `regions_from` reads."""

_LABEL_PARAMETERS = ("candidate_labels", "labels", "text_labels", "classes", "prompts")


def run_detector(
    detector: Detector,
    image: Image.Image,
    *,
    only: Sequence[str] | None = None,
    **reading: Any,
) -> list[Region]:
    """Detect the regions of an image.

    Args:
        detector: called as `detector(image)`; one that has a parameter for the labels to look for
            (`candidate_labels`, `labels`, `text_labels`, `classes` or `prompts`) gets them there.
        image: RGB, upright.
        only: keep only regions with these labels, whatever their case.
        reading: `box_format`, `labels` (names of class ids), `min_score`, ... for `regions_from`.

    Raises:
        DetectionError: the detector failed, or its output cannot be read.
    """
    parameter = _labels_parameter(detector) if only else None
    try:
        detections = detector(image, **{parameter: list(only or ())}) if parameter else detector(image)
        if inspect.isawaitable(detections):
            if inspect.iscoroutine(detections):
                detections.close()  # or Python warns of it too
            raise DetectionError("the detector is async; expected a function that gives its detections itself.")
    except VipLlavaError:
        raise
    except Exception as error:
        raise DetectionError(f"the detector failed: {type(error).__name__}: {error}") from error
    if not only:
        return regions_from(detections, image_size=image.size, **reading)
    wanted = {label.strip().lower() for label in only}
    limit = reading.pop("max_regions", None)
    found = regions_from(detections, image_size=image.size, **reading)
    named = [region for region in found if (region.label or "").strip().lower() in wanted]
    return regions_from(named, max_regions=limit)


def _labels_parameter(detector: Detector) -> str | None:
    try:
        parameters = inspect.signature(detector).parameters
    except (TypeError, ValueError):
        return None
    return next((name for name in _LABEL_PARAMETERS if name in parameters), None)
