"""`ImageLimits`: bytes, pixels, sides, formats and memory, on every way in, before anything is decoded."""

from __future__ import annotations

import base64
import io
import logging
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import numpy as np
import pytest
from langchain_core.messages import HumanMessage
from PIL import Image, ImageFile

from langchain_vipllava import (
    ChatVipLlava,
    ImageAccessPolicy,
    ImageError,
    ImageLimits,
    ImageStore,
    VipLlavaToolkit,
    load_image,
    pad_to_square,
)
from langchain_vipllava.images.av1 import stream_sizes
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.inline import percent_decode
from langchain_vipllava.images.shrink import model_square
from tests.support.hostile_images import chunk, claiming_png, encode, gif, png, tiff, webp

RED = (255, 0, 0)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))


@pytest.fixture
def no_pixels(monkeypatch):
    """Fail where memory for pixels is asked for."""
    monkeypatch.setattr(Image.core, "new", lambda *_: pytest.fail("pixels were allocated"))
    monkeypatch.setattr(Image.core, "fill", lambda *_: pytest.fail("pixels were allocated"))


# --- the value ---


def test_the_defaults_are_those_that_are_documented():
    limits = ImageLimits()
    assert (limits.max_bytes, limits.max_pixels, limits.max_side) == (50 * 2**20, 89_478_485, 65_535)
    assert limits.formats == ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO", "AVIF", "HEIF")
    assert limits.max_memory == 894_784_850


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_bytes": 0}, "max_bytes=0"),
        ({"max_pixels": -1}, "max_pixels=-1"),
        ({"max_side": 1.5}, r"max_side=1\.5"),
        ({"max_side": True}, "max_side=True"),
        ({"max_bytes": "9" * 5000}, "whole number"),
        ({"formats": "PNG"}, "formats='PNG'"),
        ({"formats": ("PNG", 5)}, "Pillow's names"),
        ({"formats": ("PNG", "JPG")}, "has JPG; expected some of"),
        ({"formats": ("PNG", "EPS")}, "EPS, which a program decodes"),
        ({"formats": ("pdf",)}, "PDF, which a program decodes"),
        ({"formats": ("WMF",)}, "WMF, which a program decodes"),
    ],
)
def test_limits_that_make_no_sense_raise(wrong, message):
    with pytest.raises(ImageError, match=message) as caught:
        ImageLimits(**wrong)
    assert len(str(caught.value)) < 700


# --- sizes ---


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (ImageLimits(max_pixels=80 * 60 - 1), "80 x 60 pixels; expected at most 4,799 pixels"),
        (ImageLimits(max_side=79), "80 x 60 pixels; expected sides of at most 79"),
        (ImageLimits(max_bytes=100), "more than 100 bytes"),
    ],
)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_an_encoded_image_beyond_a_bound_raises_before_it_is_decoded(format, limits, message, monkeypatch):
    data = encode(NOISE, format)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("the image was decoded"))
    with pytest.raises(ImageError, match=message):
        load_image(data, limits=limits)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_an_image_at_the_bounds_is_loaded(format):
    data = encode(NOISE, format)
    limits = ImageLimits(max_bytes=len(data), max_side=80, max_pixels=20_000)
    assert load_image(data, limits=limits).size == (80, 60)


@pytest.mark.parametrize(
    "data",
    [claiming_png(65_536, 1), claiming_png(1, 65_536), claiming_png(9460, 9460), gif(65_535, 1366),
     webp(16_000, 16_000), webp(16_383, 5_000),
     tiff((256, 4, 1, 2**31), (257, 4, 1, 2**31)), claiming_png(2**31 - 1, 2**31 - 1)],
    ids=["wide", "high", "PNG", "GIF of 35 bytes", "WebP", "WebP below the bound in pixels", "TIFF", "largest"],
)  # fmt: skip
def test_a_few_bytes_that_claim_a_large_image_allocate_nothing(data, no_pixels):
    assert len(data) < 300
    with pytest.raises(ImageError, match="expected"):
        load_image(data)


