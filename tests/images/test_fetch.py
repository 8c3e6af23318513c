"""`load_image` of URLs, with a real server on the loopback address: redirects, limits, errors."""

from __future__ import annotations

import gzip
import http.server
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import langchain_vipllava
from langchain_vipllava import FetchPolicy, ImageError
from tests.support.hostile_web import PUBLIC, TLS, Internet, Resolver, Server


def load_image(url, **settings):
    """Fetch from the server of the test, which has no public address."""
    return langchain_vipllava.load_image(url, fetch_policy=FetchPolicy(private_hosts=True, **settings))


def colors():
    return Image.fromarray(np.arange(72, dtype=np.uint8).reshape(4, 6, 3))


def encode(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def pixels(image):
    return np.asarray(image).tolist()


@pytest.fixture
def web():
    """Run a server on the loopback address. `answers[path]`: (status, headers, body), or a function of the handler."""
    answers, requested = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requested.append(self.path)
            answer = answers[self.path]
            if callable(answer):
                return answer(self)
            status, headers, body = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.closing, server.disconnected = threading.Event(), threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    port = server.server_port
    yield SimpleNamespace(
        url=f"http://127.0.0.1:{port}", answers=answers, requested=requested, port=port, server=server
    )
    server.closing.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_redirects_are_followed(web):
    web.answers["/a.png"] = (200, {}, encode(colors()))
    web.answers["/moved"] = (302, {"Location": "/a.png"}, b"")
    web.answers["/far"] = (301, {"Location": f"{web.url}/moved"}, b"")
    assert pixels(load_image(f"{web.url}/far")) == pixels(colors())
    assert web.requested == ["/far", "/moved", "/a.png"]
    assert load_image(web.url.replace("http", "HTTP") + "/a.png").size == (6, 4)


def test_http_errors_and_bad_bodies_raise_image_errors(web):
    web.answers["/missing"] = (404, {}, b"")
    web.answers["/broken"] = (500, {}, encode(colors()))
    web.answers["/page"] = (200, {"Content-Type": "image/png"}, b"<html>")
    web.answers["/empty"] = (200, {}, b"")
    web.answers["/loop"] = (302, {"Location": "/loop"}, b"")
    web.answers["/file"] = (302, {"Location": "file:///etc/hostname"}, b"")
    web.answers["/cut"] = (200, {"Content-Length": "9999"}, encode(colors()))
    web.answers["/good"] = (200, {}, encode(colors()))
    messages = {"missing": "404", "broken": "500", "page": "not an image", "empty": "empty", "loop": "redirects",
            "file": "not an http", "cut": "cannot fetch"}  # fmt: skip
    for path, message in messages.items():
        with pytest.raises(ImageError, match=message):
            load_image(f"{web.url}/{path}")
    assert web.requested.count("/loop") == 6
    assert load_image(f"{web.url}/good").size == (6, 4)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ImageError, match="cannot fetch"):
            load_image(f"http://127.0.0.1:{unused.getsockname()[1]}/")


def test_a_download_stops_at_the_size_limit(web):
    disconnected = threading.Event()

    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
        except OSError:
            disconnected.set()

    web.answers["/endless"] = endless
    with pytest.raises(ImageError, match="larger than 100000 bytes"):
        load_image(f"{web.url}/endless", max_bytes=100_000)
    assert disconnected.wait(10)
    data = encode(colors())
    web.answers["/fits"] = (200, {}, data)
    assert load_image(f"{web.url}/fits", max_bytes=len(data)).size == (6, 4)
    with pytest.raises(ImageError, match="larger"):
        load_image(f"{web.url}/fits", max_bytes=len(data) - 1)


def answer_slowly(handler, where):
    """Send headers or a body byte by byte until the client disconnects; or read, and never answer."""
    if where == "silence":
        handler.rfile.read()  # returns when the client disconnects
        return
    handler.send_response(200)
    if where == "body":
        handler.end_headers()
    try:
        handler.flush_headers()
        while not handler.server.closing.wait(0.05):
            handler.wfile.write(b"x")
    except OSError:
        handler.server.disconnected.set()


