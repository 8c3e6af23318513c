"""How a detector is called: with a PIL image or an array, in which order of colors, and with which arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from langchain_vipllava.errors import DetectionError, VipLlavaError, describe_error, shorten

Detector = Callable[..., Any]
"""Called with an image; returns its detections in any format that `regions_from` reads."""

DetectorInput = Literal["pil", "rgb", "bgr"]
"""What a detector is called with: an RGB PIL image, or an (H, W, 3) uint8 array in this order of colors."""

_LABEL_PARAMETERS = ("candidate_labels", "labels", "text_labels", "classes", "prompts")
"""Parameters through which open-vocabulary detectors take the labels to look for, the most specific name first."""

_ARRAY_WORDS = ("shape", "ndim", "dtype", "subscriptable", "astype", "UMat", "numpy", "array")
"""What the errors of a function name that got a PIL image and expected an array."""


def check_input(takes: object) -> None:
    """Check the name of what a detector takes.

    Raises:
        DetectionError: an unknown one.
    """
    if takes is not None and takes not in get_args(DetectorInput):
        raise DetectionError(f"takes={shorten(takes)}; expected 'pil', 'rgb', 'bgr' or None.")


def call_detector(detector: Detector, image: Image.Image, labels: list[str], takes: DetectorInput | None = None) -> Any:
    """Call a detector the way in which its library wants to be called.

    Pipelines of transformers and models of ultralytics get the PIL image, whose order of colors is known, and no text
    of theirs reaches the terminal. What supervision calls with arrays gets them in OpenCV's order, as supervision does.

    Args:
        detector: any callable.
        image: RGB, upright.
        labels: what to look for; passed on if the detector has a parameter for it.
        takes: what the detector takes; None to find out.

    Raises:
        DetectionError: the detector failed, is async, or takes arrays of which nothing says the order of colors.
    """
    check_input(takes)
    arguments = _arguments(detector, labels)
    if takes is None and _is_of(detector, "supervision"):
        takes = "bgr"
    if takes is not None:
        return _call(detector, _as_input(image, takes), arguments)
    try:
        return _call(detector, image, arguments)
    except DetectionError as error:
        if not _wants_array(detector, error.__cause__):
            raise
        return _call_with_array(detector, image, arguments, error)


def _call_with_array(detector: Detector, image: Image.Image, arguments: dict[str, Any], first: DetectionError) -> Any:
    """Call a function that takes arrays; only what it returns says which order of colors its library uses.

    Raises:
        DetectionError: `first`, if it fails with an array too; nothing says the order of colors.
    """
    try:
        detections = _call(detector, _as_input(image, "bgr"), arguments)
    except DetectionError:
        raise first from first.__cause__
    if _is_of(detections, "supervision"):
        return detections
    raise DetectionError(
        "the detector takes an array, and nothing says in which order of colors. Pass takes='bgr' if it expects images "
        "of cv2.imread, takes='rgb' otherwise."
    )


def _arguments(detector: Detector, labels: list[str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    parameter = _labels_parameter(detector)
    if labels and parameter:
        arguments[parameter] = labels
    elif parameter and str(getattr(detector, "task", "")).startswith("zero-shot"):
        raise DetectionError(
            "a zero-shot pipeline needs the labels to look for; pass only=['cup', 'plate'], or a function that names "
            "them: lambda image: pipeline(image, candidate_labels=[...])."
        )
    if _is_of(detector, "ultralytics") or _is_of(getattr(detector, "__self__", None), "ultralytics"):
        arguments["verbose"] = False  # it logs a line for every image
    return arguments


def _labels_parameter(detector: Detector) -> str | None:
    try:
        parameters = inspect.signature(detector).parameters
    except (TypeError, ValueError):
        return None
    return next((name for name in _LABEL_PARAMETERS if name in parameters), None)


def _is_of(value: object, library: str) -> bool:
    """Whether a value is an instance of a class of a library, or of one derived from it."""
    return any(base.__module__.partition(".")[0] == library for base in type(value).__mro__)


def _as_input(image: Image.Image, takes: DetectorInput) -> Any:
    if takes == "pil":
        return image
    pixels = np.array(image.convert("RGB"))
    return pixels if takes == "rgb" else np.ascontiguousarray(pixels[:, :, ::-1])


def _wants_array(detector: Detector, cause: BaseException | None) -> bool:
    """Whether a function that failed with a PIL image says that it takes an array."""
    annotations = getattr(detector, "__annotations__", {})
    first = next((annotation for name, annotation in annotations.items() if name != "return"), None)
    if "ndarray" in str(first) or "NDArray" in str(first):
        return True
    if cause is None or not (isinstance(cause, (AttributeError, TypeError)) or _is_of(cause, "cv2")):
        return False
    return any(word in str(cause) for word in _ARRAY_WORDS)


def _call(detector: Detector, image: Any, arguments: dict[str, Any]) -> Any:
    return call_foreign("detector", detector, image, **arguments)


def call_foreign(what: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call a function that the program brought.

    Args:
        what: how errors call it.
        function: any callable.
        arguments: its own.
        named: its own.

    Raises:
        DetectionError: it failed, or is async.
    """
    try:
        found = function(*arguments, **named)
        if inspect.isawaitable(found):
            if inspect.iscoroutine(found):
                found.close()  # or Python warns that it was never awaited
            raise DetectionError(f"the {what} is async; expected a function that returns its {_RETURNS[what]}.")
    except VipLlavaError:
        raise
    except Exception as error:
        raise DetectionError(f"the {what} failed: {describe_error(error)}") from error
    return found


_RETURNS = {"detector": "detections", "segmenter": "mask"}
