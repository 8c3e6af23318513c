"""Whose images a call reaches: those of its own client, whatever ids and URIs it writes."""

from __future__ import annotations

import random

import pytest
from pydantic import ValidationError

pytest.importorskip("mcp", reason="the MCP SDK is not installed: pip install 'langchain-vipllava[mcp]'")

from langchain_vipllava import ImageAccessPolicy
from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.apps.detectors import detect_shapes
from langchain_vipllava.apps.mcp.access import HttpAccess
from langchain_vipllava.apps.mcp.callers import new_caller, read_image_id
from tests.fuzz.mutations import mutate_bytes
from tests.mcp_server.test_tools import opened_and_marked
from tests.support.mcp_clients import ProtocolError, over_http, serving

SECRET = "What is the object {r1}?"
ANNA, BEN = "a" * 32, "b" * 32


@pytest.fixture(scope="module")
def with_tokens(vision):
    access = HttpAccess(port=0, tokens={"anna": ANNA, "ben": BEN})
    with serving(vision, detector=detect_shapes, access=ImageAccessPolicy(SCENE.parent), http=access) as served:
        yield served


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


async def test_two_connections_share_nothing(served, mode):
    async with over_http(served.url, mode) as anna, over_http(served.url, mode) as ben:
        _, marked = await opened_and_marked(anna)
        opened = await ben.call("open_image", source=SCENE.name)
        own = opened.structured["image_id"]
        # where ids have no handle, both call their first image img1; each means its own
        assert (own == "img1") == (marked.structured["source_id"] == "img1")
        assert await ben.resources() == {}
        stolen = await ben.try_call("ask_regions", image_id="marked1", question=SECRET)
        assert stolen.is_error
        assert "white" not in stolen.text
        if mode == "legacy":
            with pytest.raises(ProtocolError, match="no resource"):
                await ben.read(marked.structured["images"][0]["uri"])


async def test_a_session_id_of_another_client_opens_nothing(served, mode):
    async with over_http(served.url) as anna:
        await opened_and_marked(anna)
        listed = await anna.call("list_images")
        assert len(listed.structured["images"]) == 2
        sessions = [key for key in served.server.workspace._sessions._sessions if "mcp session" in str(key)]
        stolen = str(sessions[-1].name).removeprefix("mcp session ")
        if mode == "auto":  # the newest protocol has no sessions, so nobody checks this header
            async with over_http(served.url, mode, headers={"Mcp-Session-Id": stolen}) as ben:
                assert (await ben.try_call("ask_regions", image_id="marked1", question=SECRET)).is_error
                assert (await ben.try_call("list_images")).is_error


async def test_a_token_is_a_session_that_outlives_its_connections(with_tokens, mode):
    async with over_http(with_tokens.url, mode, headers=bearer(ANNA)) as anna:
        opened, marked = await opened_and_marked(anna)
        number = int(opened.structured["image_id"].removeprefix("img"))
    async with over_http(with_tokens.url, mode, headers=bearer(ANNA)) as again:
        asked = await again.call("ask_regions", image_id=f"marked{number}", question=SECRET)
        assert asked.structured["answer"] == "A white square."
        assert await again.read(marked.structured["images"][0]["uri"])
    async with over_http(with_tokens.url, mode, headers=bearer(BEN)) as ben:
        assert (await ben.call("list_images")).structured == {"images": []}
        with pytest.raises(ProtocolError, match="no resource"):
            await ben.read(marked.structured["images"][0]["uri"])


