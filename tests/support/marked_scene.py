"""The scene of the examples, with the first of its shapes marked."""

from __future__ import annotations

from langchain_vipllava import MarkedImage, load_image, mark, regions_from
from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.apps.detectors import detect_shapes


def marked_scene(count: int = 2) -> MarkedImage:
    """Mark the first shapes that the detector finds: a white square, a blue circle."""
    image = load_image(SCENE)
    return mark(image, regions_from(detect_shapes(image), image_size=image.size)[:count])
