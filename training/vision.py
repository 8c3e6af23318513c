"""Stage 1: train the vision tower alone, on dense labels.

A model that is trained end to end from scratch takes hours to bind questions to markers. With a tower
that already recognizes objects and markers, it takes minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from langchain_vipllava import pad_to_square
from langchain_vipllava.markers.kinds import COLORS
from training.kinds import COLOR_NAMES, KINDS
from training.labels import DenseHeads, dense_labels, turn_sample
from training.model import IMAGE_SIZE, best_device, build_vision, half_precision, normalize, part_of, read_weights
from training.optim import Optimizers, rate
from training.scene import Look, Scene, draw_looks, draw_scene, mark_scene

_OFTEN = {"triangle": 3, "ellipse": 1.5, "mask": 1.5}
"""Kinds that are drawn more often than the others, because they hide most of an object's shape."""

KIND_SHARES = tuple(_OFTEN.get(kind, 1) / 11 for kind in KINDS)
"""Probability of each of KINDS; 11 is the sum of the weights."""

HAND_DRAWN = 0.4
"""Share of images with hand-drawn markers: users draw constant ones."""

NAMED_GROUNDS, BY_CONTRAST = 0.1, 0.3
"""Shares of plain images in a marker's color, and of other images, where `mark` chooses the colors by contrast."""

POOL_SIZE = 512  # earlier images, kept to be used again, mirrored
SMALL_SIDES = (160, 360)  # of most images: they are cheap to draw, and the model sees 208 px of any image


def draw_sample(rng: np.random.Generator, unmarked: float = 0.0) -> tuple[Scene, list[Look], np.ndarray]:
    """Draw a marked scene.

    Args:
        rng: source of all randomness.
        unmarked: share of scenes without markers.

    Returns:
        The scene, its markers, and the pixels as the model sees them: (3, IMAGE_SIZE, IMAGE_SIZE) uint8.
    """
    small = rng.random() < 0.95
    ground = COLORS[COLOR_NAMES[int(rng.integers(len(COLOR_NAMES)))]] if rng.random() < NAMED_GROUNDS else None
    scene = draw_scene(rng, sides=SMALL_SIDES, ground=ground) if small else draw_scene(rng, ground=ground)
    if rng.random() < unmarked:
        return scene, [], to_pixels(Image.fromarray(scene.image))
    looks = draw_looks(rng, scene, shares=KIND_SHARES)
    seed = int(rng.integers(2**31)) if rng.random() < HAND_DRAWN else None
    by_contrast = ground is not None or rng.random() < BY_CONTRAST
    marked = mark_scene(rng, scene, looks, seed, by_contrast=by_contrast)
    looks = [replace(look, color=marker.color) for look, marker in zip(looks, marked.markers, strict=True)]
    return scene, looks, to_pixels(marked.image)


def to_pixels(image: Image.Image) -> np.ndarray:
    """Pad to a square and resize as the checkpoint's processor does: (3, IMAGE_SIZE, IMAGE_SIZE) uint8."""
    square = pad_to_square(image).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    return np.asarray(square).transpose(2, 0, 1)


class DenseBatches(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Endless batches of (pixels, dense labels); every worker draws different ones.

    Args:
        seed: of the images.
        batch: images per batch.
    """

    def __init__(self, seed: int, batch: int) -> None:
        self.seed, self.batch = seed, batch

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Draw batches indefinitely: pixels (B, 3, H, W) uint8, labels (B, heads, patches) int8."""
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, info.id if info else 0])
        cv2.setNumThreads(1)
        pool: list[tuple[np.ndarray, np.ndarray]] = []
        while True:
            drawn = [draw_sample(rng) for _ in range(self.batch // 2 if pool else self.batch)]
            fresh = [(pixels, dense_labels(scene, looks)) for scene, looks, pixels in drawn]
            # drawing costs nearly as much as a training step, so half of a batch are earlier images, mirrored
            reused: list[int] = rng.integers(len(pool), size=self.batch - len(fresh)).tolist() if pool else []
            turned = [turn_sample(*pool[index], int(rng.integers(1, 8))) for index in reused]
            pixels, labels = (np.stack(part) for part in zip(*fresh, *turned, strict=True))
            pool = [*fresh, *pool][:POOL_SIZE]
            yield torch.from_numpy(pixels), torch.from_numpy(labels)


def train_vision(
    out: Path,
    seed: int,
    steps: int,
    init: Path | None = None,
    batch: int = 128,
    lr: float = 1e-3,
    workers: int = 1,
) -> None:
    """Train the tower. Resumes from `out/vision.pt` if it exists.

    Args:
        out: folder for the checkpoint and the log.
        seed: of weights and images.
        steps: total number of steps.
        init: checkpoint to continue from, see `read_weights`.
        batch: images per step.
        lr: peak learning rate.
        workers: processes that draw images.
    """
    torch.manual_seed(seed)
    device = best_device()
    tower = build_vision()
    heads = DenseHeads(tower.config.hidden_size)
    if init is not None:
        weights = read_weights(init)
        tower.load_state_dict(part_of(weights, "model.model.vision_tower."))
        if head_weights := part_of(weights, "heads."):  # an exported checkpoint has none
            heads.load_state_dict(head_weights)
    tower.to(device)
    heads.to(device)
    optimizers = Optimizers([(tower, 1.0), (nn.ModuleDict({"heads": heads}), 1.0)], lr)
    path, step = out / "vision.pt", 0
    if path.exists():
        state = torch.load(path, map_location=device)
        tower.load_state_dict(state["tower"])
        heads.load_state_dict(state["heads"])
        optimizers.load_state_dict(state["optimizer"])
        step = state["step"]
    compiled_tower: Callable[[torch.Tensor], Any] = torch.compile(tower)
    batches = iter(DataLoader(DenseBatches(seed + step, batch), None, num_workers=workers, prefetch_factor=6))
    log = (out / "vision.log").open("a")
    averages: dict[str, float] = {}
    for step in tqdm(range(step, steps), initial=step, total=steps, unit="step", mininterval=5):  # noqa: B020
        pixels, labels = (part.to(device) for part in next(batches))
        with half_precision(device):
            hidden = compiled_tower(normalize(pixels)).last_hidden_state[:, 1:]
        loss, accuracy = heads(hidden.float(), labels)
        optimizers.step(loss, rate(step, steps, final=0.1))
        for name, value in {"loss": loss.item(), **accuracy}.items():
            averages[name] = value + 0.95 * (averages.get(name, value) - value)
        if (step + 1) % 20 == 0:
            shown = " ".join(f"{name} {value:.3f}" for name, value in averages.items())
            print(f"step {step + 1} {time.strftime('%H:%M:%S')} {shown}", file=log, flush=True)
        if (step + 1) % 200 == 0 or step + 1 == steps:
            state = {"tower": tower.state_dict(), "heads": heads.state_dict(), "optimizer": optimizers.state_dict()}
            torch.save({**state, "step": step + 1}, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").replace(path)