async def test_a_connection_of_one_token_cannot_be_used_with_another(with_tokens):
    import httpx

    async with over_http(with_tokens.url, headers=bearer(ANNA)) as anna:
        await anna.call("open_image", source=SCENE.name)
        headers = {
            **bearer(ANNA),
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2025-06-18",
        }
        async with httpx.AsyncClient(headers=headers) as client:
            hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
            body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
            session = (await client.post(with_tokens.url, json=body)).headers["mcp-session-id"]
            listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "list_images"}}
            own = await client.post(with_tokens.url, json=listing, headers={"Mcp-Session-Id": session})
            assert own.status_code == 200
            other = {"Mcp-Session-Id": session, **bearer(BEN)}
            assert (await client.post(with_tokens.url, json=listing, headers=other)).status_code == 404
            other = {"Mcp-Session-Id": session, "Authorization": ""}
            assert (await client.post(with_tokens.url, json=listing, headers=other)).status_code == 401


def fuzzed(rng, originals):
    """Yield ids and URIs as a client may write them that wants those of another one."""
    digits = "0123456789abcdef"
    while True:
        original = rng.choice(originals)
        change = rng.randrange(6)
        if change == 0:
            yield mutate_bytes(original.encode(), rng).decode("utf-8", "replace")
        elif change == 1:  # one digit of a handle or a hash
            place = rng.randrange(len(original))
            yield original[:place] + rng.choice(digits) + original[place + 1 :]
        elif change == 2:
            yield rng.choice(["img1", "marked1", "photo1", "IMG 1", "'marked1'", "img1-", "marked1-0", "../marked1"])
        elif change == 3:
            handle = "".join(rng.choice(digits) for _ in range(24))
            yield rng.choice([f"marked1-{handle}", f"img1-{handle}", f"vip://image/{handle * 3:.64}.{handle}"])
        elif change == 4:
            yield original.upper() if rng.random() < 0.5 else f" {original} \u202e"
        else:
            yield original.replace("image", rng.choice(["images", "image/..", "image%2f", "session"])).replace(
                "vip:", rng.choice(["vip:", "file:", "http:", "VIP:"])
            )


async def test_a_thousand_fuzzed_ids_and_uris_never_reach_another_session(vision, mode):
    """Ben writes ids and URIs made of Anna's; not one is answered."""
    rng = random.Random(mode)
    with serving(vision, access=ImageAccessPolicy(SCENE.parent)) as served:
        async with over_http(served.url, mode) as anna, over_http(served.url, mode) as ben:
            opened, marked = await opened_and_marked(anna)
            (image,) = marked.structured["images"]
            originals = [opened.structured["image_id"], marked.structured["image_id"], image["uri"]]
            tried = 0
            for written in fuzzed(rng, originals):
                if mode == "auto" and written.strip(" '\"`") in originals:
                    continue  # the whole handle is the proof
                tried += 1
                if written.lower().startswith("vip:") or "://" in written:
                    with pytest.raises((ProtocolError, ValidationError)):  # line 1 checks URIs in the client
                        await ben.read(written)
                else:
                    tool, more = rng.choice(
                        [("look_at_image", {}), ("ask_regions", {"question": SECRET}), ("forget_image", {}),
                         ("mark_regions", {"regions": [[1, 2, 30, 40]]})]
                    )  # fmt: skip
                    called = await ben.try_call(tool, image_id=written, **more)
                    assert called.is_error, written
                    assert not called.images
                if tried == 1000:
                    break
            asked = await anna.call("ask_regions", image_id=originals[1], question=SECRET)
            assert asked.structured["answer"] == "A white square."


def test_handles_differ_and_are_read_as_an_llm_may_write_them():
    callers = [new_caller() for _ in range(1000)]
    assert len({caller.handle for caller in callers}) == 1000
    caller = callers[0]
    for written in (caller.image_id("img1"), f" '{caller.image_id('img1')}' ", f"`{caller.image_id('img1')}`"):
        assert read_image_id(written) == (caller, "img1")
    assert caller.written('Marked img1 as marked1:\nr1 ("img1"): "it says \\"img1\\""') == (
        f"Marked img1-{caller.handle} as marked1-{caller.handle}:\n" + 'r1 ("img1"): "it says \\"img1\\""'
    )
