"""`HeatMap`: which parts of an image an answer depends on, by occlusion."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from langchain_vipllava.markers.html import show_image
from langchain_vipllava.text import cut, printable, quote

_OPACITY = 0.75
"""Share of the color where it is hottest. Chosen by looking: the object below stays recognizable."""

_SCALE = np.array([(60, 10, 100), (140, 30, 110), (225, 60, 60), (252, 165, 30), (252, 253, 160)], dtype=np.float64)
"""RGB from cold to hot, at equal distances. Chosen as in matplotlib's "inferno", whose lightness grows with the value,
so that it reads without color vision too."""

_MAX_ANSWER = 200
"""Characters of an answer that an LLM is shown. Chosen: a sentence or two."""


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Where an answer came from: how much less likely it gets when a patch of the image is grayed (occlusion).

    It says what the answer depends on, and not where the model attends: a marker is as necessary as what it marks.

    Attributes:
        image_id: id of the image.
        question: as the model read it.
        answer: the answer in question.
        drops: (rows, columns) float64, read-only: by how much the natural logarithm of the answer's probability drops
            when patches over this cell are grayed, on average. Row 0 is the top of `image`. Below 0 where graying makes
            the answer likelier.
        log_probability: of the answer, with nothing grayed.
        image: what the model saw, RGB: with its markers, cropped if it was marked with a zoom.
        crop: `(left, top, right, bottom)` of `image` in the whole image, in pixels.
        page: index of the page, for an image that is marked on several.
    """

    image_id: str
    question: str
    answer: str
    drops: np.ndarray = field(repr=False)
    log_probability: float
    image: Image.Image = field(repr=False)
    crop: tuple[int, int, int, int]
    page: int | None = None

    @property
    def peak(self) -> tuple[float, float]:
        """Where the answer depends most: (x, y) in pixels of the whole image, as regions are.

        The hottest cell and its eight neighbors, weighted by their drops: finer than a cell.
        """
        rows, columns = self.drops.shape
        row, column = divmod(int(self.drops.argmax()), columns)
        around = np.s_[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        weights = self.drops[around].clip(min=0)
        if not weights.any():
            weights = np.ones_like(weights)
        ys, xs = np.mgrid[:rows, :columns] + 0.5
        left, top, right, bottom = self.crop
        x, y = (float((weights * centers[around]).sum() / weights.sum()) for centers in (xs, ys))
        return left + x * (right - left) / columns, top + y * (bottom - top) / rows

    @property
    def heat(self) -> np.ndarray:
        """(rows, columns) in 0..1: the drops as shares of the largest one; what is below 0 is 0."""
        positive = self.drops.clip(min=0)
        top = positive.max()
        return positive / top if top > 0 else positive

    def overlay(self) -> Image.Image:
        """Return what the model saw with the heat over it, RGB, of the size of `image`."""
        cells = Image.fromarray((self.heat * 255).round().astype(np.uint8))
        heat = np.asarray(cells.resize(self.image.size, Image.Resampling.BICUBIC))
        levels = np.linspace(0, len(_SCALE) - 1, 256)
        colors = np.stack([np.interp(levels, range(len(_SCALE)), channel) for channel in _SCALE.T], axis=1)
        mask = Image.fromarray((heat * _OPACITY).astype(np.uint8))
        return Image.composite(Image.fromarray(colors.round().astype(np.uint8)[heat]), self.image, mask)

    @property
    def text(self) -> str:
        """What an LLM is told."""
        x, y = self.peak
        return (
            f"By occlusion, the answer {quote(self.answer, _MAX_ANSWER)} about {self.image_id} depends most on what is "
            f"around the point [{x:.0f}, {y:.0f}]."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON, without the image."""
        x, y = self.peak
        described = {
            "image_id": self.image_id,
            "question": self.question,
            "answer": self.answer,
            "method": "occlusion",
            "log_probability": round(self.log_probability, 4),
            "peak": [round(x, 1), round(y, 1)],
            "crop": list(self.crop),
            "drops": [[round(drop, 4) for drop in row] for row in self.drops.tolist()],
        }
        return described if self.page is None else {**described, "page": self.page}

    def __repr__(self) -> str:
        rows, columns = self.drops.shape
        return f"<HeatMap by occlusion, {columns} x {rows} cells, of {quote(self.answer, _MAX_ANSWER)}>"

    def _repr_html_(self) -> str:
        asked, answered = (escape(printable(cut(text, _MAX_ANSWER))) for text in (self.question, self.answer))
        return f"<div>{show_image(self.overlay())}<div>{asked} {answered}</div></div>"
