"""Stands in for the Python of an environment with vLLM, which is 3.5 GB: it records how it was started."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

_SCRIPT = """#!{python} -ES
import json, os, signal, sys
from pathlib import Path

here = Path({folder!r})
if sys.argv[1] == "-c":  # which vLLM?
    print({version!r})
    raise SystemExit
here.joinpath("started.json").write_text(json.dumps({{
    "arguments": sys.argv[1:], "environment": dict(os.environ), "group": os.getpgid(0), "pid": os.getpid()}}))
how = {how!r}
if how == "dies":
    print("(APIServer pid=1) INFO 11-27 03:16:38 [x.py:1] loading\\nValueError: no kernel image\\n", file=sys.stderr)
    raise SystemExit(3)
if how == "ignores SIGTERM":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:  # the engine, a process of its own
    here.joinpath("engine.pid").write_text(str(os.getpid()))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()
from http.server import BaseHTTPRequestHandler, HTTPServer

class Server(BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Server.asked += 1
        self.send_response(200 if Server.asked > 1 else 503)  # loading at first
        self.end_headers()
    def log_message(self, *arguments):
        pass

port = int(sys.argv[sys.argv.index("--port") + 1])
server = HTTPServer(("127.0.0.1", port), Server)
if how == "crashes later":
    server.handle_request(), server.handle_request()
    print("RuntimeError: CUDA error", file=sys.stderr)
    raise SystemExit(1)
server.serve_forever()
"""


class StandIn:
    """A program that takes the place of vLLM's Python.

    Args:
        folder: where it is written, and where it writes.
        how: "serves", "dies" at the start, "crashes later", or "ignores SIGTERM".
        version: what it says of vLLM.
    """

    def __init__(self, folder: Path, how: str = "serves", version: str = "vllm 0.32.0") -> None:
        self.folder = folder
        self.python = folder / "python"
        self.python.write_text(
            _SCRIPT.format(python=sys.executable, folder=str(folder), version=version, how=how), encoding="utf-8"
        )
        self.python.chmod(0o755)

    @property
    def started(self) -> dict:
        """How it was started: arguments, environment, process and group."""
        return json.loads((self.folder / "started.json").read_text())

    @property
    def engine(self) -> int:
        """The process of its engine."""
        return int((self.folder / "engine.pid").read_text())


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
