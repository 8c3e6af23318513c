"""The optimizers: Muon for matrices, AdamW for all else; and the learning rate's course."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

_MUON_SHARE = 4.0  # Muon's learning rate, in units of AdamW's
_MUON_RMS = 0.2  # an update as large as AdamW's (Moonlight, arXiv 2502.16982)
_QUINTIC = (3.4445, -4.7750, 2.0315)  # of the Newton-Schulz iteration (Keller Jordan's Muon)
_DECAY = 0.01
WARMUP = 100


class Muon(torch.optim.Optimizer):
    """Momentum whose every update is made orthogonal.

    torch has one, which orthogonalises in bfloat16: on a CPU without bfloat16 arithmetic that alone
    takes longer than the rest of a step.

    Args:
        groups: parameter groups of matrices.
        lr: learning rate.
        momentum: how much of the last direction is kept.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float = 0.95) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # takes no closure
        """Move every matrix; those of one shape are made orthogonal together."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    alike.setdefault(weight.shape, []).append(weight)
            for shape, weights in alike.items():
                directions = torch.stack(
                    [
                        self._direction(weight, weight.grad, group["momentum"])
                        for weight in weights
                        if weight.grad is not None
                    ]
                )
                size = group["lr"] * _MUON_RMS * math.sqrt(max(shape))
                for weight, update in zip(weights, orthogonalize(directions), strict=True):
                    weight.mul_(1 - group["lr"] * _DECAY).sub_(update, alpha=size)

    def _direction(self, weight: nn.Parameter, grad: torch.Tensor, momentum: float) -> torch.Tensor:
        average: torch.Tensor = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
        average.lerp_(grad, 1 - momentum)
        return grad.lerp(average, momentum)


def orthogonalize(matrices: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """Bring the singular values of each of (N, rows, columns) matrices close to 1."""
    tall = matrices.shape[1] > matrices.shape[2]
    x: torch.Tensor = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = _QUINTIC
    for _ in range(rounds):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.transpose(1, 2) if tall else x


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
        muon = Muon([group for group in matrices if group["params"]], lr)
        self.inner = [muon, torch.optim.AdamW(others, lr, betas=(0.9, 0.98), weight_decay=_DECAY, fused=True)]

    def step(self, loss: torch.Tensor, factor: float) -> None:
        """Take one step down `loss`, at `factor` times the peak learning rate."""
        for optimizer in self.inner:
            optimizer.zero_grad()
        torch.autograd.backward(loss)
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


def rate(step: int, steps: int, least: float = 0.02) -> float:
    """Warm-up, then a cosine down to `least` at the last step."""
    course = least + (1 - least) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
    return min((step + 1) / WARMUP, course)
