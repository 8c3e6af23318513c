"""The settings of a call, and the request that they make."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_vipllava.errors import CheckpointError, GenerationError
from langchain_vipllava.images.load import ImageSource
from langchain_vipllava.prompt.formats import Prompt

if TYPE_CHECKING:
    from langchain_core.language_models import ModelProfile

    from langchain_vipllava.engine.grammar import Grammar
    from langchain_vipllava.engine.request import GenerationRequest

MAX_TOKENS = 256
"""Most tokens of an answer where nobody says how many."""

PER_CALL = ("temperature", "top_p", "top_k", "seed", "max_tokens", "prompt_format", "multi_image", "image_fit")
"""Settings that are fields of the model and that `invoke`, `bind` and friends may override."""

NO_MODEL = (
    "no model; expected model='llava-hf/vip-llava-7b-hf', a folder, or 'bundled', or VIPLLAVA_MODEL in the environment."
)

PROFILE: ModelProfile = {
    "image_inputs": True,
    "image_url_inputs": True,
    "image_tool_message": True,
    "structured_output": True,
    "tool_calling": True,
    "tool_choice": True,
}
"""What the model can do, as LangChain asks."""

ANSWER = ("tools", "tool_choice", "parallel_tool_calls", "response_format")
"""Settings of the answer's form, which only `bind` and friends give."""

_NOT_OURS = ("ls_structured_output_format", "stream", "stream_usage", "strict")
"""Arguments that LangChain passes along and that change nothing here."""


def check_names(settings: Mapping[str, Any]) -> None:
    """Refuse settings that nobody reads.

    Raises:
        GenerationError: there are some.
    """
    unknown = sorted(settings.keys() - {*PER_CALL, *ANSWER, *_NOT_OURS})
    if unknown:
        raise GenerationError(f"unknown settings {', '.join(unknown)}; expected some of {', '.join(PER_CALL)}.")


def make_request(
    prompt: Prompt,
    images: tuple[ImageSource, ...],
    stop: tuple[str, ...],
    settings: Mapping[str, Any],
    grammar: Grammar | None = None,
) -> GenerationRequest:
    """Make a request.

    Raises:
        GenerationError: a setting out of range.
    """
    from langchain_vipllava.engine.request import GenerationRequest, Sampling  # noqa: PLC0415

    return GenerationRequest(
        prompt=prompt,
        images=images,
        max_tokens=MAX_TOKENS if settings["max_tokens"] is None else settings["max_tokens"],
        stop=stop,
        sampling=Sampling(
            temperature=0.0 if settings["temperature"] is None else settings["temperature"],
            top_p=1.0 if settings["top_p"] is None else settings["top_p"],
            top_k=settings["top_k"],
            seed=settings["seed"],
        ),
        image_fit=settings["image_fit"],
        grammar=grammar,
    )


def stop_texts(stop: Sequence[str] | str | None) -> tuple[str, ...]:
    """One stop text, several or none.

    Raises:
        GenerationError: something else.
    """
    if stop is None or isinstance(stop, (str, list, tuple)):
        return (stop,) if isinstance(stop, str) else tuple(stop or ())
    raise GenerationError(f"stop={stop!r}; expected a text or a list of texts.")


def model_name(value: Any) -> str:
    """A hub id, or a folder as text or path."""
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    raise CheckpointError(
        f"model is a {type(value).__name__}; expected a hub id or a folder. A loaded model goes in with "
        "ChatVipLlava.from_model(model, processor)."
    )


def torch_name(value: Any) -> str:
    """The name of a `torch.dtype` or `torch.device`; the number of a CUDA device."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"cuda:{value}"
    return str(value).removeprefix("torch.")
