"""The official MCP clients of both SDK lines in one form, and a server on loopback."""

from __future__ import annotations

import base64
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from mcp import StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from langchain_vipllava.apps.mcp.access import HttpAccess
from langchain_vipllava.apps.mcp.sdk import IS_LINE_2
from langchain_vipllava.apps.mcp.server import WorkspaceServer
from tests.support.command_line import CODE, environment

if IS_LINE_2:
    from mcp import Client
    from mcp.shared.exceptions import MCPError as ProtocolError
else:
    from mcp import ClientSession
    from mcp.shared.exceptions import McpError as ProtocolError

__all__ = ["McpClient", "ProtocolError", "Served", "over_http", "over_stdio", "serving"]


@dataclass(frozen=True)
class Called:
    """The result of a tool."""

    text: str
    images: list[bytes]
    structured: dict[str, Any] | None
    is_error: bool


@dataclass
class McpClient:
    """A connected client."""

    raw: Any
    progress: list[str | None] = field(default_factory=list)

    async def call(self, name: str, **arguments: Any) -> Called:
        """Call a tool that succeeds."""
        called = await self.try_call(name, **arguments)
        assert not called.is_error, called.text
        return called

    async def try_call(self, name: str, *, progress: bool = False, **arguments: Any) -> Called:
        """Call a tool."""
        result = await self.raw.call_tool(name, arguments, progress_callback=self._note if progress else None)
        dumped = result.model_dump(by_alias=True, exclude_none=True)
        content = dumped["content"]
        return Called(
            "\n".join(block["text"] for block in content if block["type"] == "text"),
            [base64.b64decode(block["data"]) for block in content if block["type"] == "image"],
            dumped.get("structuredContent"),
            dumped.get("isError", False),
        )

    async def read(self, uri: str) -> tuple[str, bytes]:
        """Return the mime type and the bytes of a resource."""
        result = await self.raw.read_resource(uri)
        (contents,) = result.model_dump(by_alias=True)["contents"]
        return contents["mimeType"], base64.b64decode(contents["blob"])

    async def resources(self) -> dict[str, str]:
        """Return the names of the resources that are listed, by URI."""
        listed = await self.raw.list_resources()
        return {str(resource.uri): resource.name for resource in listed.resources}

    async def tools(self) -> dict[str, dict[str, Any]]:
        """Return the descriptions of the tools."""
        listed = await self.raw.list_tools()
        return {tool.name: tool.model_dump(by_alias=True, exclude_none=True) for tool in listed.tools}

    async def templates(self) -> list[dict[str, Any]]:
        """Return the templates of resources."""
        listed = await self.raw.list_resource_templates()
        return listed.model_dump(by_alias=True)["resourceTemplates"]

    async def _note(self, done: float, total: float | None, message: str | None) -> None:
        self.progress.append(message)


@dataclass(frozen=True)
class Served:
    """A server that listens on loopback."""

    server: WorkspaceServer
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"


@contextmanager
def serving(model: Any, *, http: HttpAccess | None = None, **arguments: Any) -> Iterator[Served]:
    """Serve HTTP from a thread of this process."""
    access = http or HttpAccess(port=0)
    server = WorkspaceServer(model, http=access, **arguments)
    with access.listen() as listener:
        running = uvicorn.Server(
            uvicorn.Config(server.app(), log_level="error", ws="none", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Served(server, listener.getsockname()[1])
        finally:
            running.should_exit = True
            thread.join()


@asynccontextmanager
async def over_http(
    url: str, mode: str = "legacy", *, roots: list[str] | None = None, headers: dict[str, str] | None = None
) -> AsyncIterator[McpClient]:
    """Connect over streamable HTTP."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(create_mcp_http_client(headers=headers))
        yield await _connected(stack, streamable_http_client(url, http_client=http), mode, roots)


@asynccontextmanager
async def over_stdio(
    *arguments: str,
    mode: str = "legacy",
    roots: list[str] | None = None,
    python: str = sys.executable,
    python_path: object = "",
) -> AsyncIterator[McpClient]:
    """Start `langchain-vipllava mcp` with some arguments, and connect over its standard input and output."""
    command = ["-c", CODE, "mcp", *arguments]
    parameters = StdioServerParameters(command=python, args=command, env=environment(python_path))
    async with AsyncExitStack() as stack:
        yield await _connected(stack, stdio_client(parameters), mode, roots)


async def _connected(stack: AsyncExitStack, transport: Any, mode: str, roots: list[str] | None) -> McpClient:
    async def list_roots(context: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri=root) for root in roots or ()])

    callback = None if roots is None else list_roots
    if IS_LINE_2:
        return McpClient(await stack.enter_async_context(Client(transport, mode=mode, list_roots_callback=callback)))
    read, write, *_ = await stack.enter_async_context(transport)
    session = await stack.enter_async_context(ClientSession(read, write, list_roots_callback=callback))
    await session.initialize()
    return McpClient(session)
