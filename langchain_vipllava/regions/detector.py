"""Run a detector: any callable that takes an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from langchain_vipllava.regions.detection_options import DetectionOptions
from langchain_vipllava.regions.detector_call import Detector, DetectorInput, call_detector
from langchain_vipllava.regions.region import Region

_DEFAULT_OPTIONS = DetectionOptions()


def run_detector(
    detector: Detector,
    image: Image.Image,
    *,
    only: Sequence[str] | None = None,
    options: DetectionOptions = _DEFAULT_OPTIONS,
    takes: DetectorInput | None = None,
) -> list[Region]:
    """Detect the regions of an image.

    Args:
        detector: a function of an RGB PIL image; a pipeline of transformers, a model of ultralytics, or a function or
            slicer of supervision, as they are. If it has a parameter `candidate_labels`, `labels`, `text_labels`,
            `classes` or `prompts`, it also gets `only` there.
        image: RGB, upright.
        only: keep only regions with these labels, ignoring case. `options.max_regions` counts these.
        options: how to read the detector's output.
        takes: what the detector takes: "pil", or an (H, W, 3) uint8 array, "rgb" or "bgr"; None to find out.

    Raises:
        DetectionError: the detector failed, is async, or takes an array of which nothing says the order of colors; its
            output cannot be read.
    """
    options.limits.check_regions(len(only or ()))
    detections = call_detector(detector, image, list(only or ()), takes)
    if not only:
        return options.read(detections, image.size)
    labels = {label.strip().lower() for label in only}
    all_rows = replace(options.limits, max_regions=options.limits.max_rows)  # before `only` drops most of them
    regions = replace(options, max_regions=None, limits=all_rows).read(detections, image.size)
    regions = [region for region in regions if (region.label or "").strip().lower() in labels]
    return DetectionOptions(max_regions=options.max_regions, limits=options.limits).read(regions)
