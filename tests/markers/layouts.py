"""Random layouts of regions, as detectors report them: scattered, in a grid, nested, touching, points, masks."""

from __future__ import annotations

import numpy as np

from langchain_vipllava import Region

SIZES = ((640, 480), (500, 500), (672, 378), (300, 600), (336, 336), (300, 200))


def layout(seed):
    """Return (width, height), 5 to 80 regions of several kinds, and the kind of marker that they get."""
    rng = np.random.default_rng(seed)
    size = SIZES[seed % len(SIZES)]
    count = int(rng.integers(5, 81))
    make = (scattered, grid, nested, shelf)[seed % 4]
    kind = "rectangle" if count <= 9 else "auto"
    return size, make(rng, size, count), kind


def scattered(rng, size, count):
    regions = []
    for _ in range(count):
        sides = rng.uniform(0.015, 0.25, 2) * size
        x, y = rng.uniform(0, 1, 2) * (size - sides)
        form = rng.choice(["box", "box", "mask", "polygon", "point"])
        regions.append(_region(rng, size, (x, y, x + sides[0], y + sides[1]), form))
    return regions


def grid(rng, size, count):
    columns = int(np.ceil(np.sqrt(count)))
    cell = np.array(size) / columns
    gap = float(rng.choice([0, 0, 0.1, 0.3])) * cell
    return [_region(rng, size, (*(np.array([i % columns, i // columns]) * cell + gap / 2),
                                *(np.array([i % columns + 1, i // columns + 1]) * cell - gap / 2)), "box")
            for i in range(count)]  # fmt: skip


def nested(rng, size, count):
    regions = [_region(rng, size, (0.02 * size[0], 0.02 * size[1], 0.98 * size[0], 0.98 * size[1]), "box")]
    while len(regions) < count:
        x0, y0, x1, y1 = regions[int(rng.integers(len(regions)))].box
        a, c = np.sort(rng.uniform(0, 1, 2)) * (x1 - x0)
        b, d = np.sort(rng.uniform(0, 1, 2)) * (y1 - y0)
        if c - a > 0.02 * size[0] and d - b > 0.02 * size[1]:
            regions.append(_region(rng, size, (x0 + a, y0 + b, x0 + c, y0 + d), "box"))
        elif x1 - x0 < 0.1 * size[0] or y1 - y0 < 0.1 * size[1]:
            regions += scattered(rng, size, 1)
    return regions


def shelf(rng, size, count):
    regions, rows = [], int(np.ceil(count / 12))
    for row in range(rows):
        x, height = 0.0, size[1] / rows
        while len(regions) < count and x < 0.95 * size[0]:
            width = float(rng.uniform(0.03, 0.12)) * size[0]
            top = (row + float(rng.uniform(0.05, 0.6))) * height
            box = (x, top, min(x + width, size[0]), (row + 1) * height)
            regions.append(_region(rng, size, box, str(rng.choice(["box", "box", "mask"]))))
            x += width
    return regions


def _region(rng, size, box, form):
    x0, y0, x1, y1 = box
    if form == "point":
        return Region(point=((x0 + x1) / 2, (y0 + y1) / 2))
    if form == "polygon":
        middle, half = np.array([x0 + x1, y0 + y1]) / 2, np.array([x1 - x0, y1 - y0]) / 2
        angle = float(rng.uniform(0, np.pi))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        corners = np.array([(-0.7, -0.3), (0.7, -0.3), (0.7, 0.3), (-0.7, 0.3)]) @ turn
        return Region(polygon=(middle + corners * half).clip(0, size))
    if form == "mask":
        rows, columns = np.mgrid[: size[1], : size[0]]
        u = (columns - (x0 + x1) / 2) / max((x1 - x0) / 2, 1.5)
        v = (rows - (y0 + y1) / 2) / max((y1 - y0) / 2, 1.5)
        return Region(mask=(u * u + v * v <= 1) & ((u * u + v * v > 0.3) | (v < 0)))
    return Region(box=box)
