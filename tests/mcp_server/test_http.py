"""Who may connect over HTTP: names, origins, tokens, sizes."""

from __future__ import annotations

import json
from importlib.metadata import version

import httpx
import pytest

pytest.importorskip("mcp", reason="the MCP SDK is not installed: pip install 'langchain-vipllava[mcp]'")

from langchain_vipllava import VipLlavaError
from langchain_vipllava.apps.mcp.access import HttpAccess
from langchain_vipllava.apps.mcp.tokens import read_tokens
from tests.support.mcp_clients import over_http, serving

TOKEN = "0123456789abcdef0123456789abcdef"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


def status(served, headers, body=None, version=None):
    headers = {**ACCEPT, **headers, **({"MCP-Protocol-Version": version} if version else {})}
    return httpx.post(served.url, json=body or HELLO, headers=headers).status_code


@pytest.mark.parametrize("protocol", [None, "2026-07-28"])
def test_only_known_names_and_origins_are_served(served, protocol):
    refused = status(served, {"Host": "evil.example"}, version=protocol)
    assert refused == 421
    assert status(served, {"Host": f"evil.example:{served.port}"}, version=protocol) == 421
    assert status(served, {"Host": "127.0.0.1.evil.example"}, version=protocol) == 421
    for origin in ("http://evil.example", "https://evil.example:443", "null", "http://localhost.evil.example:80"):
        assert status(served, {"Origin": origin}, version=protocol) == 403
    if protocol is None:
        assert status(served, {}) == 200
        assert status(served, {"Host": "localhost:1234", "Origin": "http://localhost:1234"}) == 200


def test_names_of_a_proxy_are_served_where_they_are_named(vision):
    with serving(vision, http=HttpAccess(port=0, names=("vision.example.org",))) as served:
        assert status(served, {"Host": "vision.example.org", "Origin": "https://vision.example.org"}) == 200
        assert status(served, {"Host": "vision.example.org:8443"}) == 200
        assert status(served, {"Host": "example.org"}) == 421


def test_a_bind_beyond_loopback_checks_hosts_origins_and_tokens(vision):
    access = HttpAccess("0.0.0.0", 0, ("vision.example.org",), {"anna": TOKEN})
    token = {"Authorization": f"Bearer {TOKEN}"}
    with serving(vision, http=access) as served:
        assert status(served, {"Host": "vision.example.org"}) == 401
        assert status(served, {"Host": "vision.example.org", "Authorization": f"Bearer {TOKEN[:-1]}"}) == 401
        assert status(served, {"Host": "vision.example.org", "Authorization": f"Basic {TOKEN}"}) == 401
        assert status(served, {"Host": "vision.example.org", **token}) == 200
        assert status(served, {"Host": "192.168.1.7", **token}) == 421
        assert status(served, {"Origin": "http://evil.example", **token}) == 403


async def test_without_a_token_no_client_connects(vision, mode):
    with serving(vision, http=HttpAccess(port=0, tokens={"anna": TOKEN})) as served:
        for headers in ({}, {"Authorization": f"Bearer {TOKEN[::-1]}"}):
            with pytest.raises(Exception):  # noqa: B017  # another one in each line: a group, or the error itself
                async with over_http(served.url, mode, headers=headers) as client:
                    await client.tools()
        async with over_http(served.url, mode, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            assert "ask_regions" in await client.tools()


def test_the_server_says_which_version_of_this_package_it_is(served):
    said = json.loads(httpx.post(served.url, json=HELLO, headers=ACCEPT).text.partition("data: ")[2])
    assert said["result"]["serverInfo"] == {"name": "langchain-vipllava", "version": version("langchain-vipllava")}


def test_a_body_larger_than_an_image_may_be_is_refused(served):
    big = {**HELLO, "params": {**HELLO["params"], "x": "A" * (73 * 2**20)}}
    assert status(served, {}, big) == 413


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"port": 70000}, "expected 0 to 65535"),
        ({"host": "0.0.0.0"}, "there is no token"),
        ({"host": "192.168.1.7"}, "there is no token"),
        ({"host": "vision.example.org"}, "there is no token"),
        ({"host": "0.0.0.0", "tokens": {"a": TOKEN}}, "--allow-host NAME"),
        ({"host": "::", "tokens": {"a": TOKEN}}, "--allow-host NAME"),
        ({"tokens": {"a": "short"}}, "at least 16 characters"),
        ({"tokens": {"a": "with spaces in it, sixteen"}}, "at least 16 characters"),
        ({"tokens": {"a": TOKEN, "b": TOKEN}}, "two clients have one token"),
        ({"names": ("https://x.org/",)}, "not the name of a host"),
        ({"names": ("x.org:*",)}, "not the name of a host"),
    ],
)
def test_what_cannot_be_safe_is_refused(arguments, message):
    with pytest.raises(VipLlavaError, match=message) as raised:
        HttpAccess(**arguments)
    assert len(str(raised.value)) < 400
    assert TOKEN not in str(raised.value)
    assert TOKEN not in repr(HttpAccess(tokens={"a": TOKEN}))


def test_a_port_that_is_taken_is_named():
    with HttpAccess(port=0).listen() as listener:
        port = listener.getsockname()[1]
        with pytest.raises(VipLlavaError, match=rf"cannot listen on 127\.0\.0\.1 port {port}: Address already in use"):
            HttpAccess(port=port).listen()
    with pytest.raises(VipLlavaError, match=r"cannot listen on no\.such\.host\.invalid port 0"):
        HttpAccess("no.such.host.invalid", 0, tokens={"a": TOKEN}).listen()


def test_tokens_are_read_from_a_file(tmp_path):
    file = tmp_path / "tokens"
    file.write_text(f"# clients\nanna {TOKEN}\n\n  ben\t{TOKEN[::-1]}  \n")
    assert read_tokens(None, file) == {"anna": TOKEN, "ben": TOKEN[::-1]}
    assert read_tokens(TOKEN, None) == {"client": TOKEN}
    assert read_tokens("", None) == read_tokens(None, None) == {}
    with pytest.raises(VipLlavaError, match="beside --tokens"):
        read_tokens(TOKEN, file)
    for text in (f"{TOKEN}\n", f"anna {TOKEN}\nanna {TOKEN[::-1]}\n", f"anna {TOKEN} ben\n"):
        file.write_text(text)
        with pytest.raises(VipLlavaError, match=r"line [12]: expected the name of one more client") as raised:
            read_tokens(None, file)
        assert TOKEN not in str(raised.value)
    file.write_text("# nobody\n")
    with pytest.raises(VipLlavaError, match="has no tokens"):
        read_tokens(None, file)
    with pytest.raises(VipLlavaError, match="cannot read the tokens"):
        read_tokens(None, tmp_path)
