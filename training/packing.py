"""Packs several conversations about one image into one row.

An image takes 169 tokens and a question about 20, so a row holds the image once, then as many
conversations as fit. Each conversation has the positions that it would have alone, and attends only to
the image and to itself. The model's outputs are the same as for separate rows, at a fraction of the cost.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from training.model import IMAGE_TOKENS
from training.tokenizer import IMAGE
from training.turn import Turn
from training.wordings import COMPARISONS

IGNORE = -100  # no target; cross_entropy's default ignore_index
# Of JSON, what the grammar writes: keys, and the ends of objects, unless a number stands there, which could go on.
_GIVEN = re.compile(r'(?<=[{,])"[^"]*":|(?<!\d)}')
ROW = IMAGE_TOKENS + 270  # tokens per row


@dataclass(frozen=True)
class Row:
    """The conversations about one image. Every field except `kinds` has shape (ROW,) and dtype int16.

    Attributes:
        ids: token ids.
        targets: the next token of the answer; IGNORE in questions and where the grammar writes JSON.
        positions: position ids; every conversation starts right after the image, which follows the system text.
        segments: 0 for the image and the system text, 1, 2, ... for the conversations, -1 for padding.
        answers: number of the answer, from 1, that the target belongs to; 0 for none.
        things: number of the object, from 1 at the left, that a token is about. Such a token follows a phrase that
            names the object, or predicts a word about it. 0 for none or several.
        first: at tokens that predict an answer about two objects, the index of the token after the phrase that
            names the first object; 0 elsewhere.
        second: the same for the second object.
        relation: at the same tokens, 1 + the index of the relation in COMPARISONS; 0 elsewhere.
        sources: at tokens that predict a part of an answer which one token of the question tells, the index of that
            token; 0 elsewhere.
        kinds: kind of each answered question, in order.
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
    sources: np.ndarray
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
    sources: torch.Tensor

    @classmethod
    def stack(cls, rows: Sequence[Row]) -> RowBatch:
        """Stack rows; int16 keeps the transfer from a worker process small."""
        return cls(*(torch.from_numpy(np.stack([getattr(row, name) for row in rows])) for name in cls._fields))

    def long(self, device: torch.device) -> RowBatch:
        """Move every field to a device, as int64, which indexing and cross_entropy need."""
        return RowBatch(*(field.to(device, torch.int64) for field in self))


