"""What other projects learned the hard way: at least one test for each advisory, named after it."""

from __future__ import annotations

import base64
import http.server
import io
import pickle
import re
import shutil
import socket
import threading
from contextlib import closing, suppress

import numpy as np
import pytest
import torch
from langchain_core.load import dumpd, load
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from PIL import Image

from langchain_vipllava import (
    ChatVipLlava,
    CheckpointError,
    FetchPolicy,
    ImageError,
    ImageStore,
    VipLlavaError,
    VipLlavaToolkit,
    Workspace,
    keep_images,
    load_image,
)
from langchain_vipllava.apps.assets import SCENE
from tests.support.hostile_web import Server
from tests.support.tool_caller import ToolCaller
from tests.support.versions import needs_allow_lists, needs_escaped_dumps


@pytest.fixture
def listener():
    """Listen on the loopback address, and count connections and bytes."""
    with closing(Server()) as server:
        yield server


@pytest.fixture
def inside(listener):
    return f"{listener.url}/image.png"


def _ask(block):
    return [HumanMessage([block, {"type": "text", "text": "What is it?"}])]


def _blocks(source):
    return [
        {"type": "image_url", "image_url": {"url": source}},
        {"type": "image", "url": source},
        {"type": "image", "source_type": "url", "url": source},
    ]


@pytest.fixture
def llm(tiny_checkpoint):
    return ChatVipLlava(model=str(tiny_checkpoint), max_tokens=3)


def test_cve_2025_6242_media_urls_do_not_reach_inside(llm, listener, inside):
    for block in _blocks(inside):
        with pytest.raises(ImageError):
            llm.invoke(_ask(block))
    assert (listener.connections, listener.received) == (0, b"")


def test_cve_2026_41488_an_address_is_not_resolved_again_after_its_check(monkeypatch, listener):
    answers = iter([[("93.184.215.14", 80)], *[[("127.0.0.1", listener.port)]] * 50])
    looked_up = []

    def getaddrinfo(host, port, *args, **kwargs):  # a fake: the name server of an attacker cannot be had here
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in next(answers)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    port = listener.port
    with pytest.raises(ImageError):
        load_image(f"http://rebind.example:{port}/a.png", fetch_policy=FetchPolicy(timeout=1))
    assert len(looked_up) == 1
    assert (listener.connections, listener.received) == (0, b"")


def test_cve_2026_26013_counting_tokens_fetches_nothing(llm, listener, inside):
    for block in _blocks(inside):
        assert llm.get_num_tokens_from_messages(_ask(block)) > 0
        assert "<image>" in llm.render_prompt(_ask(block))
    assert (listener.connections, listener.received) == (0, b"")


@pytest.mark.parametrize("way", ["invoke", "stream", "batch", "keep", "tool", "workspace", "load"])
def test_vllm_43117_no_second_way_in_skips_the_guard(llm, listener, inside, way):
    block = _blocks(inside)[0]
    if way == "tool":
        ToolCaller(VipLlavaToolkit(chat_model=llm)).call_expecting_error("open_image", source=inside)
    elif way == "keep":
        assert keep_images(_ask(block), ImageStore())[0].content[0] == block  # stays as it is, unopened
    else:
        ways = {
            "invoke": lambda: llm.invoke(_ask(block)),
            "stream": lambda: list(llm.stream(_ask(block))),
            "batch": lambda: llm.batch([_ask(block)]),
            "workspace": lambda: Workspace().open(inside, session="a"),
            "load": lambda: load_image(inside),
        }
        with pytest.raises(ImageError):
            ways[way]()
    assert (listener.connections, listener.received) == (0, b"")


@pytest.mark.parametrize("way", ["invoke", "keep", "tool", "workspace", "cache"])
def test_vllm_43117_no_second_way_in_opens_a_file(llm, way):
    block = {"type": "image", "path": str(SCENE)}
    ways = {
        "invoke": lambda: llm.invoke(_ask(block)),
        "keep": lambda: keep_images(_ask(block), ImageStore()),
        "workspace": lambda: Workspace().open(str(SCENE), session="a"),
        "cache": lambda: llm.generate([_ask(block)]),
    }
    if way == "tool":
        ToolCaller(VipLlavaToolkit(chat_model=llm)).call_expecting_error("open_image", source=str(SCENE))
    else:
        with pytest.raises(ImageError):
            ways[way]()


@pytest.mark.parametrize(
    "host",
    [
        "[64:ff9b::7f00:1]",  # NAT64
        "[2002:7f00:1::]",  # 6to4
        "[::127.0.0.1]",  # IPv4-compatible
        "[::ffff:127.0.0.1]",  # IPv4-mapped
        "224.0.0.1",  # multicast
        "169.254.169.254",  # cloud metadata
        "168.63.129.16",  # cloud metadata of Azure, in a public network
        "metadata.google.internal",
    ],
)
def test_instructor_2659_special_addresses_are_not_public(host):
    with pytest.raises(ImageError, match="public"):
        load_image(f"http://{host}/latest/meta-data")


def _image(width: int, height: int) -> Image.Image:
    values = np.arange(width * height * 3, dtype=np.uint32) % 251
    return Image.fromarray(values.astype(np.uint8).reshape(height, width, 3))


def test_ghsa_c65p_equal_pixels_of_another_shape_do_not_share_a_cache(llm):
    wide, high = _image(64, 16), _image(16, 64)
    assert wide.tobytes() == high.tobytes()

    def ask(model, image):
        return model.invoke(_ask({"type": "image", "image": image})).response_metadata["token_ids"]

    alone = [ask(ChatVipLlava(model=llm.model, max_tokens=3, cache_bytes=0), image) for image in (wide, high)]
    assert [ask(llm, wide), ask(llm, high)] == alone


