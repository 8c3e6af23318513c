"""Images of a training run: what it saw, and how it went."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from training.model import IMAGE_SIZE
from training.vision import draw_sample

_SIZE, _MARGIN = (900, 420), 40
_INKS = ((40, 90, 200), (200, 60, 40), (40, 150, 70), (150, 60, 160), (230, 140, 30), (20, 150, 170), (120, 120, 120))


def plot_samples(path: Path, seed: int, columns: int = 8, rows: int = 5) -> None:
    """Write a sheet of training images, as the model sees them."""
    rng = np.random.default_rng(seed)
    sheet = np.stack([draw_sample(rng)[2] for _ in range(columns * rows)])
    sheet = sheet.reshape(rows, columns, 3, IMAGE_SIZE, IMAGE_SIZE).transpose(0, 3, 1, 4, 2)
    Image.fromarray(sheet.reshape(rows * IMAGE_SIZE, columns * IMAGE_SIZE, 3)).save(path)


def plot_losses(out: Path) -> None:
    """Write a curve sheet beside each log in a folder: the loss, and all that is measured in 0..1."""
    for log in out.glob("*.log"):
        curves: dict[str, list[float]] = {}
        for line in log.read_text().splitlines():
            for name, value in re.findall(r"([a-z_]+) (\d+\.\d+)", line.partition("|")[0]):
                curves.setdefault(name, []).append(float(value))
        if curves:
            Image.fromarray(_draw(curves)).save(log.with_suffix(".png"))


def _draw(curves: dict[str, list[float]]) -> np.ndarray:
    """One sheet: every curve scaled to its maximum, or to 1 if it stays below."""
    width, height = _SIZE
    sheet = np.full((height, width, 3), 255, np.uint8)
    left, right, top, bottom = _MARGIN, width - 230, _MARGIN, height - _MARGIN
    cv2.rectangle(sheet, (left, top), (right, bottom), (180, 180, 180), 1)
    for index, (name, values) in enumerate(curves.items()):
        most = max(1.0, *values)
        xs = np.linspace(left, right, len(values))
        ys = bottom - np.array(values) / most * (bottom - top)
        ink = _INKS[index % len(_INKS)]
        cv2.polylines(sheet, [np.stack([xs, ys], 1).round().astype(np.int32)], False, ink, 1, cv2.LINE_AA)
        text = f"{name} {values[-1]:.3f}" + (f" (of {most:.1f})" if most > 1 else "")
        place = (right + 12, top + 14 + 20 * index)
        cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, ink, 1, cv2.LINE_AA)
    return sheet
