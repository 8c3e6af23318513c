"""How sure a model was of the parts of its answer, from the probabilities of its tokens."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from langchain_vipllava.protocol.answer import Answer
from langchain_vipllava.protocol.logprobs import TokenLogprob
from langchain_vipllava.protocol.output_spec import OutputSpec
from langchain_vipllava.schemas.json_schema import subschemas

WHOLE = "$"
"""Path of the whole answer, as in JSONPath."""

_MAX_TEXT_TOKENS = 16
"""Tokens of the longest free text that has a confidence. Chosen: a phrase. The probability of one wording of a longer
text says nothing about whether it is true."""

_SPECIAL = b"\xff"
"""Stands in front of the name of a special token: UTF-8 has no such byte."""

_END = b" "
"""Stands for the end of an answer that could not go on: what comes after a number."""

_SPACE = b" "
"""Stands for the whitespace in front of an answer."""

_AFTER_NUMBER = b",}] \t\r\n" + _SPECIAL
_NUMBER = re.compile(rb"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_WORDS = (b"true", b"false", b"null")
_PLAIN_NAME = re.compile(r'[^.\[\]"$]+')

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class _Part:
    """A value in the JSON of an answer: bytes `start` to `end`, of which a number's last is what follows it."""

    path: Path
    start: int
    end: int
    value: Any = None
    is_number: bool = False


class _Places:
    """The places of an answer's tokens, and the bytes that were written there.

    Whitespace at the start belongs to no text. One space stands for whatever there is, also where there is none, so
    that a token with the space of its own and one behind a token that is the space lead to the same place.
    """

    def __init__(self, places: Sequence[TokenLogprob]) -> None:
        self.data = b""
        self._offsets: list[int] = []
        self._choices: dict[int, list[tuple[bytes, float]]] = {}
        for place in places:
            offset = len(self.data)
            written = self._behind_whitespace(_bytes_of(place), offset)
            if written:
                choices = [(_bytes_of(choice), math.exp(choice.logprob)) for choice in place.admitted or ()]
                self._offsets.append(offset)
                self._choices[offset] = [(self._behind_whitespace(text, offset), share) for text, share in choices]
            self.data += written

    @staticmethod
    def _behind_whitespace(written: bytes, offset: int) -> bytes:
        if offset > len(_SPACE):
            return written
        return (b"" if offset else _SPACE) + written.lstrip()

    def tokens(self, start: int, end: int) -> int:
        """Return how many tokens begin between two bytes."""
        return bisect_left(self._offsets, end) - bisect_left(self._offsets, start)

    def probability(self, part: _Part) -> float:
        """Return how likely a part of the answer was, given all that was written before it.

        One text can be written in several tokens, and every way counts. What follows a token is known where it ends at
        a place of the answer; elsewhere it is estimated from the longer tokens that begin with it.
        """
        end = min(part.end, len(self.data))
        known: dict[int, float] = {}
        for offset in reversed(self._offsets[: bisect_left(self._offsets, end)]):
            known[offset] = self._at(offset, part, known)
            if offset <= part.start:
                break
        return min(max(known[min(known)], 0.0), 1.0) if known else 1.0

    def _at(self, offset: int, part: _Part, known: Mapping[int, float]) -> float:
        """The probability of the rest of a part, from a place on."""
        rest, before = self.data[offset : part.end], max(part.start - offset, 0)
        agreeing: list[tuple[bytes, float]] = []
        against = 0.0 if before else max(1.0 - sum(share for _, share in self._choices[offset]), 0.0)
        for written, share in self._choices[offset]:
            common = _common(written, rest, is_number=part.is_number)
            if common >= min(len(written), len(rest)):
                if len(written) > before:
                    agreeing.append((written, share))
            elif common >= before:
                against += share
        agreeing.sort(key=lambda choice: -len(choice[0]))
        follows: dict[bytes, float] = {}
        for written, _ in agreeing:
            after = offset + len(written)
            if len(written) >= len(rest):
                follows[written] = 1.0
            elif after in known:
                follows[written] = known[after]
            else:
                follows[written] = self._estimate(written, agreeing, follows, offset, known)
        total = against + sum(share for _, share in agreeing)
        return sum(share * follows[written] for written, share in agreeing) / total if total else 0.0

    def _estimate(
        self,
        beginning: bytes,
        agreeing: Sequence[tuple[bytes, float]],
        follows: Mapping[bytes, float],
        offset: int,
        known: Mapping[int, float],
    ) -> float:
        """The probability of what follows a token that ends between two places of the answer."""
        longer = [
            (written, share)
            for written, share in self._choices[offset]
            if len(written) > len(beginning) and written.startswith(beginning)
        ]
        total = sum(share for _, share in longer)
        if total:
            agree = {written for written, _ in agreeing}
            return sum(share * follows[written] for written, share in longer if written in agree) / total
        return next((known[place] for place in sorted(known) if place > offset + len(beginning)), 1.0)


