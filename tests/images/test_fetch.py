"""`load_image` of URLs, with a real server on the loopback address: limits, errors and refused hosts."""

from __future__ import annotations

import gzip
import http.server
import io
import ipaddress
import socket
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import FetchPolicy, ImageError, load_image


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
        load_image(f"{web.url}/endless", fetch_policy=FetchPolicy(max_bytes=100_000))
    assert disconnected.wait(10)
    data = encode(colors())
    web.answers["/fits"] = (200, {}, data)
    assert load_image(f"{web.url}/fits", fetch_policy=FetchPolicy(max_bytes=len(data))).size == (6, 4)
    with pytest.raises(ImageError, match="larger"):
        load_image(f"{web.url}/fits", fetch_policy=FetchPolicy(max_bytes=len(data) - 1))


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
        load_image(f"{web.url}/slow", fetch_policy=FetchPolicy(timeout=0.4))
    assert where == "silence" or web.server.disconnected.wait(10)


def test_the_timeout_covers_all_redirects_together(web):
    def redirect_slowly(handler):
        handler.server.closing.wait(0.2)
        handler.send_response(302)
        handler.send_header("Location", "/to")
        handler.end_headers()

    web.answers["/to"] = redirect_slowly
    with pytest.raises(ImageError, match=r"took longer than 0\.5 s"):
        load_image(f"{web.url}/to", fetch_policy=FetchPolicy(timeout=0.5))


def test_a_compressed_response_raises(web):
    web.answers["/bomb"] = (200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(10**7)))
    with pytest.raises(ImageError, match="Content-Encoding 'gzip'"):
        load_image(f"{web.url}/bomb", fetch_policy=FetchPolicy(max_bytes=10**5))


async def test_an_image_is_fetched_inside_a_running_event_loop(web):
    web.answers["/a"] = (200, {}, encode(colors()))
    assert load_image(f"{web.url}/a").size == (6, 4)


PRIVATE = ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "10.1.2.3", "192.168.0.1",
           "172.16.0.1", "169.254.169.254", "0.0.0.0", "[fe80::1]", "[fd00::1]", "2130706433",
           "100.64.0.1"]  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE)
def test_private_hosts_raise_before_any_request(web, host):
    with pytest.raises(ImageError, match="private network"):
        load_image(f"http://{host}:{web.port}/a", fetch_policy=FetchPolicy(private_hosts=False))
    assert web.requested == []


@pytest.mark.parametrize("host", ["10.1.2.3", "[::ffff:169.254.169.254]", "[::1]"])
def test_a_redirect_from_a_public_to_a_private_host_raises(web, monkeypatch, host):
    is_global = ipaddress.IPv4Address.is_global.fget
    loopback_is_public = property(lambda address: str(address) == "127.0.0.1" or is_global(address))
    monkeypatch.setattr(ipaddress.IPv4Address, "is_global", loopback_is_public)
    policy = FetchPolicy(private_hosts=False)
    web.answers["/good"] = (200, {}, encode(colors()))
    web.answers["/evil"] = (302, {"Location": f"http://{host}:{web.port}/good"}, b"")
    assert load_image(f"{web.url}/good", fetch_policy=policy).size == (6, 4)
    with pytest.raises(ImageError, match="private network"):
        load_image(f"{web.url}/evil", fetch_policy=policy)
    assert web.requested == ["/good", "/evil"]


def test_a_host_with_one_private_address_among_others_raises(monkeypatch):
    family = socket.AF_INET
    addresses = [(family, 1, 6, "", ("93.184.216.34", 80)), (family, 1, 6, "", ("10.0.0.7", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: addresses)
    with pytest.raises(ImageError, match=r"10\.0\.0\.7"):
        load_image("http://images.example/a.png", fetch_policy=FetchPolicy(private_hosts=False))


def test_a_host_that_resolves_to_a_private_address_at_the_second_lookup_raises(web, monkeypatch):
    lookup, addresses = socket.getaddrinfo, iter(["93.184.216.34", "127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *args, **kwargs: lookup(next(addresses), *args, **kwargs))
    web.answers["/secret"] = (200, {}, encode(colors()))
    with pytest.raises(ImageError, match=r"private network \(127\.0\.0\.1\)"):
        load_image(f"http://images.example:{web.port}/secret", fetch_policy=FetchPolicy(private_hosts=False))


def test_fetching_can_be_switched_off(web, tmp_path):
    off = FetchPolicy(enabled=False)
    with pytest.raises(ImageError, match="switched off"):
        load_image(f"{web.url}/a", fetch_policy=off)
    assert web.requested == []
    colors().save(tmp_path / "a.png")
    assert load_image(str(tmp_path / "a.png"), fetch_policy=off).size == (6, 4)