class Comparison(NamedTuple):
    """Where an answer compares two objects: token indices from the start of the conversation.

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
class TokenizedConversation:
    """One conversation without the image; each list has one number per token.

    Attributes:
        ids, targets, answers, things: see `Row`.
        sources: the same, counted from the start of the conversation; -1 for none.
        comparisons: one for each answer about two objects.
    """

    ids: list[int]
    targets: list[int]
    answers: list[int]
    things: list[int]
    sources: list[int]
    comparisons: list[Comparison]


class Packer:
    """Packs conversations into rows.

    Args:
        tokenizer: tokenizer of the model.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.eos = tokenizer.eos_token_id
        start = tokenizer(f"USER: {IMAGE}\n").input_ids
        self.image_start = start.index(tokenizer.convert_tokens_to_ids(IMAGE))
        before, image, after = start[: self.image_start], start[self.image_start], start[self.image_start + 1 :]
        self.prefix = [*before, *[image] * IMAGE_TOKENS, *after]
        self.encode = lru_cache(50_000)(self._encode)

    def tokenize(self, turns: Sequence[Turn]) -> TokenizedConversation:
        """Tokenize one conversation."""
        tokens = TokenizedConversation([], [], [], [], [], [])
        for number, turn in enumerate(turns, 1):
            before = "" if number == 1 else "USER: "
            question, answer = self.encode(f"{before}{turn.question}ASSISTANT:"), self.encode(f" {turn.answer}")
            start, untaught = len(tokens.ids), len(question) - 1
            tokens.ids += [*question, *answer]
            # In generation, EOS follows an answer. In the history, the next question follows it without EOS.
            # So the target at an answer's last token is always EOS, and EOS is never an input.
            taught = [*answer, self.eos] if turn.taught else [IGNORE] * (len(answer) + 1)
            tokens.targets += [IGNORE] * untaught + taught
            tokens.answers += [0] * untaught + [number if turn.taught else 0] * (len(answer) + 1)
            for begin, end in (*turn.given, *_given(turn.answer)):
                first, last = (start + untaught + len(self.encode(f" {turn.answer[:c]}")) for c in (begin, end))
                tokens.targets[first:last] = [IGNORE] * (last - first)
                tokens.answers[first:last] = [0] * (last - first)
            about = [0] * untaught + [turn.thing + 1] * (len(answer) + 1)
            # the token after the phrase, as "contour" may follow "mask"
            ends = [len(self.encode(before + turn.question[:character])) for character, _ in turn.named]
            for end, (_, thing) in zip(ends, turn.named, strict=True):
                if thing >= 0:  # a word that the question names may directly follow the phrase
                    about[end] = thing + 1
            if turn.kind in COMPARISONS:
                relation = COMPARISONS.index(turn.kind) + 1
                decided = len(self.encode(f" {turn.answer[: turn.decided_at]}")) if turn.decided_at else 0
                at = start + untaught + decided
                tokens.comparisons.append(Comparison(at, start + ends[0], start + ends[1], relation))
            sources = [-1] * len(about)
            told = {thing: start + end for end, (_, thing) in zip(ends, turn.named, strict=True)}
            for *span, thing in turn.mentions:  # the token before a word predicts it
                first, last = (untaught + len(self.encode(f" {turn.answer[:c]}".rstrip())) for c in span)
                about[first:last] = [thing + 1] * (last - first)
                sources[first:last] = [told.get(thing, -1)] * (last - first)
            for begin, end, copied in turn.copied:
                asked = self._starts(question)
                for at, character in enumerate(self._starts(answer), untaught):
                    offset = character - 1 - begin  # a space stands in front of the answer
                    if 0 <= offset < end - begin:
                        sources[at] = start + bisect_right(asked, len(before) + copied + offset) - 1
            tokens.things += about
            tokens.sources += sources
        return tokens

    def pack(self, conversations: Sequence[Sequence[Turn]], system: str = "") -> tuple[Row, list[int]]:
        """Fill one row with as many conversations as fit; those that do not fit are left out.

        Args:
            conversations: each of one or more turns.
            system: text in front of all of them.

        Returns:
            The row, and the indices of the conversations in it.
        """
        before = self.encode_system(system)
        ids, packed = [*self.prefix, *before], list[int]()
        length_of_prefix = len(ids)
        kinds: list[str] = []
        targets, answers, things = [IGNORE] * len(ids), [0] * len(ids), [0] * len(ids)
        # The image stands at the same index in every row, so a system text follows it there. Its positions say where
        # it belongs: between the first token and the rest.
        positions = [0, *range(len(before) + 1, len(ids)), *range(1, len(before) + 1)]
        segments = [0] * len(ids)
        first, second, relation, sources = np.zeros((4, ROW), np.int16)
        for index, turns in enumerate(conversations):
            tokens = self.tokenize(turns)
            start, length = len(ids), len(tokens.ids)
            if start + length > ROW:
                continue
            packed.append(index)
            for comparison in tokens.comparisons:
                at = start + comparison.answer
                first[at], second[at] = start + comparison.first, start + comparison.second
                relation[at] = comparison.relation
            for at, source in enumerate(tokens.sources, start):
                sources[at] = start + source if source >= 0 else 0
            ids += tokens.ids
            targets += tokens.targets
            things += tokens.things
            answers += [number + len(kinds) if number else 0 for number in tokens.answers]
            positions += range(length_of_prefix, length_of_prefix + length)
            segments += [len(packed)] * length
            kinds += [turn.kind if turn.taught else "" for turn in turns]
        row = Row(
            ids=_pad(ids, 0),
            targets=_pad(targets, IGNORE),
            positions=_pad(positions, 0),
            segments=_pad(segments, -1),
            answers=_pad(answers, 0),
            things=_pad(things, 0),
            first=first,
            second=second,
            relation=relation,
            sources=sources,
            kinds=kinds,
        )
        return row, packed

    def encode_system(self, system: str) -> tuple[int, ...]:
        """Encode a system text: the tokens between the first one and `USER:`."""
        if not system:
            return ()
        ids = self.tokenizer(f"{system} USER: {IMAGE}\n").input_ids
        rest = len(self.prefix) - IMAGE_TOKENS  # without the first token, and with one image token
        return tuple(ids[1 : len(ids) - rest])

    def _starts(self, ids: Sequence[int]) -> list[int]:
        """Return the character at which each token starts."""
        lengths = (len(piece) for piece in self.tokenizer.convert_ids_to_tokens(list(ids)))
        return list(accumulate(lengths, initial=0))[:-1]

    def _encode(self, text: str) -> tuple[int, ...]:
        # after a line break, as in a prompt: the tokenizer puts a `▁` before text at the start
        return tuple(self.tokenizer(f"\n{text}", add_special_tokens=False).input_ids[2:])


def _given(answer: str) -> list[tuple[int, int]]:
    """Return the (start, end) characters of JSON that the grammar of an answer writes, so that the model need not."""
    return [match.span() for match in _GIVEN.finditer(answer)] if answer.startswith(("{", "[")) else []


def _pad(values: list[int], filler: int) -> np.ndarray:
    """Pad one field of a row: (ROW,) int16."""
    return np.array(values + [filler] * (ROW - len(values)), np.int16)


def attention_mask(segments: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Make the additive attention mask (B, 1, T, T) from the segments and positions, both (B, T)."""
    visible = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])
    causal = positions[:, None, :] <= positions[:, :, None]
    return torch.zeros(visible.shape, device=visible.device).masked_fill(~(visible & causal), -1e9)[:, None]
