"""The error tree of the package: one root, one branch per room.

Every message names what came, what was expected, and what to do. None of the errors is a `ValueError`: pydantic would
wrap one that is raised inside a model into its own `ValidationError`, and callers would have two trees to catch.
"""

from __future__ import annotations

from collections.abc import Iterable

from langchain_vipllava.text import cut, printable, without_addresses, without_credentials

try:
    from langchain_core.exceptions import ContextOverflowError, ModelTimeoutError
except ImportError:  # an older langchain-core

    class ContextOverflowError(Exception):  # type: ignore[no-redef]  # stands in for the imported one
        """Stands in for LangChain's own."""

    class ModelTimeoutError(Exception):  # type: ignore[no-redef]  # stands in for the imported one
        """Stands in for LangChain's own."""


MAX_MESSAGE = 2000
"""Characters of an error's message. Messages go back into an LLM's context, and quote what came."""


class VipLlavaError(Exception):
    """Root of all errors that this package raises on purpose.

    Args:
        message: cut to `MAX_MESSAGE` characters; control and bidirectional characters become escapes, and addresses
            in memory, which the messages of other libraries have, and passwords in URLs are left out.
    """

    def __init__(self, message: object = "") -> None:
        text = cut(without_credentials(str(message)), MAX_MESSAGE)  # a cut in a password would hide its end
        super().__init__(cut(printable(without_addresses(text)), MAX_MESSAGE))


class ImageError(VipLlavaError):
    """An image cannot be found, fetched, decoded or stored, or must not be opened."""


class RegionError(VipLlavaError):
    """A region is not valid: NaN, inverted, empty, or outside its image."""


class DetectionError(RegionError):
    """A detector's output has an unknown format, or is ambiguous without an argument."""


class MarkerError(VipLlavaError):
    """A marker cannot be drawn or named: unknown kind or color, too many regions."""


class PromptError(VipLlavaError):
    """Messages or questions do not make a prompt that the model was trained to read."""


class CheckpointError(VipLlavaError):
    """A checkpoint cannot be found or loaded, or is not a ViP-LLaVA."""


class GenerationError(VipLlavaError):
    """The model could not answer: out of memory, a setting out of range, a schema that cannot be enforced."""


class PromptTooLongError(GenerationError, ContextOverflowError):
    """A prompt leaves no room for an answer in the model's context."""


class AnswerTimeoutError(GenerationError, ModelTimeoutError):
    """An answer took longer than `timeout`; it was stopped."""

    @classmethod
    def after(cls, seconds: float | None) -> AnswerTimeoutError:
        """Make the error for an answer that did not come within some seconds."""
        return cls(f"no answer within timeout={seconds} seconds; allow more, or ask for fewer max_tokens.")


class BusyError(GenerationError):
    """Too many requests are in flight; the same request can be tried again, such as by LangChain's `with_retry`."""


class ServerError(GenerationError):
    """A server cannot be reached, refuses a request, or sends something else than an answer."""


class BenchmarkError(VipLlavaError):
    """The data of a benchmark is missing or damaged, or its answers so far are of other settings."""


class SessionError(VipLlavaError):
    """A call names an image or a region that its session does not have."""


_MAX_DESCRIPTION = 500
"""Characters of a foreign exception's text inside a message of ours. Chosen: most are a sentence."""


def shorten(value: object, max_length: int = 120) -> str:
    """Return the `repr` of any value, cut to a maximum number of characters."""
    try:
        if isinstance(value, (str, bytes, bytearray)):
            value = value[: max_length + 1]  # the repr of megabytes takes as many
        text = repr(value)
    except Exception:  # such as an integer of more than 4300 digits, or nested too deep
        text = f"<{type(value).__name__}>"
    text = without_addresses(text)
    return text if len(text) <= max_length else text[: max_length - 3] + "..."


def expect_positive(limits: object, names: Iterable[str], error: type[VipLlavaError]) -> None:
    """Raise an error of a kind, unless attributes of an object are whole numbers of at least 1."""
    for name in names:
        value = getattr(limits, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise error(f"{name}={shorten(value)}; expected a whole number of at least 1.")


def describe_error(error: BaseException) -> str:
    """Return the type and the text of any exception on one line, bounded, without addresses and passwords of URLs."""
    try:
        text = str(error)
    except Exception:  # whoever wrote the exception
        text = ""
    if isinstance(error, RecursionError):
        text = "nested too deep"
    elif isinstance(error, MemoryError):
        text = "too large for the memory of this machine"
    elif isinstance(error, KeyError):
        text = f"{text} is missing"
    name = type(error).__name__
    described = without_addresses(without_credentials(f"{name}: {text}" if text else name))
    return printable(cut(described, _MAX_DESCRIPTION), keep="")
