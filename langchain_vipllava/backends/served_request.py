"""`ServedRequest`: a request as it goes to a server, by either route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_vipllava.backends.served_checkpoint import ServedCheckpoint
from langchain_vipllava.backends.served_images import SERVED_IMAGES
from langchain_vipllava.backends.server_address import conversation_key
from langchain_vipllava.engine.grammar import Grammar
from langchain_vipllava.engine.output_grammar import compile_output
from langchain_vipllava.engine.request_clock import RequestClock
from langchain_vipllava.errors import GenerationError, PromptError, shorten
from langchain_vipllava.prompt.formats import END_TOKEN, IMAGE_TOKEN
from langchain_vipllava.prompt.turn_markers import escape_turn_markers
from langchain_vipllava.protocol.chat_request import ChatRequest

_MAX_TEMPERATURE = 2.0
"""The highest that vLLM accepts."""

_MAX_LOGPROBS = 20
"""The most that vLLM returns unless it is started with more (`--max-logprobs`). Always asked for: confidences need to
know what else could have come."""

_SPECIAL = (IMAGE_TOKEN, "<s>", END_TOKEN, "<unk>", "<pad>")
"""Special tokens of the published checkpoints: in a text, the chat route takes them for what they name."""


@dataclass(frozen=True, eq=False)
class ServedRequest:
    """A request, encoded as far as it can be here.

    Attributes:
        asked: the request itself.
        key: what all turns of its conversation have in common.
        checkpoint: tokenizer and image size; None where the server has to tokenize.
        grammar: what the answer has to match.
        uris: its images as data URIs.
        ids: token ids of the prompt, one for each image; None without a checkpoint.
    """

    asked: ChatRequest
    key: bytes
    checkpoint: ServedCheckpoint | None
    grammar: Grammar | None = field(repr=False)
    uris: tuple[str, ...] = field(repr=False)
    ids: tuple[int, ...] | None = field(repr=False)

    @classmethod
    def encode(cls, asked: ChatRequest, checkpoint: ServedCheckpoint | None, clock: RequestClock) -> ServedRequest:
        """Encode a request.

        Raises:
            PromptError: turns that do not end with a question; text that is not Unicode.
            ImageError: an image that cannot be decoded.
            GenerationError: a temperature that vLLM refuses, a schema that cannot be enforced.
        """
        if asked.sampling.temperature > _MAX_TEMPERATURE:
            raise GenerationError(
                f"temperature={asked.sampling.temperature}; expected 0 to {_MAX_TEMPERATURE:g}, as vLLM accepts."
            )
        prompt = asked.render()
        with clock.building_grammar():
            grammar = compile_output(asked.output)
        ids = None
        if checkpoint is not None:
            if checkpoint.context_length is not None:
                checkpoint.texts.check_characters(prompt, checkpoint.context_length)
            ids = checkpoint.texts.encode(prompt)
        view = (None, None) if checkpoint is None else (checkpoint.side, checkpoint.resample, checkpoint.padding)
        uris = tuple(SERVED_IMAGES.uri(image, asked.image_fit, *view) for image in asked.conversation.images)
        return cls(asked, conversation_key(asked), checkpoint, grammar, uris, ids)

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens of the prompt, those of its images included; None without a checkpoint."""
        if self.ids is None or self.checkpoint is None:
            return None
        return len(self.ids) + len(self.uris) * (self.checkpoint.texts.image_tokens - 1)

    @property
    def may_go_on(self) -> bool:
        """Whether another server may continue an answer in the middle: with a grammar or a seed, it would differ."""
        sampling = self.asked.sampling
        return self.ids is not None and self.grammar is None and (sampling.temperature == 0 or sampling.seed is None)

    def by_ids(
        self, model: str, max_tokens: int, answered: list[int], allowed: list[int] | None = None
    ) -> dict[str, Any]:
        """The body for `/inference/v1/generate`.

        Args:
            model: the name under which the server serves.
            max_tokens: maximum number of further tokens.
            answered: ids of the answer so far, which goes on behind them. A server that is asked in the middle of an
                answer does not know its form.
            allowed: the tokens from which it has to choose; None for all that the form allows.
        """
        assert self.ids is not None  # noqa: S101  # or it goes by messages
        sampling = self._sampling(max_tokens)
        if answered:
            sampling.pop("structured_outputs", None)
        if allowed is not None:
            sampling["allowed_token_ids"] = allowed
        if self.asked.top_logprobs is not None:
            sampling["logprobs"] = _MAX_LOGPROBS
        body: dict[str, Any] = {
            "model": model,
            "token_ids": [*self.ids, *answered],
            "sampling_params": sampling,
            "output_mode": "tokens",
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.uris:
            body["content_parts"] = [{"type": "image_url", "url": uri} for uri in self.uris]
        return body

    def for_scores(self, model: str, answered: list[int]) -> dict[str, Any]:
        """The body that asks `/inference/v1/generate` for the model's own probabilities of an answer."""
        body = self.by_ids(model, 1, answered)
        body["sampling_params"] = {"temperature": 0.0, "max_tokens": 1, "prompt_logprobs": self.asked.top_logprobs}
        return {**body, "stream": False, "stream_options": None}

    def by_messages(self, model: str, max_tokens: int) -> dict[str, Any]:
        """The body for `/v1/chat/completions`, which the server's template turns into the prompt.

        Raises:
            PromptError: a text that the server would read differently.
            GenerationError: how likely an answer is, which this route says only of what it may choose from.
        """
        if self.asked.output.text is not None and self.asked.top_logprobs is not None:
            raise GenerationError(
                "the chat route of the server does not say how likely a given answer is. Start the server with "
                "--enable-scale-out, as `langchain-vipllava serve` does, and pass tokenizer=."
            )
        self._check_plain()
        body: dict[str, Any] = {
            "model": model,
            **chat_messages(self.asked, self.uris),
            **self._sampling(max_tokens),
            "return_token_ids": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.asked.top_logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": _MAX_LOGPROBS}
            body["return_tokens_as_token_ids"] = self.checkpoint is not None
        return body

    def _sampling(self, max_tokens: int) -> dict[str, Any]:
        """Always with temperature and max_tokens: without, a server takes those of the checkpoint."""
        asked = self.asked
        parameters: dict[str, Any] = {
            "temperature": float(asked.sampling.temperature),
            "top_p": float(asked.sampling.top_p),
            "max_tokens": max_tokens,
        }
        if asked.sampling.top_k is not None:
            parameters["top_k"] = min(int(asked.sampling.top_k), 2**31 - 1)
        if asked.sampling.seed is not None:
            parameters["seed"] = int(asked.sampling.seed) % 2**63  # vLLM takes -1 for none
        if asked.all_stop_texts:
            parameters["stop"] = list(asked.all_stop_texts)
        if self.grammar is not None:
            parameters["structured_outputs"] = {"grammar": self.grammar.text}
        return parameters

    def _check_plain(self) -> None:
        special: tuple[str, ...] = _SPECIAL
        if self.checkpoint is not None:
            added = self.checkpoint.texts.tokenizer.get_added_tokens_decoder()
            special = tuple(token.content for token in added.values())
        conversation = self.asked.instructed
        texts = [conversation.system or ""]
        texts += [text or "" for turn in conversation.turns for text in (turn.question, turn.answer)]
        for text in texts:
            if found := next((token for token in special if token in text), None):
                raise PromptError(
                    f"a text contains {shorten(found)}, which the chat route of the server takes for that token. Start "
                    "the server with --enable-scale-out and pass tokenizer=, or leave it out of the text."
                )


def chat_messages(asked: ChatRequest, uris: tuple[str, ...], *, allow_partial: bool = False) -> dict[str, Any]:
    """Return the messages of a conversation, and what the exported template has to know of them.

    Raises:
        PromptError: the conversation does not end with a question, unless `allow_partial`.
    """
    asked.render(allow_partial=allow_partial)
    conversation = asked.instructed
    markers = asked.format.turn_markers if asked.escape_turn_markers else ()
    left = iter(uris)
    messages: list[Mapping[str, Any]] = []
    if conversation.system is not None:
        messages.append({"role": "system", "content": escape_turn_markers(conversation.system, markers)})
    for turn in conversation.turns:
        images = [{"type": "image_url", "image_url": {"url": next(left)}} for _ in turn.images]
        text = {"type": "text", "text": escape_turn_markers(turn.question, markers)}
        messages.append({"role": "user", "content": [*images, text]})
        if turn.answer is not None:
            messages.append({"role": "assistant", "content": escape_turn_markers(turn.answer, markers)})
    return {
        "messages": messages,
        "add_generation_prompt": not conversation.turns or conversation.turns[-1].answer is None,
        "chat_template_kwargs": {
            "prompt_format": asked.prompt_format,
            "escape_turn_markers": asked.escape_turn_markers,
        },
    }