@pytest.mark.parametrize("options", [{}, {"append": True}], ids=["picture", "animation"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_streams_of_an_avif_have_the_bounds_whatever_its_header_claims(mode, options):
    """libavif decodes a stream at its own size, and then shrinks it to the one in the header."""
    picture = Image.new(mode, (640, 480))
    more = {"save_all": True, "append_images": [NOISE.resize((640, 480)).convert(mode)]} if options else {}
    data = encode(picture, "AVIF", speed=10, **more)
    assert set(stream_sizes(data)) == {(640, 480)}
    small = struct.pack(">II", 64, 64)
    lying = data.replace(struct.pack(">II", 640, 480), small)
    assert lying != data
    limits = ImageLimits(max_pixels=100_000)
    with pytest.raises(ImageError, match="640 x 480 pixels; expected at most"):
        load_image(lying, limits=limits)
    assert load_image(data).size == (640, 480)


def test_damaged_avif_has_no_streams_and_raises():
    data = encode(NOISE, "AVIF", speed=10)
    rng = np.random.default_rng(5)
    for _ in range(300):
        damaged = bytearray(data)
        for place in rng.integers(0, 400, 3):
            damaged[place] = rng.integers(0, 256)
        stream_sizes(bytes(damaged))
        stream_sizes(bytes(damaged[: rng.integers(0, 400)]))
    with pytest.raises(ImageError):
        load_image(data[:200])


# --- the ways in ---


def ways_in(data, image, store):
    """Every way in which the same image can be passed."""
    text = base64.b64encode(data).decode()
    return {
        "bytes": data,
        "bytearray": bytearray(data),
        "memoryview": memoryview(data),
        "file object": io.BytesIO(data),
        "PIL image": image,
        "opened file": Image.open(io.BytesIO(data)),
        "array": np.asarray(image),
        "view of one number": np.broadcast_to(np.uint8(0), (image.height, image.width, 3)),
        "base64 URI": f"data:image/png;base64,{text}",
        "escaped base64 URI": f"data:;base64,{quote(text, safe='')}",
        "raw URI": f"data:image/png,{quote(data)}",
        "stored": store.add(data),
    }


@pytest.mark.parametrize("way", ways_in(encode(NOISE), NOISE, ImageStore()))
@pytest.mark.parametrize("limits", [ImageLimits(max_pixels=4799), ImageLimits(max_side=79), ImageLimits(max_bytes=100)])
def test_every_way_in_has_the_same_bounds(way, limits):
    store = ImageStore()
    source = ways_in(encode(NOISE), NOISE, store)[way]
    assert ImageAccessPolicy(store=store).resolve(source).size == (80, 60)
    if limits.max_bytes == 100 and way in ("PIL image", "opened file", "array", "view of one number"):
        return  # these have no encoded bytes
    with pytest.raises(ImageError, match=r"expected|more than 100 bytes"):
        ImageAccessPolicy(store=store, limits=limits).resolve(source).decode()


BLOCKS = {
    "v1": lambda uri, text: {"type": "image", "base64": text, "mime_type": "image/png"},
    "data: URI": lambda uri, text: {"type": "image", "url": uri, "mime_type": "image/png"},
    "OpenAI": lambda uri, text: {"type": "image_url", "image_url": {"url": uri}},
    "Anthropic": lambda uri, text: {"type": "image", "source": {"type": "base64", "data": text}},
    "Google": lambda uri, text: {"type": "media", "data": text, "mime_type": "image/png"},
    "file": lambda uri, text: {"type": "file", "base64": text, "mime_type": "application/pdf"},
    "list of bytes": lambda uri, text: {"type": "image", "bytes": list(base64.b64decode(text))},
    "bytes": lambda uri, text: {"type": "image", "bytes": base64.b64decode(text)},
}


@pytest.mark.parametrize("form", BLOCKS)
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.filterwarnings("ignore:2 images in one conversation")
def test_each_image_of_a_message_has_the_bounds_of_the_model(form, place):
    def block(image):
        text = base64.b64encode(encode(image)).decode()
        return BLOCKS[form](f"data:image/png;base64,{text}", text)

    llm = ChatVipLlava(model="bundled", image_limits=ImageLimits(max_side=100), max_tokens=1)
    blocks = [block(Image.new("RGB", (8, 8))) for _ in range(2)]
    assert llm.invoke([HumanMessage([*blocks, {"type": "text", "text": "What?"}])])
    blocks[place] = block(Image.new("RGB", (101, 1)))
    with pytest.raises(ImageError, match="101 x 1 pixels; expected sides of at most 100"):
        llm.invoke([HumanMessage([*blocks, {"type": "text", "text": "What?"}])])


def test_the_tools_have_the_bounds_of_the_toolkit(tmp_path):
    Image.new("RGB", (101, 1)).save(tmp_path / "a.png")
    toolkit = VipLlavaToolkit(
        chat_model=ChatVipLlava(model="bundled"),
        image_root=tmp_path,
        image_limits=ImageLimits(max_side=100),
        session="me",
    )
    opened = toolkit.get_tools()[0].invoke({"source": "a.png"})
    assert "101 x 1 pixels; expected sides of at most 100" in opened


def test_models_with_other_limits_do_not_share_a_cache():
    keys = {
        repr(ChatVipLlava(model="bundled", image_limits=limits)._identifying_params)
        for limits in (ImageLimits(), ImageLimits(max_side=100))
    }
    assert len(keys) == 2


@pytest.mark.parametrize("text", ["A" * 1000, "A " * 1000, "A\n" * 1000, "%41" * 1000])
@pytest.mark.parametrize("head", ["data:image/png;base64,", "data:image/png,"])
def test_a_text_that_is_too_long_is_not_decoded(text, head, monkeypatch):
    monkeypatch.setattr(base64, "b64decode", lambda *_, **__: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match="more than 100 bytes"):
        ImageAccessPolicy(limits=ImageLimits(max_bytes=100)).resolve(head + text)


def test_the_size_of_base64_is_that_of_its_bytes():
    data = encode(Image.new("RGB", (5, 5)))
    for extra in (b"", b"\0", b"\0\0"):  # with two, one and no characters of padding
        text = base64.encodebytes(data + extra).decode()
        exact = ImageAccessPolicy(limits=ImageLimits(max_bytes=len(data + extra)))
        assert exact.resolve(f"data:;base64,{text}").data == data + extra
        with pytest.raises(ImageError, match="bytes"):
            ImageAccessPolicy(limits=ImageLimits(max_bytes=len(data + extra) - 1)).resolve(f"data:;base64,{text}")


def test_percent_decoding_is_that_of_the_standard_library():
    from urllib.parse import unquote_to_bytes

    rng = np.random.default_rng(1)
    for text in ("", "%", "%%", "%4", "%zz%41", "ü%ff", "a" * 65_535 + "%41", "a" * 65_534 + "%41%", "%41" * 50_000):
        assert percent_decode(text) == unquote_to_bytes(text), text[-9:]
    for _ in range(50):
        text = "".join(rng.choice(list("%4aé1f "), 70_000))
        assert percent_decode(text) == unquote_to_bytes(text)


def test_no_more_of_a_file_object_is_read_than_is_allowed():
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size=-1):
            size = min(size, 1000) if size >= 0 else pytest.fail("read to the end")
            self.given += size
            return bytes(size)

        def seekable(self):
            return False

    file = Endless()
    with pytest.raises(ImageError, match="more than 5,000 bytes"):
        load_image(file, limits=ImageLimits(max_bytes=5000))
    assert file.given == 5001


@pytest.mark.parametrize("shape", [(10**9, 10**9), (10**9, 10**9, 3), (1, 65_536, 4), (9460, 9460, 1)])
def test_an_array_that_is_a_view_of_little_is_not_copied(shape):
    with pytest.raises(ImageError, match=r"the array.*expected"):
        load_image(np.broadcast_to(np.uint8(7), shape))


# --- formats ---


@pytest.mark.parametrize("load", [False, True])
def test_an_opened_eps_picture_does_not_reach_ghostscript(load, monkeypatch):
    from PIL import EpsImagePlugin

    started = []
    monkeypatch.setattr(
        EpsImagePlugin, "Ghostscript", lambda *_: started.append(1) or Image.new("RGB", (7, 5), "red").im
    )
    picture = Image.open(io.BytesIO(encode(Image.new("RGB", (7, 5), "red"), "EPS")))
    if load:  # by the program: then its pixels are as good as any
        picture.load()
        assert load_image(picture).getpixel((0, 0)) == RED
        assert len(started) == 1
        return
    for source in (picture, encode(NOISE, "EPS")):
        with pytest.raises(ImageError, match="expected JPEG, PNG"):
            load_image(source)
    block = {"type": "image", "image": picture}
    with pytest.raises(ImageError, match="EPS"):
        ChatVipLlava(model="bundled").invoke([HumanMessage([block, {"type": "text", "text": "What?"}])])
    assert not started


@pytest.mark.parametrize("format", ["PPM", "TGA", "PCX", "SGI", "JPEG2000", "DDS", "IM", "MSP", "XBM", "PALM"])
def test_other_formats_of_pillow_are_opened_only_if_they_are_named(format):
    Image.init()
    picture = NOISE.convert("1") if format in ("MSP", "XBM", "PALM") else NOISE
    try:
        data = encode(picture, format)
    except Exception:
        pytest.skip(f"this Pillow does not write {format}")
    with pytest.raises(ImageError, match="expected JPEG, PNG"):
        load_image(data)
    if format not in Image.OPEN:
        return
    lazy = Image.open(io.BytesIO(data))
    with pytest.raises(ImageError, match=f"{format}.*not loaded"):
        load_image(lazy)
    more = ImageLimits(formats=(*ImageLimits().formats, format.lower()))
    assert load_image(data, limits=more).size == load_image(lazy, limits=more).size == picture.size


def test_a_fits_bomb_is_not_opened():
    """CVE-2026-40192: 2 MB took 4.2 GiB."""
    cards = ["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0", "EXTEND  = T", "END"]
    data = "".join(card.ljust(80) for card in cards).ljust(2880).encode() + zlib.compress(bytes(10**6))
    with pytest.raises(ImageError, match="not an image of an allowed format"):
        load_image(data)


def test_formats_can_be_narrowed():
    only_png = ImageLimits(formats=("PNG",))
    assert load_image(encode(NOISE), limits=only_png).size == (80, 60)
    for format in ("JPEG", "GIF", "TIFF"):
        with pytest.raises(ImageError, match="expected PNG"):
            load_image(encode(NOISE, format), limits=only_png)


def test_an_mpo_is_opened_as_its_first_picture_and_only_if_mpo_is_allowed():
    data = encode(NOISE, "MPO", save_all=True, append_images=[Image.new("RGB", (80, 60))])
    assert load_image(data).size == (80, 60)
    assert np.abs(np.asarray(load_image(data), int).mean() - np.asarray(NOISE).mean()) < 5
    with pytest.raises(ImageError, match="is a MPO; expected JPEG"):
        load_image(data, limits=ImageLimits(formats=("JPEG",)))


# --- what stands beside the pixels ---


def exif_bomb(tags, size):
    """EXIF of so many bytes, whose tags say that each of them has nearly all of it."""
    entries = b"".join(struct.pack("<HHLL", 1000 + number, 7, size - 100, 8) for number in range(tags))
    return b"Exif\0\0" + (b"II*\0\x08\0\0\0" + struct.pack("<H", tags) + entries).ljust(size, b"\0")


def avif_bomb():
    """The tags come in after encoding: Pillow's encoder reads them, too."""
    bomb = exif_bomb(30_000, 500_000)
    plain = b"Exif\0\0" + b"II*\0\x08\0\0\0".ljust(len(bomb) - 6, b"\0")
    data = encode(NOISE, "AVIF", speed=10, exif=plain)
    assert plain[6:] in data
    return data.replace(plain[6:], bomb[6:])


def multi_image_bomb():
    bomb = exif_bomb(2_700, 65_000)[6:]
    jpeg = encode(NOISE, "JPEG", dpi=(72, 72))
    return jpeg[:2] + b"\xff\xe2" + struct.pack(">H", len(bomb) + 6) + b"MPF\0" + bomb + jpeg[2:]


def hex_profile(data):
    text = "\nexif\n" + str(len(data)).rjust(8) + "\n" + data.hex()
    return png(4, 4, before=chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text.encode())))


