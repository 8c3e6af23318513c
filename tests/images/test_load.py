"""`load_image` and `pad_to_square`: sources, orientations, pixel formats, arrays and invalid input."""

from __future__ import annotations

import base64
import io
import os
import struct
import zlib
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import ImageError, load_image, pad_to_square

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)
ORIENTATION, ARTIST, GPS = 0x0112, 0x013B, 0x8825


def colors(width=6, height=4):
    """Draw red, green, blue and white quadrants, which show every rotation and flip."""
    image = Image.new("RGB", (width, height), WHITE)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def encode(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def exif(orientation, **tags):
    block = Image.Exif()
    block[ORIENTATION] = orientation
    block[ARTIST] = "the photographer"
    block.get_ifd(GPS)[1] = "N"
    return block


def corners(image):
    right, bottom = image.width - 1, image.height - 1
    return [image.getpixel(at) for at in ((0, 0), (right, 0), (0, bottom), (right, bottom))]


def pixels(image):
    return np.asarray(image).tolist()


# --- sources ---


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG"])
def test_every_file_format_is_decoded_to_the_same_rgb_pixels(format):
    image = colors(64, 48)
    loaded = load_image(encode(image, format, **({"lossless": True} if format == "WEBP" else {})))
    assert (loaded.mode, loaded.size) == ("RGB", (64, 48))
    difference = np.abs(np.asarray(loaded, int) - np.asarray(image, int))[4:-4:8, 4:-4:8].max()
    assert difference <= (8 if format == "JPEG" else 0)


def test_every_kind_of_source_is_read_as_the_same_image(tmp_path):
    path = tmp_path / "odd name #1 ü.png"
    path.write_bytes(data := encode(colors()))
    text = base64.b64encode(data).decode()
    wrapped = "\n".join(text[i : i + 20] for i in range(0, len(text), 20))

    class Readable:
        def read(self):
            return bytearray(data)

    class BytesPath(os.PathLike):
        def __fspath__(self):
            return os.fsencode(path)

    sources = [
        path, str(path), BytesPath(), path.as_uri(), path.as_uri().replace("file:///", "file://localhost/"),
        data, bytearray(data), memoryview(data), io.BytesIO(data), Readable(),
        f"data:image/png;base64,{text}", f"DATA:;BASE64,{text}", f"data:image/png;base64,{wrapped}",
        f"data:image/png;base64,{quote(text, safe='')}", f"data:image/png,{quote(data)}",
        colors(), np.asarray(colors()),
    ]  # fmt: skip
    for source in sources:
        assert pixels(load_image(source)) == pixels(colors()), source
    with path.open("rb") as file:
        assert pixels(load_image(file)) == pixels(colors())


def test_a_path_may_start_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    colors().save(tmp_path / "a.png")
    assert load_image("~/a.png").size == (6, 4)


# --- orientation and other EXIF tags ---


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_rotated_upright_and_lose_their_exif(format, orientation):
    # for each corner of the file (top left, top right, bottom left, bottom right), the corner of the upright image
    stored = {1: "0123", 2: "1032", 3: "3210", 4: "2301", 5: "0213", 6: "1302", 7: "3120", 8: "2031"}[orientation]
    names = (RED, GREEN, BLUE, WHITE)
    size = (64, 32) if orientation < 5 else (32, 64)
    raw = Image.new("RGB", size)
    for place, name in zip(((0, 0), (1, 0), (0, 1), (1, 1)), stored, strict=True):
        x, y = place[0] * size[0] // 2, place[1] * size[1] // 2
        raw.paste(names[int(name)], (x, y, x + size[0] // 2, y + size[1] // 2))

    loaded = load_image(encode(raw, format, exif=exif(orientation)))

    assert loaded.size == (64, 32)
    assert np.abs(np.array(corners(loaded)) - names).max() <= 40  # lossy formats
    assert not dict(loaded.getexif())
    assert loaded.info == {}
    for saved in (encode(loaded, "JPEG"), encode(loaded, "PNG"), encode(loaded, "WEBP"), encode(loaded, "TIFF")):
        assert b"photographer" not in saved
        assert GPS not in Image.open(io.BytesIO(saved)).getexif()


def test_an_open_image_file_is_rotated_and_the_object_is_not_changed():
    opened = Image.open(io.BytesIO(encode(colors(64, 32), "PNG", exif=exif(6))))
    assert load_image(opened).size == (32, 64)
    assert (opened.size, opened.getexif()[ARTIST]) == ((64, 32), "the photographer")
    assert load_image(opened).size == (32, 64)


@pytest.mark.parametrize(
    ("block", "size"),
    [
        (b"Exif\0\0garbage!!", (64, 32)),
        (b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", (64, 32)),
        (b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, ORIENTATION, 3, 1, 9, 0), (64, 32)),
        # the orientation as text, and an IFD beyond the end of the data
        (
            b"Exif\0\0II*\0\x08\0\0\0"
            + struct.pack("<HHHI4sHHIII", 2, ORIENTATION, 2, 4, b"AAA\0", 0x8769, 4, 1, 9999, 0),
            (64, 32),
        ),
        # a valid orientation and a tag of unknown type
        (
            b"Exif\0\0II*\0\x08\0\0\0"
            + struct.pack("<HHHIIHHIII", 2, ORIENTATION, 3, 1, 6, 0x9286, 13, 4, 1, 0),
            (32, 64),
        ),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*EXIF:UserWarning")
def test_an_image_with_damaged_exif_is_loaded(block, size):
    assert load_image(encode(colors(64, 32), "JPEG", exif=block)).size == size


# --- pixel formats ---


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("1", (2, 2), 1), WHITE),
        (Image.new("L", (2, 2), 77), (77, 77, 77)),
        (Image.new("LA", (2, 2), (0, 255)), (0, 0, 0)),
        (Image.new("LA", (2, 2), (0, 0)), WHITE),
        (Image.new("LA", (2, 2), (0, 0)).convert("La"), WHITE),
        (Image.new("RGBA", (2, 2), (255, 0, 0, 255)), RED),
        (Image.new("RGBA", (2, 2), (255, 0, 0, 0)), WHITE),
        (Image.new("RGBA", (2, 2), (255, 0, 0, 51)), (255, 204, 204)),
        (Image.new("RGBA", (2, 2), (255, 0, 0, 0)).convert("RGBa"), WHITE),
        (Image.new("RGBX", (2, 2), (255, 0, 0, 0)), RED),
        (Image.new("CMYK", (2, 2), (0, 255, 255, 0)), RED),
        (Image.new("RGB", (2, 2), RED).convert("P"), RED),
        (Image.new("HSV", (2, 2), (0, 255, 255)), RED),
        (Image.new("YCbCr", (2, 2), (255, 128, 128)), WHITE),
        (Image.new("I", (2, 2), 65535), WHITE),
        (Image.new("I", (2, 2), 200), (200, 200, 200)),
        (Image.new("I;16", (2, 2), 0x8080), (128, 128, 128)),
        (Image.new("I;16", (2, 2), 200), (0, 0, 0)),
        (Image.new("I;16B", (2, 2), 0xFFFF), WHITE),
        (Image.new("F", (2, 2), 1.0), WHITE),
        (Image.new("F", (2, 2), 128.0), (128, 128, 128)),
        (Image.new("F", (2, 2), 65535.0), WHITE),
        (Image.new("F", (2, 2), -1.0), (0, 0, 0)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value),
)
def test_every_mode_is_converted_to_rgb(image, expected):
    before = image.tobytes()
    loaded = load_image(image)
    assert (loaded.mode, loaded.getpixel((1, 1))) == ("RGB", expected)
    assert image.tobytes() == before


def test_transparent_palettes_and_color_keys_are_composited_over_white():
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    for data in (encode(palette, transparency=0), encode(palette, transparency=b"\0\xff"), encode(palette, "GIF", transparency=0)):  # noqa: E501  # fmt: skip
        assert pixels(load_image(data)) == [[list(WHITE), list(BLUE)]]
    keyed = encode(Image.new("RGB", (2, 1), RED), transparency=RED)
    assert pixels(load_image(keyed)) == [[list(WHITE)] * 2]


def test_a_16_bit_png_is_scaled_and_not_clipped_to_white():
    ramp = np.array([[0, 257 * 64, 257 * 128, 65535]], dtype=np.uint16)
    assert np.asarray(load_image(encode(Image.fromarray(ramp))))[0, :, 0].tolist() == [0, 64, 128, 255]


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation_is_loaded(format):
    frames = [Image.new("RGB", (4, 4), color) for color in (RED, BLUE, WHITE)]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert load_image(data).getpixel((0, 0)) == RED


def test_the_input_object_is_copied_and_not_changed():
    image = colors()
    image.info["comment"] = "mine"
    loaded = load_image(image)
    loaded.paste(WHITE, (0, 0, 6, 4))
    assert (pixels(image), image.info) == (pixels(colors()), {"comment": "mine"})
    array = np.asarray(colors()).copy()
    load_image(array).paste(BLUE, (0, 0, 6, 4))
    assert array.tolist() == pixels(colors())


# --- arrays ---


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((2, 3), 9, np.uint8), (9, 9, 9)),
        (np.full((2, 3, 1), 9, np.uint8), (9, 9, 9)),
        (np.full((2, 3, 3), RED, np.uint8), RED),
        (np.full((2, 3, 4), (255, 0, 0, 255), np.uint8), RED),
        (np.full((2, 3, 4), (255, 0, 0, 0), np.uint8), WHITE),
        (np.full((2, 3), True), WHITE),
        (np.full((2, 3), 0x8080, np.uint16), (128, 128, 128)),
        (np.full((2, 3), 0x8001, ">u2"), (127, 127, 127)),
        (np.full((2, 3, 3), (0.0, 0.5, 1.0), np.float32), (0, 128, 255)),
        (np.full((2, 3), 1.0, np.float16), WHITE),
        (np.full((2, 3), 1.0, ">f8"), WHITE),
        (np.full((2, 3), 200, np.int64), (200, 200, 200)),
        (np.full((4, 6, 3), RED, np.uint8)[::-2, ::-2], RED),
    ],
)
def test_arrays_of_every_shape_and_dtype_are_loaded(array, expected):
    image = load_image(array)
    assert (image.mode, image.size, image.getpixel((2, 1))) == ("RGB", (3, 2), expected)


