"""`LogprobRecorder`: how likely each token of one answer was."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import torch

from langchain_vipllava.locks import cached_property
from langchain_vipllava.protocol.logprobs import LEAST_LOGPROB, Choice, TokenLogprob

_MAX_ADMITTED, _LEAST_ADMITTED = 32, 1e-5
"""Most and least likely of the admitted tokens that are kept. Chosen: what is left out counts against an answer's
confidence, and is below 1e-3 wherever a model is not at a loss."""

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


class TokenTexts:
    """Texts and bytes of a tokenizer's tokens; thread-safe.

    Args:
        tokenizer: the checkpoint's fast tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        self._special = frozenset(token for token, how in added.items() if how.special)
        self._known: dict[int, tuple[str, bytes | None]] = {}

    def prepare(self) -> None:
        """Do what takes a while the first time: in the thread of the caller, not in the engine's."""
        _ = self._guide

    def of(self, token: int) -> tuple[str, bytes | None]:
        """Return text and bytes of a token; no bytes for a special token, or an id without a token."""
        known = self._known.get(token)
        if known is None:
            known = self._known[token] = self._read(token)
        return known

    def _read(self, token: int) -> tuple[str, bytes | None]:
        name = self._tokenizer.convert_ids_to_tokens(token) if token < len(self._tokenizer) else None
        if name is None or token in self._special:
            return name or "", None
        byte = _BYTE_TOKEN.fullmatch(name)
        data = bytes.fromhex(byte[1]) if byte else bytes(self._guide.decode_bytes([token]))
        return data.decode("utf-8", "backslashreplace"), data

    @cached_property
    def _guide(self) -> Any:
        from llguidance.hf import from_tokenizer  # noqa: PLC0415  # imports transformers

        return from_tokenizer(self._tokenizer)


class LogprobRecorder:
    """Records the probabilities at each place of one answer.

    Args:
        texts: those of the tokenizer.
        top: number of alternatives to record, 0 to 20.
        temperature: divides the logits of what is admitted, so that confidences fit how often answers are right.

    Attributes:
        places: one for each chosen token, the one that ended the answer included.
    """

    def __init__(self, texts: TokenTexts, top: int, temperature: float = 1.0) -> None:
        self.places: list[TokenLogprob] = []
        self._texts, self._top, self._temperature = texts, top, temperature

    def add(self, token: int, logits: torch.Tensor, admitted: np.ndarray | None) -> None:
        """Record a place.

        Args:
            token: what was chosen.
            logits: of the model, (vocabulary,) float.
            admitted: which tokens the form of the answer admits, (vocabulary,) bool; None for all.
        """
        logprobs = logits.log_softmax(dim=-1)
        values, ids = logprobs.topk(min(self._top, len(logprobs)))
        top = tuple(map(self._choice, ids.tolist(), values.tolist()))
        text, data = self._texts.of(token)
        self.places.append(
            TokenLogprob(text, _finite(float(logprobs[token])), data, top, self._admitted(token, logits, admitted))
        )

    def _admitted(self, token: int, logits: torch.Tensor, admitted: np.ndarray | None) -> tuple[Choice, ...]:
        if admitted is not None:
            logits = logits.masked_fill(torch.from_numpy(~admitted).to(logits.device), -torch.inf)
        logprobs = (logits / self._temperature).log_softmax(dim=-1)
        values, ids = logprobs.topk(min(_MAX_ADMITTED, len(logprobs)))
        least = math.log(_LEAST_ADMITTED)
        kept = {index: value for index, value in zip(ids.tolist(), values.tolist(), strict=True) if value >= least}
        kept.setdefault(token, float(logprobs[token]))
        return tuple(map(self._choice, kept.keys(), kept.values()))

    def _choice(self, token: int, logprob: float) -> Choice:
        text, data = self._texts.of(token)
        return Choice(text, _finite(logprob), data)


def _finite(logprob: float) -> float:
    return logprob if logprob > LEAST_LOGPROB else LEAST_LOGPROB