BESIDE = {
    "text that expands": png(4, 4, before=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8)))),
    "many texts that expand": png(4, 4, before=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))) * 100),
    "international text": png(4, 4, before=chunk(b"iTXt", b"a\0\x01\0\0\0" + zlib.compress(bytes(10**8)))),
    "color profile": png(4, 4, before=chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8)))),
    "EXIF of a PNG": png(4, 4, before=chunk(b"eXIf", exif_bomb(30_000, 500_000)[6:])),
    "EXIF of a PNG, as text": hex_profile(exif_bomb(30_000, 500_000)),
    "EXIF of a JPEG": encode(NOISE, "JPEG", exif=exif_bomb(2_700, 65_000)),
    "EXIF of a WebP": encode(NOISE, "WEBP", exif=exif_bomb(30_000, 500_000)),
    "EXIF of an AVIF": avif_bomb(),
    "index of a JPEG with several images": multi_image_bomb(),
    "tags of a TIFF": tiff(*((1000 + i, 7, 990_000, 8) for i in range(1000)), data=bytes(10**6)),
    "fractions of a TIFF": tiff((282, 5, 1_200_000, 8), data=bytes(10**7)),
    "numbers of a TIFF": tiff((258, 3, 5_000_000, 8), data=bytes(10**7)),
    "strips of a TIFF": tiff((273, 4, 2_000_000, 8), data=bytes(10**7)),
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_stands_beside_the_pixels_takes_no_memory(name, tmp_path):
    (tmp_path / "a").write_bytes(BESIDE[name])
    script = (
        "import sys, resource\n"
        "from langchain_vipllava import ImageError, load_image\n"
        "from tests.support.hostile_images import png\n"
        "load_image(png(4, 4))\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "try: print(load_image(sys.argv[1]).size, file=sys.stderr)\n"
        "except ImageError: pass\n"
        "print(peak() - before)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a")], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 120 * 1024, "KiB; the longest file here has 10 MB"


