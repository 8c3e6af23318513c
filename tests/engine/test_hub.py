"""Loading from the hub: a commit that stays the same, and a hub that is away."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from langchain_vipllava import CheckpointError
from langchain_vipllava.engine import runner as runner_module
from langchain_vipllava.protocol.load_options import LoadOptions
from tests.support.versions import HAS_NEW_TRANSFORMERS, needs_pinned_processors

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.ThreadingHTTPServer):
    """A hub on loopback, with one model, `someone/tiny`, or one that only fails."""

    daemon_threads = True

    def __init__(self, folder=None, status=200):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.status = folder, status
        self.paths = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.paths.append(self.path)
        prefix, _, name = self.path.rpartition("/")
        commit = prefix.rpartition("/")[2]
        if "/tree/" in self.path:  # asked for further chat templates
            self.answer(200, b"[]")
        elif self.path.startswith("/api/models/someone/tiny") and self.server.folder:
            files = [{"rfilename": path.name} for path in self.server.folder.iterdir()]
            self.answer(200, json.dumps({"id": "someone/tiny", "sha": COMMIT, "siblings": files}).encode())
        elif self.server.folder and commit in ("main", COMMIT) and (self.server.folder / name).is_file():
            self.answer(200, (self.server.folder / name).read_bytes())
        elif self.server.folder:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        else:
            self.answer(self.server.status, b"")

    do_HEAD = do_GET

    def answer(self, status, body, headers=None):
        self.send_response(status)
        tag = {"ETag": f'"{hash(body):x}"', "X-Repo-Commit": COMMIT, **(headers or {})}
        for name, value in {**tag, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args):
        """Stay silent."""


def run(program, hub, folder, **environment):
    """Run a program whose hub is on loopback; transformers reads the address when it is imported."""
    settings = {"HF_ENDPOINT": hub, "HF_HOME": str(folder), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **settings, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout


AWAY = """
import huggingface_hub.utils._http as http
if hasattr(http, "time"):
    http.time.sleep = lambda seconds: None  # the hub's client waits 23 seconds between its attempts
from langchain_vipllava import ChatVipLlava, CheckpointError
llm = ChatVipLlava(model="someone/tiny", max_tokens=2)
for _ in range(2):
    try:
        llm.invoke("Hi")
    except CheckpointError as error:
        print(error)
"""


@pytest.mark.parametrize("hub", ["refused", "500"])
def test_a_hub_that_is_away_is_an_error_that_says_what_to_do(tmp_path, hub):
    server = Hub(status=int(hub)) if hub.isdigit() else None
    printed = run(AWAY, "http://127.0.0.1:9" if server is None else server.url, tmp_path)
    assert printed.count("cannot find the checkpoint 'someone/tiny'") == 2  # the second call tried again
    assert printed.count("If the hub is away, the next call tries again") == 2
    if server is not None:
        assert len(server.paths) >= 2
        server.shutdown()


LOAD = """
from langchain_vipllava import ChatVipLlava
llm = ChatVipLlava(model="someone/tiny", max_tokens=2)
print(repr(llm.invoke("Hi").text))
"""

DOCTOR = """
from typer.testing import CliRunner
from langchain_vipllava.apps.cli.app import app
print(CliRunner().invoke(app, ["doctor", "--model", "someone/tiny"], env={"COLUMNS": "200"}).output)
"""


@needs_pinned_processors
def test_every_file_is_of_the_commit_that_the_doctor_shows(tiny_checkpoint, tmp_path, llm):
    hub = Hub(tiny_checkpoint)
    assert run(LOAD, hub.url, tmp_path).strip() == repr(llm.invoke("Hi", max_tokens=2).text)
    files = [path for path in hub.paths if "/resolve/" in path and not path.endswith("/config.json")]
    assert files
    assert all(f"/resolve/{COMMIT}/" in path for path in files), files
    assert not [path for path in hub.paths if path.endswith((".bin", ".py", ".pt"))]
    assert COMMIT in run(DOCTOR, hub.url, tmp_path)
    hub.shutdown()


ASK_ONCE = """
from langchain_vipllava import CheckpointError
from langchain_vipllava.engine.loading import pin
from langchain_vipllava.protocol.load_options import LoadOptions
for revision in (None, "v9"):
    try:
        print(pin(LoadOptions("someone/tiny", revision=revision)))
    except CheckpointError as error:
        print(error)
"""


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_hub_is_asked_once_whatever_it_answers(tmp_path, status):
    server = Hub(status=status)
    printed = run(ASK_ONCE, server.url, tmp_path)
    asked = [path for path in server.paths if "/someone/" in path]
    assert len(asked) == 2, asked  # one for each revision; the hub's client would try six times
    expected = "no such model, or it is private" if status == 404 else "is away (HfHubHTTPError"
    assert printed.count(expected) == 2
    server.shutdown()


def test_a_cached_checkpoint_loads_while_the_hub_is_away(tiny_checkpoint, tmp_path, llm):
    hub = Hub(tiny_checkpoint)
    answer = run(LOAD, hub.url, tmp_path)
    hub.shutdown()
    assert run(LOAD, "http://127.0.0.1:9", tmp_path) == answer
    failing = Hub(status=503)
    assert run(LOAD, failing.url, tmp_path) == answer
    asked = [path for path in failing.paths if "/someone/" in path]
    if HAS_NEW_TRANSFORMERS:  # version 4 asks again for every file of the processor
        assert len(asked) == 1, asked
    failing.shutdown()


def test_calls_that_wait_for_a_hub_that_is_away_share_its_error(monkeypatch):
    waiting, loads = threading.Semaphore(0), []
    run_locked = runner_module.run_locked

    def wait_for_lock(*arguments):
        waiting.release()
        return run_locked(*arguments)

    def load(options):  # a fake: a hub takes half a minute to be away
        for _ in range(4):
            assert waiting.acquire(timeout=60)
        loads.append(options)
        raise CheckpointError("the hub is away")

    monkeypatch.setattr(runner_module, "run_locked", wait_for_lock)
    monkeypatch.setattr(runner_module, "load_checkpoint", load)
    options = LoadOptions("someone/away")

    def ask():
        with pytest.raises(CheckpointError, match="the hub is away"):
            runner_module.get_runner(options)
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(call.result(100) for call in [pool.submit(ask) for _ in range(4)])
    assert len(loads) == 1
    for _ in range(4):
        waiting.release()
    assert ask()  # a later call tries again
    assert len(loads) == 2
