"""Dense labels: what each patch of an image shows. A drawn scene provides them at no cost."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from training.kinds import COLOR_NAMES, KINDS
from training.model import GRID
from training.scene import PAINT_NAMES, SHAPES, Look, Scene

IGNORE = -100
HEADS: dict[str, int] = {
    # name: number of classes; class 0 means "nothing"
    "color": len(PAINT_NAMES) + 1,
    "shape": len(SHAPES) + 1,
    "kind": len(KINDS) + 1,
    "marker_color": len(COLOR_NAMES) + 1,
    "middle": 2,  # one patch per object, so that objects can be counted
    "from_left": 6,
    "from_top": 6,
}
HEAD_INDEX = {name: index for index, name in enumerate(HEADS)}
_BACKGROUND_WEIGHT = 0.1  # nine patches in ten are background and would dominate the loss
_HEAD_WEIGHTS = {"shape": 3.0, "kind": 1.5, "marker_color": 1.5, "middle": 0.5, "from_left": 0.4, "from_top": 0.4}
_SUBPATCHES = 8  # per patch side, to measure how much of a patch an object covers


def dense_labels(scene: Scene, looks: list[Look]) -> np.ndarray:
    """Label every patch.

    A patch belongs to the object that covers the largest part of it, if that is at least 14%. Below 3%
    it is background. Patches in between are ignored.

    Returns:
        (heads, GRID * GRID) int8, IGNORE where a head has no target.
    """
    labels = np.full((len(HEADS), GRID, GRID), IGNORE, np.int8)
    cover, middles = _cover(scene)
    owner, largest = cover.argmax(axis=0), cover.max(axis=0)
    background, shown = largest < 0.03, largest >= 0.14
    looks_by_thing = {look.thing: look for look in looks}
    tops = np.argsort(np.argsort([thing.center[1] for thing in scene.things]))
    for index, thing in enumerate(scene.things):
        mine = shown & (owner == index)
        mine.flat[cover[index].argmax()] = True
        look = looks_by_thing.get(index)
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
        labels[HEAD_INDEX["middle"]][middles[index]] = 1
    # the two marker heads stay IGNORE on background, where parts of a marker are drawn too
    for name in ("color", "shape", "middle", "from_left", "from_top"):
        target = labels[HEAD_INDEX[name]]
        target[background & (target == IGNORE)] = 0
    return labels.reshape(len(HEADS), -1)


def turn_sample(pixels: np.ndarray, labels: np.ndarray, turn: int) -> tuple[np.ndarray, np.ndarray]:
    """Mirror an image and its labels.

    Args:
        pixels: (3, H, W).
        labels: (heads, patches), see `dense_labels`.
        turn: a sum of 1 (flip left to right), 2 (flip top to bottom) and 4 (transpose).
    """
    grid = labels.reshape(len(HEADS), GRID, GRID).copy()
    left, top = HEAD_INDEX["from_left"], HEAD_INDEX["from_top"]
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
    """Return the share of each patch that each object covers (N, GRID, GRID), and each object's center patch."""
    width, height = scene.size
    side = max(width, height)
    shift = np.array([(side - width) // 2, (side - height) // 2])  # as pad_to_square does
    cover = np.zeros((len(scene.things), GRID, GRID), np.float32)
    middles = []
    for index, thing in enumerate(scene.things):
        fine = np.zeros((GRID * _SUBPATCHES, GRID * _SUBPATCHES), np.float32)
        corners = (thing.outline + shift) * (GRID * _SUBPATCHES / side) - 0.5
        cv2.fillPoly(fine, [(corners * 16).round().astype(np.int32)], (1.0,), cv2.LINE_8, 4)
        cover[index] = fine.reshape(GRID, _SUBPATCHES, GRID, _SUBPATCHES).mean(axis=(1, 3))
        x, y = ((np.array(thing.center) + shift) * GRID / side).astype(int).clip(0, GRID - 1)
        middles.append((int(y), int(x)))
    return cover, middles


class DenseHeads(nn.Module):
    """Linear heads over the vision tower's last layer. Only training uses them; they are not exported."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, sum(HEADS.values()))
        nn.init.zeros_(self.linear.weight)  # so that new heads do not disturb a trained tower

    def forward(self, hidden: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """Compute the loss of all heads.

        Args:
            hidden: (B, patches, width).
            labels: (B, heads, patches), see `dense_labels`.

        Returns:
            The loss, and the accuracy of each head on objects. Every object counts the same, whatever its size.
        """
        logits = self.linear(self.norm(hidden)).float().split(list(HEADS.values()), dim=-1)
        loss, accuracy, weights = torch.zeros(()), {}, patch_weights(labels).flatten()
        for head, (name, scores) in enumerate(zip(HEADS, logits, strict=True)):
            targets = labels[:, head].flatten().long()
            losses = functional.cross_entropy(scores.flatten(0, 1), targets, reduction="none", ignore_index=IGNORE)
            head_weight = _HEAD_WEIGHTS.get(name, 1.0)
            loss = loss + head_weight * (losses * weights).sum() / weights[targets != IGNORE].sum()
            visible = (targets > 0) * weights
            hits = scores.argmax(-1).flatten() == targets
            accuracy[name] = (hits * visible).sum().item() / visible.sum().item()
        return loss, accuracy


def patch_weights(labels: torch.Tensor) -> torch.Tensor:
    """Weight patches so that every object counts the same, or large objects would dominate the loss.

    Args:
        labels: (B, heads, patches), see `dense_labels`.

    Returns:
        (B, patches), about 1 on objects.
    """
    owners = labels[:, HEAD_INDEX["from_left"]]
    sizes = (owners[:, :, None] == owners[:, None]).sum(-1).float()
    on_object = owners > 0
    return torch.where(on_object, sizes[on_object].mean() / sizes, _BACKGROUND_WEIGHT)
