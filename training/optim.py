"""The optimizers: Muon for matrices, AdamW for all else; and the learning rate's course."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

_MUON_SHARE = 4.0  # Muon's learning rate, in units of AdamW's
WARMUP = 100


class Optimizers:
    """Muon and AdamW behind one handle.

    Args:
        parts: (module, share of the learning rate) pairs; a weight of two modules belongs to the first.
        lr: the highest learning rate.
    """

    def __init__(self, parts: Iterable[tuple[nn.Module, float]], lr: float) -> None:
        self.lr = lr
        matrices, others, taken = [], [], set()
        for module, share in parts:
            flat: list[nn.Parameter] = []
            square: list[nn.Parameter] = []
            for name, weight in module.named_parameters():
                if id(weight) not in taken:
                    taken.add(id(weight))
                    hidden = weight.ndim == 2 and not any(part in name for part in ("embed", "lm_head", "heads."))
                    (square if hidden else flat).append(weight)
            matrices.append({"params": square, "share": share * _MUON_SHARE})
            others.append({"params": flat, "share": share})
        muon = torch.optim.Muon(
            [group for group in matrices if group["params"]],
            lr,
            weight_decay=0.01,
            momentum=0.95,
            adjust_lr_fn="match_rms_adamw",
        )
        self.inner = [muon, torch.optim.AdamW(others, lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)]

    def step(self, gradient: torch.Tensor, factor: float) -> None:
        """Go one step down a loss, at `factor` times the highest learning rate."""
        for optimizer in self.inner:
            optimizer.zero_grad()
        gradient.backward()
        weights = [weight for optimizer in self.inner for group in optimizer.param_groups for weight in group["params"]]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for optimizer in self.inner:
            for group in optimizer.param_groups:
                group["lr"] = self.lr * factor * group["share"]
            optimizer.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """The state of both."""
        return [optimizer.state_dict() for optimizer in self.inner]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Take the state of both."""
        for optimizer, state in zip(self.inner, states, strict=True):
            shares = [group["share"] for group in optimizer.param_groups]
            optimizer.load_state_dict(state)
            for group, share in zip(optimizer.param_groups, shares, strict=True):
                group["share"] = share


def rate(step: int, spent: float, budget: float, least: float = 0.02) -> float:
    """Warm-up by steps, then a cosine by the clock, down to `least`."""
    course = least + (1 - least) * 0.5 * (1 + math.cos(math.pi * min(1.0, spent / budget)))
    return min((step + 1) / WARMUP, course)
