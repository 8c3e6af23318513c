"""The optimizers, Muon for matrices and AdamW for all other weights, and the learning rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

_MUON_LR_FACTOR = 4.0  # Muon's learning rate, relative to AdamW's
_MUON_RMS = 0.2  # makes updates as large as AdamW's (Moonlight, arXiv 2502.16982)
_QUINTIC = (3.4445, -4.7750, 2.0315)  # coefficients of the Newton-Schulz iteration (Keller Jordan's Muon)
_WEIGHT_DECAY = 0.01
WARMUP = 100  # steps


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalized updates.

    torch's own Muon orthogonalizes in bfloat16. On a CPU without bfloat16 arithmetic that alone takes
    longer than the rest of a step.

    Args:
        groups: parameter groups of matrices.
        lr: learning rate.
        momentum: decay of the running average of gradients.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float = 0.95) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # takes no closure
        """Update every matrix. Matrices of the same shape are orthogonalized in one batch."""
        for group in self.param_groups:
            same_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    same_shape.setdefault(weight.shape, []).append(weight)
            for shape, weights in same_shape.items():
                directions = torch.stack(
                    [
                        self._direction(weight, weight.grad, group["momentum"])
                        for weight in weights
                        if weight.grad is not None
                    ]
                )
                size = group["lr"] * _MUON_RMS * math.sqrt(max(shape))
                for weight, update in zip(weights, orthogonalize(directions), strict=True):
                    weight.mul_(1 - group["lr"] * _WEIGHT_DECAY).sub_(update, alpha=size)

    def _direction(self, weight: nn.Parameter, grad: torch.Tensor, momentum: float) -> torch.Tensor:
        average: torch.Tensor = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
        average.lerp_(grad, 1 - momentum)
        return grad.lerp(average, momentum)


def orthogonalize(matrices: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """Bring the singular values of N matrices (N, rows, columns) close to 1."""
    tall = matrices.shape[1] > matrices.shape[2]
    x: torch.Tensor = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = _QUINTIC
    for _ in range(rounds):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.transpose(1, 2) if tall else x


class Optimizers:
    """Muon and AdamW as one optimizer.

    Args:
        parts: (module, learning rate factor) pairs. A weight in two modules belongs to the first one.
        lr: peak learning rate.
    """

    def __init__(self, parts: Iterable[tuple[nn.Module, float]], lr: float) -> None:
        self.lr = lr
        muon_groups, adamw_groups, seen = [], [], set()
        for module, share in parts:
            matrices: list[nn.Parameter] = []
            others: list[nn.Parameter] = []
            for name, weight in module.named_parameters():
                if id(weight) not in seen:
                    seen.add(id(weight))
                    hidden = weight.ndim == 2 and not any(part in name for part in ("embed", "lm_head", "heads."))
                    (matrices if hidden else others).append(weight)
            muon_groups.append({"params": matrices, "share": share * _MUON_LR_FACTOR})
            adamw_groups.append({"params": others, "share": share})
        muon = Muon([group for group in muon_groups if group["params"]], lr)
        self.inner = [
            muon,
            torch.optim.AdamW(adamw_groups, lr, betas=(0.9, 0.98), weight_decay=_WEIGHT_DECAY, fused=True),
        ]

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
        """Return the states of both optimizers."""
        return [optimizer.state_dict() for optimizer in self.inner]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Load the states of both optimizers, but keep the current learning rate factors."""
        for optimizer, state in zip(self.inner, states, strict=True):
            shares = [group["share"] for group in optimizer.param_groups]
            optimizer.load_state_dict(state)
            for group, share in zip(optimizer.param_groups, shares, strict=True):
                group["share"] = share


def rate(step: int, steps: int, final: float = 0.02) -> float:
    """Return the learning rate factor: linear warm-up, then a cosine down to `final` at the last step."""
    cosine = final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
    return min((step + 1) / WARMUP, cosine)
