"""`confidence`: how sure the model was of an answer and of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.protocol.confidence import WHOLE

CONFIDENCE = "confidence"
"""Key of `response_metadata`. Its value is a list of records: LangChain can add lists, and not numbers, where the
chunks of two answers meet."""


def confidence(message: AIMessage | Mapping[str, Any]) -> dict[str, float]:
    """Return how sure the model was of the parts of an answer, 0 to 1, by their paths in its JSON.

    The confidence of a value is its probability among all values that the schema admits in its place: of "red" among
    the colors of an enum, of true among true and false. `$` is the whole answer, which free text has alone. Free texts
    of more than 16 tokens, and what holds one, have none.

    Args:
        message: an answer that was asked for with `logprobs=True`, or what `include_raw=True` returns.

    Returns:
        Confidences by path: `color`, `r1`, `things[0].color`, `$`. For an answer with several calls, or one that could
        have been another, `[0].color` is an argument of the first call.

    Raises:
        GenerationError: an answer without log-probabilities, several answers in one message, something else.

    Example:
        >>> from typing import Literal
        >>> from langchain_vipllava import ChatVipLlava, confidence
        >>> llm = ChatVipLlava(model="bundled", logprobs=True)
        >>> is_it = llm.with_structured_output(Literal["yes", "no"], include_raw=True)
        >>> 0.5 <= confidence(is_it.invoke("Is it round?"))["$"] <= 1
        True
    """
    raw = message.get("raw") if isinstance(message, Mapping) else message
    if not isinstance(raw, AIMessage):
        raise GenerationError(
            f"confidence got {shorten(message)}; expected the model's message: llm.invoke(...), or with "
            "with_structured_output(..., include_raw=True) its result."
        )
    records = raw.response_metadata.get(CONFIDENCE)
    if records is None:
        raise GenerationError(
            "the message has no confidence; ask with ChatVipLlava(logprobs=True), of a backend that knows what else it "
            "could have written."
        )
    found = {record["path"]: record["confidence"] for record in records}
    if len(found) != len(records):
        raise GenerationError("the message holds several answers; ask for the confidence of each by itself.")
    return found


def confidence_of(message: BaseMessage) -> float | None:
    """Return how sure the model was of a whole answer, 0 to 1; None for a message that does not tell."""
    try:
        return confidence(message).get(WHOLE) if isinstance(message, AIMessage) else None
    except GenerationError:
        return None