@pytest.mark.parametrize("name", [name for name in BESIDE if name.startswith(("EXIF", "tags", "index"))])
def test_tags_that_share_their_bytes_raise(name):
    """The finding: Pillow before 13 reads the bytes again for each tag, and took 1.5 GiB for 2 MB."""
    with pytest.raises(ImageError, match="or more bytes in them than in the file"):
        load_image(BESIDE[name])


def test_tags_of_a_tiff_that_pillow_takes_for_a_big_one_or_not():
    count = 3_000
    entries = b"".join(struct.pack(">HHLL", 1000 + number, 7, 40_000, 8) for number in range(count))
    data = b"MM\0+" + struct.pack(">LH", 8, count) + entries + bytes(50_000)
    with pytest.raises(ImageError, match="or more bytes in them"):
        load_image(data)


def test_exif_that_begins_again_and_again_raises_at_once():
    """Pillow copies the block for each `Exif`: a megabyte of them took it 20 seconds."""
    good = encode(NOISE, exif=b"Exif\0\0" * 2 + Image.Exif().tobytes()[6:])
    assert load_image(good).size == NOISE.size
    with pytest.raises(ImageError, match="in its tags"):
        load_image(png(4, 4, before=chunk(b"eXIf", b"Exif\0\0" * 150_000)))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_ordinary_exif_turns_the_image(format):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a maker" * 1000
    image = Image.new("RGB", (80, 60), RED)
    assert load_image(encode(image, format, exif=exif)).size == (60, 80)


