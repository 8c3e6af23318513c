"""`LogprobRecorder`: how likely each token of one answer was."""

from __future__ import annotations

import math

import numpy as np
import torch

from langchain_vipllava.engine.token_texts import TokenTexts
from langchain_vipllava.protocol.logprobs import LEAST_LOGPROB, Choice, TokenLogprob

_MAX_ADMITTED, _LEAST_ADMITTED = 32, 1e-5
"""Most and least likely of the admitted tokens that are kept. Chosen: what is left out counts against an answer's
confidence, and is below 1e-3 wherever a model is not at a loss."""


class LogprobRecorder:
    """Records the probabilities at each place of one answer.

    Args:
        texts: those of the tokenizer.
        top: number of alternatives to record, 0 to 20.
        temperature: divides the logits of what is admitted, so that confidences fit how often answers are right.

    Attributes:
        texts: see above.
        places: one for each chosen token, the one that ended the answer included.
        admitted: of each place, the log-probabilities of the likeliest tokens that the form of the answer admits, by
            their ids.
    """

    def __init__(self, texts: TokenTexts, top: int, temperature: float = 1.0) -> None:
        self.places: list[TokenLogprob] = []
        self.admitted: list[dict[int, float]] = []
        self.texts, self._top, self._temperature = texts, top, temperature

    def another(self) -> LogprobRecorder:
        """Return an empty one with the same settings."""
        return LogprobRecorder(self.texts, self._top, self._temperature)

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
        text, data = self.texts.of(token)
        kept = self._admitted(token, logits, admitted)
        shares = tuple(map(self._choice, kept.keys(), kept.values()))
        self.places.append(TokenLogprob(text, _finite(float(logprobs[token])), data, top, shares))
        self.admitted.append(kept)

    def _admitted(self, token: int, logits: torch.Tensor, admitted: np.ndarray | None) -> dict[int, float]:
        if admitted is not None:
            logits = logits.masked_fill(torch.from_numpy(~admitted).to(logits.device), -torch.inf)
        logprobs = (logits / self._temperature).log_softmax(dim=-1)
        values, ids = logprobs.topk(min(_MAX_ADMITTED, len(logprobs)))
        least = math.log(_LEAST_ADMITTED)
        kept = {index: value for index, value in zip(ids.tolist(), values.tolist(), strict=True) if value >= least}
        kept.setdefault(token, float(logprobs[token]))
        return kept

    def _choice(self, token: int, logprob: float) -> Choice:
        text, data = self.texts.of(token)
        return Choice(text, _finite(logprob), data)


def _finite(logprob: float) -> float:
    return logprob if logprob > LEAST_LOGPROB else LEAST_LOGPROB
