"""`TokenSampler`: chooses the next token of one answer."""

from __future__ import annotations

import torch
from transformers import TopKLogitsWarper, TopPLogitsWarper

from langchain_vipllava.engine.constraint import Constraint
from langchain_vipllava.engine.logprobs import LogprobRecorder
from langchain_vipllava.protocol.sampling import Sampling


class TokenSampler:
    """Chooses tokens with its own random generator: equal seeds choose equal tokens, alone or batched, on any device.

    Args:
        sampling: the settings.
        constraint: which tokens may be chosen; None for all.
        recorder: records how likely each chosen token was; None if nobody asks.
    """

    def __init__(
        self, sampling: Sampling, constraint: Constraint | None = None, recorder: LogprobRecorder | None = None
    ) -> None:
        self._greedy = sampling.temperature == 0
        self._constraint = constraint
        self._recorder = recorder
        self._sampling = sampling
        self._generator = torch.Generator()
        self._vocabulary = 0
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(int(sampling.seed))

    @property
    def is_greedy(self) -> bool:
        """Whether it always chooses the token with the highest logit, and records nothing."""
        return self._greedy and self._constraint is None and self._recorder is None

    @property
    def is_complete(self) -> bool:
        """Whether the answer cannot go on: its grammar is at an end."""
        return self._constraint is not None and self._constraint.is_complete

    def forced(self) -> list[int]:
        """Return the tokens that come next whatever the logits are; none where logits are recorded."""
        return [] if self._constraint is None or self._recorder is not None else self._constraint.forced()

    def take(self, token: int) -> None:
        """Take the first of the `forced` tokens, as `choose` would."""
        assert self._constraint is not None  # noqa: S101  # nothing else forces tokens
        if not self._greedy:  # how many tokens are taken depends on what runs beside: later ones must not
            self._noise(self._vocabulary)
        self._constraint.accept(token)

    def choose(self, logits: torch.Tensor) -> int:
        """Choose a token from its logits, (vocabulary,) float.

        Raises:
            GenerationError: no token fits the grammar.
        """
        constraint, self._vocabulary = self._constraint, len(logits)
        allowed = logits if constraint is None else constraint.mask(logits)
        token = int(allowed.argmax()) if self._greedy else self._sample(allowed)
        if constraint is not None:
            constraint.accept(token)
        if self._recorder is not None:
            self._recorder.add(token, logits, None if constraint is None else constraint.admitted)
        return token

    def _sample(self, logits: torch.Tensor) -> int:
        # relative to the maximum: a tiny temperature must not make two logits infinite
        warped = ((logits - logits.max()) / float(self._sampling.temperature))[None]  # (1, vocabulary)
        no_ids = torch.empty((1, 0), dtype=torch.long)
        if self._sampling.top_k is not None:
            warped = TopKLogitsWarper(int(self._sampling.top_k))(no_ids, warped)
        if self._sampling.top_p < 1:
            warped = TopPLogitsWarper(float(self._sampling.top_p))(no_ids, warped)
        # Gumbel-max trick: the argmax of logits plus Gumbel noise is a sample of their softmax. The noise always comes
        # from the CPU's generator, so that a seed means the same on every device.
        noise = -self._noise(warped.shape[-1]).log()
        return int((warped[0] + noise.to(warped.device)).argmax())

    def _noise(self, size: int) -> torch.Tensor:
        return torch.empty(size).exponential_(generator=self._generator)  # (vocabulary,)
