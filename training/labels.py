"""Dense labels: what each patch of an image shows. They come free with a drawn scene."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from langchain_vipllava.markers.kinds import COLOR_NAMES, KINDS
from training.model import GRID
from training.scene import PAINT_NAMES, SHAPES, Look, Scene

IGNORE = -100
HEADS: dict[str, int] = {
    # name: classes; 0 is "nothing"
    "color": len(PAINT_NAMES) + 1,
    "shape": len(SHAPES) + 1,
    "kind": len(KINDS) + 1,
    "marker_color": len(COLOR_NAMES) + 1,
    "middle": 2,  # one patch per object, so that objects can be counted
    "from_left": 6,
    "from_top": 6,
}
_GROUND_WEIGHT = 0.1  # nine patches in ten show background: at full weight, they drown the shapes
_SHARES = {"shape": 3.0, "kind": 1.5, "marker_color": 1.5, "middle": 0.5, "from_left": 0.4, "from_top": 0.4}
_FINE = 8  # sub-patches per patch side when measuring how much of a patch an object covers


def dense_labels(scene: Scene, looks: list[Look]) -> np.ndarray:
    """Label every patch.

    A patch belongs to the object that covers most of it, at least a seventh; with less than a
    thirtieth it is background; what lies between is not scored.

    Returns:
        (heads, GRID * GRID) int8, IGNORE where a head has nothing to say.
    """
    labels = np.full((len(HEADS), GRID, GRID), IGNORE, np.int8)
    cover, middles = _cover(scene)
    owner, most = cover.argmax(axis=0), cover.max(axis=0)
    ground, shown = most < 0.03, most >= 0.14
    marks = {look.thing: look for look in looks}
    tops = np.argsort(np.argsort([thing.center[1] for thing in scene.things]))
    for index, thing in enumerate(scene.things):
        mine = shown & (owner == index)
        mine.flat[cover[index].argmax()] = True
        look = marks.get(index)
        values = (
            PAINT_NAMES.index(thing.color) + 1,
            SHAPES.index(thing.shape) + 1,
            KINDS.index(look.kind) + 1 if look else 0,
            COLOR_NAMES.index(look.color) + 1 if look else 0,
            0,
            index + 1,
            int(tops[index]) + 1,
        )
        for head, value in enumerate(values):
            labels[head][mine] = value
        labels[4][middles[index]] = 1
    for head in (0, 1, 4, 5, 6):
        labels[head][ground & (labels[head] == IGNORE)] = 0
    return labels.reshape(len(HEADS), -1)


def turn_sample(pixels: np.ndarray, labels: np.ndarray, turn: int) -> tuple[np.ndarray, np.ndarray]:
    """Mirror an image and its labels.

    Args:
        pixels: (3, H, W).
        labels: (heads, patches), see `dense_labels`.
        turn: a sum of 1 (left to right), 2 (upside down) and 4 (rows become columns).
    """
    grid = labels.reshape(len(HEADS), GRID, GRID).copy()
    left, top = list(HEADS).index("from_left"), list(HEADS).index("from_top")
    for bit, axis, rank in ((1, 2, left), (2, 1, top)):
        if turn & bit:
            pixels, grid = np.flip(pixels, axis), np.flip(grid, axis).copy()
            seen = grid[rank] > 0
            grid[rank][seen] = grid[rank].max() + 1 - grid[rank][seen]
    if turn & 4:
        pixels, grid = pixels.swapaxes(1, 2), grid.swapaxes(1, 2).copy()
        grid[[left, top]] = grid[[top, left]]
    return np.ascontiguousarray(pixels), grid.reshape(labels.shape)


def _cover(scene: Scene) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """How much of each patch each object covers, (N, GRID, GRID), and the patch of its centre."""
    width, height = scene.size
    side = max(width, height)
    shift = np.array([(side - width) // 2, (side - height) // 2])  # as pad_to_square
    cover = np.zeros((len(scene.things), GRID, GRID), np.float32)
    middles = []
    for index, thing in enumerate(scene.things):
        fine = np.zeros((GRID * _FINE, GRID * _FINE), np.float32)
        corners = (thing.outline + shift) * (GRID * _FINE / side) - 0.5
        cv2.fillPoly(fine, [(corners * 16).round().astype(np.int32)], (1.0,), cv2.LINE_8, 4)
        cover[index] = fine.reshape(GRID, _FINE, GRID, _FINE).mean(axis=(1, 3))
        x, y = ((np.array(thing.center) + shift) * GRID / side).astype(int).clip(0, GRID - 1)
        middles.append((int(y), int(x)))
    return cover, middles


class DenseHeads(nn.Module):
    """Linear heads over the vision tower's last layer; used in training only, never exported."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, sum(HEADS.values()))
        nn.init.zeros_(self.linear.weight)  # new heads on a trained tower do not stir it up

    def forward(self, hidden: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """Score the heads.

        Args:
            hidden: (B, patches, width).
            labels: (B, heads, patches), see `dense_labels`.

        Returns:
            The loss, and per head how much is right where there is something to see, an object counting as one
            however many patches it covers.
        """
        logits = self.linear(self.norm(hidden)).float().split(list(HEADS.values()), dim=-1)
        loss, right, weights = torch.zeros(()), {}, patch_weights(labels).flatten()
        for head, (name, scores) in enumerate(zip(HEADS, logits, strict=True)):
            wanted = labels[:, head].flatten().long()
            losses = functional.cross_entropy(scores.flatten(0, 1), wanted, reduction="none", ignore_index=IGNORE)
            share = _SHARES.get(name, 1.0)
            loss = loss + share * (losses * weights).sum() / weights[wanted != IGNORE].sum()
            seen = (wanted > 0) * weights
            right[name] = ((scores.argmax(-1).flatten() == wanted) * seen).sum().item() / seen.sum().item()
        return loss, right


def patch_weights(labels: torch.Tensor) -> torch.Tensor:
    """How much each patch counts: every object alike, shared among its patches, or the large ones would drown the rest.

    Args:
        labels: (B, heads, patches), see `dense_labels`.

    Returns:
        (B, patches), about 1 on objects.
    """
    owners = labels[:, list(HEADS).index("from_left")]
    sizes = (owners[:, :, None] == owners[:, None]).sum(-1).float()
    seen = owners > 0
    return torch.where(seen, sizes[seen].mean() / sizes, _GROUND_WEIGHT)