def test_channels_are_swapped_only_if_channels_is_bgr():
    bgr = np.full((2, 2, 3), (1, 2, 3), np.uint8)
    assert load_image(bgr, channels="bgr").getpixel((0, 0)) == (3, 2, 1)
    assert load_image(bgr).getpixel((0, 0)) == (1, 2, 3)
    bgra = np.full((2, 2, 4), (255, 0, 0, 255), np.uint8)
    assert load_image(bgra, channels="bgr").getpixel((0, 0)) == BLUE
    assert load_image(np.full((2, 2), 7, np.uint8), channels="bgr").getpixel((0, 0)) == (7, 7, 7)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 8, 9), np.uint8), r"transpose\(1, 2, 0\)"),
        (np.zeros((2, 2, 2), np.uint8), r"expected \(H, W\)"),
        (np.zeros((1, 2, 2, 3), np.uint8), r"expected \(H, W\)"),
        (np.zeros(5, np.uint8), r"expected \(H, W\)"),
        (np.array(5), r"expected \(H, W\)"),
        (np.zeros((0, 5), np.uint8), "no pixels"),
        (np.zeros((5, 0, 3), np.uint8), "no pixels"),
        (np.full((2, 2), 255.0), r"0\.\.1"),
        (np.full((2, 2), -0.1), r"0\.\.1"),
        (np.full((2, 2), np.nan), "NaN"),
        (np.full((2, 2), 256, np.int32), "dtype int32"),
        (np.full((2, 2), -1, np.int8), "dtype int8"),
        (np.full((2, 2), 1j), "dtype complex"),
        (np.full((2, 2), None), "dtype object"),
        (np.full((2, 2), "a"), "dtype <U1"),
    ],
)
def test_arrays_that_are_not_images_raise(array, message):
    with pytest.raises(ImageError, match=message):
        load_image(array)


