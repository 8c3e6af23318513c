"""Fixtures: servers of vLLM with the bundled checkpoint, exported. `make test-vllm`."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from langchain_vipllava.backends.local import LocalBackend
from langchain_vipllava.protocol.load_options import LoadOptions
from langchain_vipllava.serving.export import export_checkpoint
from langchain_vipllava.serving.served_folder import ServedFolder
from langchain_vipllava.serving.server_process import ServerProcess
from langchain_vipllava.serving.vllm_command import Layout, VllmCommand
from langchain_vipllava.serving.vllm_environment import VARIABLE, VllmEnvironment

_START_SECONDS = 900.0


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    process: ServerProcess
    url: str

    @property
    def root(self) -> str:
        return self.url.removesuffix("/v1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            if not os.environ.get(VARIABLE):
                item.add_marker(pytest.mark.skip(reason=f"needs vLLM, in an environment of its own: {VARIABLE}"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_checkpoint(LoadOptions("bundled"), tmp_path_factory.mktemp("exports") / "shapes").folder


@pytest.fixture(scope="session")
def local() -> LocalBackend:
    """The engine in this process, with the same weights in float32."""
    return LocalBackend.load(model="bundled", dtype="float32", device="cpu")


@pytest.fixture
def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def start(folder: Path, log: Path, layout: Layout | None = None, *extra: str) -> Server:
    """Start a server; it is ready after `wait_until_ready`."""
    environment = VllmEnvironment.find()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    model = ServedFolder.read(folder)
    command = VllmCommand(
        model,
        "shapes",
        port=port,
        layout=layout or Layout(),
        on_cpu=environment.on_cpu,
        extra=extra,
    )
    variables = {**os.environ, **command.environment(), "OMP_NUM_THREADS": "1"}
    return Server(ServerProcess(command.command(environment.python), variables, log), command.url)


@pytest.fixture(scope="session")
def make_server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start servers; all end with the session."""
    logs = tmp_path_factory.mktemp("logs")
    with ExitStack() as servers:

        def make(layout: Layout | None = None, *extra: str) -> Server:
            server = start(folder, logs / f"{len(list(logs.iterdir()))}.log", layout, *extra)
            servers.callback(server.process.stop)
            server.process.wait_until_ready(server.root, _START_SECONDS)
            return server

        yield make


@pytest.fixture(scope="session")
def server(make_server: Callable[..., Server]) -> Server:
    """The server of most tests."""
    return make_server()
