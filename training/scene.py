"""Draws the training images: a few simple objects on a background, some of them marked."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np
from PIL import Image

from langchain_vipllava import FaintMarkerWarning, MarkedImage, Region, mark
from langchain_vipllava.markers.kinds import MarkerColor, MarkerKind
from training.kinds import COLOR_NAMES, KINDS

SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star", "cross")
PAINTS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (50, 80, 220),
    "yellow": (230, 210, 50),
    "purple": (140, 60, 160),
    "orange": (240, 140, 40),
    "black": (25, 25, 25),
    "white": (245, 245, 245),
}
PAINT_NAMES: tuple[str, ...] = tuple(PAINTS)
ImageShape = Literal["any", "square", "wide", "tall"]

_SIDES = (160, 1000)
_SHAPE_SHARES = (0.25, 0.125, 0.125, 0.5)  # of square, 3:1, 1:3 and all other images
_RADIUS = (0.08, 0.20)  # of the long side
_GAP = 0.02  # between the bounding circles of two objects, of the long side
_SAME_COLOR_SHARE = 0.15  # of objects that copy the color of an earlier one
_MIN_CONTRAST = 110.0  # RGB distance between an object and every background color
_SHIFT = 4  # fractional bits of cv2's fixed-point coordinates
_NOISE = np.random.default_rng(0).normal(size=(1200, 1200, 1)).astype(np.float32)


@dataclass(frozen=True)
class Thing:
    """One object of a scene.

    Attributes:
        shape: one of SHAPES.
        color: one of PAINT_NAMES.
        center: (x, y) in pixels.
        outline: (N, 2) corners in pixels.
    """

    shape: str
    color: str
    center: tuple[float, float]
    outline: np.ndarray

    @property
    def name(self) -> str:
        """Article, color and shape: "a blue circle", "an orange star"."""
        return f"{'an' if self.color == 'orange' else 'a'} {self.color} {self.shape}"


@dataclass(frozen=True)
class Look:
    """One marker: the index of its object, its kind and its color."""

    thing: int
    kind: MarkerKind
    color: MarkerColor


@dataclass(frozen=True)
class Scene:
    """An image without markers, and its objects.

    Attributes:
        image: (H, W, 3) RGB uint8.
        things: the objects, sorted from left to right.
    """

    image: np.ndarray
    things: tuple[Thing, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.image.shape[1], self.image.shape[0]


def draw_scene(
    rng: np.random.Generator,
    count: int | None = None,
    shape: ImageShape = "any",
    sides: tuple[int, int] = _SIDES,
    ground: tuple[int, int, int] | None = None,
) -> Scene:
    """Draw an image.

    Args:
        rng: source of all randomness.
        count: number of objects; None draws 1 to 5.
        shape: "square", "wide" (3:1), "tall" (1:3) or "any".
        sides: (min, max) pixels of the long side. Small images are more frequent than large ones.
        ground: RGB of a plain background; None draws one.
    """
    size = _draw_size(rng, shape, sides)
    count = int(rng.integers(1, 6)) if count is None else count
    places: list[tuple[float, float, float]] | None = None
    while places is None:
        places = _place(rng, size, count)
    canvas, backgrounds = _draw_background(rng, size) if ground is None else _plain(ground, size)
    paints = _visible_paints(backgrounds)
    while len(paints) < 3 and ground is None:
        canvas, backgrounds = _draw_background(rng, size)
        paints = _visible_paints(backgrounds)
    things: list[Thing] = []
    for x, y, radius in sorted(places):
        shape_name, color = str(rng.choice(SHAPES)), str(rng.choice(paints))
        if things and rng.random() < _SAME_COLOR_SHARE:
            color = things[int(rng.integers(len(things)))].color
        outline = make_outline(shape_name, radius, float(rng.uniform(0, 2 * math.pi))) + np.array([x, y])
        rgb = np.clip(np.array(PAINTS[color]) + rng.integers(-12, 13, 3), 0, 255)
        fixed = ((outline - 0.5) * (1 << _SHIFT)).round().astype(np.int32)
        cv2.fillPoly(canvas, [fixed], tuple(int(c) for c in rgb), cv2.LINE_AA, _SHIFT)
        things.append(Thing(shape_name, color, (x, y), outline))
    return Scene(canvas, tuple(things))


def draw_looks(
    rng: np.random.Generator, scene: Scene, count: int | None = None, shares: Sequence[float] | None = None
) -> list[Look]:
    """Choose objects to mark, each with a unique (color, kind).

    Args:
        rng: source of all randomness.
        scene: the image.
        count: number of markers; None draws 1 to 3.
        shares: probability of each of KINDS; None makes them equally likely.
    """
    # mostly several: with a single marker the model can answer without reading the phrase
    count = int(rng.choice([1, 2, 3], p=[0.15, 0.4, 0.45])) if count is None else count
    count = min(count, len(scene.things), 3)
    chosen = rng.permutation(len(scene.things))[:count]
    colors = rng.permutation(COLOR_NAMES)[:count]
    kinds = rng.choice(KINDS, count, p=shares)
    style = rng.random()
    if style < 0.12:  # one color for all markers: only the kind distinguishes them
        colors, kinds = np.repeat(colors[:1], count), rng.permutation(KINDS)[:count]
    elif style < 0.55:  # one kind for all markers, as `mark` does by default: only the color distinguishes them
        kinds = np.repeat(kinds[:1], count)
    return [
        Look(int(index), cast(MarkerKind, str(kind)), cast(MarkerColor, str(color)))
        for index, kind, color in zip(chosen, kinds, colors, strict=True)
    ]


def mark_scene(
    rng: np.random.Generator, scene: Scene, looks: list[Look], seed: int | None = None, *, by_contrast: bool = False
) -> MarkedImage:
    """Draw the markers with the package's `mark`.

    Args:
        rng: chooses the form of each region: mask, polygon or box.
        scene: the image.
        looks: the markers.
        seed: None for constant markers, a number for hand-drawn ones.
        by_contrast: whether `mark` chooses the colors instead of `looks`.
    """
    unique_colors = len({look.color for look in looks}) == len(looks)
    regions = [region_of(rng, scene, look, outline_only=not unique_colors) for look in looks]
    kinds = [look.kind for look in looks]
    colors = None if by_contrast else [look.color for look in looks]
    with warnings.catch_warnings():  # some markers are faint, as in the world
        warnings.simplefilter("ignore", FaintMarkerWarning)
        return mark(Image.fromarray(scene.image), regions, kind=kinds, color=colors, seed=seed)


def region_of(rng: np.random.Generator, scene: Scene, look: Look, *, outline_only: bool) -> Region:
    """Return an object as a detector might: as a mask, a polygon or a box.

    A mask contour around a box looks like a rectangle. With `outline_only`, kinds that follow
    an outline always get one.
    """
    outline = scene.things[look.thing].outline
    follows_outline = look.kind in ("mask", "mask contour")
    form = rng.choice(["mask", "polygon", "box"], p=[0.5, 0.4, 0.1] if follows_outline else [0.2, 0.3, 0.5])
    if form == "mask":
        width, height = scene.size
        pixels = np.zeros((height, width), np.uint8)
        cv2.fillPoly(pixels, [(outline - 0.5).round().astype(np.int32)], (1,))
        return Region(mask=pixels)
    if form == "polygon" or (follows_outline and outline_only):
        return Region(polygon=[tuple(p) for p in outline.tolist()])
    (x0, y0), (x1, y1) = outline.min(axis=0).tolist(), outline.max(axis=0).tolist()
    return Region(box=(x0, y0, x1, y1))


def make_outline(shape: str, radius: float, angle: float) -> np.ndarray:
    """Return the corners (N, 2) of a shape around (0, 0), inscribed in a circle of this radius."""
    if shape == "star":
        radii, turns = np.tile([1.0, 0.42], 5), np.arange(10) / 10
    elif shape == "cross":
        arm = 0.33
        corner = np.array([(1, arm), (arm, arm), (arm, 1)])
        quarter = np.array([[0, -1], [1, 0]])
        turns_of = [np.linalg.matrix_power(quarter, k).T for k in range(4)]
        points = np.concatenate([corner @ turn for turn in turns_of]) / math.hypot(1, arm)
        radii, turns = np.hypot(*points.T), np.arctan2(points[:, 1], points[:, 0]) / (2 * math.pi)
    else:
        sides = {"circle": 40, "square": 4, "triangle": 3}[shape]
        radii, turns = np.ones(sides), np.arange(sides) / sides
    angles = 2 * math.pi * turns + angle
    corners: np.ndarray = radius * radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return corners


def _draw_size(rng: np.random.Generator, shape: ImageShape, sides: tuple[int, int]) -> tuple[int, int]:
    smallest, largest = sides
    # cubed: a large image costs more to draw and looks the same to the model
    side = round(smallest + (largest - smallest) * float(rng.random()) ** 3)
    ratios = {"square": 1.0, "wide": 3.0, "tall": 1 / 3}
    if shape == "any":  # the extremes get fixed shares: uniform ratios would make them rare
        shape = cast(ImageShape, rng.choice(["square", "wide", "tall", "any"], p=_SHAPE_SHARES))
    ratio = ratios.get(shape) or math.exp(rng.uniform(-1, 1) * math.log(3))
    return (side, max(round(side / ratio), 1)) if ratio >= 1 else (max(round(side * ratio), 1), side)


def _place(rng: np.random.Generator, size: tuple[int, int], count: int) -> list[tuple[float, float, float]] | None:
    """Draw (x, y, radius) of every object; None if they did not fit."""
    width, height = size
    side, short = max(size), min(size)
    max_radius = min(_RADIUS[1] * side, 0.48 * short)
    places: list[tuple[float, float, float]] = []
    for index in range(count):
        for attempt, (a, b, c) in enumerate(rng.random((40, 3)).tolist()):
            largest = max_radius if attempt < 10 and index < 3 else 0.12 * side
            radius = _RADIUS[0] * side + a * (largest - _RADIUS[0] * side)
            x, y = radius + b * (width - 2 * radius), radius + c * (height - 2 * radius)
            margin = radius + _GAP * side
            if all(math.hypot(x - u, y - v) > margin + r for u, v, r in places):
                places.append((x, y, radius))
                break
        else:
            return None
    return places


def _draw_background(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return a background (H, W, 3) and its main colors (N, 3)."""
    width, height = size
    first = rng.uniform(0, 255, 3) if rng.random() < 0.5 else np.full(3, rng.uniform(0, 255))
    style = rng.random()
    if style < 0.4:
        return np.full((height, width, 3), first.astype(np.uint8), np.uint8), first[None]
    if style < 0.7:
        second = np.clip(first + rng.uniform(-90, 90, 3), 0, 255)
        ramp = np.linspace(0, 1, width)[None, :] if rng.random() < 0.5 else np.linspace(0, 1, height)[:, None]
        weights = np.broadcast_to(ramp, (height, width)).astype(np.float32)[:, :, None]
        canvas = first.astype(np.float32) + weights * (second - first).astype(np.float32)
        return canvas.astype(np.uint8, order="C"), np.stack([first, (first + second) / 2, second])
    top, left = (int(rng.integers(0, 1200 - n + 1)) for n in (height, width))
    noise = _NOISE[top : top + height, left : left + width] * np.float32(rng.uniform(4, 22))
    return np.clip(first.astype(np.float32) + noise, 0, 255).astype(np.uint8, order="C"), first[None]


def _plain(color: tuple[int, int, int], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return a background of one color (H, W, 3), and the color (1, 3)."""
    return np.full((size[1], size[0], 3), color, np.uint8), np.array([color], dtype=float)


def _visible_paints(backgrounds: np.ndarray) -> list[str]:
    """Return the names of the colors that stand out from every background color."""
    return [
        name
        for name, rgb in PAINTS.items()
        if np.linalg.norm(backgrounds - np.array(rgb, dtype=float), axis=1).min() >= _MIN_CONTRAST
    ]
