"""The error tree of the package: one root, one branch per room.

Every message says what was given, what was expected, and what to do. None of them is a
`ValueError`: pydantic would turn one that is raised inside a model into its own
`ValidationError`, and the caller would have two trees to catch.
"""

from __future__ import annotations

try:
    from langchain_core.exceptions import ContextOverflowError, ModelTimeoutError
except ImportError:  # langchain-core before it had them

    class ContextOverflowError(Exception):  # type: ignore[no-redef]
        """Stands in for LangChain's own."""

    class ModelTimeoutError(Exception):  # type: ignore[no-redef]
        """Stands in for LangChain's own."""


class VipLlavaError(Exception):
    """Root of every error that this package raises on purpose."""


class ImageError(VipLlavaError):
    """An image cannot be found, fetched, decoded or understood."""


class RegionError(VipLlavaError):
    """A region is not a region: NaN, inverted, empty, outside its image."""


class DetectionError(RegionError):
    """A detector's output is of no known format, or ambiguous without an argument."""


class MarkerError(VipLlavaError):
    """A marker cannot be drawn or named: unknown kind or color, too many regions."""


class PromptError(VipLlavaError):
    """Messages or questions do not make a prompt that the model was trained to read."""


class CheckpointError(VipLlavaError):
    """A checkpoint cannot be found or is not a ViP-LLaVA."""


class GenerationError(VipLlavaError):
    """The model could not answer: prompt too long, out of memory, bad settings."""


class PromptTooLongError(GenerationError, ContextOverflowError):
    """A prompt that leaves no room for an answer in the model's context."""


class AnswerTimeoutError(GenerationError, ModelTimeoutError):
    """An answer took longer than `timeout` allows; it was stopped, and the model is free."""

    @classmethod
    def after(cls, seconds: float | None) -> AnswerTimeoutError:
        """The error for an answer that was not there after some seconds."""
        return cls(f"no answer within timeout={seconds} seconds; allow more, or ask for fewer max_tokens.")


class SessionError(VipLlavaError):
    """A tool call names an image or a region that its thread does not have."""


def shorten(value: object, most: int = 120) -> str:
    """A value as it looks in a message: its `repr`, cut to `most` characters, whatever came."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."
