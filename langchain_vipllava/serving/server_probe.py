"""`ServerProbe`: asks a server what it is, one bounded request at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from langchain_vipllava.backends.server_address import ServerAddress
from langchain_vipllava.errors import GenerationError, describe_error, shorten

_MAX_BYTES = 2**20
"""Bytes of a reply. Chosen: the ids of a full context take less."""


@dataclass(frozen=True)
class Reply:
    """What a server said.

    Attributes:
        status: HTTP status.
        value: the JSON object of the body; empty for anything else.
    """

    status: int
    value: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether it did what was asked."""
        return self.status == httpx.codes.OK

    @property
    def words(self) -> str:
        """The server's own words about an error, shortened."""
        error = self.value.get("error")
        message = error.get("message") if isinstance(error, Mapping) else error or self.value.get("detail")
        return shorten(message) if message else f"HTTP {self.status}"


class ServerProbe:
    """Asks a server. Follows no redirects, and sends the API key to no other host.

    Args:
        base_url: its address, with or without `/v1`.
        api_key: the key; None for a server without one.
        timeout: seconds for a whole reply.

    Raises:
        GenerationError: no address of a server.
    """

    def __init__(self, base_url: str, api_key: str | None = None, timeout: float = 60.0) -> None:
        address = ServerAddress.read(base_url)
        self.root = address.root
        self._timeout = timeout
        try:
            headers = {} if api_key is None else {b"Authorization": f"Bearer {api_key}".encode("latin-1")}
        except UnicodeEncodeError as error:
            raise GenerationError("the API key has characters that no HTTP header can hold.") from error
        # a proxy of the environment would not find a loopback address
        self._client = httpx.Client(headers=headers, timeout=timeout, trust_env=not address.is_loopback)

    def get(self, path: str) -> Reply:
        """Ask for a path.

        Raises:
            GenerationError: nobody answers there, or not in time.
        """
        return self._send("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Reply:
        """Send a JSON object to a path.

        Raises:
            GenerationError: nobody answers there, or not in time.
        """
        return self._send("POST", path, body)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Reply:
        deadline = time.monotonic() + self._timeout
        data = b""
        try:
            with self._client.stream(method, f"{self.root}{path}", json=body) as response:
                for chunk in response.iter_bytes():
                    data += chunk
                    if len(data) > _MAX_BYTES:
                        raise GenerationError(f"{self.root} answers {path} with more than {_MAX_BYTES:,} bytes.")
                    if time.monotonic() > deadline:
                        raise GenerationError(f"{self.root} took more than {self._timeout:.0f} seconds for {path}.")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise GenerationError(f"cannot ask {self.root}: {describe_error(error)}.") from error
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        return Reply(response.status_code, value if isinstance(value, dict) else {})
