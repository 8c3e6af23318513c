"""`read_events`: the JSON objects of a stream of server-sent events, whatever a server sends instead."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from langchain_vipllava.backends.server_failures import BrokenAnswerError, StalledError

_DATA = b"data:"
_DONE = b"[DONE]"

_MAX_EVENT_BYTES = 2**20
"""Bytes of one event. Chosen: a token with 20 alternatives takes 2 KB, the ids of a long prompt 40 KB."""


async def read_events(
    chunks: AsyncIterator[bytes], *, first: float, between: float, max_bytes: int
) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the objects of a stream of events, up to `[DONE]`.

    Args:
        chunks: the bytes of the stream, however they are cut.
        first: maximum seconds to the first event.
        between: maximum seconds from one event to the next; comments and incomplete lines do not count as events.
        max_bytes: bytes of the whole stream.

    Raises:
        BrokenAnswerError: something else came, too much, or the stream ended without `[DONE]`.
        StalledError: nothing came in time.
    """
    buffer, total, wait = bytearray(), 0, first
    deadline = asyncio.get_running_loop().time() + wait
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            raise StalledError(f"sent nothing for {wait:g} seconds") from error
        if chunk is None:
            raise BrokenAnswerError("closed the connection in the middle of an answer")
        total += len(chunk)
        buffer += chunk
        if total > max_bytes or len(buffer) > _MAX_EVENT_BYTES:
            raise BrokenAnswerError(f"sent more than {min(max_bytes, _MAX_EVENT_BYTES):,} bytes for an answer")
        *lines, rest = buffer.split(b"\n")
        buffer = bytearray(rest)
        for line in lines:
            data = bytes(line).strip()
            if not data.startswith(_DATA):  # a comment, the name of an event, an empty line
                continue
            data = data[len(_DATA) :].strip()
            if data == _DONE:
                return
            yield _read(data)
            wait = between
            deadline = asyncio.get_running_loop().time() + wait


def _read(data: bytes) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BrokenAnswerError("sent an event that is no JSON") from error
    if not isinstance(event, dict):
        raise BrokenAnswerError("sent an event that is no JSON object")
    return event
