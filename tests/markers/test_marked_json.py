"""Marked images as JSON, in pydantic models and in LangGraph's serializer."""

import json

import numpy as np
import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel

from langchain_vipllava import (
    EncodedImage,
    ImageError,
    ImageStore,
    MarkedImage,
    MarkedPages,
    MarkerError,
    Region,
    load_image,
    mark,
    mark_pages,
)
from tests.support.versions import needs_allow_lists


@pytest.fixture(scope="module")
def marked():
    regions = [
        Region(box=(59, 378, 164, 483), id="square", label="white", score=0.5),
        Region(polygon=((300, 100), (400, 100), (350, 200))),
    ]
    return mark(load_image("examples/scene.png"), regions, kind="auto", numbers=True)


def same(one, other):
    return (
        np.array_equal(np.asarray(one), np.asarray(other))
        and np.array_equal(np.asarray(one.original), np.asarray(other.original))
        and (one.markers, one.crop) == (other.markers, other.crop)
    )


@pytest.mark.parametrize("stored", [False, True])
def test_a_marked_image_comes_back_from_its_json(marked, stored):
    store = ImageStore() if stored else None
    text = json.dumps(marked.to_json(store))
    assert (len(text) < 2000) == stored
    assert same(MarkedImage.from_json(json.loads(text), store), marked)


def test_a_zoomed_one_keeps_its_crop(marked):
    zoomed = mark(marked.original, [Region(box=(59, 378, 90, 410))], zoom="auto")
    assert zoomed.crop is not None
    assert same(MarkedImage.from_json(json.loads(json.dumps(zoomed.to_json()))), zoomed)


def test_damaged_json_is_refused(marked):
    good = marked.to_json()
    for damage in (
        {"type": "image"}, {"markers": None}, {"markers": [{}]}, {"crop": [1, 2]}, {"crop": "abcd"},
        {"markers": [{**good["markers"][0], "kind": "elipse"}]},
        {"markers": [{**good["markers"][0], "seen": [1, True]}]},
        {"markers": [{**good["markers"][0], "region": {"box": [3, 2, 1, 0]}}]},
    ):  # fmt: skip
        with pytest.raises(MarkerError, match="to_json"):
            MarkedImage.from_json({**good, **damage})
    for value in (None, [], "text", {"data": 1}):
        with pytest.raises(MarkerError, match="not a marked image"):
            MarkedImage.from_json(value)
    for image in ({}, "x", {"base64": "?"}, {"base64": "aGVsbG8="}):
        with pytest.raises(ImageError):
            MarkedImage.from_json({**good, "image": image})


def test_ids_need_their_store(marked):
    data = marked.to_json(ImageStore())
    with pytest.raises(ImageError, match="store="):
        MarkedImage.from_json(data)
    with pytest.raises(ImageError, match="no image"):
        MarkedImage.from_json(data, ImageStore())


def test_langgraphs_serializer_returns_equal_values(marked):
    serializer = JsonPlusSerializer()
    pages = mark_pages(marked.original, [Region(box=(10 + 50 * i, 20, 40 + 50 * i, 60)) for i in range(12)])
    region = Region(mask=np.eye(20, dtype=bool), label="line")
    held = State(marked=marked)
    state = {
        "marked": [marked],
        "held": held,
        "pages": pages,
        "region": region,
        "marker": marked[0],
        "image": marked.encoded,
    }
    back = serializer.loads_typed(serializer.dumps_typed(state))
    assert same(back["marked"][0], marked)
    assert same(back["held"].marked, marked)
    assert isinstance(back["pages"], MarkedPages)
    assert (back["pages"].order, back["pages"].phrases) == (pages.order, pages.phrases)
    assert (back["region"], back["marker"], back["image"]) == (region, marked[0], marked.encoded)


@needs_allow_lists
def test_a_blocked_value_comes_back_as_its_json(marked):
    strict = JsonPlusSerializer(allowed_msgpack_modules=None)
    back = strict.loads_typed(strict.dumps_typed({"marked": marked}))
    assert same(MarkedImage.from_json(back["marked"]), marked)


class State(BaseModel):
    marked: MarkedImage | None = None
    image: EncodedImage | None = None


def test_pydantic_models_hold_marked_images(marked):
    state = State(marked=marked, image=marked.encoded)
    assert state.marked is marked
    assert same(State(**state.model_dump()).marked, marked)
    back = State.model_validate_json(state.model_dump_json())
    assert same(back.marked, marked)
    assert back.image == marked.encoded
    assert State(marked=marked.to_json(), image=marked.encoded.model_dump()).image == marked.encoded
    assert State.model_json_schema()["properties"]["marked"]["anyOf"][0]["type"] == "object"
    with pytest.raises(MarkerError, match="not a marked image"):
        State(marked={})
    with pytest.raises(ImageError, match="base64"):
        State(image={"base64": 3})
