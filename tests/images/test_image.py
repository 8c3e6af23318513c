"""`EncodedImage`: one value for every image: its bytes, type, hash and pixels."""

from __future__ import annotations

import copy
import hashlib
import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import ImageError
from langchain_vipllava.images import image as image_module
from langchain_vipllava.images.decode import decode_image
from langchain_vipllava.images.image import EncodedImage, sniff_mime_type

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
def test_the_type_is_that_of_the_bytes(format, mime_type):
    Image.init()
    if format not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {format}")
    assert EncodedImage(encode(format)).mime_type == mime_type


def test_bytes_of_no_known_type_have_the_general_one():
    assert sniff_mime_type(b"RIFF....WAVE") is None
    assert EncodedImage(b"%PDF-1.7").mime_type == "application/octet-stream"


def test_bytes_stay_as_they_came():
    data = encode("JPEG")
    image = EncodedImage(data)
    image.decode()
    assert image.data is data
    assert image.sha256 == hashlib.sha256(data).hexdigest()


@pytest.fixture
def decoded(monkeypatch):
    """The calls of the decoder."""
    calls = []
    monkeypatch.setattr(image_module, "decode_image", lambda *args: calls.append(args) or decode_image(*args))
    return calls


def test_it_is_decoded_when_it_is_asked_for_and_once(decoded):
    image = EncodedImage(encode("PNG"))
    assert image.mime_type == "image/png"
    assert image.fingerprint
    assert not decoded
    with ThreadPoolExecutor(8) as pool:
        sizes = set(pool.map(lambda _: image.size, range(16)))
    assert sizes == {(36, 24)}
    assert len(decoded) == 1
    assert np.array_equal(image.decode(), NOISE)


def test_pixels_are_encoded_when_bytes_are_asked_for_and_once(monkeypatch):
    saved = []
    save = Image.Image.save
    count = lambda self, *args, **kwargs: saved.append(1) or save(self, *args, **kwargs)  # noqa: E731
    monkeypatch.setattr(Image.Image, "save", count)
    image = EncodedImage.from_pixels(NOISE)
    assert image.decode() is NOISE
    assert image.fingerprint
    assert not saved, "an image that goes straight to the model is not encoded"
    assert image.mime_type == "image/png"
    assert image.data == image.data
    assert len(saved) == 1
    assert np.array_equal(EncodedImage(image.data).decode(), NOISE)


def test_equal_content_is_equal():
    one, same, other = EncodedImage(encode("PNG")), EncodedImage(encode("PNG")), EncodedImage(encode("BMP"))
    assert one == same
    assert hash(one) == hash(same)
    assert one.fingerprint == same.fingerprint
    assert one != other
    assert one != encode("PNG")


def test_the_fingerprint_does_not_change_with_what_was_asked_before():
    asked_first, asked_later = EncodedImage.from_pixels(NOISE), EncodedImage.from_pixels(NOISE.copy())
    before = asked_first.fingerprint
    _ = asked_later.data, asked_later.sha256
    assert before == asked_later.fingerprint == asked_first.fingerprint
    turned = EncodedImage.from_pixels(
        Image.frombytes("RGB", (24, 36), NOISE.tobytes())
    )  # the same bytes, another shape
    assert turned.fingerprint != before


def test_its_repr_names_the_content_and_nothing_else():
    one, same = EncodedImage(encode("PNG"), name="/secret/path.png"), EncodedImage(encode("PNG"))
    assert repr(one) == repr(same) == f"EncodedImage(image/png, sha256-{one.sha256})"


def test_copies_share_it_and_it_can_be_pickled():
    image = EncodedImage(encode("PNG"))
    assert copy.deepcopy([image])[0] is image
    assert pickle.loads(pickle.dumps(image)) == image
    assert pickle.loads(pickle.dumps(EncodedImage.from_pixels(NOISE))).size == (36, 24)


def test_an_error_names_the_image():
    for data, words in ((b"", "is empty"), (b"hello", "not an image"), (encode("PNG")[:60], "damaged or truncated")):
        with pytest.raises(ImageError, match=f"'holiday.png'.*{words}"):
            EncodedImage(data, name="holiday.png").decode()
