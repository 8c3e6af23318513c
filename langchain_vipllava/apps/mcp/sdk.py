"""The one place that knows both lines of the MCP SDK: 1.x, which langchain-mcp-adapters needs, and 2.x.

Seen in mcp 1.30.0 and 2.3.0. Without the SDK this module can be imported; `require` then says what to install.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from langchain_vipllava.errors import VipLlavaError, describe_error

IS_INSTALLED, IS_LINE_2 = True, False
try:
    from mcp.server.mcpserver import MCPServer as ServerBase
    from mcp.server.mcpserver.exceptions import ResourceNotFoundError as MissingResourceError
    from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

    IS_LINE_2 = True
except ImportError:
    try:
        from mcp.server.fastmcp import FastMCP as ServerBase
        from mcp.server.fastmcp.exceptions import ResourceError as MissingResourceError
    except ImportError:
        IS_INSTALLED, ServerBase, MissingResourceError = False, object, VipLlavaError
if IS_INSTALLED:
    import anyio
    from mcp import types
    from mcp.server.auth.middleware.auth_context import get_access_token
    from mcp.server.auth.provider import AccessToken
    from mcp.server.auth.settings import AuthSettings
    from mcp.server.lowlevel.helper_types import ReadResourceContents
    from mcp.server.transport_security import TransportSecuritySettings
    from mcp.shared.message import ServerMessageMetadata

__all__ = [
    "IS_INSTALLED",
    "IS_LINE_2",
    "AccessToken",
    "AuthSettings",
    "MissingResourceError",
    "ReadResourceContents",
    "ServerBase",
    "TransportSecuritySettings",
    "get_access_token",
    "types",
]

logger = logging.getLogger(__name__)

_ROOTS_SECONDS = 10.0
"""How long a client may take to list its roots. Chosen: it knows them; a stateless client of line 1 never answers."""

_ROOTS = "roots"
"""Key of the question for the roots where the client answers it by calling the tool again (protocol 2026-07-28)."""


def require() -> None:
    """Check that the SDK is there.

    Raises:
        VipLlavaError: it is not; the message says what to install.
    """
    if not IS_INSTALLED:
        raise VipLlavaError("the MCP SDK is not installed: pip install 'langchain-vipllava[mcp]'.")


def http_request(context: Any) -> Any | None:
    """Return the HTTP request of a call; None over standard input and output."""
    return context.request_context.request


def has_connection(context: Any) -> bool:
    """Whether a client's calls belong together for the SDK; from protocol 2026-07-28 on, HTTP has no sessions."""
    if not IS_LINE_2 or http_request(context) is None:
        return True
    return context.request_context.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS


def wants_progress(context: Any) -> bool:
    """Whether the client asked to be told of progress."""
    meta = context.request_context.meta
    if isinstance(meta, dict):
        return meta.get("progress_token") is not None
    return getattr(meta, "progressToken", None) is not None


async def ask_for_roots(context: Any) -> list[str] | Any | None:
    """Return the URIs of the client's roots, or None for a client that has none.

    Where a server may not ask (protocol 2026-07-28), the result is a question for the client, to be returned as the
    result of the tool: the client calls the tool again with its answer.
    """
    capabilities = _capabilities(context)
    if capabilities is None or capabilities.roots is None:
        return None
    if IS_LINE_2 and context.request_context.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
        answer = (context.input_responses or {}).get(_ROOTS)
        if answer is None:
            return types.InputRequiredResult(input_requests={_ROOTS: types.ListRootsRequest()})
        return [str(root.uri) for root in getattr(answer, "roots", ())]
    request = types.ListRootsRequest()
    try:
        with anyio.fail_after(_ROOTS_SECONDS):
            listed = await context.session.send_request(
                request if IS_LINE_2 else types.ServerRequest(request),
                types.ListRootsResult,
                # on the stream of this call: a client need not listen on another one
                metadata=ServerMessageMetadata(related_request_id=context.request_id),
            )
    except Exception as error:  # a client that says it has roots, and fails to list them, has none to read from
        logger.warning("the client did not list its roots: %s", describe_error(error))
        return []
    return [str(root.uri) for root in listed.roots]


def _capabilities(context: Any) -> Any | None:
    if IS_LINE_2:
        return context.client_capabilities
    parameters = context.session.client_params
    return None if parameters is None else parameters.capabilities


async def run_stdio(server: Any) -> None:
    """Serve one client over standard input and output, until it closes them. Whatever else is printed goes to stderr.

    Line 2 takes care of the output itself; in line 1 a word that a detector prints would end the connection.
    """
    if IS_LINE_2:
        await server.run_stdio_async()
        return
    from mcp.server.stdio import stdio_server  # noqa: PLC0415

    wire = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    async with stdio_server(stdout=anyio.wrap_file(wire)) as (received, sent):
        inner = server._mcp_server
        await inner.run(received, sent, inner.create_initialization_options())
