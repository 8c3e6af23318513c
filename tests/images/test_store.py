"""`ImageStore`: images by content hash, in memory and in a folder."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import signal
import socket
import stat
import subprocess
import sys
import threading

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


ID = "sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""The id of no bytes at all."""


def file_of(folder, key):
    (path,) = folder.glob(f"kept-{key}*")
    return path


@pytest.mark.parametrize("key", ["an image", "session-1"])
def test_changed_bytes_are_never_returned(tmp_path, key, caplog):
    store = ImageStore(tmp_path)
    name = store.add(b"an image") if key == "an image" else key
    other = store.add(b"another")
    store.mset([("session-1", b"an image"), ("session-2", b"another")])
    path = file_of(tmp_path, name)
    good = path.read_bytes()
    flipped = bytes([good[-1] ^ 1])
    foreign = file_of(tmp_path, other if key == "an image" else "session-2").read_bytes()
    for content in (good[:-1] + flipped, good[:-1], good + b"!", b"", foreign, b"x" * len(good)):
        assert name in store, "it is verified by now"
        path.write_bytes(content)
        for reader in (store, ImageStore(tmp_path)):
            assert name not in reader
            assert reader.mget([name]) == [None]
            with pytest.raises(ImageError, match="no image"):
                reader.get(name)
        assert "has changed on the disk" in caplog.text
        store.mset([(name, b"an image")])
        assert store.mget([name]) == [b"an image"]
        assert store.get(other) == b"another"


def test_what_is_stored_unchanged_is_read_once_to_verify_it(tmp_path, monkeypatch):
    ImageStore(tmp_path).add(b"an image")
    store, reads = ImageStore(tmp_path), []
    (name,) = store.yield_keys()
    read = os.read
    monkeypatch.setattr(os, "read", lambda opened, size: reads.append(size) or read(opened, size))
    assert [name in store for _ in range(3)] == [True] * 3
    assert len(reads) == 2, "the bytes and their end, once"


def test_links_pipes_folders_and_huge_files_count_as_missing_and_wait_for_nobody(tmp_path, caplog, monkeypatch):
    folder = tmp_path / "images"
    store = ImageStore(folder)
    monkeypatch.chdir(folder)  # the path of a socket has at most 108 bytes
    name = store.add(b"an image")
    path = file_of(folder, name)
    (tmp_path / "outside").write_bytes(b"an image")

    def sparse():
        with path.open("wb") as file:
            file.truncate(3 * 2**30)

    def bind():
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)

    for make in (
        lambda: path.symlink_to(tmp_path / "outside"),
        lambda: os.mkfifo(path),
        lambda: path.symlink_to("/dev/zero"),
        bind,
        sparse,
    ):
        path.unlink()
        make()
        for reader in (store, ImageStore(folder)):
            assert name not in reader
            assert reader.mget([name]) == [None]
        assert "counts as missing" in caplog.text
        assert store.add(b"an image") == name
        assert stat.S_ISREG(path.lstat().st_mode)
        assert store.get(name) == b"an image"
    assert (tmp_path / "outside").read_bytes() == b"an image"
    path.unlink()
    path.mkdir()
    assert store.mget([name]) == [None]
    with pytest.raises(ImageError, match="cannot store"):
        store.add(b"an image")


def test_whatever_is_passed_fails_with_an_error_of_the_package(store):
    for call in (
        lambda: store.get(5),
        lambda: store.get(None),
        lambda: store.mget([5]),
        lambda: store.mget([b"sha256-"]),
        lambda: store.mget(5),
        lambda: store.mget("sha256-"),
        lambda: store.mset([("key", "text")]),
        lambda: store.mset([(5, b"bytes")]),
        lambda: store.mset([("good", b"bytes"), ("key", None)]),
        lambda: store.mset([("key",)]),
        lambda: store.mset(5),
        lambda: store.mset("ab"),
        lambda: store.mdelete([5]),
        lambda: store.mdelete(5),
        lambda: list(store.yield_keys(prefix=5)),
        lambda: store.add(5),
        lambda: store.add(None),
        lambda: ImageStore(5),
        lambda: ImageStore("a\0b"),
        lambda: ImageStore(max_bytes="many"),
    ):
        with pytest.raises(ImageError) as caught:
            call()
        assert len(str(caught.value)) <= 2000
    assert 5 not in store
    assert list(store.yield_keys()) == [], "all is checked before anything is written"


