"""Run a detector: any callable that takes an image."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from langchain_vipllava.errors import DetectionError, VipLlavaError, describe_error
from langchain_vipllava.regions.detection_options import DetectionOptions
from langchain_vipllava.regions.region import Region

Detector = Callable[..., Any]
"""Called with an RGB PIL image; returns its detections in any format that `regions_from` reads."""

_DEFAULT_OPTIONS = DetectionOptions()
_LABEL_PARAMETERS = ("candidate_labels", "labels", "text_labels", "classes", "prompts")
"""Parameters through which open-vocabulary detectors take the labels to look for, the most specific name first."""


def run_detector(
    detector: Detector,
    image: Image.Image,
    *,
    only: Sequence[str] | None = None,
    options: DetectionOptions = _DEFAULT_OPTIONS,
) -> list[Region]:
    """Detect the regions of an image.

    Args:
        detector: called as `detector(image)`. If it has a parameter `candidate_labels`, `labels`, `text_labels`,
            `classes` or `prompts`, it also gets `only` there.
        image: RGB, upright.
        only: keep only regions with these labels, ignoring case. `options.max_regions` counts these.
        options: how to read the detector's output.

    Raises:
        DetectionError: the detector failed, is async, or its output cannot be read.
    """
    options.limits.check_regions(len(only or ()))
    detections = _call(detector, image, list(only or ()))
    if not only:
        return options.read(detections, image.size)
    labels = {label.strip().lower() for label in only}
    all_rows = replace(options.limits, max_regions=options.limits.max_rows)  # before `only` drops most of them
    regions = replace(options, max_regions=None, limits=all_rows).read(detections, image.size)
    regions = [region for region in regions if (region.label or "").strip().lower() in labels]
    return DetectionOptions(max_regions=options.max_regions, limits=options.limits).read(regions)


def _call(detector: Detector, image: Image.Image, labels: list[str]) -> Any:
    parameter = _labels_parameter(detector) if labels else None
    try:
        detections = detector(image, **{parameter: labels}) if parameter else detector(image)
        if inspect.isawaitable(detections):
            if inspect.iscoroutine(detections):
                detections.close()  # or Python warns that it was never awaited
            raise DetectionError("the detector is async; expected a function that returns its detections.")
    except VipLlavaError:
        raise
    except Exception as error:
        raise DetectionError(f"the detector failed: {describe_error(error)}") from error
    return detections


def _labels_parameter(detector: Detector) -> str | None:
    try:
        parameters = inspect.signature(detector).parameters
    except (TypeError, ValueError):
        return None
    return next((name for name in _LABEL_PARAMETERS if name in parameters), None)
