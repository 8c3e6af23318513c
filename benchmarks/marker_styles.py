"""Compare hand-drawn markers with those of training: `python -m benchmarks.marker_styles`.

Draws both many times on one box, measures what a model could tell apart, and writes a table and a figure.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.training_markers import Box, TrainingMarker
from langchain_vipllava import Region, mark
from langchain_vipllava.markers.kinds import KINDS, MarkerKind

SIZE, BOX = (672, 672), (186.0, 206.0, 486.0, 406.0)
"""The image and the region: 150 x 100 px of the model's square."""

MEASURES = ("width", "height", "ink", "opacity", "x", "y")
"""Of a marker: the sides of its bounds, its area, and the center of its ink, in units of the box's; its opacity."""


_MIN_SPAN = 0.1
"""Of a histogram's axis. Chosen: a pixel of the model's square is 0.007 to 0.01, and less would look like a lot."""


def measure(alpha: np.ndarray, box: Box = BOX) -> dict[str, float]:
    """Measure a marker by its alpha, (H, W) uint8."""
    rows, columns = np.nonzero(alpha > alpha.max() / 2)
    x0, y0, x1, y1 = box
    return {
        "width": (np.ptp(columns) + 1) / (x1 - x0),
        "height": (np.ptp(rows) + 1) / (y1 - y0),
        "ink": rows.size / ((x1 - x0) * (y1 - y0)),
        "opacity": float(alpha.max()) / 255,
        "x": (columns.mean() - x0) / (x1 - x0),
        "y": (rows.mean() - y0) / (y1 - y0),
    }


def ours(kind: MarkerKind, seed: int, size: tuple[int, int] = SIZE, box: Box = BOX) -> np.ndarray:
    """Return the alpha of a hand-drawn marker of the package, (H, W) uint8."""
    black = Image.new("RGB", size)
    return np.asarray(mark(black, Region(box=box), kind=kind, color="red", seed=seed).image)[..., 0]


def trainings(kind: MarkerKind, seed: int, size: tuple[int, int] = SIZE, box: Box = BOX) -> np.ndarray:
    """Return the alpha of a marker of training, (H, W) uint8."""
    return TrainingMarker(size, box, random.Random(seed)).draw(kind)


def sample(kind: MarkerKind, count: int, size: tuple[int, int] = SIZE, box: Box = BOX) -> list[dict[str, np.ndarray]]:
    """Return what was measured on `count` markers of the package, and of training: arrays (count,) by measure."""
    return [
        _columns([measure(draw(kind, seed, size, box), box) for seed in range(count)]) for draw in (ours, trainings)
    ]


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean distance of two samples' quantiles (Wasserstein), in the units of the measure."""
    shares = np.linspace(0.005, 0.995, 100)
    return float(np.abs(np.quantile(a, shares) - np.quantile(b, shares)).mean())


def _columns(rows: list[dict[str, float]]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows]) for name in MEASURES}


def plot(samples: Mapping[MarkerKind, list[dict[str, np.ndarray]]], path: Path) -> None:
    """Draw histograms of every measure, ours beside training's."""
    import matplotlib  # noqa: PLC0415  # only here

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(len(samples), len(MEASURES), figsize=(13, 1.5 * len(samples)))
    for row, (kind, both) in zip(axes, samples.items(), strict=True):
        for axis, name in zip(row, MEASURES, strict=True):
            values = np.concatenate([each[name] for each in both])
            middle, half = (values.min() + values.max()) / 2, max(np.ptp(values) / 2, _MIN_SPAN / 2) + 1e-3
            bins = np.linspace(middle - half, middle + half, 24)
            for each, style in zip(both, ({"color": "tab:blue"}, {"color": "tab:orange"}), strict=True):
                axis.hist(each[name], bins, histtype="step", linewidth=1.5, **style)
            axis.set_yticks([])
            axis.tick_params(labelsize=7)
            axis.locator_params(axis="x", nbins=4)
            if kind == KINDS[0]:
                axis.set_title(name)
        row[0].set_ylabel(kind)
    figure.legend(["mark(seed=...)", "training"], loc="lower center", ncols=2)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(path, dpi=80)


def main() -> None:
    """Print the table and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    samples = {kind: sample(kind, arguments.count) for kind in KINDS}
    print(f"| kind | {' | '.join(MEASURES)} |")
    print("|---" * (len(MEASURES) + 1) + "|")
    for kind, (mine, theirs) in samples.items():
        print(f"| {kind} | {' | '.join(f'{distance(mine[name], theirs[name]):.3f}' for name in MEASURES)} |")
    if arguments.figure:
        plot(samples, arguments.figure)


if __name__ == "__main__":
    main()
