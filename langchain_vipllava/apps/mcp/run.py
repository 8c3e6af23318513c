"""Running a `WorkspaceServer` until its client, or the operator, ends it."""

from __future__ import annotations

import socket

from langchain_vipllava.apps.mcp import sdk
from langchain_vipllava.apps.mcp.server import WorkspaceServer

_SECONDS = 3
"""For open streams when the server is stopped. Chosen: clients keep one open all the time, so none ends by itself."""


def serve_stdio(server: WorkspaceServer) -> None:
    """Serve one client over standard input and output, until it closes them."""
    import anyio  # noqa: PLC0415  # there where the SDK is

    anyio.run(sdk.run_stdio, server)


def serve_http(server: WorkspaceServer, listener: socket.socket) -> None:
    """Serve clients over HTTP, until a signal.

    Args:
        server: made with `http=`.
        listener: of its `HttpAccess.listen()`.
    """
    import uvicorn  # noqa: PLC0415  # there where the SDK is

    config = uvicorn.Config(
        server.app(),
        log_level="warning",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listener])