@pytest.mark.parametrize("where", ["silence", "headers", "body"])
def test_the_timeout_covers_the_whole_download(web, where):
    web.answers["/slow"] = lambda handler: answer_slowly(handler, where)
    with pytest.raises(ImageError, match=r"took longer than 0\.4 s"):
        load_image(f"{web.url}/slow", timeout=0.4)
    assert where == "silence" or web.server.disconnected.wait(10)


def test_the_timeout_covers_all_redirects_together(web):
    def redirect_slowly(handler):
        handler.server.closing.wait(0.2)
        handler.send_response(302)
        handler.send_header("Location", "/to")
        handler.end_headers()

    web.answers["/to"] = redirect_slowly
    with pytest.raises(ImageError, match=r"took longer than 0\.5 s"):
        load_image(f"{web.url}/to", timeout=0.5)


def test_a_compressed_response_raises(web):
    web.answers["/bomb"] = (200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(10**7)))
    with pytest.raises(ImageError, match="Content-Encoding 'gzip'"):
        load_image(f"{web.url}/bomb", max_bytes=10**5)


async def test_an_image_is_fetched_inside_a_running_event_loop(web):
    web.answers["/a"] = (200, {}, encode(colors()))
    assert load_image(f"{web.url}/a").size == (6, 4)


def test_fetching_can_be_switched_off(web, tmp_path):
    with pytest.raises(ImageError, match="switched off") as caught:
        load_image(f"{web.url}/a?token=secret", enabled=False)
    assert "secret" not in str(caught.value)
    assert web.requested == []
    colors().save(tmp_path / "a.png")
    assert load_image(str(tmp_path / "a.png"), enabled=False).size == (6, 4)


def test_the_number_of_redirects_is_bounded(web):
    web.answers["/a"] = (302, {"Location": "/b"}, b"")
    web.answers["/b"] = (307, {"Location": "?c"}, b"")
    web.answers["/b?c"] = (200, {}, encode(colors()))
    assert load_image(f"{web.url}/a", max_redirects=2).size == (6, 4)
    for most in (0, 1):
        web.requested.clear()
        with pytest.raises(ImageError, match=f"more than {most} redirects"):
            load_image(f"{web.url}/a", max_redirects=most)
        assert len(web.requested) == most + 1


def test_messages_and_logs_hold_no_credentials_and_no_parameters(web, caplog):
    caplog.set_level("INFO")
    web.answers["/a.png?key=secret"] = (404, {}, b"")
    web.answers["/b.png?key=secret"] = (200, {}, b"not an image")
    web.answers["/c.png?key=secret"] = (302, {"Location": "http://anna:secret@127.0.0.1:9/"}, b"")
    web.answers["/d.png?key=secret"] = (200, {"Content-Encoding": "gzip"}, b"")
    web.answers["/e.png?key=secret"] = (200, {"Content-Length": "9" * 12}, b"")
    shown = []
    for name, message in (("a", "404"), ("b", "not an image"), ("c", "never sent"), ("d", "gzip"), ("e", "larger")):
        with pytest.raises(ImageError, match=message) as caught:
            load_image(f"{web.url}/{name}.png?key=secret#secret")
        assert f"'{web.url}/{name}.png'" in str(caught.value)
        shown.append(str(caught.value))
    for url in ("http://anna:secret@127.0.0.1:9/a", "http://anna:sec/ret@127.0.0.1:9/a", "http://anna:sec?ret@h/",
                "http://anna:secret@[::1/a", "http://anna:secret@127.0.0.1:9:9/", "http://secret:secret@secret@h:x/",
                "https://anna:s#ecret@127.0.0.1/"):  # fmt: skip
        with pytest.raises(ImageError) as caught:
            load_image(url)
        shown.append(str(caught.value))
    with pytest.raises(ImageError):
        load_image(f"{web.url}/{'long' * 5000}")
    text = " ".join(shown) + caplog.text
    assert not any(word in text for word in ("secret", "anna", "sec/ret", "ecret", "ret@"))


@pytest.fixture
def stuck():
    """An event for which look-ups wait; the fetches of a test end without it."""
    answer = threading.Event()
    yield answer
    answer.set()


def look_ups():
    return [thread for thread in threading.enumerate() if thread.name == "vipllava-look-up"]


