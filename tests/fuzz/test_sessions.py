"""Damaged files of sessions in a store."""

from __future__ import annotations

import json
import logging

from langchain_core.language_models import FakeListChatModel
from PIL import Image

from langchain_vipllava import ImageStore, VipLlavaToolkit
from tests.fuzz.mutations import mutate, mutate_bytes

DETECTIONS = [{"score": 0.9, "label": "cat", "box": {"xmin": 4, "ymin": 5, "xmax": 30, "ymax": 40}}]


def make_toolkit(store):
    return VipLlavaToolkit(chat_model=FakeListChatModel(responses=["A cat."]), image_store=store)


def use(store):
    """Do everything that a session can do, in a new process."""
    toolkit = make_toolkit(store)
    toolkit.add_image(Image.new("RGB", (50, 40)), thread_id="t", detections=DETECTIONS)
    texts = [summary.text for summary in toolkit.workspace.list(session="t")]
    config = {"configurable": {"thread_id": "t"}}
    tools = {tool.name: tool for tool in toolkit.get_tools()}
    for image_id in ("img1", "marked1"):
        texts.append(tools["mark_regions"].invoke({"image_id": image_id, "regions": ["r1", [1, 2, 30, 30]]}, config))
        texts.append(tools["ask_regions"].invoke({"image_id": image_id, "question": "What?"}, config))
    return texts


def saved_session():
    store = ImageStore()
    toolkit = make_toolkit(store)
    toolkit.add_image(Image.new("RGB", (60, 50)), thread_id="t", detections=DETECTIONS)
    tools = {tool.name: tool for tool in toolkit.get_tools()}
    config = {"configurable": {"thread_id": "t"}}
    tools["mark_regions"].invoke({"image_id": "img1", "regions": ["r1"], "kind": "arrow"}, config)
    tools["ask_regions"].invoke({"image_id": "marked1", "question": "What is {r1}?"}, config)
    (key,) = store.yield_keys(prefix="session-")
    return store, key, store.get(key)


def test_damaged_session_files(fuzz, caplog):
    caplog.set_level(logging.CRITICAL)
    store, key, record = saved_session()
    rng = fuzz.rng()
    for _ in fuzz.rounds(60):
        store.mset([(key, mutate_bytes(record, rng))])
        texts = fuzz.try_input(use, store)
        assert texts is None or all(isinstance(text, str) for text in texts)


def test_forged_session_files(fuzz, caplog):
    caplog.set_level(logging.CRITICAL)
    store, key, record = saved_session()
    rng = fuzz.rng()
    for _ in fuzz.rounds(60):
        forged = mutate(json.loads(record[record.index(b"{") :]), rng)
        try:
            body = json.dumps(forged, default=str).encode()
        except (ValueError, RecursionError, TypeError):
            continue
        store.mset([(key, wrap(record, body))])
        fuzz.try_input(use, store)


def wrap(record: bytes, body: bytes) -> bytes:
    """Write a record as whoever may write to the folder can: with a checksum that fits, where there is one."""
    import hashlib

    if record.startswith(b"{"):
        return body
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body
