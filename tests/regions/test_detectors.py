"""The detectors that need no download, on real images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from langchain_vipllava import DetectionError, regions_from
from langchain_vipllava.apps.detectors import detect_faces, detect_shapes, find_detector

SCENE = Path(__file__).parents[2] / "examples" / "scene.png"


def test_shapes_of_the_scene():
    image = Image.open(SCENE).convert("RGB")
    regions = regions_from(detect_shapes(image), image_size=image.size)
    # where the scene's four objects were drawn
    expected = [(59, 378, 164, 483), (206, 30, 426, 250), (450, 469, 575, 579), (487, 78, 632, 217)]
    assert len(regions) == 4
    for region, box in zip(regions, expected, strict=True):
        assert np.abs(np.subtract(region.box, box)).max() <= 3
        assert region.mask is not None


def test_shapes_on_a_graded_noisy_background():
    rng = np.random.default_rng(0)
    ramp = np.linspace(60, 200, 300)[None, :, None] + rng.normal(0, 4, (200, 300, 3))
    image = Image.fromarray(ramp.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse((30, 40, 90, 100), fill=(220, 40, 40))
    draw.rectangle((180, 90, 240, 150), fill=(50, 80, 220))
    boxes = [region.box for region in regions_from(detect_shapes(image), image_size=image.size)]
    assert len(boxes) == 2
    assert np.abs(np.subtract(boxes, [(30, 40, 91, 101), (180, 90, 241, 151)])).max() <= 3


def test_an_empty_image_has_no_shapes():
    assert detect_shapes(Image.new("RGB", (200, 100), (10, 80, 40))) == []


def test_the_astronaut_has_one_face(photo):
    faces = regions_from(detect_faces(photo), image_size=photo.size)
    assert [face.label for face in faces] == ["face"]
    x, y = faces[0].center
    assert 190 < x < 250
    assert 80 < y < 150


@pytest.mark.parametrize("name", ["nonsense", "json:no_such_name", "no_such_module:detect", ":x", "os:sep"])
def test_a_detector_that_is_not_there(name):
    with pytest.raises(DetectionError):
        find_detector(name)


def test_a_detector_by_module_and_name():
    assert find_detector("langchain_vipllava.apps.detectors:detect_shapes") is detect_shapes
