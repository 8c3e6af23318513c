"""`MarkOptions`: an image, the regions to mark on it, and the style of the markers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from langchain_vipllava.apps.cli import stdin
from langchain_vipllava.apps.cli.console import Screen
from langchain_vipllava.errors import DetectionError, RegionError, VipLlavaError, shorten
from langchain_vipllava.images.limits import DEFAULT_LIMITS
from langchain_vipllava.images.load import load_image
from langchain_vipllava.images.view import VIEW_SIZE
from langchain_vipllava.markers.kinds import parse_color, parse_kind
from langchain_vipllava.markers.mark import mark
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.regions.detection_options import DetectionOptions
from langchain_vipllava.regions.detector import run_detector
from langchain_vipllava.regions.detector_call import Detector
from langchain_vipllava.regions.limits import DEFAULT_LIMITS as REGION_LIMITS
from langchain_vipllava.regions.region import Region
from langchain_vipllava.text import counted

_EXPECTED = "expected x0,y0,x1,y1 (left, top, right, bottom), or x,y, in pixels"


@dataclass(frozen=True)
class MarkOptions:
    """An image, the regions to mark on it, and the style of the markers."""

    image: str
    box: list[str] | None
    detections: str | None
    detector: str | None
    format: str | None
    box_format: str | None
    min_score: float
    max_regions: int | None
    kind: list[str] | None
    color: list[str] | None
    numbers: bool
    zoom: bool
    seed: int | None
    view_size: int = VIEW_SIZE

    def check(self) -> None:
        """Check everything that can be checked before the image is opened.

        Raises:
            VipLlavaError: an option that cannot be right.
        """
        self._check_used()
        for text in self.box or ():
            _numbers(text)
        for kind in self.kind or ():
            if kind != "auto":
                parse_kind(kind)
        for color in self.color or ():
            if color != "auto":
                parse_color(color)
        if self.detections is not None and self.detector is not None:
            raise DetectionError("--detections and --detector; expected one of them.")
        if self.detections not in (None, stdin.STDIN) and not Path(str(self.detections)).expanduser().is_file():
            raise DetectionError(f"cannot read the detections in {self.detections!r}: there is no such file.")
        _ = self.detection_options, self._detector

    def _check_used(self) -> None:
        """Refuse options that would change nothing."""
        detects = self.detections is not None or self.detector is not None
        if not detects:
            about_detections = {
                "--format": self.format,
                "--box-format": self.box_format,
                "--min-score": self.min_score or None,
                "--max-regions": self.max_regions,
            }
            _refuse(about_detections, "--detections FILE or --detector NAME")
        if not detects and not self.box:
            about_markers = {
                "--kind": self.kind or None,
                "--color": self.color or None,
                "--numbers": self.numbers or None,
                "--zoom": self.zoom or None,
                "--seed": self.seed,
            }
            _refuse(about_markers, "a region: --box x0,y0,x1,y1, --detections FILE or --detector NAME")

    @cached_property
    def detection_options(self) -> DetectionOptions:
        """How to read detections."""
        return DetectionOptions.of(
            {
                "format": self.format,
                "box_format": self.box_format,
                "min_score": self.min_score,
                "max_regions": self.max_regions,
            }
        )

    @cached_property
    def _detector(self) -> Detector | None:
        if self.detector is None:
            return None
        from langchain_vipllava.apps.detectors import find_detector  # noqa: PLC0415  # loads OpenCV

        return find_detector(self.detector)

    def mark(self, screen: Screen) -> MarkedImage:
        """Mark the image; without any option that names regions, return the whole image with no marker.

        Raises:
            ImageError: the image cannot be read.
            RegionError: a box that is not one, or no detections.
        """
        image = self._open()
        regions = [parse_box(text, image.size) for text in self.box or ()]
        regions += self._detect(image)
        if not regions:
            return MarkedImage(image, image, ())
        kind = _one_or_per_region(self.kind) or "rectangle"
        return self.draw(image, regions, kind=kind, color=_one_or_per_region(self.color), screen=screen)

    def draw(self, image: Image.Image, regions: list[Region], *, kind: Any, color: Any, screen: Screen) -> MarkedImage:
        """Draw markers in the style of the options; warnings become notes."""
        zoom: Literal["auto"] | None = "auto" if self.zoom else None
        with screen.warnings_as_lines():
            return mark(
                image,
                regions,
                kind=kind,
                color=color,
                numbers=self.numbers,
                zoom=zoom,
                seed=self.seed,
                view_size=self.view_size,
            )

    def _open(self) -> Image.Image:
        if self.image != stdin.STDIN:
            return load_image(self.image)
        return load_image(stdin.read_input("the bytes of an image", DEFAULT_LIMITS.max_bytes))

    def _detect(self, image: Image.Image) -> list[Region]:
        if self._detector is not None:
            found = run_detector(self._detector, image.copy(), options=self.detection_options)
        elif self.detections is not None:
            found = self.detection_options.read(_read_detections(self.detections), image.size)
        else:
            return []
        if not found and not self.box:
            source = "the detector" if self.detector is not None else "--detections"
            raise DetectionError(
                f"{source} found nothing to mark (with --min-score {self.min_score:g}). Lower it, or leave the "
                "option out to ask about the whole image."
            )
        return found


def parse_box(text: str, size: tuple[int, int], option: str = "--box") -> Region:
    """Read a box or a point of an image.

    Args:
        text: as the user wrote it.
        size: `(width, height)` of the image in pixels.
        option: what the text belongs to, for messages.

    Raises:
        RegionError: not a box in pixels.
    """
    numbers = _numbers(text, option)
    if all(0 <= number <= 1 for number in numbers):
        sides = [*size, *size][: len(numbers)]
        pixels = ",".join(f"{number * side:.0f}" for number, side in zip(numbers, sides, strict=True))
        raise RegionError(
            f"{option} {text} looks like fractions of the image; {_EXPECTED}. In this image of {size[0]} x {size[1]} "
            f"pixels that is {option} {pixels}."
        )
    try:
        if len(numbers) == 2:
            return Region(point=(numbers[0], numbers[1]))
        return Region(box=(numbers[0], numbers[1], numbers[2], numbers[3]))
    except RegionError as error:
        raise RegionError(f"{option} {text}: {error}") from error


def _numbers(text: str, option: str = "--box") -> list[float]:
    """Read the numbers of a box or a point.

    Raises:
        RegionError: not two or four numbers, or right of left and above below.
    """
    shown = f"{option} {shorten(text)}"
    try:
        numbers = [float(part) for part in text.strip(" ()[]").replace(" ", "").split(",")]
    except ValueError as error:
        raise RegionError(f"{shown}; {_EXPECTED}.") from error
    if len(numbers) not in (2, 4):
        raise RegionError(f"{shown} has {counted(len(numbers), 'number')}; {_EXPECTED}.")
    if not all(map(math.isfinite, numbers)):
        raise RegionError(f"{shown} is not finite; {_EXPECTED}.")
    if len(numbers) == 4 and (numbers[2] <= numbers[0] or numbers[3] <= numbers[1]):
        raise RegionError(
            f"{shown} is inverted or empty; {_EXPECTED}, with x0 < x1 and y0 < y1, not a width and height."
        )
    return numbers


def _read_detections(name: str) -> Path | bytes:
    if name == stdin.STDIN:
        return stdin.read_input("a detector's output", REGION_LIMITS.max_text_bytes)
    return Path(name).expanduser()


def _one_or_per_region(values: list[str] | None) -> str | list[str] | None:
    """Return one value for all regions, or a list with one value per region."""
    if not values:
        return None
    return values[0] if len(values) == 1 else values


def _refuse(options: Mapping[str, object], needs: str) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        them = "it" if len(given) == 1 else "them"
        raise VipLlavaError(f"{' and '.join(given)} without anything to use {them} on; pass {needs}.")


def expect_regions(marked: MarkedImage) -> None:
    """Raise an error if nothing is marked.

    Raises:
        VipLlavaError: there is no marker.
    """
    if not marked.markers:
        raise VipLlavaError("nothing to mark; pass --box x0,y0,x1,y1, --detections FILE or --detector NAME.")
