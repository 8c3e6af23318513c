"""`HttpTransport`: requests to servers by httpx: bounded, without redirects, the API key out of every message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from langchain_vipllava.backends.event_stream import read_events
from langchain_vipllava.backends.served_options import ServedOptions
from langchain_vipllava.backends.server_address import ServerAddress
from langchain_vipllava.backends.server_failures import BrokenAnswerError, StalledError, TransientError, refuse
from langchain_vipllava.errors import GenerationError, describe_error

if TYPE_CHECKING:
    import httpx

_MAX_CONNECTIONS = 256
"""Connections to all servers of a model. Chosen: as many answers as vLLM runs at once by default; others wait."""

_KEEPALIVE_SECONDS = 4.0
"""How long an idle connection is kept. vLLM's server (uvicorn) closes it after 5."""

_SHORT_SECONDS = 30.0
"""How long anything but an answer may take. Chosen: a server that is busy with answers still lists its model."""

_MAX_ERROR_BYTES = 64 * 1024
_MAX_JSON_BYTES = 8 * 2**20
"""Bytes of an answer that is no stream. Chosen: the ids of a million characters take less."""

_STREAM_BYTES, _TOKEN_BYTES = 2**20, 8 * 1024
"""Bytes of a stream: some for the prompt's ids, and for each token. Chosen: four times what 20 alternatives take."""


class HttpTransport:
    """Sends requests to servers. For one event loop.

    Args:
        options: which servers, with which key.
    """

    def __init__(self, options: ServedOptions) -> None:
        self._options = options
        self._clients: dict[bool, httpx.AsyncClient] = {}

    async def get(self, address: ServerAddress, path: str) -> dict[str, Any]:
        """Return the JSON object at a path.

        Raises:
            TransientError, NoSuchRouteError, GenerationError: see `refuse`.
        """
        return await self._ask("GET", address, path, None)

    async def post(self, address: ServerAddress, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a JSON object to a path, and return the one that comes back.

        Raises:
            TransientError, NoSuchRouteError, GenerationError: see `refuse`.
        """
        return await self._ask("POST", address, path, body)

    async def stream(
        self, address: ServerAddress, path: str, body: Mapping[str, Any], *, max_tokens: int
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Send a JSON object to a path, and yield the events of the stream that comes back. Closing it hangs up.

        Raises:
            TransientError, NoSuchRouteError, GenerationError: see `refuse` and `read_events`.
        """
        timeouts = self._options.timeouts
        response = await self._send("POST", address, path, body, timeouts.first)
        try:
            await self._expect_ok(response, address)
            chunks = response.aiter_raw()  # not decompressed: nothing was asked to be compressed
            events = read_events(
                chunks,
                first=timeouts.first,
                between=timeouts.between,
                max_bytes=_STREAM_BYTES + _TOKEN_BYTES * max_tokens,
            )
            async with aclosing(events):
                async for event in _translated(events):
                    yield event
        finally:
            await response.aclose()

    async def _ask(
        self, method: str, address: ServerAddress, path: str, body: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        response = await self._send(method, address, path, body, min(_SHORT_SECONDS, self._options.timeouts.first))
        try:
            await self._expect_ok(response, address)
            data = await self._read(response, _MAX_JSON_BYTES)
        finally:
            await response.aclose()
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise BrokenAnswerError(f"answered {path} with something else than JSON") from error
        if not isinstance(value, dict):
            raise BrokenAnswerError(f"answered {path} with JSON that is no object")
        return value

    async def _send(
        self, method: str, address: ServerAddress, path: str, body: Mapping[str, Any] | None, first: float
    ) -> httpx.Response:
        import httpx  # noqa: PLC0415  # 0.1 seconds, when something is asked

        client = self._client(address)
        try:
            request = client.build_request(method, address.root + path, json=body)
        except (ValueError, httpx.InvalidURL) as error:
            raise GenerationError(f"cannot ask {address}: {describe_error(error)}.") from error
        try:
            async with asyncio.timeout(first):
                return await client.send(request, stream=True)
        except TimeoutError as error:
            raise StalledError(f"did not answer for {first:g} seconds") from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            reason = describe_error(error)
            raise TransientError(f"cannot be reached ({reason})", unreachable=True) from error
        except httpx.HTTPError as error:
            raise BrokenAnswerError(f"broke off the connection ({describe_error(error)})") from error

    async def _expect_ok(self, response: httpx.Response, address: ServerAddress) -> None:
        if response.status_code == 200:
            return
        data = await self._read(response, _MAX_ERROR_BYTES)
        if self._options.api_key is not None:
            data = data.replace(self._options.api_key.encode(), b"***")
        refuse(response.status_code, response.headers, data, address=address, model=self._options.model)

    async def _read(self, response: httpx.Response, most: int) -> bytes:
        """Read a body; of one that is too long, what is read so far."""
        import httpx  # noqa: PLC0415

        data = bytearray()
        first = min(_SHORT_SECONDS, self._options.timeouts.first)
        try:
            async with asyncio.timeout(first):
                async for chunk in response.aiter_raw():
                    data += chunk
                    if len(data) > most:
                        break
        except TimeoutError as error:
            raise StalledError(f"did not end its answer for {first:g} seconds") from error
        except httpx.HTTPError as error:
            raise BrokenAnswerError(f"broke off the connection ({describe_error(error)})") from error
        return bytes(data[:most])

    def _client(self, address: ServerAddress) -> httpx.AsyncClient:
        """The client for an address: one for this machine, past any proxy, and one for all others."""
        import httpx  # noqa: PLC0415

        client = self._clients.get(address.is_loopback)
        if client is None:
            headers = {"Accept-Encoding": "identity"}
            if self._options.api_key is not None:
                headers["Authorization"] = f"Bearer {self._options.api_key}"
            timeouts = self._options.timeouts
            client = self._clients[address.is_loopback] = httpx.AsyncClient(
                headers=headers,
                follow_redirects=False,
                trust_env=not address.is_loopback,
                timeout=httpx.Timeout(None, connect=timeouts.connect, write=timeouts.between),
                limits=httpx.Limits(max_connections=_MAX_CONNECTIONS, keepalive_expiry=_KEEPALIVE_SECONDS),
            )
        return client


async def _translated(events: AsyncGenerator[dict[str, Any], None]) -> AsyncGenerator[dict[str, Any], None]:
    import httpx  # noqa: PLC0415

    try:
        async for event in events:
            yield event
    except httpx.HTTPError as error:
        raise BrokenAnswerError(f"broke off the connection ({describe_error(error)})") from error
