"""Plots of a training run: a sheet of samples, and the curves of its logs."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from training.model import IMAGE_SIZE
from training.vision import draw_sample

_SIZE, _MARGIN = (900, 420), 40
_COLORS = ((40, 90, 200), (200, 60, 40), (40, 150, 70), (150, 60, 160), (230, 140, 30), (20, 150, 170), (120, 120, 120))


def plot_samples(path: Path, seed: int, columns: int = 8, rows: int = 5) -> None:
    """Save a sheet of training images at the model's resolution."""
    rng = np.random.default_rng(seed)
    sheet = np.stack([draw_sample(rng)[2] for _ in range(columns * rows)])
    sheet = sheet.reshape(rows, columns, 3, IMAGE_SIZE, IMAGE_SIZE).transpose(0, 3, 1, 4, 2)
    Image.fromarray(sheet.reshape(rows * IMAGE_SIZE, columns * IMAGE_SIZE, 3)).save(path)


def plot_losses(out: Path) -> None:
    """Plot each log in a folder: the loss, and every metric in 0..1."""
    for log in out.glob("*.log"):
        curves: dict[str, list[float]] = {}
        for line in log.read_text().splitlines():
            for name, value in re.findall(r"([a-z_]+) (\d+\.\d+)", line.partition("|")[0]):
                curves.setdefault(name, []).append(float(value))
        if curves:
            Image.fromarray(_draw(curves)).save(log.with_suffix(".png"))


def _draw(curves: dict[str, list[float]]) -> np.ndarray:
    """Draw every curve scaled to its maximum, or to 1 if that is larger: (H, W, 3) RGB uint8."""
    width, height = _SIZE
    sheet = np.full((height, width, 3), 255, np.uint8)
    left, right, top, bottom = _MARGIN, width - 230, _MARGIN, height - _MARGIN
    cv2.rectangle(sheet, (left, top), (right, bottom), (180, 180, 180), 1)
    for index, (name, values) in enumerate(curves.items()):
        top_value = max(1.0, *values)
        xs = np.linspace(left, right, len(values))
        ys = bottom - np.array(values) / top_value * (bottom - top)
        color = _COLORS[index % len(_COLORS)]
        cv2.polylines(sheet, [np.stack([xs, ys], 1).round().astype(np.int32)], False, color, 1, cv2.LINE_AA)
        text = f"{name} {values[-1]:.3f}" + (f" (of {top_value:.1f})" if top_value > 1 else "")
        place = (right + 12, top + 14 + 20 * index)
        cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, color, 1, cv2.LINE_AA)
    return sheet
