"""Random URLs of loopback addresses, and random names of files: nothing is sent, nothing outside is opened."""

from __future__ import annotations

import ipaddress
import random
from contextlib import closing

import pytest
from PIL import Image

from langchain_vipllava import FetchPolicy, ImageAccessPolicy, ImageError, load_image
from tests.support.hostile_web import Server

PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "192.168.7.9",
    "169.254.169.254",
    "172.20.0.1",
    "100.64.1.1",
    "0.0.0.0",
    "::1",
    "fe80::1",
]
SECRET = (255, 0, 255)


def _ipv4_forms(address: int, rng: random.Random) -> str:
    octets = [address >> shift & 255 for shift in (24, 16, 8, 0)]
    split = rng.choice((1, 2, 3, 4))
    parts = [*octets[: split - 1], address & (1 << 8 * (5 - split)) - 1]
    return ".".join(
        rng.choice((str, hex, lambda part: f"0{part:o}", lambda part: f"0x{part:08x}"))(part) for part in parts
    )


def _host(rng: random.Random) -> str:
    address = ipaddress.ip_address(rng.choice(PRIVATE))
    if isinstance(address, ipaddress.IPv6Address):
        return f"[{rng.choice((str(address), address.exploded))}{rng.choice(('', '%251', '%25eth0'))}]"
    value = int(address)
    embedded = rng.choice((
        value, value + (0xFFFF << 32), (0x64FF9B << 96) + value, (0x2002 << 112) + (value << 80),
        (0x20010000 << 96) + (value ^ 0xFFFFFFFF), (0x5EFE << 32) + (0xFE80 << 112) + value,
    ))  # fmt: skip
    if embedded != value or rng.random() < 0.2:
        return f"[{ipaddress.IPv6Address(embedded)}]"
    host = _ipv4_forms(value, rng)
    if rng.random() < 0.3:
        host = host.translate({ord(str(digit)): 0xFF10 + digit for digit in range(10)})
    return host + rng.choice(("", ".", "。", "%2e"))


def _url(rng: random.Random, port: int) -> str:
    scheme = rng.choice(("http", "https", "HTTP", " http", "http\t", "hTTp"))
    user = rng.choice(("", "", "", "images.example.org@", "images.example.org:80@", "a:b@", "%40"))
    tail = rng.choice(
        ("/", "/a.png", "?a=@images.example.org", "#@images.example.org", "\\@images.example.org/", "//x", "")
    )
    separator = rng.choice(("://", "://", ":", ":/", ":///", ":\\\\"))
    return f"{scheme}{separator}{user}{_host(rng)}:{port}{tail}"


@pytest.mark.parametrize(
    "policy", [FetchPolicy(timeout=2), FetchPolicy(timeout=2, hosts=["*.example.org"])], ids=["any", "listed"]
)
def test_urls_of_private_hosts(fuzz, policy):
    rng = fuzz.rng()
    with closing(Server()) as server:
        for _ in fuzz.rounds(60):
            fuzz.try_input(ImageAccessPolicy(fetch_policy=policy).resolve, _url(rng, server.port))
        assert server.connections == 0
    assert fuzz.answered == 0


def test_names_of_files(fuzz, tmp_path):
    root = tmp_path / "images"
    (root / "sub").mkdir(parents=True)
    Image.new("RGB", (4, 4), "blue").save(root / "sub" / "a.png")
    for place in (tmp_path / "secret.png", tmp_path / "images2.png"):
        Image.new("RGB", (4, 4), SECRET).save(place)
    (root / "out").symlink_to(tmp_path)
    (root / "in").symlink_to(root / "sub")
    pieces = [
        "sub",
        "in",
        "out",
        "..",
        ".",
        "a.png",
        "secret.png",
        "images",
        "images2.png",
        "",
        "~",
        "data:",
        "http:",
        "file:",
        "\0",
        " ",
        "%2e%2e",
        "\\",
        str(tmp_path),
        str(root),
        "/proc/self/root",
        "/dev/zero",
        "\ud800",
        "x" * 300,
    ]
    rng = fuzz.rng()
    for _ in fuzz.rounds(400):
        parts = rng.choices(pieces, k=rng.randint(0, 4)) + rng.choice(([], ["sub", "a.png"], ["a.png"]))
        name = rng.choice(("/", "/", "/", "\\", "//")).join(parts)
        name = rng.choice(("", "", "", "file://", "file:", "FILE:///")) + name
        image = fuzz.try_input(ImageAccessPolicy(image_root=root).resolve, name)
        assert image is None or image.decode().getpixel((0, 0)) == (0, 0, 255), name
    assert 0 < fuzz.answered < fuzz.tried


def test_names_of_files_without_a_root(fuzz, tmp_path):
    Image.new("RGB", (4, 4), SECRET).save(tmp_path / "a.png")
    rng = fuzz.rng()
    for _ in fuzz.rounds(100):
        name = (
            rng.choice(("", "file://", "./", "//")) + rng.choice((str(tmp_path), "", "..", "/proc/self/cwd")) + "/a.png"
        )
        fuzz.try_input(ImageAccessPolicy().resolve, name)
    assert fuzz.answered == 0
    with pytest.raises(ImageError):
        ImageAccessPolicy().resolve(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").getpixel((0, 0)) == SECRET  # in the program's own hands