@pytest.mark.parametrize("key", ["x" * 5_000_000, "../" * 20, "\ud800" * 20, "a\0b", "/etc/passwd", "K", "..", ""])
def test_any_text_may_be_a_key_or_is_refused(tmp_path, key):
    store = ImageStore(tmp_path / "images")
    if len(key) > 255:
        with pytest.raises(ImageError, match="cannot store"):
            store.mset([(key, b"bytes")])
        assert store.mget([key]) == [None]
        assert key not in store
    else:
        store.mset([(key, b"bytes")])
        assert store.mget([key]) == [b"bytes"]
        assert list(store.yield_keys()) == [key]
    store.mdelete([key])
    assert list(store.yield_keys()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_keys_that_differ_in_case_have_files_that_differ_in_more(tmp_path):
    store = ImageStore(tmp_path)
    keys = ["key", "KEY", "Key", "%4b", "\xc9", "\xe9"]
    store.mset([(key, key.encode()) for key in keys])
    assert len({path.name.lower() for path in tmp_path.iterdir()}) == len(keys)
    assert store.mget(keys) == [key.encode() for key in keys]


def test_files_and_folder_are_for_this_user_alone(tmp_path):
    store = ImageStore(tmp_path / "images")
    store.add(b"an image")
    store.mset([("session-1", b"{}")])
    assert stat.S_IMODE((tmp_path / "images").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "images").iterdir()} == {0o600}


def test_names_that_no_store_wrote_do_not_end_a_listing(tmp_path):
    store = ImageStore(tmp_path)
    name = store.add(b"an image")
    (tmp_path / "kept-%ff.bin").write_bytes(b"")
    (tmp_path / "kept-%ED%A0.bin").write_bytes(b"")
    os.mkfifo(tmp_path / ".kept-0.tmp")
    assert list(ImageStore(tmp_path).yield_keys()) == [name]


def test_the_folder_is_listed_rarely_also_when_the_store_is_full(tmp_path, monkeypatch):
    store, listings = ImageStore(tmp_path, max_bytes=64_000), []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listings.append(path) or scandir(path))
    names = [store.add(number.to_bytes(2, "big") * 500) for number in range(640)]
    assert len(listings) <= 640 // 4 + 1, "once per sixteenth of the bound"
    monkeypatch.undo()
    kept = list(store.yield_keys())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 64_000
    assert names[-1] in kept
    assert len(kept) == 64


def test_nothing_is_acknowledged_before_it_is_on_the_disk(tmp_path, monkeypatch):
    events, fsync, replace = [], os.fsync, os.replace

    def record(opened):
        events.append("folder" if stat.S_ISDIR(os.fstat(opened).st_mode) else "file")
        fsync(opened)

    monkeypatch.setattr(os, "fsync", record)
    monkeypatch.setattr(os, "replace", lambda *paths: events.append("move") or replace(*paths))
    ImageStore(tmp_path).add(b"an image")
    assert events == ["file", "move", "folder"]


def test_a_slow_disk_holds_up_nobody_else(tmp_path, monkeypatch):
    store = ImageStore(tmp_path)
    name = store.add(b"an image")
    begun, released, fsync = threading.Event(), threading.Event(), os.fsync

    def slow(opened):
        begun.set()
        assert released.wait(60)
        fsync(opened)

    monkeypatch.setattr(os, "fsync", slow)
    writer = threading.Thread(target=store.add, args=[b"another"])
    writer.start()
    assert begun.wait(60)
    monkeypatch.setattr(os, "fsync", fsync)
    assert store.get(name) == b"an image"
    store.mset([("session-1", b"{}")])
    assert sorted(store.yield_keys()) == sorted([name, "session-1"])
    released.set()
    writer.join()
    assert len(list(store.yield_keys())) == 3


STUCK = """
import os, sys, time
from langchain_vipllava import ImageStore
store = ImageStore(sys.argv[1])
print(store.add(b"finished"), flush=True)
def stuck(opened):
    print("writing", flush=True)
    time.sleep(600)
os.fsync = stuck
store.mset([("session-1", b"unfinished")])
"""