# --- invalid images ---


def png_header(width, height):
    """Return a PNG of a few bytes whose header claims a size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 10)), (b"IEND", b"")]
    body = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.filterwarnings("ignore:.*EXIF:UserWarning")
def test_a_truncated_file_raises_and_the_whole_file_loads_after_it(format):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), format)
    for length in (1, 8, 20, 40, len(data) // 2, len(data) - 40):
        with pytest.raises(ImageError):
            load_image(data[:length])
    assert load_image(data).size == (40, 40)


@pytest.mark.parametrize("size", [(60_000, 60_000), (20_000, 10_000), (1, 2**31 - 1)])
@pytest.mark.parametrize("limit", ["pillow's own", "none"])
def test_a_decompression_bomb_raises_before_pixels_are_allocated(size, limit, monkeypatch):
    if limit == "none":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(Image.core, "new", lambda *_: pytest.fail("pixels were allocated"))
    with pytest.raises(ImageError):
        load_image(png_header(*size))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "empty"),
        (b"hello, I am a text", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (io.BytesIO(b""), "empty"),
        (io.StringIO("text"), "binary mode"),
        (png_header(0, 5), "the bytes"),
        (Image.new("RGB", (0, 5)), "0 x 5"),
        (Image.new("RGB", (5, 0)), "5 x 0"),
        (Image.fromarray(np.full((2, 2), np.nan, np.float32)), "NaN"),
        (None, "cv2.imread"),
        (5, "int"),
        ([[1, 2], [3, 4]], "list"),
        ("", "empty"),
        ("no/such/file.png", "no file"),
        ("a\0b", "a"),
        ("x" * 5000, "cannot read"),
        ("data:image/png;base64,@@@", "base64"),
        ("data:image/png;base64,ü", "base64"),
        ("data:image/png;base64,aGVsbG8=", "not an image"),
        ("data:,", "empty"),
        ("file:///no/such/file.png", "no file"),
        ("file://elsewhere.example/etc/hostname", "another host"),
        ("file://[broken/a.png", "another host"),
        ("file:a.png", "no absolute path"),
        ("file:///\ud800.png", "not a file: URI"),
        ("data:image/png,\ud800", "the data: URI"),
        ("data:no-comma", "has no comma"),
        ("ftp://example.com/a.png", "unknown scheme"),
        ("http://[::1", "cannot fetch"),
        ("http://localhost:99999999/", "cannot fetch"),
        ("http:///nohost", "not an http"),
        ("http:/a.png", "not an http"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_sources_that_are_not_images_raise_short_errors(source, message):
    with pytest.raises(ImageError, match=message) as caught:
        load_image(source)
    assert len(str(caught.value)) < 400


def test_folders_text_files_closed_images_and_unknown_channels_raise(tmp_path):
    with pytest.raises(ImageError, match="folder"):
        load_image(tmp_path)
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(ImageError, match="not an image"):
        load_image(tmp_path / "a.png")
    closed = Image.open(io.BytesIO(encode(colors())))
    closed.close()
    with pytest.raises(ImageError):
        load_image(closed)
    with pytest.raises(ImageError, match="channels"):
        load_image(colors(), channels="rbg")


# --- padding ---


@pytest.mark.parametrize(("size", "at"), [((30, 10), (0, 10)), ((10, 30), (10, 0)), ((5, 4), (0, 0)), ((1, 9), (4, 0))])
def test_padding_centers_the_image_on_the_mean_color_of_clip(size, at):
    image = Image.new("RGB", size, RED)
    square = pad_to_square(image)
    assert square.size == (max(size), max(size))
    expected = np.full((max(size), max(size), 3), (122, 116, 104))
    expected[at[1] : at[1] + size[1], at[0] : at[0] + size[0]] = RED
    assert pixels(square) == expected.tolist()
    assert pixels(image) == pixels(Image.new("RGB", size, RED))


def test_a_square_image_is_not_padded():
    assert pixels(pad_to_square(colors(4, 4))) == pixels(colors(4, 4))
    assert pad_to_square(Image.new("RGB", (2, 4)), color=(1, 2, 3)).getpixel((0, 0)) == (1, 2, 3)


def test_a_file_object_is_read_from_its_start():
    buffer = io.BytesIO()
    Image.new("RGB", (7, 5), "red").save(buffer, format="PNG")
    assert load_image(buffer).size == (7, 5)


def test_postscript_is_never_passed_to_ghostscript():
    buffer = io.BytesIO()
    Image.new("RGB", (7, 5), "red").save(buffer, format="EPS")
    with pytest.raises(ImageError, match="not an image"):
        load_image(buffer.getvalue())
