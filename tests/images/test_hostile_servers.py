"""Servers that misbehave: each ends in an `ImageError` that quotes nothing of theirs, within its bounds."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import socket
import struct
import threading

import pytest
from PIL import Image

from langchain_vipllava import FetchPolicy, ImageError, load_image
from tests.support.hostile_web import Server


def png():
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(buffer, "PNG")
    return buffer.getvalue()


OK = b"HTTP/1.1 200 OK\r\n"


def with_headers(*headers, body=b""):
    return OK + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body


def endlessly(start, piece):
    """Send a piece again and again until the client is gone."""

    def serve(connection):
        connection.sendall(start)
        while True:
            connection.sendall(piece)

    return serve


def drip(start, piece=b"x"):
    """Send a byte now and then until the client is gone."""

    def serve(connection):
        connection.sendall(start)
        connection.settimeout(0.02)
        while True:
            connection.sendall(piece)
            with contextlib.suppress(TimeoutError):
                if not connection.recv(1):
                    return

    return serve


def reset(start):
    """Break the connection off with RST."""

    def serve(connection):
        connection.sendall(start)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return serve


def redirect(location, status=b"302 Found"):
    return b"HTTP/1.1 " + status + b"\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n"


MANY = b"".join(b"X-%d: SECRET\r\n" % number for number in range(20_000))
SERVERS = {
    "closes at once": (b"", "not valid HTTP"),
    "speaks HTTP/0.9": (b"<html>SECRET</html>", "not valid HTTP"),
    "speaks SSH": (b"SSH-2.0-SECRET\r\n", "not valid HTTP"),
    "speaks HTTP/2": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00SECRET", "not valid HTTP"),
    "sends binary": (bytes(range(256)) * 10, "not valid HTTP"),
    "no end of headers": (OK, "not valid HTTP"),
    "one endless header": (endlessly(OK + b"X: ", b"SECRET" * 10_000), "not valid HTTP"),
    "endless headers": (endlessly(OK, b"X-SECRET: 1\r\n" * 1000), "not valid HTTP"),
    "20,000 headers": (with_headers(MANY), "not valid HTTP"),
    "a header with NUL": (with_headers(b"X: SEC\0RET"), "not valid HTTP"),
    "a header without a colon": (with_headers(b"SECRET"), "not valid HTTP"),
    "status of letters": (b"HTTP/1.1 abc SECRET\r\n\r\n", "not valid HTTP"),
    "status 999": (b"HTTP/1.1 999 SECRET\r\n\r\n", "status 999|not valid HTTP"),
    "status 101": (b"HTTP/1.1 101 SECRET\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "status 101|not valid HTTP"),
    "status 304": (b"HTTP/1.1 304 SECRET\r\n\r\n", "status 304"),
    "status 407": (b"HTTP/1.1 407 SECRET\r\nProxy-Authenticate: Basic\r\n\r\n", "status 407"),
    "status 451 and an image": (b"HTTP/1.1 451 SECRET\r\n\r\n" + png(), "status 451"),
    "status 204": (b"HTTP/1.1 204 No Content\r\n\r\n", "empty"),
    "endless 100 Continue": (endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "took longer"),
    "two lengths": (with_headers(b"Content-Length: 1", b"Content-Length: 2", body=b"ab"), "not valid HTTP"),
    "a negative length": (with_headers(b"Content-Length: -1"), "not valid HTTP"),
    "a length of 10**18": (with_headers(b"Content-Length: " + b"1" + b"0" * 18), "larger than 100000 bytes"),
    "a length of 10**30": (with_headers(b"Content-Length: " + b"1" + b"0" * 30), "larger|not valid HTTP"),
    "a length in hex": (with_headers(b"Content-Length: 0x10"), "not valid HTTP"),
    "less than its length": (with_headers(b"Content-Length: 5000", body=png()), "not valid HTTP"),
    "more than its length": (with_headers(b"Content-Length: 60", body=png()), "truncated|not an image|cannot be read"),
    "an endless body": (endlessly(OK + b"\r\n", b"x" * 65536), "larger than 100000 bytes"),
    "endless chunks": (endlessly(with_headers(b"Transfer-Encoding: chunked"), b"8000\r\n" + b"x" * 0x8000 + b"\r\n"),
                       "larger than 100000 bytes"),
    "a chunk of a terabyte": (with_headers(b"Transfer-Encoding: chunked", body=b"10000000000\r\nx"), "not valid HTTP"),
    "a chunk of letters": (with_headers(b"Transfer-Encoding: chunked", body=b"SECRET\r\n"), "not valid HTTP"),
    "an endless chunk size": (endlessly(with_headers(b"Transfer-Encoding: chunked"), b"0" * 65536), "not valid HTTP"),
    "endless trailers": (endlessly(with_headers(b"Transfer-Encoding: chunked", body=b"0\r\n"), b"X: SECRET\r\n" * 1000),
                         "not valid HTTP"),
    "unknown transfer encoding": (with_headers(b"Transfer-Encoding: gzip, chunked"), "not valid HTTP"),
    "gzip": (with_headers(b"Content-Encoding: gzip", body=gzip.compress(bytes(10**7))), "Content-Encoding 'gzip'"),
    "gzip twice": (with_headers(b"Content-Encoding: gzip, gzip"), "Content-Encoding"),
    "two encodings": (with_headers(b"Content-Encoding: identity", b"Content-Encoding: br"), "Content-Encoding"),
    "an encoding of 50 kB": (with_headers(b"Content-Encoding: " + b"x" * 50_000), "Content-Encoding 'xxx"),
    "an unknown encoding": (with_headers(b"Content-Encoding: \xff\x1b[31m"), "Content-Encoding|not valid HTTP"),
    "drips headers": (drip(OK + b"X: "), "took longer"),
    "drips a body": (drip(OK + b"\r\n"), "took longer"),
    "drips chunks": (drip(with_headers(b"Transfer-Encoding: chunked"), b"1\r\nx\r\n"), "took longer"),
    "drips spaces": (drip(with_headers(b"Content-Length: 90000"), b" "), "took longer"),
    "resets at once": (reset(b""), "connection broke|not valid HTTP"),
    "resets in the body": (reset(with_headers(b"Content-Length: 5000", body=b"x")), "connection broke|not valid HTTP"),
    "redirects without a target": (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "status 302"),
    "redirects to nothing": (redirect(b""), "redirects"),
    "redirects to itself": (redirect(b"/"), "more than 5 redirects"),
    "redirects to a file": (redirect(b"file:///etc/passwd"), "not an http"),
    "redirects to data": (redirect(b"data:image/png;base64,iVBORw0KGgo="), "not an http"),
    "redirects to a script": (redirect(b"javascript:alert(1)"), "not an http"),
    "redirects to ftp": (redirect(b"ftp://127.0.0.1/"), "not an http"),
    "redirects to a broken URL": (redirect(b"http://[::1"), "not an http"),
    "redirects to port 0": (redirect(b"http://127.0.0.1:0/"), "not an http"),
    "redirects to credentials": (redirect(b"http://SECRET:SECRET@127.0.0.1/"), "never sent"),
    "redirects to Latin-1": (redirect(b"http://\xe9\xff/"), "not an http|cannot be reached"),
    "redirects to 9,000 letters": (redirect(b"/" + b"a" * 9000), "characters"),
    "redirects to 300 kB": (redirect(b"/" + b"a" * 300_000), "not valid HTTP"),
    "redirects to metadata": (redirect(b"http://169.254.169.254/"), "cannot be reached"),
    "calls HTML an image": (with_headers(b"Content-Type: image/png", body=b"<html>SECRET"), "not an image"),
    "sends half an image": (with_headers(body=png()[:90]), "truncated|not an image|cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_that_misbehaves_raises_an_image_error(name):
    answer, message = SERVERS[name]

    def serve(connection):
        server.request(connection)
        if callable(answer):
            answer(connection)
        else:
            connection.sendall(answer)

    server = Server(serve)
    # a second is enough for all that is not slow on purpose
    policy = FetchPolicy(private_hosts=True, timeout=0.5 if message == "took longer" else 30, max_bytes=100_000)
    try:
        with pytest.raises(ImageError, match=message) as caught:
            load_image(f"{server.url}/", fetch_policy=policy)
    finally:
        server.close()
    text = str(caught.value)
    assert "SECRET" not in text
    assert len(text) < 600
    assert server.connections <= 6
    for thread in threading.enumerate():
        if thread.name == "vipllava-fetch":
            thread.join(10)
            assert not thread.is_alive()


def test_an_image_comes_whole_in_whatever_pieces():
    data = png()
    chunks = b"".join(b"1;x=y\r\n" + data[index : index + 1] + b"\r\n" for index in range(len(data))) + b"0\r\n\r\n"
    answers = itertools.cycle(
        (
            with_headers(b"Transfer-Encoding: chunked", body=chunks),
            with_headers(b"Content-Length: %d" % len(data), body=data + b"GET / HTTP/1.1"),
            with_headers(b"content-encoding: IDENTITY", body=data),
            b"HTTP/1.0 200\r\n\r\n" + data,
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + with_headers(body=data),
        )
    )

    def serve(connection):
        server.request(connection)
        connection.sendall(next(answers))

    server = Server(serve)
    for _ in range(5):
        assert load_image(server.url, fetch_policy=FetchPolicy(private_hosts=True)).size == (60, 40)
    server.close()