def confidences(answer: Answer, output: OutputSpec) -> dict[str, float]:
    """Return how sure the model was of each part of its answer, 0 to 1, by path.

    The confidence of a part is its probability among all that the form of the answer admits in its place, given what
    was written before it: of a value of an enum among the others, of a number among the other numbers. `$` is the
    whole answer. Free texts of more than 16 tokens have none, nor has anything that holds one, nor what was cut off.

    Args:
        answer: with `logprobs` of which each knows what was `admitted`; without, nothing is returned.
        output: what the answer could be.
    """
    if not answer.logprobs or any(place.admitted is None for place in answer.logprobs):
        return {}
    ended = (answer.end,) if answer.end is not None and answer.end.admitted is not None else ()
    places = _Places([*answer.logprobs, *ended])
    if not ended and answer.finish_reason == "stop":
        places.data += _END
    is_json = output.must_call or output.schema is not None or answer.text.startswith("[")
    if output.is_free_text or not is_json:
        return _of_text(answer, places)
    parts: list[_Part] = []
    with suppress(ValueError, RecursionError):  # it was cut off: what is complete has a confidence
        _scan(places.data, len(_SPACE), (), parts)
    fixed = _fixed_values(output)
    long = [part.start for part in parts if not _is_short(part, places, fixed)]
    found: dict[str, float] = {}
    for part in sorted(parts, key=lambda part: part.start):
        path = _shown_path(part.path, answer.text, output)
        if path is not None and not any(part.start <= start < part.end for start in long):
            found[path] = places.probability(part if part.path else replace(part, start=0))
    if WHOLE in found and answer.probability is not None:
        found[WHOLE] = answer.probability
    return found


def _of_text(answer: Answer, places: _Places) -> dict[str, float]:
    """The confidence of free text as a whole."""
    logprobs = answer.logprobs or ()
    text = answer.text.encode()
    if answer.finish_reason != "stop" or not text or len(logprobs) > _MAX_TEXT_TOKENS:
        return {}
    start = places.data.find(text)
    if start < 0:  # bytes that are not text
        return {}
    end = len(places.data) if answer.end is not None else start + len(text)
    return {WHOLE: places.probability(_Part((), 0, end))}


def _scan(data: bytes, at: int, path: Path, parts: list[_Part]) -> int:
    """Collect the values of compact JSON from a byte on; return the byte behind the first one.

    Raises:
        ValueError: it ends before its time.
    """
    first = data[at : at + 1]
    if first == b'"':
        end = _end_of_string(data, at)
        parts.append(_Part(path, at, end, json.loads(data[at:end])))
    elif first in (b"{", b"["):
        end = _scan_container(data, at, path, parts)
        parts.append(_Part(path, at, end, ...))
    elif word := next((word for word in _WORDS if data.startswith(word, at)), None):
        end = at + len(word)
        parts.append(_Part(path, at, end, json.loads(word)))
    else:
        number = _NUMBER.match(data, at)
        if number is None or number.end() >= len(data):
            raise ValueError("no whole value")
        end = number.end()
        parts.append(_Part(path, at, end + 1, json.loads(number[0]), is_number=True))
    return end


def _scan_container(data: bytes, at: int, path: Path, parts: list[_Part]) -> int:
    is_object, index = data[at : at + 1] == b"{", 0
    closing = b"}" if is_object else b"]"
    at += 1
    while data[at : at + 1] != closing:
        key: str | int = index
        if index:
            at = _expect(data, at, b",")
        if is_object:
            end = _end_of_string(data, at)
            key, at = json.loads(data[at:end]), _expect(data, end, b":")
        at = _scan(data, at, (*path, key), parts)
        index += 1
    return at + 1


def _expect(data: bytes, at: int, character: bytes) -> int:
    if data[at : at + 1] != character:
        raise ValueError(f"no {character!r}")
    return at + 1


def _end_of_string(data: bytes, at: int) -> int:
    match = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL).match(data, at)
    if match is None:
        raise ValueError("no whole string")
    return match.end()


def _is_short(part: _Part, places: _Places, fixed: frozenset[str]) -> bool:
    """Whether a text may have a confidence: one of the schema's own, or a short one."""
    if not isinstance(part.value, str) or part.value in fixed:
        return True
    return places.tokens(part.start, part.end) <= _MAX_TEXT_TOKENS


def _fixed_values(output: OutputSpec) -> frozenset[str]:
    """The texts that schemas name as values, and the names of tools."""
    schemas = [tool.get("parameters") or {} for tool in output.tools] + [output.schema or {}]
    values: set[str] = {str(tool["name"]) for tool in output.tools}
    for schema in schemas:
        for part in subschemas(schema):
            listed = [part["const"]] if "const" in part else part.get("enum")
            values.update(value for value in listed or () if isinstance(value, str))
    return frozenset(values)


def _shown_path(path: Path, text: str, output: OutputSpec) -> str | None:
    """Write a path; None for the parts of a call that are not shown: its name, and what is the answer itself.

    The arguments of the only call that can come are the answer; those of others stand behind the number of the call.
    """
    if output.tools and (output.must_call or text.startswith('[{"name":')):
        is_only = output.must_call and len(output.tools) == 1 and not output.parallel
        if len(path) > 1:
            if path[1] != "arguments" or len(path) == 2:
                return None
            path = path[2:] if is_only else (path[0], *path[2:])
        elif path and is_only:
            return None
    return "".join(_steps(path)).removeprefix(".") or WHOLE


def _steps(path: Path) -> Iterator[str]:
    for step in path:
        if isinstance(step, int):
            yield f"[{step}]"
        else:
            name = step.encode("utf-8", "backslashreplace").decode()  # half a character cannot be stored
            yield f".{name}" if _PLAIN_NAME.fullmatch(name) else f"[{json.dumps(name, ensure_ascii=False)}]"


def _bytes_of(choice: Any) -> bytes:
    data: bytes | None = choice.data
    return _SPECIAL + choice.token.encode() if data is None else data


def _common(written: bytes, rest: bytes, *, is_number: bool) -> int:
    """Return how many bytes two texts begin with alike; whatever ends a number is alike."""
    length = min(len(written), len(rest))
    common = next((index for index in range(length) if written[index] != rest[index]), length)
    if is_number and common == len(rest) - 1 < len(written) and written[common] in _AFTER_NUMBER:
        return len(rest)
    return common
