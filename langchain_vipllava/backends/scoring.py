"""How likely a model finds a given answer."""

from __future__ import annotations

from dataclasses import replace

from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.protocol.backend import Backend
from langchain_vipllava.protocol.chat_request import ChatRequest
from langchain_vipllava.protocol.sampling import Sampling

_SPARE_TOKENS = 8
"""Tokens beside those of the answer. Chosen: a constrained answer is brought to its end when 40% of `max_tokens` are
left (`engine/constraint.py`), which must not happen here."""


def log_probability(backend: Backend, request: ChatRequest, answer: str, *, timeout: float | None = None) -> float:
    """Return the natural logarithm of the probability with which a model writes an answer, at a temperature of 1.

    The answer is taken token by token, in the tokens that the model finds likeliest; whether the model would end it
    there does not count.

    Args:
        backend: what answers.
        request: the question, whose sampling and stop texts do not matter.
        answer: what it is to be answered with, without whitespace around it.
        timeout: maximum seconds.

    Raises:
        GenerationError: an empty answer, or a backend that does not say how likely an answer is.
    """
    answer = answer.strip()
    if not answer:
        raise GenerationError("the answer is empty; expected text whose probability is asked for.")
    asked = replace(
        request,
        output=replace(request.output, text=answer),
        sampling=Sampling(),
        stop=(),
        max_tokens=2 * len(answer.encode(errors="replace")) + _SPARE_TOKENS,  # a token has at least one byte
        top_logprobs=request.top_logprobs or 0,
    )
    found = backend.generate(asked, timeout=timeout)
    if found.text != answer or not found.logprobs:
        raise GenerationError(
            f"{backend.name} does not say how likely a given answer is: asked for {shorten(answer, 60)}, it wrote "
            f"{shorten(found.text, 60)}. Expected one that enforces OutputSpec.text and returns log-probabilities."
        )
    return sum(place.logprob for place in found.logprobs)
