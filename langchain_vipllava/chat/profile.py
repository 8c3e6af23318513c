"""`Profile`: what the model can do, as LangChain asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_vipllava.protocol.backend import Backend

_ABILITIES: Mapping[str, bool] = {
    "text_inputs": True,
    "image_inputs": True,
    "image_url_inputs": True,
    "image_tool_message": True,
    "pdf_inputs": False,
    "audio_inputs": False,
    "video_inputs": False,
    "text_outputs": True,
    "image_outputs": False,
    "audio_outputs": False,
    "video_outputs": False,
    "reasoning_output": False,
    "structured_output": True,
    "tool_calling": True,
    "tool_choice": True,
}


class Profile(dict[str, Any]):
    """A model's abilities and the tokens that it reads and writes, in the keys of LangChain's `ModelProfile`.

    Args:
        backend: whose context it is. Prompt and answer share it, so either may have as many tokens at most.
        given: what the user says, which wins.

    Attributes:
        given: the same.
    """

    def __init__(self, backend: Backend, given: Mapping[str, Any] | None) -> None:
        length = _context_length(backend)
        tokens = {} if length is None else {"max_input_tokens": length, "max_output_tokens": length}
        self.given = None if given is None else dict(given)
        super().__init__({**_ABILITIES, **tokens, **(given or {})})

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (dict(self), self.given)


def _restore(values: Mapping[str, Any], given: dict[str, Any] | None) -> Profile:
    profile = Profile.__new__(Profile)
    profile.update(values)
    profile.given = given
    return profile


def _context_length(backend: Backend) -> int | None:
    """Return the context of a backend, if that costs no loading of weights; None for one that does not say."""
    if hasattr(backend, "known_context_length"):
        known: int | None = backend.known_context_length
        return known
    try:
        return int(backend.context_length)
    except Exception:  # a server that is away: the first call says so
        return None
