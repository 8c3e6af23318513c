"""What the text model is taught beside words: where to look, and what it should know of the objects in question."""

from __future__ import annotations

import torch
from torch.nn import functional

from training.labels import HEADS
from training.model import GRID
from training.packing import RowBatch
from training.wordings import SIDES

PLACE_WEIGHT = 5.0
AHEAD = 0.3  # of the square: about how far apart two objects are
TOLD = 2 + HEADS["color"] + HEADS["shape"]
"""Numbers that are told of an object: x, y, scores of colors, scores of shapes."""


def point_loss(scores: torch.Tensor, things: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
    """How far attention heads are from looking at the object that a token is about.

    Args:
        scores: (B, heads, T, patches), see `Learner.look`.
        things: (B, T), the object, counted from 1, 0 where there is none.
        owners: (B, patches), the object that a patch shows.
    """
    about = things > 0
    wanted = (owners[:, None] == things[:, :, None])[about]
    scores = scores.transpose(1, 2)[about]
    there = scores.masked_fill(~wanted[:, None], -1e4).logsumexp(-1)
    return (scores.logsumexp(-1) - there).mean()


def choose_loss(scores: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """How far two heads are from looking at what names the first object, and the second, where an answer compares them.

    Args:
        scores: (B, 2, T, T), see `Learner.look`, masked.
        first: (B, T), the token to look at, 0 where nothing is compared.
        second: (B, T), the same.
    """
    about = first > 0
    scores = scores.transpose(1, 2)[about]
    if not len(scores):
        return scores.sum()
    wanted = torch.stack([first[about], second[about]], dim=1)
    return functional.cross_entropy(scores.flatten(0, 1), wanted.flatten())


def middles(things: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
    """Middles of objects, (..., 2) x and y, 0 to 1 of the square.

    Args:
        things: (...), the object, counted from 1.
        owners: (..., patches), the object that a patch shows.
    """
    mine = (owners == things[..., None]).float()
    steps = (torch.arange(GRID) + 0.5) / GRID
    grid = torch.stack([steps.repeat(GRID), steps.repeat_interleave(GRID)], dim=1)
    return mine @ grid / mine.sum(dim=-1, keepdim=True).clamp(min=1)


def place_loss(places: torch.Tensor, things: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
    """How far the text model is from knowing where the object is that a phrase names.

    Args:
        places: (B, T, 2), what it says, see `middles`.
        things: (B, T), see `point_loss`.
        owners: (B, patches), see `point_loss`.
    """
    about = things > 0
    wanted = middles(things[about], owners[:, None].expand(*things.shape, -1)[about])
    return functional.mse_loss(places[about], wanted)


def ahead_loss(told: torch.Tensor, rows: RowBatch, owners: torch.Tensor) -> torch.Tensor:
    """How far the text model is from knowing how much an object is left of (right of, above, below) another one.

    Args:
        told: (B, T, 1), what it says, in units of AHEAD.
        rows: which objects are compared, and how.
        owners: (B, patches), see `point_loss`.
    """
    at = ((rows.relation > 0) & (rows.relation <= len(SIDES))).nonzero(as_tuple=True)
    batch = at[0]
    if not len(batch):
        return told.sum() * 0
    ends = torch.stack([rows.first[at], rows.second[at]], dim=1)
    places = middles(rows.things[batch[:, None], ends], owners[batch][:, None])
    apart = (places[:, 1] - places[:, 0]) / AHEAD
    signed = torch.stack([apart[:, 0], -apart[:, 0], apart[:, 1], -apart[:, 1]], dim=1)  # in the order of SIDES
    asked = rows.relation[at][:, None] - 1
    return functional.mse_loss(told[at], signed.gather(1, asked))


def tell_loss(told: torch.Tensor, rows: RowBatch, labels: torch.Tensor) -> torch.Tensor:
    """How far the text model is from knowing both objects, where an answer compares them.

    Args:
        told: (B, T, 2 * TOLD), what it says of each: x, y, scores of colors, scores of shapes.
        rows: which objects are compared.
        labels: (B, heads, patches), see `dense_labels`.
    """
    at = (rows.first > 0).nonzero(as_tuple=True)
    batch = at[0]
    if not len(batch):
        return told.sum() * 0
    ends = torch.stack([rows.first[at], rows.second[at]], dim=1)
    named = rows.things[batch[:, None], ends]
    owners = labels[batch, list(HEADS).index("from_left")][:, None]
    said = told[at].reshape(-1, 2, TOLD)
    loss = PLACE_WEIGHT * functional.mse_loss(said[..., :2], middles(named, owners))
    place = 2
    for head in ("color", "shape"):
        seen = labels[batch, list(HEADS).index(head)][:, None] * (owners == named[..., None])
        wanted, stop = seen.amax(-1).long(), place + HEADS[head]
        loss = loss + functional.cross_entropy(said[..., place:stop].flatten(0, 1), wanted.flatten())
        place = stop
    return loss