def test_the_timeout_covers_the_look_up_and_stuck_ones_do_not_pile_up(web, monkeypatch, stuck):
    web.answers["/a"] = (200, {}, encode(colors()))

    def wait():
        stuck.wait(60)
        return ["127.0.0.1"]

    Resolver({"slow.example": wait}).install(monkeypatch)
    begin = time.monotonic()
    with pytest.raises(ImageError, match=r"took longer than 0\.5 s"):
        load_image("http://slow.example/a", timeout=0.5)
    assert time.monotonic() - begin < 2, "the issue: a look-up of 10 s must not outlast the timeout"
    for _ in range(50):
        with pytest.raises(ImageError, match="took longer"):
            load_image("http://slow.example/a", timeout=0.02)
    assert len(look_ups()) <= 32
    with pytest.raises(ImageError, match="took longer"):
        load_image(f"http://other.example:{web.port}/a", timeout=0.2)
    assert load_image(f"{web.url}/a").size == (6, 4)
    stuck.set()
    for thread in look_ups():
        thread.join()
    assert load_image(f"http://other.example:{web.port}/a").size == (6, 4)


def test_a_stuck_look_up_does_not_hold_the_interpreter():
    script = (
        "import socket, time\n"
        "from langchain_vipllava import FetchPolicy, ImageError, load_image\n"
        "socket.getaddrinfo = lambda *args, **kwargs: time.sleep(600)\n"
        "try: load_image('http://slow.example/a', fetch_policy=FetchPolicy(timeout=0.3))\n"
        "except ImageError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert "took longer than 0.3 s" in run.stdout


def test_control_c_ends_a_fetch_at_once(web):
    def interrupt(handler):
        os.kill(os.getpid(), signal.SIGINT)
        answer_slowly(handler, "body")

    web.answers["/slow"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        load_image(f"{web.url}/slow", timeout=600)
    assert web.server.disconnected.wait(10), "and the connection is closed"


def test_the_timeout_covers_the_handshake_of_tls():
    silent = Server()
    with pytest.raises(ImageError, match="took longer"):
        load_image(f"https://127.0.0.1:{silent.port}/", timeout=0.4)
    assert silent.connections == 1
    silent.close()


@pytest.fixture
def secure(monkeypatch):
    """A TLS server that answers for every public name, with a certificate of images.example."""
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "certificate.pem"))

    def serve(connection):
        request = server.request(connection)
        if b" /down " in request:
            return connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://images.example/a\r\n\r\n")
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + encode(colors()))

    server = Server(serve, tls=True)
    Resolver(default=(PUBLIC,)).install(monkeypatch)
    server.internet = Internet(monkeypatch, {PUBLIC: server})
    yield server
    server.close()


def test_tls_verifies_the_name_while_the_connection_goes_to_the_checked_address(secure):
    assert langchain_vipllava.load_image("https://images.example/a").size == (6, 4)
    assert secure.internet.connected == [(PUBLIC, 443)]
    assert secure.names == ["images.example"]
    assert b"\r\nHost: images.example\r\n" in secure.received
    received = bytes(secure.received)
    for host in ("other.example", PUBLIC):
        with pytest.raises(ImageError, match="certificate"):
            langchain_vipllava.load_image(f"https://{host}/a")
    with pytest.raises(ImageError, match="from https to http"):
        langchain_vipllava.load_image("https://images.example/down")
    assert secure.received.startswith(received)
    assert secure.received.count(b"GET") == 2


def test_proxies_credentials_and_cookies_are_not_used(web, monkeypatch, tmp_path):
    proxy = Server()
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv(name.upper(), proxy.url)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login anna password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    heads = []

    def answer(handler):
        heads.append(str(handler.headers).lower())
        handler.send_response(302 if handler.path == "/a" else 200)
        handler.send_header("Set-Cookie", "id=secret; Path=/")
        handler.send_header("Location", "/b")
        handler.end_headers()
        handler.wfile.write(b"" if handler.path == "/a" else encode(colors()))

    web.answers["/a"] = web.answers["/b"] = answer
    assert load_image(f"{web.url}/a").size == (6, 4)
    assert len(heads) == 2
    assert not any(word in head for head in heads for word in ("cookie", "authorization", "proxy", "referer"))
    assert proxy.connections == 0
    proxy.close()