def test_what_a_killed_process_left_is_removed_and_nothing_of_a_living_one(tmp_path):
    ImageStore(tmp_path).mset([("session-1", b"before")])
    with subprocess.Popen([sys.executable, "-c", STUCK, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        try:
            finished = process.stdout.readline().strip()
            assert process.stdout.readline() == "writing\n"
            (temporary,) = tmp_path.glob(".kept-*")
            ImageStore(tmp_path).add(b"meanwhile")
            assert temporary.exists(), "its writer lives"
        finally:
            process.send_signal(signal.SIGKILL)
    store = ImageStore(tmp_path)
    assert not temporary.exists()
    assert store.mget([finished, "session-1"]) == [b"finished", b"before"]


WRITER = """
import os, sys
from langchain_vipllava import ImageStore
store = ImageStore(sys.argv[1], max_bytes=10**9)
for number in range(10**9):
    data = os.urandom(20_000)
    name = store.add(data)
    store.mset([("session-" + sys.argv[2], str(number).encode())])
    print(name, number, flush=True)
"""


def test_two_processes_share_a_folder_and_are_killed_in_the_middle(tmp_path):
    def start(name):
        command = [sys.executable, "-c", WRITER, str(tmp_path), name]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    store = ImageStore(tmp_path, max_bytes=10**9)
    for _ in range(2):
        processes = {name: start(name) for name in ("a", "b")}
        lines = {name: [process.stdout.readline() for _ in range(40)] for name, process in processes.items()}
        for process in processes.values():
            process.send_signal(signal.SIGKILL)
        for name, process in processes.items():
            with process:
                lines[name] += process.stdout.readlines()
            whole = [line.split() for line in lines[name] if line.endswith("\n")]
            assert all(store.mget([image_id]) != [None] for image_id, _ in whole), "what was acknowledged is there"
            assert int(store.mget([f"session-{name}"])[0]) - int(whole[-1][1]) in (0, 1)
    ImageStore(tmp_path)
    assert not list(tmp_path.glob(".kept-*"))


FULL = """
import resource, sys
from langchain_vipllava import ImageError, ImageStore
store = ImageStore(sys.argv[1])
store.mset([("session-1", b"before")])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for call in (lambda: store.add(b"x" * 5000), lambda: store.mset([("session-1", b"y" * 5000)])):
    try:
        call()
    except ImageError as error:
        print(error)
print(store.mget(["session-1"]), store.get(store.add(b"small")))
"""


def test_a_write_that_the_system_cuts_short_leaves_the_entry_before(tmp_path):
    """The limit of the size of a file stands in for a full disk: `write` writes a part, and then fails."""
    run = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False)
    first, second, last = run.stdout.splitlines()
    assert "cannot store 'sha256-" in first
    assert "cannot store 'session-1'" in second
    assert "File too large" in first
    assert last == "[b'before'] b'small'"
    assert not list(tmp_path.glob(".kept-*"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("function", ["write", "fsync", "replace"])
def test_every_failure_of_the_disk_is_an_image_error(tmp_path, monkeypatch, function, code):
    """Injected: a disk that fails is not at hand."""
    store = ImageStore(tmp_path)
    name = store.add(b"an image")
    store.mset([("session-1", b"before")])
    with monkeypatch.context() as patch:

        def fail(*arguments):
            raise OSError(code, os.strerror(code))

        patch.setattr(os, function, fail)
        for call in (lambda: store.add(b"another"), lambda: store.mset([("session-1", b"after")])):
            with pytest.raises(ImageError, match=os.strerror(code)):
                call()
    assert store.mget([name, "session-1"]) == [b"an image", b"before"]
    assert not list(tmp_path.glob(".kept-*"))
    assert store.get(store.add(b"another")) == b"another"


@pytest.mark.parametrize("by", ["nothing", "a file", "a link to nothing"])
def test_a_folder_that_goes_away_is_an_image_error_and_comes_back(tmp_path, by):
    folder, aside = tmp_path / "images", tmp_path / "aside"
    store = ImageStore(folder)
    name = store.add(b"an image")
    folder.rename(aside)
    if by == "a file":
        folder.write_bytes(b"")
    elif by == "a link to nothing":
        folder.symlink_to("gone")
    for call in (
        lambda: store.get(name),
        lambda: store.add(b"another"),
        lambda: store.mset([("session-1", b"x")]),
        lambda: list(store.yield_keys()),
    ):
        with pytest.raises(ImageError):
            call()
    assert name not in store
    if by != "nothing":
        folder.unlink()
    aside.rename(folder)
    assert store.get(name) == b"an image"
    assert store.get(store.add(b"another")) == b"another"
    assert len(list(store.yield_keys())) == 2


def test_threads_that_add_get_and_evict_see_whole_images_only(tmp_path):
    store, errors = ImageStore(tmp_path, max_bytes=30_000), []

    def work(seed):
        try:
            for number in range(60):
                data = bytes([seed, number % 7]) * 2_000
                name = store.add(data)
                assert store.mget([name])[0] in (data, None), "evicted, or whole"
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=[seed]) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    store.add(b"last")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 30_000
