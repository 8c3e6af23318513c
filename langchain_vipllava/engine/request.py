"""`GenerationRequest`: what the engine is asked, rendered and compiled."""

from __future__ import annotations

from dataclasses import dataclass, field

from langchain_vipllava.engine.grammar import Grammar
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.view import ImageFit
from langchain_vipllava.prompt.formats import Prompt
from langchain_vipllava.protocol.chat_request import DEFAULT_MAX_TOKENS
from langchain_vipllava.protocol.sampling import Sampling


@dataclass(frozen=True)
class GenerationRequest:
    """One prompt for the model.

    Attributes:
        prompt: what the model reads.
        images: one for each `<image>` of the prompt, in order.
        max_tokens: maximum number of tokens of the answer.
        stop: texts that end the answer; they are not part of it.
        sampling: how tokens are chosen.
        image_fit: how images become square.
        grammar: what the answer has to match; None for free text.
        top_logprobs: alternatives of each token to record; None to record nothing.
        sums_tokenizations: whether to measure, beside what is recorded, how likely an answer that is one JSON value was
            in other tokens.
    """

    prompt: Prompt
    images: tuple[EncodedImage, ...] = field(default=(), repr=False)
    max_tokens: int = DEFAULT_MAX_TOKENS
    stop: tuple[str, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    image_fit: ImageFit = "pad"
    grammar: Grammar | None = None
    top_logprobs: int | None = None
    sums_tokenizations: bool = False
