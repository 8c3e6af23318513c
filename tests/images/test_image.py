"""`EncodedImage`: bytes, mime type, hash and pixels of one image."""

from __future__ import annotations

import copy
import hashlib
import io
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import ImageError, load_image
from langchain_vipllava.images import image as image_module
from langchain_vipllava.images.decode import decode_image
from langchain_vipllava.images.image import EncodedImage, sniff_mime_type
from langchain_vipllava.images.png import encode_png

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 36, 3), np.uint8))


def encode(format, **options):
    buffer = io.BytesIO()
    NOISE.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("format", "mime_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("GIF", "image/gif"),
        ("WEBP", "image/webp"),
        ("BMP", "image/bmp"),
        ("TIFF", "image/tiff"),
        ("AVIF", "image/avif"),
    ],
)
def test_the_mime_type_is_read_from_the_bytes(format, mime_type):
    Image.init()
    if format not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {format}")
    assert EncodedImage(encode(format)).mime_type == mime_type


def test_unknown_bytes_are_octet_stream():
    assert sniff_mime_type(b"RIFF....WAVE") is None
    assert EncodedImage(b"%PDF-1.7").mime_type == "application/octet-stream"


def test_bytes_are_not_changed():
    data = encode("JPEG")
    image = EncodedImage(data)
    image.decode()
    assert image.data is data
    assert image.sha256 == hashlib.sha256(data).hexdigest()


@pytest.fixture
def decode_calls(monkeypatch):
    """Record the calls of the decoder."""
    calls = []
    monkeypatch.setattr(image_module, "decode_image", lambda *args: calls.append(args) or decode_image(*args))
    return calls


def test_an_image_is_decoded_on_demand_and_at_most_once(decode_calls):
    image = EncodedImage(encode("PNG"))
    assert image.mime_type == "image/png"
    assert image.is_encoded
    assert not decode_calls
    with ThreadPoolExecutor(8) as pool:
        sizes = set(pool.map(lambda _: image.size, range(16)))
    assert sizes == {(36, 24)}
    assert len(decode_calls) == 1
    assert np.array_equal(image.decode(), NOISE)


def test_pixels_are_encoded_on_demand_and_at_most_once(monkeypatch):
    saved = []
    monkeypatch.setattr(image_module, "encode_png", lambda pixels: saved.append(1) or encode_png(pixels))
    image = EncodedImage.from_pixels(NOISE)
    assert image.decode() is NOISE
    assert image.pixel_digest
    assert not image.is_encoded
    assert not saved, "an image that only the model reads is not encoded"
    assert image.mime_type == "image/png"
    assert image.data == image.data
    assert len(saved) == 1
    assert np.array_equal(EncodedImage(image.data).decode(), NOISE)


def test_images_with_equal_bytes_are_equal():
    one, same, other = EncodedImage(encode("PNG")), EncodedImage(encode("PNG")), EncodedImage(encode("BMP"))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != encode("PNG")


def test_the_pixel_digest_is_that_of_the_pixels_in_any_encoding():
    digests = {EncodedImage.from_pixels(NOISE).pixel_digest}
    digests |= {EncodedImage(encode(format)).pixel_digest for format in ("PNG", "BMP", "TIFF")}
    assert len(digests) == 1
    reshaped = Image.frombytes("RGB", (24, 36), NOISE.tobytes())  # the same bytes, another size
    assert EncodedImage.from_pixels(reshaped).pixel_digest not in digests
    assert EncodedImage(encode("JPEG")).pixel_digest not in digests


def test_repr_shows_the_content_hash_and_not_the_name():
    one, same = EncodedImage(encode("PNG"), name="/secret/path.png"), EncodedImage(encode("PNG"))
    assert repr(one) == repr(same) == f"EncodedImage(image/png, sha256-{one.sha256})"


def test_a_deep_copy_is_the_same_object_and_pickling_works():
    image = EncodedImage(encode("PNG"))
    assert copy.deepcopy([image])[0] is image
    assert pickle.loads(pickle.dumps(image)) == image
    assert pickle.loads(pickle.dumps(EncodedImage.from_pixels(NOISE))).size == (36, 24)


def test_decoding_errors_name_the_image():
    for data, message in ((b"", "is empty"), (b"hello", "not an image"), (encode("PNG")[:60], "damaged or truncated")):
        with pytest.raises(ImageError, match=f"'holiday.png'.*{message}"):
            EncodedImage(data, name="holiday.png").decode()


class Sizeless(Image.Image):
    """A PIL image whose size cannot be read."""

    @property
    def size(self):
        raise RuntimeError("no size yet")


class Texts(Image.Image):
    @property
    def size(self):
        return "a", None


@pytest.mark.parametrize("kind", [Sizeless, Texts])
def test_a_pil_image_whose_size_is_no_size_raises_an_image_error(kind):
    with pytest.raises(ImageError, match="has no size"):
        load_image(kind())


def test_a_file_object_that_returns_a_few_bytes_at_a_time_is_read_whole():
    file = io.BytesIO(encode("PNG"))

    class Slow:
        def read(self, size):
            return bytearray(file.read(min(size, 20)))

    assert load_image(Slow()).size == NOISE.size


def test_heic_without_its_plugin_says_how_to_get_it(monkeypatch):
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    with pytest.raises(ImageError, match=r"pip install pillow-heif, then pillow_heif.register_heif_opener\(\)"):
        load_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


def test_no_image_waits_for_the_hash_of_another():
    entered, leave = threading.Event(), threading.Event()

    class Slow(EncodedImage):
        @property
        def data(self):
            entered.set()
            assert leave.wait(60)
            return b"slow"

    slow = threading.Thread(target=lambda: Slow(b"slow").sha256)
    slow.start()
    assert entered.wait(60)
    quick = threading.Thread(target=lambda: EncodedImage(b"quick").sha256, daemon=True)
    quick.start()
    quick.join(30)
    waited = quick.is_alive()
    leave.set()
    slow.join()
    assert not waited
