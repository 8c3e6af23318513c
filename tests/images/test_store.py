"""`ImageStore`: images by content hash, in memory and in a folder."""

from __future__ import annotations

import copy
import os
import pickle

import pytest

from langchain_vipllava import (
    ChatVipLlava,
    ImageError,
    ImageStore,
    VipLlavaToolkit,
)

STORES = [lambda folder: ImageStore(), ImageStore]


@pytest.fixture(params=STORES, ids=["memory", "folder"])
def store(request, tmp_path):
    return request.param(tmp_path / "images")


def test_an_image_is_stored_once_under_its_content_hash(store):
    assert store.add(b"one") == store.add(bytearray(b"one")) != store.add(b"two")
    assert sorted(map(store.get, store.yield_keys(prefix="sha256-"))) == [b"one", b"two"]


def test_the_least_recently_used_images_are_evicted_first(tmp_path):
    for folder in (None, tmp_path):
        store = ImageStore(folder, max_bytes=30)
        first, second = store.add(b"1" * 10), store.add(b"2" * 10)
        if folder:
            for age, name in enumerate([first, second]):
                os.utime(next(folder.glob(f"kept-{name}*")), (age, age))  # some file systems have coarse timestamps
        store.get(first)
        third = store.add(b"3" * 15)
        assert set(store.yield_keys()) == {first, third}
        with pytest.raises(ImageError, match="Send the image itself once more"):
            store.get(second)
        large = store.add(b"4" * 100)
        assert list(store.yield_keys()) == [large]


def test_keys_are_never_used_as_paths(tmp_path):
    store = ImageStore(tmp_path / "images")
    keys = ["../up", "a/b", ".", "..", "", "ünï", "k", "C:\\x", "\ud800"]
    store.mset([(key, repr(key).encode()) for key in keys])
    assert store.mget(keys) == [repr(key).encode() for key in keys]
    assert set(store.yield_keys()) == set(keys)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_other_files_of_the_folder_are_left_alone(tmp_path):
    (tmp_path / "kitchen.jpg").write_bytes(b"1" * 1000)
    (tmp_path / "kept-folder.bin").mkdir()
    store = ImageStore(tmp_path, max_bytes=50)
    names = [store.add(bytes([number]) * 40) for number in range(3)]
    assert list(store.yield_keys()) == names[2:]
    store.mdelete(["kitchen.jpg", "folder"])
    assert (tmp_path / "kitchen.jpg").stat().st_size == 1000
    assert (tmp_path / "kept-folder.bin").is_dir()


def test_images_are_evicted_before_other_entries(store):
    store.max_bytes = 100
    store.mset([("thread-1", b"t" * 20)])
    for number in range(5):
        store.add(bytes([number]) * 60)
    assert store.mget(["thread-1"]) == [b"t" * 20]


def test_a_damaged_file_is_repaired(tmp_path):
    store = ImageStore(tmp_path)
    name = store.add(b"image")
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"ima")
    assert store.add(b"image") == name
    assert store.get(name) == b"image"


def test_invalid_folders_values_limits_and_keys_raise(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ImageError, match="cannot store images"):
        ImageStore(tmp_path / "file")
    with pytest.raises(ImageError, match="expected the bytes"):
        ImageStore().add("text")
    with pytest.raises(ImageError, match="max_bytes=0"):
        ImageStore(max_bytes=0)
    with pytest.raises(ImageError, match="cannot store"):
        ImageStore(tmp_path / "images").mset([("k" * 300, b"")])
    assert not list((tmp_path / "images").iterdir())


def test_copies_share_a_store_and_a_store_with_a_folder_can_be_pickled(tmp_path):
    llm = ChatVipLlava(model="bundled", image_store=ImageStore(tmp_path, max_bytes=10**6))
    name = llm.image_store.add(b"an image")
    assert copy.deepcopy(llm).image_store is llm.image_store
    unpickled = pickle.loads(pickle.dumps(llm)).image_store
    assert (unpickled.get(name), unpickled.max_bytes) == (b"an image", 10**6)
    with pytest.raises(ImageError, match="stays in its process"):
        pickle.dumps(ImageStore())
    toolkit = VipLlavaToolkit(chat_model=llm)
    assert [tool.name for tool in copy.deepcopy(toolkit).get_tools()] == [tool.name for tool in toolkit.get_tools()]
