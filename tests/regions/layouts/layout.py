"""`Layout`: one layout of detections that people have, and what `regions_from` has to make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.region import Region

SIZE = (640, 480)
"""(width, height) of the image that all samples are about."""


@dataclass(frozen=True)
class Layout:
    """A layout and what becomes of it.

    Attributes:
        have: what people call it, in Markdown: "EasyOCR `readtext`".
        make: returns the output as its source writes it.
        source: where the layout is documented, or whose source code writes it.
        regions: the regions to read, compared to a hundredth of a pixel; masks pixel by pixel.
        refusal: what the error has to say instead, where it must not be read.
        arguments: of `regions_from`. `image_size` is `SIZE`.
        needs: module that makes the real object; the sample is left out where it is not installed.
    """

    have: str
    make: Callable[[], Any]
    source: str
    regions: tuple[Region, ...] | None = None
    refusal: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    needs: str = ""

    @property
    def id(self) -> str:
        """Name of its test."""
        return f"{self.have} {self.shown_arguments}".strip()

    @property
    def shown_arguments(self) -> str:
        """The arguments as a reader writes them."""
        shown = {"image_size": "size", "labels": "names"}
        return ", ".join(f"{name}={shown.get(name) or repr(value)}" for name, value in self.arguments.items())

    @property
    def call(self) -> str:
        """The call as a reader writes it."""
        return f"regions_from({', '.join(filter(None, ['out', self.shown_arguments]))})"

    def read(self, **more: Any) -> list[Region]:
        """Call `regions_from` with a fresh output."""
        return regions_from(self.make(), **self.arguments, **more)

    def check(self, **more: Any) -> None:
        """Read or be refused as expected, or raise an `AssertionError`."""
        if self.regions is None:
            with pytest.raises(DetectionError) as caught:
                self.read(**more)
            assert self.refusal
            assert self.refusal in str(caught.value)
            assert len(str(caught.value)) < 600
        else:
            assert_same(self.read(**more), self.regions)


def assert_same(found: list[Region], expected: tuple[Region, ...]) -> None:
    """Compare regions: coordinates to a hundredth of a pixel, masks pixel by pixel, all else as it is."""
    assert [region.label for region in found] == [region.label for region in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.box == pytest.approx(other.box, abs=0.01)
        assert one.score == (None if other.score is None else pytest.approx(other.score, abs=1e-5))
        assert one.id == other.id
        assert (one.polygon is None) == (other.polygon is None)
        assert _flat(one.polygon) == pytest.approx(_flat(other.polygon), abs=0.01)
        assert one.point == (None if other.point is None else pytest.approx(other.point, abs=0.01))
        assert (one.mask is None) == (other.mask is None)
        assert one.mask is None or (one.mask == other.mask).all()


def _flat(polygon: tuple[tuple[float, float], ...] | None) -> list[float]:
    return [side for point in polygon or () for side in point]
