"""Several conversations about one image in one row, none of which sees another.

An image costs 169 tokens and a question 20, so a row carries the image once and then as many
conversations as fit. Each has the positions that it would have alone and attends to the image
and to itself only: exactly the numbers of a row of its own, at a fraction of the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from training.model import IMAGE_TOKENS
from training.questions import Turn
from training.tokenizer import IMAGE
from training.wordings import COMPARISONS

NOTHING = -100
ROW = IMAGE_TOKENS + 124  # tokens per row


@dataclass(frozen=True)
class Row:
    """One image's conversations, each field (ROW,) unless said otherwise.

    Attributes:
        ids: token ids.
        targets: the token to say next, NOTHING where the user is speaking.
        positions: as if each conversation were alone.
        segments: 0 for the image, then 1, 2, ... per conversation, -1 behind them.
        answers: number of the answer that a target belongs to, 0 for none.
        things: the object, counted from 1 at the left, that a token is about: it ends the phrase that names the
            object, or chooses a word about it. 0 for none or several.
        first: where a question about two objects is answered, the token behind the phrase that names the first one;
            0 elsewhere.
        second: the same of the second one.
        relation: there, what is asked of the two: 1 and more, in the order of COMPARISONS.
        kinds: what each answer's question was, in order; any length.
    """

    ids: np.ndarray
    targets: np.ndarray
    positions: np.ndarray
    segments: np.ndarray
    answers: np.ndarray
    things: np.ndarray
    first: np.ndarray
    second: np.ndarray
    relation: np.ndarray
    kinds: list[str]


class RowBatch(NamedTuple):
    """B rows: the fields of `Row`, each a (B, ROW) tensor."""

    ids: torch.Tensor
    targets: torch.Tensor
    positions: torch.Tensor
    segments: torch.Tensor
    answers: torch.Tensor
    things: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    relation: torch.Tensor

    @classmethod
    def stack(cls, rows: Sequence[Row]) -> RowBatch:
        """Stack rows into int16 tensors, which are cheap to send from a worker process."""
        return cls(*(torch.from_numpy(np.stack([getattr(row, name) for row in rows])) for name in cls._fields))

    def long(self) -> RowBatch:
        """Convert every field to int64, as indices and targets must be."""
        return RowBatch(*(field.long() for field in self))


class Comparison(NamedTuple):
    """Where an answer compares two objects: token offsets from the start of the conversation.

    Attributes:
        answer: the token at which the answer is predicted.
        first: the token after the phrase that names the first object.
        second: the token after the phrase that names the second object.
        relation: see `Row.relation`.
    """

    answer: int
    first: int
    second: int
    relation: int


@dataclass
class TokenizedTalk:
    """One conversation from its first question on, each field one number per token.

    Attributes:
        ids, targets, answers, things: see `Row`; the answers are numbered from 1.
        comparisons: one for each answer about two objects.
    """

    ids: list[int]
    targets: list[int]
    answers: list[int]
    things: list[int]
    comparisons: list[Comparison]


class Packer:
    """Turns conversations into rows."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.eos = tokenizer.eos_token_id
        start = tokenizer(f"USER: {IMAGE}\n").input_ids
        at = start.index(tokenizer.convert_tokens_to_ids(IMAGE))
        self.image_start = at
        self.prefix = [*start[:at], *[start[at]] * IMAGE_TOKENS, *start[at + 1 :]]
        self.encode = lru_cache(50_000)(self._encode)

    def tokenize(self, turns: Sequence[Turn]) -> TokenizedTalk:
        """Tokenize one conversation."""
        talk = TokenizedTalk([], [], [], [], [])
        for number, turn in enumerate(turns, 1):
            before = "" if number == 1 else "USER: "
            asked, said = self.encode(f"{before}{turn.question}ASSISTANT:"), self.encode(f" {turn.answer}")
            start, silent = len(talk.ids), len(asked) - 1
            talk.ids += [*asked, *said]
            # The last word of an answer is followed by the end when it is spoken, and by the next
            # question when it is remembered: so the target there is the end, whatever comes next.
            talk.targets += [NOTHING] * silent + [*said, self.eos]
            talk.answers += [0] * silent + [number] * (len(said) + 1)
            about = [0] * silent + [turn.thing + 1] * (len(said) + 1)
            # the token behind the phrase: "mask" may go on with "contour"
            ends = [len(self.encode(before + turn.question[:character])) for character, _ in turn.named]
            for end, (_, thing) in zip(ends, turn.named, strict=True):
                about[end] = thing + 1
            if len(ends) == 2:
                relation = COMPARISONS.index(turn.kind) + 1
                talk.comparisons.append(Comparison(start + silent, start + ends[0], start + ends[1], relation))
            for *span, thing in turn.told:  # a token is chosen where the one before it stands
                first, last = (silent + len(self.encode(f" {turn.answer[:c]}".rstrip())) for c in span)
                about[first:last] = [thing + 1] * (last - first)
            talk.things += about
        return talk

    def pack(self, talks: Sequence[Sequence[Turn]]) -> tuple[Row, int]:
        """Fill a row.

        Returns:
            The row, and how many of the conversations went in.
        """
        ids, packed = list(self.prefix), 0
        kinds: list[str] = []
        targets, answers, things = [NOTHING] * len(ids), [0] * len(ids), [0] * len(ids)
        positions, segments = list(range(len(ids))), [0] * len(ids)
        first, second, relation = np.zeros((3, ROW), np.int16)
        for turns in talks:
            talk = self.tokenize(turns)
            start, length = len(ids), len(talk.ids)
            if start + length > ROW:
                break
            packed += 1
            for comparison in talk.comparisons:
                at = start + comparison.answer
                first[at], second[at] = start + comparison.first, start + comparison.second
                relation[at] = comparison.relation
            ids += talk.ids
            targets += talk.targets
            things += talk.things
            answers += [number + len(kinds) if number else 0 for number in talk.answers]
            positions += range(len(self.prefix), len(self.prefix) + length)
            segments += [packed] * length
            kinds += [turn.kind for turn in turns]
        row = Row(
            ids=_pad(ids, 0),
            targets=_pad(targets, NOTHING),
            positions=_pad(positions, 0),
            segments=_pad(segments, -1),
            answers=_pad(answers, 0),
            things=_pad(things, 0),
            first=first,
            second=second,
            relation=relation,
            kinds=kinds,
        )
        return row, packed

    def _encode(self, text: str) -> tuple[int, ...]:
        # behind a line break, as in a prompt: at the start of a text there would be a `▁` in front
        return tuple(self.tokenizer(f"\n{text}", add_special_tokens=False).input_ids[2:])


def _pad(values: list[int], filler: int) -> np.ndarray:
    """Fill one field of a row up to ROW numbers: (ROW,) int16."""
    return np.array(values + [filler] * (ROW - len(values)), np.int16)


def attention_mask(segments: torch.Tensor) -> torch.Tensor:
    """(B, T) segments to the (B, 1, T, T) mask that is added to attention scores."""
    length = segments.shape[1]
    own = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return torch.zeros(own.shape, device=own.device).masked_fill(~(own & causal), -1e9)[:, None]
