"""`ChatRequest`: what a backend is asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import get_args

from langchain_vipllava.images.view import ImageFit
from langchain_vipllava.prompt.conversation import Conversation
from langchain_vipllava.prompt.formats import FORMATS, Prompt, PromptFormat, PromptFormatName
from langchain_vipllava.protocol.logprobs import MAX_TOP_LOGPROBS
from langchain_vipllava.protocol.output_spec import OutputSpec
from langchain_vipllava.protocol.sampling import Sampling, expect, is_number

DEFAULT_MAX_TOKENS = 256
"""Maximum number of tokens of an answer when the caller does not say."""


@dataclass(frozen=True)
class ChatRequest:
    """The turns of a conversation and what the answer should be like. Nothing is tokenized, nothing compiled.

    Attributes:
        conversation: turns, the last of which is open.
        output: what the answer may be.
        sampling: how tokens are chosen.
        max_tokens: maximum number of tokens of the answer.
        stop: texts that end the answer and are not part of it, besides those of the prompt format.
        prompt_format: how the turns are written; "llava_v1" is how the published 7B and 13B were trained.
        escape_turn_markers: make turn markers in the texts unlike those of the prompt format, so that no text can begin
            a turn.
        image_fit: how images become square.
        schema_in_prompt: tell the model the schema of its answer, in a line behind the last question.
        top_logprobs: return the log-probability of each token, and of this many alternatives, 0 to 20; None for
            neither.

    Raises:
        GenerationError: `max_tokens` below 1, an empty stop text, an unknown `image_fit`, an `escape_turn_markers` or a
            `schema_in_prompt` that is neither True nor False, `top_logprobs` out of range.
    """

    conversation: Conversation = field(repr=False)
    output: OutputSpec = field(default_factory=OutputSpec)
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int = DEFAULT_MAX_TOKENS
    stop: tuple[str, ...] = ()
    prompt_format: PromptFormatName = "user_assistant"
    image_fit: ImageFit = "pad"
    escape_turn_markers: bool = True
    schema_in_prompt: bool = True
    top_logprobs: int | None = None

    def __post_init__(self) -> None:
        positive = is_number(self.max_tokens, Integral) and self.max_tokens >= 1
        expect(positive, "max_tokens", self.max_tokens, "a whole number of at least 1")
        texts = all(isinstance(text, str) and text for text in self.stop)
        expect(texts, "stop", self.stop, "texts that are not empty")
        expect(self.image_fit in get_args(ImageFit), "image_fit", self.image_fit, "'pad' or 'center_crop'")
        for name in ("escape_turn_markers", "schema_in_prompt"):
            expect(isinstance(getattr(self, name), bool), name, getattr(self, name), "True or False")
        top = self.top_logprobs
        in_range = top is None or (is_number(top, Integral) and 0 <= top <= MAX_TOP_LOGPROBS)
        expect(in_range, "top_logprobs", top, f"a whole number, 0 to {MAX_TOP_LOGPROBS}")

    @property
    def format(self) -> PromptFormat:
        """The prompt format itself."""
        return FORMATS[self.prompt_format]

    @property
    def all_stop_texts(self) -> tuple[str, ...]:
        """The stop texts of the request and of its prompt format."""
        return (*self.stop, *self.format.stop)

    def render(self, *, allow_partial: bool = False) -> Prompt:
        """Write the prompt of the instructed conversation.

        Raises:
            PromptError: the conversation does not end with a question, unless `allow_partial`.
        """
        return self.format.render(
            self.instructed, allow_partial=allow_partial, escape_turn_markers=self.escape_turn_markers
        )

    @property
    def instructed(self) -> Conversation:
        """The conversation, with the instructions for tools in its system text, and the schema of the answer behind the
        last question.
        """
        conversation = self.conversation
        if instructions := self.output.instructions:
            system = self.format.system if conversation.system is None else conversation.system
            system = "\n".join(text for text in (system, instructions) if text)
            conversation = replace(conversation, system=system)
        suffix = self.output.question_suffix if self.schema_in_prompt else ""
        if suffix and conversation.turns and conversation.turns[-1].answer is None:
            *earlier, last = conversation.turns
            last = replace(last, question=last.question + suffix)
            conversation = replace(conversation, turns=(*earlier, last))
        return conversation