def test_a_jpeg_with_megabytes_of_exif_raises():
    data = encode(NOISE, "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", 60_008) + b"Exif\0\0" + bytes(60_000)
    assert load_image(data[:2] + segment * 10 + data[2:]).size == (80, 60)
    with pytest.raises(ImageError, match="bytes of EXIF"):
        load_image(data[:2] + segment * 20 + data[2:])


def test_only_the_first_frame_counts():
    later = Image.new("RGB", (300, 200), "blue")
    for format in ("TIFF", "PNG", "GIF", "WEBP"):
        frames = [Image.new("RGB", (300, 200), color) for color in ("lime", "blue")]
        data = encode(Image.new("RGB", (300, 200), RED), format, save_all=True, append_images=[*frames, later])
        color = load_image(data).getpixel((150, 100))
        assert np.abs(np.array(color) - RED).max() < 40, format
    pages = encode(Image.new("RGB", (20, 10), RED), "TIFF", save_all=True, append_images=[later])
    assert load_image(pages, limits=ImageLimits(max_side=20)).size == (20, 10)


# --- what others get to see ---


NOISY = {
    "bomb": claiming_png(12_000, 12_000),
    "truncated tags": encode(NOISE, "TIFF")[:-40],
    "too many samples": tiff((277, 3, 1, 60_000)),
    "palette": encode(NOISE.quantize(8), transparency=bytes(8)),
    "EXIF": encode(NOISE, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHLL", 1, 0x9286, 2, 9999, 9999)),
    "tags larger than the file": tiff((1000, 7, 900_000, 8)),
    "no image": b"hello",
    "animation": encode(NOISE, save_all=True, append_images=[NOISE]).replace(b"acTL", b"acTl"),
}


@pytest.mark.parametrize("name", NOISY)
@pytest.mark.parametrize("action", ["always", "error"])
def test_no_warning_and_no_log_of_pillow_leaves(name, action, tmp_path):
    (tmp_path / "a").write_bytes(NOISY[name])
    script = (
        "import sys, warnings\n"
        f"warnings.simplefilter({action!r})\n"
        "from langchain_vipllava import ImageError, load_image\n"
        "try: load_image(sys.argv[1])\n"
        "except ImageError as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a")], capture_output=True, text=True, check=True
    )
    assert run.stderr == ""
    assert "0x" not in run.stdout


