"""Run a segmenter: any callable from an image and a point or box to a mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from langchain_vipllava.errors import DetectionError, VipLlavaError
from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.detector_call import call_foreign
from langchain_vipllava.regions.limits import DEFAULT_LIMITS, MaskBudget, RegionLimits
from langchain_vipllava.regions.region import Region
from langchain_vipllava.regions.values import plain

Segmenter = Callable[[Image.Image, Region], Any]
"""Called with an RGB PIL image and a prompt: a `Region` with a `point`, or else a `box`, in pixels. Returns the mask of
one object: (H, W) bool, 0/1, 0/255 or probabilities, or what `regions_from` reads, with scores where it has several
proposals."""

_ANY_SCORE = -math.inf
"""SAM's score is a regression of the mask's IoU, which can fall below 0. A poor mask is still its answer."""


def run_segmenter(
    segmenter: Segmenter, image: Image.Image, prompts: Sequence[Region], *, limits: RegionLimits = DEFAULT_LIMITS
) -> list[Region]:
    """Segment an object at each point or in each box.

    Args:
        segmenter: see `Segmenter`. Of several proposals the one with the highest score is taken.
        image: RGB, upright.
        prompts: points or boxes, in pixels of the image.
        limits: how much the masks may hold.

    Returns:
        One region with a mask or polygon for each prompt, in their order. It keeps the label of its prompt, unless the
        segmenter says another.

    Raises:
        DetectionError: the segmenter failed, is async, found nothing, or returned something else than one object.

    Example:
        >>> import numpy as np
        >>> from PIL import Image
        >>> def segment_dark(image, prompt):
        ...     return np.asarray(image.convert("L")) < 128
        >>> image = Image.new("RGB", (64, 48), "white")
        >>> image.paste("black", (10, 20, 30, 40))
        >>> run_segmenter(segment_dark, image, [Region(point=(15, 25), label="box")])
        [Region(box=(10.0, 20.0, 30.0, 40.0), mask='<48 x 64 bool, 400 set>', label='box')]
    """
    limits.check_regions(len(prompts))
    budget = MaskBudget(limits)
    found = []
    for prompt in prompts:
        region = _one(call_foreign("segmenter", segmenter, image, prompt), image.size, prompt, limits)
        if region.mask is not None:
            budget.spend(*image.size)
        if region.label is None and prompt.label is not None:
            region = region.model_copy(update={"label": prompt.label})
        found.append(region)
    return found


def _one(output: Any, size: tuple[int, int], prompt: Region, limits: RegionLimits) -> Region:
    """Read the one object that a segmenter returned for a prompt."""
    place = _place(prompt)
    try:
        regions = [] if output is None else _read(output, size, limits)
    except VipLlavaError as error:
        raise DetectionError(f"the segmenter's output {place} cannot be read: {error}") from error
    if not regions:
        raise DetectionError(f"the segmenter found nothing {place}. Try another point or box.")
    if len(regions) > 1 and any(region.score is None for region in regions):
        raise DetectionError(
            f"the segmenter returned {len(regions)} masks {place}; expected one, or several with scores."
        )
    best = max(regions, key=lambda region: 0.0 if region.score is None else region.score)
    if best.mask is None and best.polygon is None:
        raise DetectionError(f"the segmenter returned a box without a mask {place}; expected a mask (H, W).")
    if best.mask is not None and best.mask.shape != size[::-1]:
        raise DetectionError(
            f"the segmenter's mask has shape {best.mask.shape}; expected (H, W) of the image, {size[::-1]}."
        )
    return best


def _read(output: Any, size: tuple[int, int], limits: RegionLimits) -> list[Region]:
    array = _single_mask(output)
    if array is None:
        return regions_from(output, image_size=size, min_score=_ANY_SCORE, limits=limits)
    return [Region(mask=array)] if array.any() else []


def _single_mask(output: Any) -> np.ndarray | None:
    """Return an output that is one mask as an array (H, W); None for anything else.

    Raises:
        DetectionError: its values are neither those of a mask nor probabilities.
    """
    array = np.asarray(output) if isinstance(output, (np.ndarray, Image.Image)) else plain(output)
    if not isinstance(array, np.ndarray):
        return None
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or array.dtype.kind not in "buif":
        return None
    if array.dtype.kind == "b":
        return array
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    is_probability = array.dtype.kind == "f" and low >= 0 and high <= 1
    is_two_valued = high in (0, 1, 255) and bool(((array == 0) | (array == high)).all())
    if not is_probability and not is_two_valued:
        raise DetectionError(
            f"values from {low:g} to {high:g}; expected bool, 0/1, 0/255 or probabilities. Return mask > 0 for logits."
        )
    return array >= 0.5 if is_probability else array > 0


def _place(prompt: Region) -> str:
    if prompt.point is not None:
        return f"at the point [{prompt.point[0]:g}, {prompt.point[1]:g}]"
    return f"in the box [{', '.join(f'{number:g}' for number in prompt.box)}]"
