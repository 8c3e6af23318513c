"""`ServerProcess`: vLLM in a process group of its own, started, watched and stopped."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import httpx

from langchain_vipllava.errors import GenerationError, describe_error
from langchain_vipllava.text import cut, printable

_POLL_SECONDS = 0.5
_STOP_SECONDS = 20.0
"""Seconds between SIGTERM and SIGKILL. Chosen: `--shutdown-timeout 5`, and the end of its processes."""

_TAIL_BYTES = 16_384
_TAIL_LINES = 20
_MAX_QUOTE = 200
"""Of the log of a server that ended: enough for the line of its last error."""

_PREFIX = re.compile(r"^(\(\w+ pid=\d+\) )?([A-Z]+ [\d-]+ [\d:]+ \[[\w.]+:\d+\] )?")
"""What stands in front of a line of vLLM's log: process, level, time and place."""

_ERROR = re.compile(r"error[:,]", re.IGNORECASE)


class ServerProcess:
    """A server that runs until it is stopped.

    vLLM's engine is a process of its own, which outlives a server that was killed: so all are one group, and the group
    is killed at the end.

    Args:
        command: the program and its arguments.
        environment: the whole environment.
        log: file for its output; None for the standard error of this process.

    Raises:
        GenerationError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path | None) -> None:
        self.log = log
        output: BinaryIO | None = None
        try:
            output = None if log is None else log.open("wb")
            self._process = subprocess.Popen(  # noqa: S603  # the interpreter that the user names
                list(command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=2 if output is None else output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise GenerationError(f"vLLM cannot be started: {describe_error(error)}.") from error
        finally:
            if output is not None:
                output.close()

    @property
    def pid(self) -> int:
        """The number of its process, and of its group."""
        return self._process.pid

    def status(self) -> int | None:
        """Return its exit status; None while it runs."""
        return self._process.poll()

    def wait_until_ready(self, url: str, timeout: float, report: Callable[[float, str], None] | None = None) -> float:
        """Wait until it answers `/health`, and return the seconds that it took.

        Args:
            url: its address, without a path.
            timeout: seconds.
            report: called twice a second with the seconds so far, and the last line of the log.

        Raises:
            GenerationError: it ended, or it took longer.
        """
        began = time.monotonic()
        with httpx.Client(trust_env=False, timeout=5.0) as client:  # a proxy would not find a loopback address
            while (seconds := time.monotonic() - began) < timeout:
                if self.status() is not None:
                    raise GenerationError(self.describe_end())
                with suppress(httpx.HTTPError):
                    if client.get(f"{url}/health").status_code == httpx.codes.OK:
                        return seconds
                if report is not None:
                    report(seconds, (self.tail(1) or [""])[0])
                time.sleep(_POLL_SECONDS)
        raise GenerationError(f"vLLM was not ready within {timeout:.0f} seconds; allow more. {self._last_words()}")

    def describe_end(self) -> str:
        """Say how it ended, with the last lines of its log."""
        status = self.status()
        how = f"with status {status}" if status is None or status >= 0 else f"by signal {-status}"
        return f"vLLM ended {how}. {self._last_words()}"

    def tail(self, lines: int) -> list[str]:
        """Return the last lines of the log that are not empty; none without a log."""
        if self.log is None:
            return []
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        said = [_PREFIX.sub("", printable(line, keep="")).rstrip() for line in text.splitlines()]
        return [line for line in said if line][-lines:]

    def stop(self, grace: float = _STOP_SECONDS) -> int:
        """Ask it to end, kill its group after some seconds, and return its exit status."""
        if self.status() is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
        with suppress(ProcessLookupError, PermissionError):  # nobody is left
            os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _last_words(self) -> str:
        if self.log is None:
            return "Its output above says why."
        lines = self.tail(_TAIL_LINES)
        errors = [line for line in lines if _ERROR.search(line)]
        said = cut((errors or lines or ["nothing"])[-1], _MAX_QUOTE)
        return f"It said last: {said} (its log: {self.log})"


def check_free(host: str, port: int) -> None:
    """Check that a port can be listened on: vLLM would find out after loading the model.

    Raises:
        GenerationError: it is taken, or the host is not of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise GenerationError(
            f"cannot listen on {host} port {port}: {describe_error(error)}; choose another --port."
        ) from error
