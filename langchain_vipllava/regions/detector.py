"""Running a detector: anything that is called with a picture."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from langchain_vipllava.errors import DetectionError, VipLlavaError
from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.region import Region

Detector = Callable[..., Any]
"""Called with an RGB PIL picture; gives its detections in any format that `regions_from` reads."""

_LABEL_PARAMETERS = ("candidate_labels", "labels", "text_labels", "classes", "prompts")


def run_detector(
    detector: Detector,
    image: Image.Image,
    *,
    labels: Sequence[str] | None = None,
    **reading: Any,
) -> list[Region]:
    """Detect the regions of a picture.

    Args:
        detector: called as `detector(image)`; one that has a parameter for the labels to look for
            (`candidate_labels`, `labels`, `text_labels`, `classes` or `prompts`) gets them there.
        image: RGB, upright.
        labels: keep only regions with these labels, whatever their case.
        reading: `box_format`, `labels`, `min_score`, ... for `regions_from`; class names go under
            `class_names`.

    Raises:
        DetectionError: the detector failed, or its output cannot be read.
    """
    class_names = reading.pop("class_names", None)
    parameter = _labels_parameter(detector) if labels else None
    try:
        detections = detector(image, **{parameter: list(labels or ())}) if parameter else detector(image)
    except VipLlavaError:
        raise
    except Exception as error:
        raise DetectionError(f"the detector failed: {type(error).__name__}: {error}") from error
    limit = reading.pop("max_regions", None)
    if not labels:
        return regions_from(detections, image_size=image.size, labels=class_names, max_regions=limit, **reading)
    wanted = {label.strip().lower() for label in labels}
    found = regions_from(detections, image_size=image.size, labels=class_names, **reading)
    named = [region for region in found if (region.label or "").strip().lower() in wanted]
    return regions_from(named, max_regions=limit)


def _labels_parameter(detector: Detector) -> str | None:
    try:
        parameters = inspect.signature(detector).parameters
    except (TypeError, ValueError):
        return None
    return next((name for name in _LABEL_PARAMETERS if name in parameters), None)
