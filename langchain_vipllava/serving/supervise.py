"""`Supervisor`: runs a server until it ends, or a signal asks for its end."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from langchain_vipllava.errors import GenerationError
from langchain_vipllava.serving.server_process import ServerProcess

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_SECONDS = 0.2


class _AskedToEndError(Exception):
    """A signal arrived."""


class Supervisor:
    """Holds the signals that end a process, so that its server ends first. For the main thread."""

    def __init__(self) -> None:
        self._signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Supervisor:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup ignores SIGHUP
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def run(
        self,
        process: ServerProcess,
        url: str | None,
        timeout: float,
        report: Callable[[float, str], None],
        on_ready: Callable[[float], None],
    ) -> int:
        """Wait until a server is ready, then until it ends; stop it at a signal, and return the status of this process.

        Args:
            process: the server.
            url: its address, without a path; None for a part of a server that has none.
            timeout: seconds until it must be ready.
            report: called while it starts; see `ServerProcess.wait_until_ready`.
            on_ready: called with the seconds that it took.

        Raises:
            GenerationError: it ended by itself, or was not ready in time.
        """

        def watched(seconds: float, line: str) -> None:
            if self._signal is not None:
                raise _AskedToEndError
            report(seconds, line)

        with process:
            try:
                if url is not None:
                    on_ready(process.wait_until_ready(url, timeout, watched))
                while process.status() is None and self._signal is None:
                    time.sleep(_POLL_SECONDS)
            except _AskedToEndError:
                pass
            if self._signal is None:
                raise GenerationError(process.describe_end())
        return 128 + self._signal  # as shells report it

    def _remember(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._signal = number