def test_pillow_still_warns_the_program_itself():
    data = tiff((1000, 7, 900_000, 8))
    seen = []

    def warn():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            load_image(data)
            Image.open(io.BytesIO(data)).load()
            return [str(warning.message) for warning in caught]

    seen = warn()
    assert len(seen) >= 1
    assert all(message == "Truncated File Read" or "larger than file" in message for message in seen)  # by version
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: load_image(data), range(8)))
    assert warn() == seen


def test_errors_have_no_addresses(caplog):
    """CVE-2026-22778: the message of an image library told where in memory an object lies."""

    class Broken(io.BytesIO):
        def read(self, *_):
            raise OSError(f"cannot read {object()!r} or 0x7f3a2c4b5d60")

    for source in (b"hello", b"\x89PNG\r\n\x1a\n" + bytes(50), encode(NOISE)[:100], Broken(b"x")):
        with pytest.raises(ImageError) as caught:
            load_image(source)
        assert "0x" not in str(caught.value)
    with pytest.raises(ImageError, match="cannot read <object object> or "):
        load_image(Broken(b"x"))
    with caplog.at_level(logging.WARNING), pytest.raises(ImageError):
        load_image(tiff((277, 3, 1, 60_000)))
    assert not caplog.records


@pytest.mark.parametrize("error", [MemoryError(), OverflowError("too large"), RecursionError("deep")])
@pytest.mark.parametrize("method", ["load", "crop", "convert"])
def test_what_a_decoder_raises_becomes_an_image_error(error, method, monkeypatch):
    def fail(*_, **__):
        raise error

    data = encode(NOISE.convert("RGBA"))
    picture = NOISE.convert("RGBA")
    monkeypatch.setattr(Image.Image, method, fail)
    monkeypatch.setattr(ImageFile.ImageFile, method, fail)
    for source in (data, picture):
        with pytest.raises(ImageError) as caught:
            load_image(source)
        assert str(caught.value).count(" ") > 4


# --- squares ---


@pytest.mark.parametrize("size", [(9460, 1), (1, 9460), (65_535, 1)])
def test_padding_beyond_the_bound_raises(size):
    with pytest.raises(ImageError, match=r"padding .* expected at most 89,478,485 pixels"):
        pad_to_square(Image.new("RGB", size))


@pytest.mark.parametrize("side", [208, 336])
@pytest.mark.parametrize(
    "size",
    [(1025, 300), (1200, 1600), (4032, 3024), (2000, 1), (1, 2000), (9001, 5), (3, 7000), (2048, 2047), (1333, 1999)],
)
def test_a_large_image_is_shrunk_to_what_the_processor_would_make_of_its_square(size, side):
    rng = np.random.default_rng(size[0])
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))
    whole = np.asarray(pad_to_square(image).resize((side, side), Image.Resampling.BICUBIC), int)
    shrunk = model_square(image, "pad", side)
    assert shrunk.size == (side, side)
    difference = np.abs(np.asarray(shrunk, int) - whole)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


@pytest.mark.parametrize("size", [(1024, 700), (336, 336), (5, 3), (900, 1024)])
def test_a_small_image_goes_to_the_processor_as_it_is(size):
    image = NOISE.resize(size)
    assert model_square(image, "pad", 336).tobytes() == pad_to_square(image).tobytes()


def test_a_crop_is_that_of_the_middle():
    image = Image.new("RGB", (5000, 2000), "blue")
    image.paste(RED, (1500, 0, 3500, 2000))
    square = model_square(image, "center_crop", 336)
    assert (square.size, square.getcolors()) == ((336, 336), [(336 * 336, RED)])


def test_an_image_keeps_the_limits_under_which_it_came(tmp_path):
    import pickle

    data = encode(NOISE)
    image = ImageAccessPolicy(limits=ImageLimits(max_side=79)).resolve(data)
    for copied in (image, pickle.loads(pickle.dumps(image))):
        with pytest.raises(ImageError, match="sides of at most 79"):
            copied.decode()
    assert EncodedImage(data).size == (80, 60)
