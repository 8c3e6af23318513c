"""`Caller`: whose images a call may use. No id that a client writes decides it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_vipllava.apps.mcp import sdk
from langchain_vipllava.errors import SessionError, shorten
from langchain_vipllava.workspace.session_id import ProgramSession, RunSession

_HANDLE_BYTES = 12
"""Chosen: 96 random bits cannot be guessed, and an LLM can still copy 24 digits."""

_DIGITS = 2 * _HANDLE_BYTES
_ID_WITH_HANDLE = re.compile(rf"\s*['\"`]?([A-Za-z]+[ _]?\d+)-([0-9a-f]{{{_DIGITS}}})['\"`]?\s*")
_URI = re.compile(rf"vip://image/([0-9a-f]{{64}})(?:\.([0-9a-f]{{{_DIGITS}}}))?")
_IDS_OUTSIDE_QUOTES = re.compile(r'"(?:[^"\\]|\\.)*"|\b(?:img|marked|photo)\d+\b')


class Connection:
    """Lives as long as a connection to a client; without one, as long as the server."""


@dataclass(frozen=True)
class Caller:
    """The client of a call.

    Attributes:
        session: its session of the workspace.
        handle: what its image ids end with. Protocol 2026-07-28 has no sessions over HTTP: a client without a token
            then proves with an image's id that the image is its own.
    """

    session: ProgramSession | RunSession
    handle: str | None = None

    def written(self, text: str) -> str:
        """Return a text for the client with the handle behind every image id; quoted text is data, and stays."""
        if self.handle is None:
            return text
        return _IDS_OUTSIDE_QUOTES.sub(
            lambda found: found[0] if found[0].startswith('"') else self.image_id(found[0]), text
        )

    def image_id(self, image_id: str) -> str:
        """Return an image id as the client sees it."""
        return image_id if self.handle is None else f"{image_id}-{self.handle}"

    def uri(self, digest: str) -> str:
        """Return the URI of an image of this client with a content hash."""
        return f"vip://image/{digest}" if self.handle is None else f"vip://image/{digest}.{self.handle}"


def caller_of(context: Any, connection: Connection) -> Caller | None:
    """Return the client of a call: by its token, else by its connection. None where only an image id can tell.

    Args:
        context: of the SDK.
        connection: what lives as long as the connection, where each has its own.
    """
    token = sdk.get_access_token()
    if token is not None:
        return Caller(ProgramSession(f"mcp token {token.client_id}"))
    request = sdk.http_request(context)
    if request is None:
        return Caller(RunSession(connection))
    # checked by the SDK, which found the connection by it; without connections nobody checks it
    name = request.headers.get("mcp-session-id") if sdk.has_connection(context) else None
    return None if name is None else Caller(ProgramSession(f"mcp session {name}"))


def new_caller() -> Caller:
    """Return a caller that nobody has been yet."""
    return _with_handle(secrets.token_hex(_HANDLE_BYTES))


def read_image_id(image_id: object) -> tuple[Caller, str]:
    """Split an image id of a client without a session into its caller and the id in that session.

    Raises:
        SessionError: it has no handle.
    """
    found = _ID_WITH_HANDLE.fullmatch(image_id) if isinstance(image_id, str) else None
    if found is None:
        raise SessionError(
            f"image_id={shorten(image_id)}; expected the whole id that open_image or mark_regions returned, such as "
            f"img1-{'0123456789abcdef' * 2:.{_DIGITS}}."
        )
    return _with_handle(found[2]), found[1]


def read_uri(uri: str) -> tuple[str, Caller | None] | None:
    """Return the content hash and the caller, if any, that a URI names; None for another URI."""
    found = _URI.fullmatch(uri)
    if found is None:
        return None
    return found[1], None if found[2] is None else _with_handle(found[2])


def with_handles(value: Any, caller: Caller) -> Any:
    """Return a result's JSON with image ids as the client sees them."""
    if caller.handle is None or not isinstance(value, Mapping):
        return value
    return {
        key: caller.image_id(item) if key in ("image_id", "source_id") and isinstance(item, str) else item
        for key, item in value.items()
    }


def _with_handle(handle: str) -> Caller:
    return Caller(ProgramSession(f"mcp handle {handle}"), handle)
