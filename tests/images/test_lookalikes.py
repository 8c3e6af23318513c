"""What is passed for an image and is none: errors say what it is, and what to do."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import DarkImageWarning, ImageError, load_image

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"


def _png(image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


BASE64 = base64.b64encode(_png(Image.effect_noise((64, 64), 50))).decode()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "cv2.imread returns None"),
        (LFS, "git lfs pull"),
        (b"<!DOCTYPE html><html><head>", "an HTML page"),
        (b"\n<html>", "an HTML page"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg">', "an SVG drawing"),
        (b"%PDF-1.4", "a PDF"),
        (b'{"error": "not found"}', r"It is JSON, such as an error of a server\.$"),
        (BASE64[:100], "the base64' is damaged or truncated"),
        (Path(BASE64), "looks like base64: pass 'data:image/png;base64,'"),
        (BASE64.encode(), "It is base64"),
        ("/9j/" + "A" * 200, "the base64' is not an image"),
        (np.full((9, 9, 3), 1.5), "from 1.5 to 1.5; expected 0..1. Undo the normalization"),
        (np.full((9, 9, 3), 200.0), r"For 0..255: array.round\(\).astype\('uint8'\)"),
        (np.linspace(-1, 1, 243).reshape(9, 9, 3), r"For -1..1: \(array \+ 1\) / 2"),
        (np.full((9, 9), np.nan), "Fill NaN"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_image_is_named(source, words):
    with pytest.raises(ImageError, match=words) as caught:
        load_image(source)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_bare_base64_of_an_image_is_the_image(format):
    data = io.BytesIO()
    Image.effect_noise((64, 48), 50).convert("RGB").save(data, format)
    assert load_image(base64.b64encode(data.getvalue()).decode()).size == (64, 48)
    assert load_image(base64.encodebytes(data.getvalue()).decode()).size == (64, 48)  # with line breaks


@pytest.mark.parametrize("value", [1.0000001, 1.0005, -0.0005])
def test_a_float_that_leaves_0_to_1_by_rounding_is_an_image(value):
    loaded = np.asarray(load_image(np.full((9, 9, 3), value)))
    assert (loaded == (255 if value > 0 else 0)).all()


@pytest.mark.parametrize("bits", [10, 12])
def test_a_picture_of_10_or_12_bits_is_told_to_be_dark(bits):
    array = np.linspace(0, 2**bits - 1, 4096).astype(np.uint16).reshape(64, 64)
    for source in (array, _png(Image.fromarray(array))):
        with pytest.warns(DarkImageWarning, match=f"brightest value is {2**bits - 1} of 65535"):
            load_image(source)


def test_a_picture_of_16_bits_is_not_told_to_be_dark():
    array = np.linspace(0, 65535, 4096).astype(np.uint16).reshape(64, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for source in (array, _png(Image.fromarray(array)), array * 0):
            load_image(source)
