"""The bundled checkpoint, and a marked image that it answers right."""

import pytest

from langchain_vipllava import ChatVipLlava, Region, load_image, mark


@pytest.fixture(scope="session")
def llm():
    return ChatVipLlava(model="bundled", max_tokens=80)


@pytest.fixture(scope="session")
def square():
    """A white square, marked."""
    return mark(load_image("examples/scene.png"), [Region(box=(59, 378, 164, 483), id="square")])


@pytest.fixture(scope="session")
def question(square):
    return square.message("What is the object {0}?")
