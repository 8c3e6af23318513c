"""Auxiliary losses of the text model: where its attention heads look, and what its hidden states know of objects."""

from __future__ import annotations

import torch
from torch.nn import functional

from training.labels import HEAD_INDEX, HEADS
from training.model import GRID
from training.packing import RowBatch
from training.wordings import SIDES

PLACE_WEIGHT = 5.0
DISTANCE_UNIT = 0.3  # of the square's side; a typical distance between two objects
OBJECT_OUTPUTS = 2 + HEADS["color"] + HEADS["shape"]
"""Outputs of the probe for one object: x, y, color logits, shape logits."""


def point_loss(scores: torch.Tensor, things: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
    """Teach attention heads to look at the object that a token is about.

    Args:
        scores: (B, heads, T, patches), see `Learner.attention_scores`.
        things: (B, T), number of the object from 1; 0 for none.
        owners: (B, patches), number of the object that a patch shows.

    Returns:
        The mean negative log of the attention on the object's patches.
    """
    is_about = things > 0
    on_object = (owners[:, None] == things[:, :, None])[is_about]
    scores = scores.transpose(1, 2)[is_about]
    object_scores = scores.masked_fill(~on_object[:, None], -1e4).logsumexp(-1)
    return (scores.logsumexp(-1) - object_scores).mean()


def choose_loss(scores: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Teach two heads to look at the two phrases that name the objects, where an answer compares them.

    Args:
        scores: (B, 2, T, T), see `Learner.attention_scores`, masked.
        first: (B, T), index of the token that the first head should look at; 0 where nothing is compared.
        second: (B, T), the same for the second head.
    """
    compares = first > 0
    scores = scores.transpose(1, 2)[compares]
    if not len(scores):
        return scores.sum()
    targets = torch.stack([first[compares], second[compares]], dim=1)
    return functional.cross_entropy(scores.flatten(0, 1), targets.flatten())


def source_loss(scores: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """Teach heads to look at the token of the question that tells what comes next in an answer.

    Args:
        scores: (B, heads, T, T), see `Learner.attention_scores`, masked.
        sources: (B, T), index of that token; 0 for none.
    """
    told = sources > 0
    scores = scores.transpose(1, 2)[told]
    if not len(scores):
        return scores.sum()
    return functional.cross_entropy(scores.flatten(0, 1), sources[told].repeat_interleave(scores.shape[1]))


def centers(things: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
    """Return the centers of objects: (..., 2), x and y from 0 to 1 of the square.

    Args:
        things: (...), number of the object from 1.
        owners: (..., patches), number of the object that a patch shows.
    """
    on_object = (owners == things[..., None]).float()
    steps = (torch.arange(GRID, device=things.device) + 0.5) / GRID
    grid = torch.stack([steps.repeat(GRID), steps.repeat_interleave(GRID)], dim=1)
    return on_object @ grid / on_object.sum(dim=-1, keepdim=True).clamp(min=1)


def place_loss(places: torch.Tensor, things: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
    """Teach the text model where the object is that a phrase names.

    Args:
        places: (B, T, 2), predicted centers, see `centers`.
        things: (B, T), see `point_loss`.
        owners: (B, patches), see `point_loss`.
    """
    is_about = things > 0
    targets = centers(things[is_about], owners[:, None].expand(*things.shape, -1)[is_about])
    return functional.mse_loss(places[is_about], targets)


def ahead_loss(distances: torch.Tensor, rows: RowBatch, owners: torch.Tensor) -> torch.Tensor:
    """Teach the text model how far the first object is left of (right of, above, below) the second one.

    Args:
        distances: (B, T, 1), predicted distances, in units of DISTANCE_UNIT.
        rows: the compared objects and their relation.
        owners: (B, patches), see `point_loss`.
    """
    at = ((rows.relation > 0) & (rows.relation <= len(SIDES))).nonzero(as_tuple=True)
    batch = at[0]
    if not len(batch):
        return distances.sum() * 0
    ends = torch.stack([rows.first[at], rows.second[at]], dim=1)
    places = centers(rows.things[batch[:, None], ends], owners[batch][:, None])
    offset = (places[:, 1] - places[:, 0]) / DISTANCE_UNIT
    targets = torch.stack([offset[:, 0], -offset[:, 0], offset[:, 1], -offset[:, 1]], dim=1)  # in the order of SIDES
    side = rows.relation[at][:, None] - 1
    return functional.mse_loss(distances[at], targets.gather(1, side))


def tell_loss(outputs: torch.Tensor, rows: RowBatch, labels: torch.Tensor) -> torch.Tensor:
    """Teach the text model the position, color and shape of both objects, where an answer compares them.

    Args:
        outputs: (B, T, 2 * OBJECT_OUTPUTS), the probe's outputs for the two objects.
        rows: the compared objects.
        labels: (B, heads, patches), see `dense_labels`.
    """
    at = (rows.first > 0).nonzero(as_tuple=True)
    batch = at[0]
    if not len(batch):
        return outputs.sum() * 0
    ends = torch.stack([rows.first[at], rows.second[at]], dim=1)
    things = rows.things[batch[:, None], ends]
    owners = labels[batch, HEAD_INDEX["from_left"]][:, None]
    outputs = outputs[at].reshape(-1, 2, OBJECT_OUTPUTS)
    is_object = things > 0  # the second one may be a word: "Is the object ... red?"
    loss = PLACE_WEIGHT * functional.mse_loss(outputs[is_object][:, :2], centers(things, owners)[is_object])
    start = 2
    for head in ("color", "shape"):
        on_object = labels[batch, HEAD_INDEX[head]][:, None] * (owners == things[..., None])
        targets, stop = on_object.amax(-1).long(), start + HEADS[head]
        loss = loss + functional.cross_entropy(outputs[is_object][:, start:stop], targets[is_object])
        start = stop
    return loss
