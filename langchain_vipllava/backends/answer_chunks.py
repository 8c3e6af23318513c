"""`AnswerChunk`: a piece of an answer as a server sends it, by either route, checked and in one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_vipllava.backends.server_failures import BrokenAnswerError, expect_no_error
from langchain_vipllava.protocol.logprobs import LEAST_LOGPROB

_TOKEN_ID = "token_id:"  # noqa: S105  # not a password
"""How vLLM writes a token with `return_tokens_as_token_ids`."""

_MAX_TOP = 32
"""Alternatives of a token that are read; no more than 21 are asked for."""


@dataclass(frozen=True)
class ChunkToken:
    """A token that a server could write, or wrote, with its log-probability.

    Attributes:
        token: its id, or its text where the server does not say the id.
        logprob: natural logarithm of its probability.
        data: its bytes, where the server sends text.
        top: the likeliest at its place, the likeliest first; empty for an alternative.
    """

    token: int | str
    logprob: float
    data: bytes | None = None
    top: tuple[ChunkToken, ...] = ()


@dataclass(frozen=True)
class AnswerChunk:
    """A piece of an answer.

    Attributes:
        ids: its tokens; None where the server does not say.
        text: its text; None where it sends ids only.
        places: log-probabilities of the tokens; empty if none were asked for.
        finish_reason: why the answer ended, in the server's words; None before.
        stopped_at: the stop text or stop token at which it ended; None for the end token.
        prompt_ids: ids of the prompt, as the server read it; None in all chunks but the first.
        prompt_tokens, cached_tokens, output_tokens: usage, in the last chunk.
    """

    ids: tuple[int, ...] | None = None
    text: str | None = None
    places: tuple[ChunkToken, ...] = ()
    finish_reason: str | None = None
    stopped_at: Any = None
    prompt_ids: tuple[int, ...] | None = None
    prompt_tokens: int | None = None
    cached_tokens: int = 0
    output_tokens: int | None = None

    @classmethod
    def read(cls, event: Mapping[str, Any]) -> AnswerChunk:
        """Read an event of a stream, of `/inference/v1/generate` or of `/v1/chat/completions`.

        Raises:
            BrokenAnswerError: it is none.
            ServerError: it reports that the request is at fault.
        """
        expect_no_error(event)
        choices = event.get("choices")
        if not isinstance(choices, list):
            raise BrokenAnswerError("sent an event without choices")
        usage = _mapping(event.get("usage"))
        details = _mapping(usage.get("prompt_tokens_details"))
        choice = _mapping(choices[0]) if choices else {}
        delta = _mapping(choice.get("delta"))
        text = choice.get("text", delta.get("content"))
        finish = choice.get("finish_reason")
        return cls(
            ids=_ids(choice.get("token_ids")),
            text=text if isinstance(text, str) else None,
            places=_places(choice.get("logprobs")),
            finish_reason=finish if isinstance(finish, str) else None,
            stopped_at=choice.get("stop_reason"),
            prompt_ids=_ids(event.get("prompt_token_ids")),
            prompt_tokens=_count(usage.get("prompt_tokens")),
            cached_tokens=_count(details.get("cached_tokens")) or 0,
            output_tokens=_count(usage.get("completion_tokens")),
        )


def read_scores(said: Mapping[str, Any], start: int, ids: Sequence[int]) -> list[ChunkToken]:
    """Read the log-probabilities of some tokens of a prompt, from an answer with `prompt_logprobs`.

    Args:
        said: the answer.
        start: index of the first token in the prompt.
        ids: the tokens.

    Raises:
        BrokenAnswerError: it has none.
    """
    listed = said.get("prompt_logprobs")
    if not isinstance(listed, list) or len(listed) < start + len(ids):
        raise BrokenAnswerError("sent no log-probabilities of a prompt")
    places = []
    for token, value in zip(ids, listed[start:], strict=False):
        entries = list(_mapping(value).items())[:_MAX_TOP]
        choices = [_token({**_mapping(entry), "token_id": _number(name), "bytes": None}) for name, entry in entries]
        chosen = next((choice for choice in choices if choice.token == token), None)
        if chosen is None:
            raise BrokenAnswerError("sent no log-probability for a token")
        top = sorted(choices, key=lambda choice: -choice.logprob)
        places.append(ChunkToken(token, chosen.logprob, None, tuple(top)))
    return places


def _number(name: Any) -> int | None:
    return int(name) if isinstance(name, str) and name.isdecimal() and len(name) < 12 else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else None


def _ids(value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(_count(token) is not None for token in value):
        raise BrokenAnswerError("sent token ids that are none")
    return tuple(value)


def _places(value: Any) -> tuple[ChunkToken, ...]:
    content = _mapping(value).get("content")
    if content is None:
        return ()
    if not isinstance(content, list):
        raise BrokenAnswerError("sent log-probabilities that are none")
    return tuple(map(_place, content))


def _place(value: Any) -> ChunkToken:
    entry = _mapping(value)
    listed = entry.get("top_logprobs")
    alternatives = [_token(_mapping(other)) for other in listed[:_MAX_TOP]] if isinstance(listed, list) else []
    token = _token(entry)
    # vLLM lists the token itself first, wherever it ranks
    top = sorted(alternatives, key=lambda other: -other.logprob)
    return ChunkToken(token.token, token.logprob, token.data, tuple(top))


def _token(entry: Mapping[str, Any]) -> ChunkToken:
    token, logprob, data = entry.get("token_id", entry.get("token")), entry.get("logprob"), entry.get("bytes")
    if isinstance(token, str) and token.startswith(_TOKEN_ID) and token[len(_TOKEN_ID) :].isdecimal():
        token = int(token[len(_TOKEN_ID) : len(_TOKEN_ID) + 12])
    if not isinstance(token, (int, str)) or isinstance(token, bool):
        raise BrokenAnswerError("sent log-probabilities without tokens")
    if not isinstance(logprob, (int, float)) or not logprob <= 0.01:  # rounding may leave a little more than 0
        raise BrokenAnswerError("sent a log-probability that is no number below 0")
    return ChunkToken(token, max(min(float(logprob), 0.0), LEAST_LOGPROB), _data(data))


def _data(value: Any) -> bytes | None:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return None
    try:
        return bytes(value)
    except (TypeError, ValueError):
        return None
