"""Several conversations about one image in one row, none of which sees another.

An image costs 169 tokens and a question 20, so a row carries the image once and then as many
conversations as fit. Each has the positions that it would have alone and attends to the image
and to itself only: exactly the numbers of a row of its own, at a fraction of the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

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


class Packer:
    """Turns conversations into rows."""

    fields = ("ids", "targets", "positions", "segments", "answers", "things", "first", "second", "relation")

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.eos = tokenizer.eos_token_id
        start = tokenizer(f"USER: {IMAGE}\n").input_ids
        at = start.index(tokenizer.convert_tokens_to_ids(IMAGE))
        self.image_start = at
        self.prefix = [*start[:at], *[start[at]] * IMAGE_TOKENS, *start[at + 1 :]]
        self.encode = lru_cache(50_000)(self._encode)

    def talk(
        self, turns: Sequence[Turn]
    ) -> tuple[list[int], list[int], list[int], list[int], list[tuple[int, int, int, int]]]:
        """Ids, targets, answer numbers (from 1) and things of one conversation, from the first question on.

        Last come, for each answer about two objects, the token where it begins, and what `Row.first`, `second` and
        `relation` say.
        """
        pairs: list[tuple[int, int, int, int]] = []
        ids: list[int] = []
        targets: list[int] = []
        answers: list[int] = []
        things: list[int] = []
        for number, turn in enumerate(turns, 1):
            before = "" if number == 1 else "USER: "
            asked, said = self.encode(f"{before}{turn.question}ASSISTANT:"), self.encode(f" {turn.answer}")
            start = len(ids)
            ids += [*asked, *said]
            # The last word of an answer is followed by the end when it is spoken, and by the next
            # question when it is remembered: so the target there is the end, whatever comes next.
            targets += [NOTHING] * (len(asked) - 1) + [*said, self.eos]
            answers += [0] * (len(asked) - 1) + [number] * (len(said) + 1)
            about = [0] * (len(asked) - 1) + [turn.thing + 1] * (len(said) + 1)
            # the token behind the phrase: "mask" may go on with "contour"
            ends = [len(self.encode(before + turn.question[:character])) for character, _ in turn.named]
            for end, (_, thing) in zip(ends, turn.named, strict=True):
                about[end] = thing + 1
            if len(ends) == 2:
                pairs.append(
                    (start + len(asked) - 1, start + ends[0], start + ends[1], COMPARISONS.index(turn.kind) + 1)
                )
            for *span, thing in turn.told:  # a token is chosen where the one before it stands
                first, last = (len(asked) - 1 + len(self.encode(f" {turn.answer[:c]}".rstrip())) for c in span)
                about[first:last] = [thing + 1] * (last - first)
            things += about
        return ids, targets, answers, things, pairs

    def pack(self, talks: Sequence[Sequence[Turn]]) -> tuple[Row, int]:
        """Fill a row.

        Returns:
            The row, and how many of the conversations went in.
        """
        ids, kinds, packed = list(self.prefix), [], 0
        targets, answers, things = [NOTHING] * len(ids), [0] * len(ids), [0] * len(ids)
        positions, segments = list(range(len(ids))), [0] * len(ids)
        first, second, relation = np.zeros((3, ROW), np.int16)
        for turns in talks:
            more, wanted, numbers, about, pairs = self.talk(turns)
            if len(ids) + len(more) > ROW:
                break
            packed += 1
            for at, one, other, asked in pairs:
                where = len(ids) + at
                first[where], second[where], relation[where] = len(ids) + one, len(ids) + other, asked
            ids += more
            targets += wanted
            things += about
            answers += [number + len(kinds) if number else 0 for number in numbers]
            positions += range(len(self.prefix), len(self.prefix) + len(more))
            segments += [packed] * len(more)
            kinds += [turn.kind for turn in turns]
        rest = ROW - len(ids)
        padded = (ids + [0] * rest, targets + [NOTHING] * rest, positions + [0] * rest)
        marks = (segments + [-1] * rest, answers + [0] * rest, things + [0] * rest)
        return Row(*(np.array(field, np.int16) for field in (*padded, *marks)), first, second, relation, kinds), packed

    def _encode(self, text: str) -> tuple[int, ...]:
        # behind a line break, as in a prompt: at the start of a text there would be a `▁` in front
        return tuple(self.tokenizer(f"\n{text}", add_special_tokens=False).input_ids[2:])


def attention_mask(segments: torch.Tensor) -> torch.Tensor:
    """(B, T) segments to the (B, 1, T, T) mask that is added to attention scores."""
    length = segments.shape[1]
    own = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return torch.zeros(own.shape, device=own.device).masked_fill(~(own & causal), -1e9)[:, None]
