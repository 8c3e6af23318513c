"""Coordinates as LLMs write them, checked against the image: pixels, or a question back."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from langchain_vipllava.errors import RegionError, shorten
from langchain_vipllava.workspace.written import is_number

OVERHANG = 1.0
"""Pixels by which a region may reach beyond the image. Chosen: rounding, and right edges that count from 0 or 1."""


def read_numbers(values: Any, count: int | None, what: str) -> list[float]:
    """Read coordinates: numbers, or texts such as "12" and "12 px".

    Args:
        values: what came.
        count: how many there have to be; None for any even number.
        what: how they should look, for the message.

    Raises:
        RegionError: something else.
    """
    written = list(values) if isinstance(values, (list, tuple)) else [values]
    numbers = [_number(value) for value in written]
    if any(number is None for number in numbers) or (len(numbers) != count if count else len(numbers) % 2):
        percent = " Percent are not read." if any("%" in str(value) for value in written) else ""
        raise RegionError(f"{shorten(values)} is not a region; expected {what} in pixels.{percent}")
    found = [number for number in numbers if number is not None]
    if not all(map(math.isfinite, found)):
        raise RegionError(f"{shorten(values)} contains NaN or infinity; expected {what} in pixels.")
    return found


def box_in(numbers: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Check a box [x0, y0, x1, y1], and cut off what is a pixel too much.

    Raises:
        RegionError: inverted or empty, a fraction of the image, or beyond it.
    """
    _check(numbers, size, is_box=True)
    x0, y0, x1, y1 = numbers
    if x1 <= x0 or y1 <= y0:
        as_object = f'{{"x": {x0:g}, "y": {y0:g}, "width": {x1:g}, "height": {y1:g}}}'
        hint = f" If it is [x, y, width, height], write {as_object}." if x1 > 0 and y1 > 0 else ""
        raise RegionError(
            f"the box {_listed(numbers)} is inverted or empty; expected [x0, y0, x1, y1] with x0 < x1 and "
            f"y0 < y1.{hint}"
        )
    width, height = size
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))


def points_in(numbers: Sequence[float], size: tuple[int, int]) -> list[tuple[float, float]]:
    """Check points x, y, x, y, ... and move those onto the image that are a pixel beyond it.

    Raises:
        RegionError: fractions of the image, or beyond it.
    """
    _check(numbers, size, is_box=False)
    width, height = size
    inside = zip(numbers[::2], numbers[1::2], strict=True)
    return [(_between(x, width), _between(y, height)) for x, y in inside]


def _between(number: float, length: int) -> float:
    return max(0.0, number if number < length else length - 1.0)


def _check(numbers: Sequence[float], size: tuple[int, int], *, is_box: bool) -> None:
    width, height = size
    is_unit = list(numbers) == [0, 0, 1, 1] and is_box
    if is_unit or (any(0 < abs(n) < 1 for n in numbers) and all(abs(n) <= 1 for n in numbers)):
        raise RegionError(
            f"{_listed(numbers)} are fractions of the image; it is {width} x {height} pixels. Write pixels: "
            f"{_scaled(numbers, size, 1)}."
        )
    outside = [
        (x < -OVERHANG or x > width + OVERHANG, y < -OVERHANG or y > height + OVERHANG)
        for x, y in zip(numbers[::2], numbers[1::2], strict=True)
    ]
    if not any(map(any, outside)):
        return
    where = "outside" if all(map(any, outside)) else "partly outside"
    hint = (
        f" If these are in 0..1000, write {_scaled(numbers, size, 1000)}."
        if all(0 <= n <= 1000 for n in numbers)
        else ""
    )
    raise RegionError(
        f"{_listed(numbers)} lies {where} the image of {width} x {height} pixels. Write pixels of this image: "
        f"x from 0 to {width}, y from 0 to {height}.{hint}"
    )


def _scaled(numbers: Sequence[float], size: tuple[int, int], unit: int) -> str:
    return _listed([round(number * size[index % 2] / unit) for index, number in enumerate(numbers)])


def _listed(numbers: Sequence[float]) -> str:
    shown = ", ".join(f"{number:.6g}" for number in numbers[:12])
    return f"[{shown}{', ...' if len(numbers) > 12 else ''}]"


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(-?\d+(?:\.\d*)?)\s*(?:px|pixels?)?\s*", value)
        return float(match[1]) if match else None
    try:
        return float(value) if is_number(value) else None
    except OverflowError:
        return None
