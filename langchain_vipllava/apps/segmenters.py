"""Segmenters that need no download, and `find_segmenter`, which imports other ones by name."""

from __future__ import annotations

import importlib
import math

import cv2
import numpy as np
from PIL import Image

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.region import Box, Region
from langchain_vipllava.regions.segmenter import Segmenter

_TOLERANCE = 55.0
"""RGB distance of what belongs to the color at a point. Chosen: half of the least contrast between an object of the
bundled checkpoint's world and its background, 110."""

_MARGIN = 0.25
"""What is taken as background on each side of a box, in units of its sides. Chosen by looking."""

_ROUNDS = 4
"""Iterations of GrabCut. Chosen: more change nothing on the bundled checkpoint's world."""


def segment_shapes(image: Image.Image, prompt: Region) -> np.ndarray | None:
    """Segment with OpenCV: what has the color at a point and hangs together, or what GrabCut finds in a box.

    Args:
        image: RGB.
        prompt: a point, or a box, in pixels.

    Returns:
        (H, W) bool; None where a box holds nothing but background.
    """
    return _in_box(image, prompt.box) if prompt.point is None else _at_point(image, prompt.point)


def _at_point(image: Image.Image, point: tuple[float, float]) -> np.ndarray:
    pixels = np.asarray(image).astype(np.float32)
    x, y = (min(int(number), length - 1) for number, length in zip(point, image.size, strict=True))
    color = np.median(pixels[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].reshape(-1, 3), axis=0)
    is_similar = np.linalg.norm(pixels - color, axis=2) < _TOLERANCE
    is_similar[y, x] = True
    _, labels = cv2.connectedComponents(is_similar.astype(np.uint8))
    found: np.ndarray = labels == labels[y, x]
    return found


def _in_box(image: Image.Image, box: Box) -> np.ndarray | None:
    x0, y0, x1, y1 = box
    dx, dy = _MARGIN * (x1 - x0), _MARGIN * (y1 - y0)
    left, top = max(int(x0 - dx) - 1, 0), max(int(y0 - dy) - 1, 0)
    right, bottom = min(int(x1 + dx) + 2, image.width), min(int(y1 + dy) + 2, image.height)
    marks = np.full((bottom - top, right - left), cv2.GC_BGD, np.uint8)
    marks[max(int(y0) - top, 1) : math.ceil(y1) - top, max(int(x0) - left, 1) : math.ceil(x1) - left] = cv2.GC_PR_FGD
    marks[-1, :] = marks[:, -1] = cv2.GC_BGD  # or a box of the whole image leaves no background
    if not (marks == cv2.GC_PR_FGD).any():
        return None
    pixels = np.ascontiguousarray(np.asarray(image)[top:bottom, left:right])
    cv2.setRNGSeed(0)  # it begins with k-means
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(pixels, marks, (0, 0, 0, 0), *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    mask = np.zeros((image.height, image.width), bool)
    mask[top:bottom, left:right] = (marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)
    return mask if mask.any() else None


SEGMENTERS: dict[str, Segmenter] = {"shapes": segment_shapes}


def find_segmenter(name: str) -> Segmenter:
    """Return the segmenter with a name: "shapes", `package.module:callable` for your own, or `sam:` and a checkpoint.

    A checkpoint is a hub id or folder of a SAM of transformers, such as `sam:facebook/sam-vit-base`.

    Raises:
        DetectionError: there is no such segmenter.
        CheckpointError: the checkpoint is not a SAM.
    """
    if name in SEGMENTERS:
        return SEGMENTERS[name]
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise DetectionError(
            f"no segmenter {name!r}; expected {', '.join(SEGMENTERS)}, package.module:callable, or sam:CHECKPOINT."
        )
    if module_name == "sam":
        from langchain_vipllava.regions.sam import SamSegmenter  # noqa: PLC0415  # torch is loaded when needed

        return SamSegmenter.load(attribute)
    try:
        segmenter: Segmenter = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise DetectionError(f"cannot import the segmenter {name!r}: {error}.") from error
    if not callable(segmenter):
        raise DetectionError(
            f"{name!r} is a {type(segmenter).__name__}; expected a callable that takes an image and a prompt."
        )
    return segmenter
