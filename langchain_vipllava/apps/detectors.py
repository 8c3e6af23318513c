"""Detectors that need no download, and `find_detector`, which imports other ones by name."""

from __future__ import annotations

import importlib
from typing import Any

import cv2
import numpy as np
from PIL import Image

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.detector_call import Detector


def detect_shapes(image: Image.Image) -> list[dict[str, Any]]:
    """Detect objects on a plain background, with OpenCV.

    The background is modeled as a plane through the colors of the image's border, so it may have a gradient and noise.
    Pixels that differ from it by more than the noise belong to an object.

    Args:
        image: RGB.

    Returns:
        One mapping per object, from left to right, in the format of SAM's mask generator: `segmentation` (H, W) bool,
        `bbox` (x, y, width, height) and `area` in pixels.
    """
    pixels = cv2.GaussianBlur(np.asarray(image), (0, 0), max(image.size) / 400)
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).astype(np.float64)
    distance = np.linalg.norm(lab - _background(lab), axis=2)
    border = _border(distance[:, :, None])[:, 0]
    threshold = max(14.0, border.mean() + 6 * border.std())
    foreground = (distance > threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(foreground)
    min_area = image.width * image.height / 2000
    objects = [
        {
            "segmentation": labels == index,
            "bbox": [int(n) for n in stats[index, :4]],
            "area": int(stats[index, cv2.CC_STAT_AREA]),
        }
        for index in range(1, count)
        if stats[index, cv2.CC_STAT_AREA] >= min_area
    ]
    return sorted(objects, key=lambda item: item["bbox"][0])


def detect_faces(image: Image.Image) -> list[dict[str, Any]]:
    """Detect faces with scikit-image's cascade of local binary patterns.

    Args:
        image: RGB.

    Returns:
        One mapping per face, largest first, in the format of a transformers object-detection pipeline: `box` {xmin,
        ymin, xmax, ymax}, `label` "face", and `score`, always 1.0 because the cascade returns no scores.

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
    faces = Cascade(data.lbp_frontal_face_cascade_filename()).detect_multi_scale(
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
            "box": {
                "xmin": face["c"],
                "ymin": face["r"],
                "xmax": face["c"] + face["width"],
                "ymax": face["r"] + face["height"],
            },
        }
        for face in sorted(faces, key=lambda face: -face["width"])
    ]


DETECTORS: dict[str, Detector] = {"shapes": detect_shapes, "faces": detect_faces}


def find_detector(name: str) -> Detector:
    """Return the detector with a name: "shapes", "faces", or `package.module:callable` for your own.

    Raises:
        DetectionError: there is no such detector.
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
        raise DetectionError(f"{name!r} is a {type(detector).__name__}; expected a callable that takes an image.")
    return detector  # type: ignore[no-any-return]


def _background(lab: np.ndarray) -> np.ndarray:
    """Return a plane a + b x + c y through the border's colors, (H, W, 3)."""
    height, width = lab.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    terms = np.stack([np.ones_like(rows), columns / width, rows / height], axis=2).astype(np.float64)
    border_terms, colors = _border(terms), _border(lab)
    for _ in range(3):  # an object may touch the border: drop the pixels that fit worst, a fifth each time
        plane, *_ = np.linalg.lstsq(border_terms, colors, rcond=None)
        misfit = np.linalg.norm(colors - border_terms @ plane, axis=1)
        fits = misfit <= np.quantile(misfit, 0.8) + 1e-9
        border_terms, colors = border_terms[fits], colors[fits]
    background: np.ndarray = terms @ plane
    return background


def _border(values: np.ndarray) -> np.ndarray:
    """Return the pixels of an (H, W, C) array at its border, (N, C)."""
    depth = max(2, min(values.shape[:2]) // 50)
    edges = (values[:depth], values[-depth:], values[depth:-depth, :depth], values[depth:-depth, -depth:])
    return np.concatenate([edge.reshape(-1, values.shape[2]) for edge in edges])
