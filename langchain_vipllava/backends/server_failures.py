"""What can go wrong with a server, and the error that its caller gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from langchain_vipllava.errors import (
    AnswerTimeoutError,
    BusyError,
    CheckpointError,
    GenerationError,
    PromptTooLongError,
    ServerError,
    shorten,
)

RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses of which another try may be rid. vLLM answers 500 once to a good request that follows certain bad ones."""

_BUSY = frozenset({429, 503})

_MAX_RETRY_AFTER = 60.0
"""Seconds that a server may ask to wait. Chosen: a person waits."""

_TOO_LONG = (
    "maximum context length",
    "maximum model length",
    "max_model_len",
    "longer than the maximum",
    "is too long",
)
"""What vLLM 0.32 says of prompts that do not fit; the wording differs by route."""


class TransientError(Exception):
    """A try failed in a way that another may not.

    Attributes:
        wait: seconds after which the server wants to be asked again; None where it does not say.
        unreachable: whether the server did not get the request at all.
    """

    def __init__(self, what: str, *, wait: float | None = None, unreachable: bool = False) -> None:
        super().__init__(what)
        self.wait, self.unreachable = wait, unreachable

    def explained(self, address: object, tries: int) -> GenerationError:
        """Return the error for the caller, when there is no further try."""
        return ServerError(f"the server at {address} {self}{_after(tries)}. {self.advice}")

    advice = "Check that it runs: langchain-vipllava doctor --base-url shows what it says."


class BrokenAnswerError(TransientError):
    """An answer ended early, or is none."""


class StalledError(TransientError):
    """A server is connected, and sends nothing."""

    def explained(self, address: object, tries: int) -> GenerationError:
        """See `TransientError`."""
        return AnswerTimeoutError(f"the server at {address} {self}{_after(tries)}. Is it overloaded?")


class OverloadedError(TransientError):
    """A server has too much to do."""

    def explained(self, address: object, tries: int) -> GenerationError:
        """See `TransientError`."""
        return BusyError(
            f"the server at {address} {self}{_after(tries)}. Try again later, send fewer requests at once "
            "(max_concurrency), or add servers."
        )


class NoSuchRouteError(Exception):
    """A server does not offer a route."""


def _after(tries: int) -> str:
    return f" ({tries} tries)" if tries > 1 else ""


def refuse(status: int, headers: Mapping[str, str], body: bytes, *, address: object, model: str | None) -> NoReturn:
    """Raise what the status of a response means; any but 200.

    Raises:
        TransientError: another try may succeed.
        NoSuchRouteError: 404 or 405 without a word of the model, or vLLM's 403 of a route that is switched off.
        GenerationError: the request itself is refused; the most fitting kind of it.
        CheckpointError: the server has no such model.
    """
    message = message_of(body)
    said = f": {shorten(message, 200)}" if message else ""
    if status in RETRYABLE:
        kind = OverloadedError if status in _BUSY else TransientError
        raise kind(f"answered with HTTP {status}{said}", wait=_retry_after(headers))
    if status in (301, 302, 303, 307, 308):
        raise ServerError(f"the server at {address} redirects (HTTP {status}), which is not followed; pass its target.")
    if status == 404 and "model" in message.lower():
        raise CheckpointError(f"the server at {address} has no model {shorten(model)}{said}.")
    if status in (404, 405) or (status == 403 and "scale-out" in message.lower().replace("_", "-")):
        raise NoSuchRouteError(message)
    if status in (401, 403):
        raise ServerError(f"the server at {address} refuses the API key (HTTP {status}){said}. Pass it as api_key=.")
    if status in (400, 413, 422) and any(words in message for words in _TOO_LONG):
        raise PromptTooLongError(
            f"the server at {address} has no room for the prompt{said}. Drop old turns, or ask a shorter question."
        )
    raise ServerError(f"the server at {address} refuses the request (HTTP {status}){said}.")


def expect_no_error(event: Mapping[str, Any]) -> None:
    """Raise the error that an event reports, if it does.

    Raises:
        BrokenAnswerError: the server failed. Another try may succeed, as when the server's engine has died.
        ServerError: the request is at fault.
    """
    if event.get("error") is None and event.get("object") != "error":
        return
    said = f"reports an error: {shorten(_message(event), 200)}"
    error = event.get("error")
    code = error.get("code") if isinstance(error, Mapping) else event.get("code")
    if isinstance(code, int) and 400 <= code < 500 and code not in RETRYABLE:
        raise ServerError(f"the server {said}.")
    raise BrokenAnswerError(said)


def message_of(body: bytes) -> str:
    """Return the message in the body of an error, as vLLM and FastAPI write it."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return body[:400].decode("utf-8", "replace").strip()
    return _message(value)


def _message(value: Any) -> str:
    for key in ("error", "message", "detail"):
        if isinstance(value, Mapping) and value.get(key) is not None:
            value = value[key]
    return value if isinstance(value, str) else shorten(value, 400)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:  # a date, or nothing
        return None
    return min(seconds, _MAX_RETRY_AFTER) if seconds >= 0 else None