def test_smg_2371_options_do_not_collide_in_a_cache_key(tiny_checkpoint):
    pairs = [
        ({"prompt_format": "llava_v1"}, {"prompt_format": "user_assistant"}),
        ({"stop": ["a", "b"]}, {"stop": ["a, b"]}),
        ({"stop": ["a', 'b"]}, {"stop": ["a", "b"]}),
        ({"seed": 1, "top_k": 11}, {"seed": 11, "top_k": 1}),
        ({"image_fit": "pad"}, {"image_fit": "center_crop"}),
    ]
    for one, other in pairs:
        keys = [ChatVipLlava(model=str(tiny_checkpoint), **options)._get_llm_string() for options in (one, other)]
        assert keys[0] != keys[1], (one, other)


@pytest.mark.parametrize(
    "data",
    [
        b"not an image",
        b"\x89PNG\r\n\x1a\n" + bytes(50),
        b"\xff\xd8\xff\xe0" + bytes(50),
        b"GIF89a" + bytes(9),
        b"II*\0" + bytes(99),
    ],
    ids=["text", "png", "jpeg", "gif", "tiff"],
)
def test_cve_2026_22778_errors_leak_no_address(llm, data):
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    for attempt in (
        lambda: load_image(data),
        lambda: load_image(io.BytesIO(data)),
        lambda: llm.invoke(_ask({"type": "image_url", "image_url": {"url": uri}})),
    ):
        with pytest.raises(ImageError) as caught:
            attempt()
        assert not re.search(r"0x[0-9a-f]{6,}", str(caught.value))


def test_cve_2026_54236_errors_leak_no_address_by_another_route(llm):
    for odd in (object(), io.StringIO("text"), lambda: 1, [io.BytesIO(b"x")]):
        with pytest.raises(VipLlavaError) as caught:
            llm.invoke(_ask({"type": "image", "image": odd}))
        assert not re.search(r"0x[0-9a-f]{6,}", str(caught.value))


def _fits(width: int, height: int) -> bytes:
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    2",
             f"NAXIS1  = {width:20d}", f"NAXIS2  = {height:20d}", "END"]  # fmt: skip
    return "".join(card.ljust(80) for card in cards).ljust(2880).encode() + bytes(2880)


def test_cve_2026_40192_formats_outside_the_allow_list_are_not_decoded():
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n"
    for data in (_fits(60_000, 60_000), _fits(8, 8), postscript, b"P6 4 4 255\n" + bytes(48)):
        with pytest.raises(ImageError, match="PNG"):
            load_image(data)


def test_cve_2026_54059_a_lazily_opened_image_of_another_format_is_not_decoded():
    opened = Image.open(io.BytesIO(_fits(8, 8)))
    with pytest.raises(ImageError):
        load_image(opened)


def test_cve_2025_64439_weights_in_a_pickle_are_refused(tiny_checkpoint, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_checkpoint, folder)
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return open, (str(ran), "w")

    torch.save({"weights": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="safetensors"):
        ChatVipLlava(model=str(folder)).invoke("hi")
    assert not ran.exists()


def test_cve_2026_28277_a_damaged_session_store_runs_nothing(llm, tmp_path):
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return open, (str(ran), "w")

    store = ImageStore(tmp_path / "store")
    workspace = Workspace(store=store)
    workspace.add_image(SCENE, session="anna")
    for key in list(store.yield_keys(prefix="session-")):
        store.mset([(key, pickle.dumps(Evil()))])
    with suppress(VipLlavaError):
        Workspace(store=store).list(session="anna")
    assert not ran.exists()


@needs_escaped_dumps
def test_cve_2025_68664_loading_a_dumped_model_makes_no_object_of_its_data(llm):
    message = HumanMessage([{"type": "text", "text": "x"}, {"lc": 1, "type": "secret", "id": ["PATH"]}])
    restored = load(dumpd(message), secrets_from_env=False, valid_namespaces=["langchain_core"], allowed_objects="core")
    with pytest.raises(VipLlavaError):
        llm.invoke([restored])


@needs_allow_lists
def test_cve_2026_27794_kept_images_need_only_plain_types_in_a_checkpoint():
    kept = keep_images(_ask({"type": "image", "image": _image(8, 8)}), ImageStore())
    strict = JsonPlusSerializer(allowed_msgpack_modules=None, pickle_fallback=False)
    assert strict.loads_typed(strict.dumps_typed(kept))[0].content == kept[0].content


def test_cve_2026_25580_an_agent_tool_does_not_download_inside(llm, listener, inside):
    caller = ToolCaller(VipLlavaToolkit(chat_model=llm))
    for source in (inside, inside.replace("http", "HTTP"), f" {inside} ", inside.replace("127.0.0.1", "localhost")):
        caller.call_expecting_error("open_image", source=source)
    assert (listener.connections, listener.received) == (0, b"")


def test_cve_2026_46678_a_redirect_does_not_lead_a_tool_inside(listener, inside):
    asked = []

    class Redirect(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", inside)
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        # the first host is admitted by name, what it points to is not
        policy = FetchPolicy(hosts=["localhost"])
        with pytest.raises(ImageError):
            load_image(f"http://localhost:{server.server_port}/a.png", fetch_policy=policy)
        server.shutdown()
        thread.join()
    assert asked == ["/a.png"]
    assert (listener.connections, listener.received) == (0, b"")
