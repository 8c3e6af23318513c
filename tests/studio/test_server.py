"""Who is answered: this machine, under its own name."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

pytest.importorskip("gradio", reason="gradio is not installed: the extra `studio`")

from langchain_vipllava import SessionError, Workspace
from langchain_vipllava.apps.studio.page import Studio
from langchain_vipllava.apps.studio.python_code import BackendCode
from langchain_vipllava.apps.studio.server import PASSWORD, Address, launch
from langchain_vipllava.apps.studio.telling import TellingVision


@pytest.mark.parametrize("host", ["attacker.example", "127.0.0.1.attacker.example", "localhost.attacker.example", ""])
@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/queue/join", "/gradio_api/upload"])
def test_requests_that_name_another_host_are_refused(site, host, path):
    assert httpx.post(site[0] + path, headers={"Host": host}).status_code == 400
    assert httpx.get(site[0] + path, headers={"Host": host}).status_code == 400


def test_the_page_is_served_to_this_host(site):
    port = site[0].rsplit(":", 1)[1]
    for host in ("127.0.0.1", "localhost", f"localhost:{port}"):
        assert httpx.get(site[0], headers={"Host": host}).status_code == 200


def test_other_machines_are_not_let_in_without_a_password(monkeypatch):
    monkeypatch.delenv(PASSWORD, raising=False)
    for host in ("0.0.0.0", "192.0.2.1", "example.org", "::"):
        with pytest.raises(SessionError, match=PASSWORD):
            launch(None, Address(host))
    assert Address("127.0.0.1").is_loopback
    assert Address("::1").is_loopback
    assert Address("0.0.0.0", names=("studio.example",)).allowed == ["127.0.0.1", "localhost", "studio.example"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--port", "99999"), "port 99999"),
        (("--port", "-1"), "port -1"),
        (("--host", "no such host"), "'no such host'"),
        (("--host-name", "*"), "--host-name '*'"),
        (("--host-name", "a*b"), "--host-name 'a*b'"),
        (("--host-name", "https://studio.example"), "without scheme"),
    ],
)
def test_where_it_cannot_be_served_the_command_says_so_before_it_looks_for_a_model(options, said):
    arguments = ["studio", *options, "--model", "/no/such/checkpoint"]
    environment = {**os.environ, PASSWORD: "secret"}
    done = subprocess.run(
        [sys.executable, "-c", "from langchain_vipllava.apps.cli import main; main()", *arguments],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("SessionError: ")
    assert said in done.stderr


def test_a_port_that_is_taken_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SessionError, match=f"port {taken.getsockname()[1]}.*--port"):
            Address(port=taken.getsockname()[1]).check()


def test_it_listens_on_an_ipv6_address(backend):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    vision = TellingVision(backend)
    studio = Studio(Workspace(model=vision), vision, BackendCode.local({"model": "bundled"}), "It answers.")
    page, url = launch(studio, Address("::1", 0), block=False)
    try:
        assert url.startswith("http://[::1]:")
        assert httpx.get(url).status_code == 200
        assert httpx.get(url, headers={"Host": "attacker.example"}).status_code == 400
    finally:
        page.close()


@pytest.mark.parametrize("path", [__file__, "/etc/passwd", sys.executable])
def test_no_file_of_the_machine_is_served(site, path):
    for route in ("/gradio_api/file=", "/file="):
        answer = httpx.get(f"{site[0]}{route}{path}")
        assert answer.status_code in (403, 404)
        assert Path(path).read_bytes()[:40] not in answer.content


def test_an_upload_beyond_the_bound_is_refused(site):
    answer = httpx.post(
        site[0] + "/gradio_api/upload", files={"files": ("a.png", bytes(50 * 2**20 + 1), "image/png")}, timeout=60
    )
    assert answer.status_code == 413


def test_without_the_extra_the_command_says_how_to_install_it(tmp_path):
    script = (
        "import sys; sys.modules['gradio'] = None\n"
        "from importlib import util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'gradio' else find(name, *rest)\n"
        "from langchain_vipllava.apps.cli.app import run\n"
        "sys.exit(run(['studio']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'langchain-vipllava[studio]'" in done.stderr


def test_the_command_serves_the_page_until_it_is_interrupted():
    with subprocess.Popen(
        [sys.executable, "-c", "from langchain_vipllava.apps.cli import main; main()", "studio", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        url = next(match[1] for line in running.stderr if (match := re.search(r"Open (\S+) in a browser", line)))
        config = httpx.get(url).text
        running.send_signal(signal.SIGINT)
        assert running.wait(60) in (0, 130)
    assert "ViP-LLaVA studio" in config
