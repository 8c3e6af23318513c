"""Detectors that need no download, and finding the user's own by name."""

from __future__ import annotations

import importlib
from typing import Any

import cv2
import numpy as np
from PIL import Image

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.detector import Detector


def detect_shapes(image: Image.Image) -> list[dict[str, Any]]:
    """Find things that stand out from an even background, with plain OpenCV.

    The background is modelled by a plane through the colors of the image's border, so it may be
    graded and noisy; what differs by more than its noise is a thing.

    Args:
        image: RGB.

    Returns:
        One mapping per thing, as SAM's mask generator gives them: `segmentation` (H, W) bool, `bbox`
        (x, y, width, height), `area`; from left to right.
    """
    pixels = cv2.GaussianBlur(np.asarray(image), (0, 0), max(image.size) / 400)
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).astype(np.float64)
    distance = np.linalg.norm(lab - _background(lab), axis=2)
    border = _border(distance[:, :, None])[:, 0]
    threshold = max(14.0, border.mean() + 6 * border.std())
    things = (distance > threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(things)
    least = image.width * image.height / 2000
    found = [
        {
            "segmentation": labels == index,
            "bbox": [int(n) for n in stats[index, :4]],
            "area": int(stats[index, cv2.CC_STAT_AREA]),
        }
        for index in range(1, count)
        if stats[index, cv2.CC_STAT_AREA] >= least
    ]
    return sorted(found, key=lambda thing: thing["bbox"][0])


def detect_faces(image: Image.Image) -> list[dict[str, Any]]:
    """Find faces with scikit-image's cascade of local binary patterns.

    Args:
        image: RGB.

    Returns:
        One mapping per face, largest first: `box` {xmin, ymin, xmax, ymax}, `label` "face", `score` (always 1.0: the
        cascade says yes or no); as a transformers object-detection pipeline gives them.

    Raises:
        DetectionError: scikit-image is not installed.
    """
    try:
        from skimage import data  # noqa: PLC0415  # optional
        from skimage.feature import Cascade  # noqa: PLC0415
    except ImportError as error:
        raise DetectionError(
            "the detector 'faces' needs scikit-image, which is not installed: pip install 'langchain-vipllava[demo]'."
        ) from error
    side = min(image.size)
    found = Cascade(data.lbp_frontal_face_cascade_filename()).detect_multi_scale(
        img=np.asarray(image),
        scale_factor=1.2,
        step_ratio=1,
        min_size=(max(24, side // 12),) * 2,
        max_size=(max(25, side // 2),) * 2,
        min_neighbor_number=8,
    )
    return [
        {
            "score": 1.0,
            "label": "face",
            "box": {"xmin": f["c"], "ymin": f["r"], "xmax": f["c"] + f["width"], "ymax": f["r"] + f["height"]},
        }
        for f in sorted(found, key=lambda f: -f["width"])
    ]


DETECTORS: dict[str, Detector] = {"shapes": detect_shapes, "faces": detect_faces}


def find_detector(name: str) -> Detector:
    """Find a detector: "shapes", "faces", or `package.module:callable` for the user's own.

    Raises:
        DetectionError: there is none of that name.
    """
    if name in DETECTORS:
        return DETECTORS[name]
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise DetectionError(f"no detector {name!r}; expected {', '.join(DETECTORS)}, or package.module:callable.")
    try:
        detector = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise DetectionError(f"cannot import the detector {name!r}: {error}.") from error
    if not callable(detector):
        raise DetectionError(f"{name!r} is a {type(detector).__name__}; expected something to call with an image.")
    return detector  # type: ignore[no-any-return]


def _background(lab: np.ndarray) -> np.ndarray:
    """A plane a + b x + c y through the border's colors, (H, W, 3)."""
    height, width = lab.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    terms = np.stack([np.ones_like(rows), columns / width, rows / height], axis=2).astype(np.float64)
    known, colors = _border(terms), _border(lab)
    for _ in range(3):  # leave out, step by step, the border pixels that belong to a thing
        plane, *_ = np.linalg.lstsq(known, colors, rcond=None)
        misfit = np.linalg.norm(colors - known @ plane, axis=1)
        fits = misfit <= np.quantile(misfit, 0.8) + 1e-9
        known, colors = known[fits], colors[fits]
    background: np.ndarray = terms @ plane
    return background


def _border(values: np.ndarray) -> np.ndarray:
    """The outermost pixels of (H, W, C), as (N, C)."""
    depth = max(2, min(values.shape[:2]) // 50)
    edges = (values[:depth], values[-depth:], values[depth:-depth, :depth], values[depth:-depth, -depth:])
    return np.concatenate([edge.reshape(-1, values.shape[2]) for edge in edges])
