"""Files that somebody else names: regular ones below the folders of the program, and one answer to all the rest."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage
from PIL import Image

from langchain_vipllava import ChatVipLlava, ImageAccessPolicy, ImageError, ImageStore, VipLlavaToolkit, keep_images
from langchain_vipllava import load_image as load
from langchain_vipllava.images import files
from langchain_vipllava.images.source import source_kind
from tests.support.tool_caller import ToolCaller

SECRET, OPEN = "#ff0000", "#0000ff"


@pytest.fixture
def world(tmp_path):
    """A folder of images in a folder with a secret, and everything that may stand where a file is expected."""
    root = tmp_path / "images"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "images2").mkdir()
    for path in (root / "a.png", root / "sub" / "b.png", root / "12:30.png"):
        Image.new("RGB", (4, 4), OPEN).save(path)
    for path in (tmp_path / "secret.png", tmp_path / "images2" / "secret.png"):
        Image.new("RGB", (4, 4), SECRET).save(path)
    (root / "data:").mkdir()
    (root / "http:").mkdir()
    (root / "data:secret.png").symlink_to(tmp_path / "secret.png")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "up.png").symlink_to("../secret.png")
    (root / "up").symlink_to(tmp_path)
    (root / "loop").symlink_to("loop")
    (root / "gone.png").symlink_to("no-such.png")
    (root / "in.png").symlink_to(root / "a.png")
    (root / "sub" / "near.png").symlink_to("../a.png")
    (root / "folder").symlink_to("sub")
    os.mkfifo(root / "pipe")
    (root / "null").symlink_to("/dev/null")
    (root / "stdin").symlink_to("/dev/stdin")
    with contextlib.chdir(root), socket.socket(socket.AF_UNIX) as listener:  # its path has at most 108 bytes
        listener.bind("socket")
    (root / "notes.txt").write_text("no image")
    (root / "empty.png").write_bytes(b"")
    return tmp_path


INSIDE = [
    "a.png",
    " a.png\n",
    "./a.png",
    "sub/b.png",
    "sub/../a.png",
    "folder/b.png",
    "folder/../a.png",
    "sub//b.png",
    "in.png",
    "sub/near.png",
    "12:30.png",
    "{root}/a.png",
    "{root}/sub/../a.png",
    "file://{root}/a.png",
    "file:{root}/a.png",
    "FILE://localhost{root}/a%2epng",
    "{link}/a.png",
]

REFUSED = [
    "no-such.png",
    "{outer}/secret.png",
    "{outer}/no-such.png",
    "{outer}/images2/secret.png",
    "{root}2/secret.png",
    "{root}/../secret.png",
    "../secret.png",
    "../images/a.png",
    "sub/../../secret.png",
    "sub/../../images/a.png",
    "up/secret.png",
    "up/images/a.png",
    "up.png",
    "out.png",
    "loop",
    "loop/a.png",
    "gone.png",
    "pipe",
    "socket",
    "null",
    "stdin",
    "sub",
    ".",
    "..",
    "/",
    "a.png/a.png",
    "a.png/../a.png",
    "file://{outer}/secret.png",
    "file:///etc/passwd",
    "file://{root}/%2e%2e/secret.png",
    "file://{root}/..%2fsecret.png",
    "file://{root}/a.png%00.txt",
    "%2e%2e/secret.png",
    "..\\secret.png",
    "C:\\secret.png",
    "C:secret.png",
    "\\\\server\\share\\secret.png",
    "//server/share/secret.png",
    "/dev/zero",
    "/dev/stdin",
    "/dev/fd/0",
    "/proc/kmsg",
    "/proc/self/environ",
    "/proc/self/root{outer}/secret.png",
    "~/secret.png",
    "~root/secret.png",
    "~",
    "a\0b",
    "a.png\0",
    "\ud800.png",
    "\udcff.png",
    "x" * 300,
    "x" * 5_000_000,
    "a/" * 2_000_000,
    "../" * 100 + "etc/passwd",
]


def refusal(policy: ImageAccessPolicy, source: object) -> str:
    with pytest.raises(ImageError) as caught:
        policy.resolve(source)
    return str(caught.value)


@pytest.fixture(params=["walk", "without openat, as on Windows"])
def both_ways(request, monkeypatch):
    if request.param != "walk":
        monkeypatch.setattr(files, "_WALKS", False)
    return request.param == "walk"


def test_files_below_the_root_are_opened(world, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "root"
    link.symlink_to(world / "images")
    for root in (world / "images", str(world / "images"), link, [world / "images2", world / "images"]):
        for name in INSIDE:
            if "{link}" in name and root is not link:
                continue
            named = name.format(root=world / "images", link=link)
            pixels = ImageAccessPolicy(image_root=root).resolve(named).decode()
            assert pixels.getpixel((0, 0)) == (0, 0, 255), (root, named)
        assert ImageAccessPolicy(image_root=root).resolve(world / "images" / "a.png").size == (4, 4)


def test_whatever_is_not_allowed_or_not_there_has_one_error(world, both_ways):
    """The text differs in nothing but the name: nobody finds out by asking what there is."""
    root = world / "images"
    policies = [
        ImageAccessPolicy(image_root=root),
        ImageAccessPolicy(),
        ImageAccessPolicy(image_root=world / "no-such-folder"),
        ImageAccessPolicy(image_root=root / "a.png"),
        ImageAccessPolicy(image_root=[root / "sub", world / "no-such-folder"]),
    ]
    names = [name.format(root=root, outer=world) for name in REFUSED]
    texts = {refusal(policy, name).split(": no image", 1)[1] for policy in policies for name in names}
    assert len(texts) == 1
    assert "image_root=" in texts.pop()
    assert str(root) not in refusal(policies[0], "no-such.png")


def test_the_way_without_openat_opens_plain_files_and_follows_no_link(world, monkeypatch):
    monkeypatch.setattr(files, "_WALKS", False)
    policy = ImageAccessPolicy(image_root=world / "images")
    for name in ("a.png", "sub/b.png", str(world / "images" / "a.png")):
        assert policy.resolve(name).size == (4, 4)
    for name in ("in.png", "folder/b.png", "12:30.png"):
        refusal(policy, name)


def test_a_text_that_begins_like_a_uri_never_names_a_file(world, monkeypatch):
    """`data:/../../secret.png` walked out of the root through a folder named `data:`."""
    root = world / "images"
    policies = [ImageAccessPolicy(image_root=root), ImageAccessPolicy.trusted()]
    monkeypatch.chdir(root)
    for policy in policies:
        for name in ("data:/../../secret.png", "data:secret.png", " DATA:/../secret.png", "data:,/../secret.png"):
            assert source_kind(name) == "data"
            assert "data: URI" in refusal_of_content(policy, name)
        for name in ("http:/../secret.png", "HTTPS:secret.png"):
            assert source_kind(name) == "url"
            refusal(policy, name)
    for name in ("ftp://a/b.png", "file://server/share/a.png", "file:a.png", "file:"):
        refusal(policies[0], name)


def refusal_of_content(policy: ImageAccessPolicy, source: str) -> str:
    with pytest.raises(ImageError) as caught:
        policy.resolve(source).decode()
    return str(caught.value)


def test_nothing_outside_of_the_root_is_looked_at(world, monkeypatch):
    """Not even by `stat`, whose time could tell what there is."""
    touched = []
    for function in ("open", "stat", "lstat", "readlink"):
        real = getattr(os, function)
        monkeypatch.setattr(
            os, function, lambda path, *args, real=real, **kwargs: touched.append(path) or real(path, *args, **kwargs)
        )
    policy = ImageAccessPolicy(image_root=world / "images")
    for name in ("secret.png", "no-such.png"):
        for source in (
            f"{world}/{name}",
            f"../{name}",
            f"file://{world}/{name}",
            f"sub/../../{name}",
            "up.png",
            "up/x",
        ):
            refusal(policy, source)
    monkeypatch.undo()
    assert touched, "the root itself is"
    assert not [path for path in touched if "secret" in str(path) or "no-such" in str(path)]


def test_a_file_inside_that_is_no_image_says_so(world):
    policy = ImageAccessPolicy(image_root=world / "images")
    assert "is not an image" in refusal_of_content(policy, "notes.txt")
    assert "'empty.png' is empty" in refusal(policy, "empty.png")


def test_a_huge_sparse_file_is_refused_by_its_size(world):
    with (world / "images" / "sparse.png").open("wb") as file:
        file.truncate(3 * 2**30)
    for policy in (ImageAccessPolicy(image_root=world / "images"), ImageAccessPolicy.trusted()):
        assert "3,221,225,472 bytes; expected at most" in refusal(policy, str(world / "images" / "sparse.png"))


def test_devices_pipes_and_folders_are_refused_at_once_in_the_programs_own_hands(world, monkeypatch):
    root = world / "images"
    for path, reason in {
        root / "pipe": "is a named pipe",
        root / "socket": "is a socket",
        root / "null": "is a device",
        root / "sub": "is a folder",
        Path("/dev/zero"): "is a device",
        root / "no-such.png": "no file",
        root / "a.png" / "b.png": "no file",
    }.items():
        with pytest.raises(ImageError, match=reason):
            load(path)
    if os.path.exists("/proc/self/environ"):
        with pytest.raises(ImageError, match="is empty"):
            load("/proc/self/environ")
    monkeypatch.setenv("HOME", str(root))
    assert load("~/a.png").size == (4, 4)
    with pytest.raises(ImageError, match="no file '~root"):
        load("~root/a.png")


@pytest.mark.parametrize("swapped", ["file", "folder"])
def test_no_race_leads_out_of_the_root(world, swapped):
    """A thread swaps a file, or its folder, for a link to the outside, thousands of times while another opens it."""
    root = world / "images"
    place = root / "sub" if swapped == "folder" else root / "sub" / "b.png"
    evil = world / "evil"
    (world / "outside").mkdir()
    Image.new("RGB", (4, 4), SECRET).save(world / "outside" / "b.png")
    target = world / "outside" if swapped == "folder" else world / "outside" / "b.png"
    stop, swaps = threading.Event(), 0

    def swap() -> None:
        nonlocal swaps
        aside = world / "aside"
        while not stop.is_set():
            place.rename(aside)
            evil.symlink_to(target)
            evil.rename(place)
            place.unlink()
            aside.rename(place)
            swaps += 1

    thread = threading.Thread(target=swap)
    thread.start()
    seen = {"opened": 0, "refused": 0}
    policy = ImageAccessPolicy(image_root=root)
    try:
        while swaps < 3000 or (not all(seen.values()) and swaps < 100_000):  # a busy machine favors one of the threads
            try:
                pixels = policy.resolve("sub/b.png").decode()
            except ImageError:
                seen["refused"] += 1
            else:
                assert pixels.getpixel((0, 0)) == (0, 0, 255), "bytes from outside"
                seen["opened"] += 1
    finally:
        stop.set()
        thread.join()
    assert min(seen.values()) > 0, seen


def test_opening_leaves_no_descriptor_behind(world):
    policy = ImageAccessPolicy(image_root=world / "images")
    before = len(os.listdir("/dev/fd"))
    for name in [*INSIDE, *REFUSED]:
        with contextlib.suppress(ImageError):
            policy.resolve(name.format(root=world / "images", outer=world, link="/no-link"))
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize("root", ["", " ", [], (), [""], 5, [None], b"x", {"a": 1}])
def test_a_root_that_names_no_folder_raises_where_it_is_given(root, tiny_checkpoint):
    """An empty text would be the working folder."""
    for make in (
        lambda: ImageAccessPolicy(image_root=root),
        lambda: ChatVipLlava(model="bundled", image_root=root),
        lambda: VipLlavaToolkit(chat_model=ChatVipLlava(model="bundled"), image_root=root),
    ):
        with pytest.raises(ImageError, match="image_root"):
            make()
    with pytest.raises(ImageError, match="any_file"):
        ImageAccessPolicy(image_root=".", any_file=True)


def test_messages_tools_and_keep_images_open_nothing_by_default(world, llm):
    path = world / "images" / "a.png"
    toolkit = VipLlavaToolkit(chat_model=llm)
    block = {"type": "image", "path": str(path)}
    message = HumanMessage([block, {"type": "text", "text": "What is it?"}])
    for opening in (
        lambda: llm.invoke([message]),
        lambda: keep_images([message], ImageStore()),
        lambda: toolkit.workspace.open(str(path)),
    ):
        with pytest.raises(ImageError, match="no image of this name may be opened here"):
            opening()
    assert "may be opened here" in ToolCaller(toolkit).call_expecting_error("open_image", source=str(path))
    assert toolkit.add_image(path) == "photo1", "the program's own hands"
    (kept,) = keep_images([message], ImageStore(), access=ImageAccessPolicy.trusted())
    assert kept.content[0]["file_id"].startswith("sha256-")


def test_of_several_roots_the_first_that_has_the_file_is_taken(world):
    near, far = world / "images" / "sub", world / "images"
    Image.new("RGB", (9, 9)).save(near / "a.png")
    assert ImageAccessPolicy(image_root=[near, far]).resolve("a.png").size == (9, 9)
    assert ImageAccessPolicy(image_root=[far, near]).resolve("a.png").size == (4, 4)
    assert ImageAccessPolicy(image_root=[near, far]).resolve("12:30.png").size == (4, 4)
    assert ImageAccessPolicy(image_root=[near, far]).resolve(str(far / "a.png")).size == (4, 4)


def test_a_missing_root_is_logged_for_the_program(world, caplog):
    refusal(ImageAccessPolicy(image_root=world / "no-such-folder"), "a.png")
    assert "no-such-folder' is not there" in caplog.text
