"""Tool arguments as LLMs write them, valid and invalid, and the resulting messages."""

from __future__ import annotations

import re

import pytest
from langchain_core.language_models import FakeListChatModel
from PIL import Image

from langchain_vipllava import DetectionError, Region, VipLlavaToolkit
from tests.support.tool_caller import DETECTIONS, ToolCaller

BOX, OTHER = [174.0, 65.0, 273.0, 164.0], [330.0, 20.0, 480.0, 250.0]
REGION_ARGUMENTS = [
    (["r1"], [BOX]),
    (["r1", "r2"], [BOX, OTHER]),
    ("r1", [BOX]),
    ("r1, r2", [BOX, OTHER]),
    ("r1,r2", [BOX, OTHER]),
    ('["r1", "r2"]', [BOX, OTHER]),
    ([" r1 ", "r2\n"], [BOX, OTHER]),
    (["r1", "r1"], [BOX]),
    ({"id": "r1"}, [BOX]),
    ([{"id": "r1"}, {"id": "r2", "label": "rocket", "score": 0.7}], [BOX, OTHER]),
    ('{"id": "r1"}', [BOX]),
    ([[1, 2, 30, 40]], [[1, 2, 30, 40]]),
    ([1, 2, 30, 40], [[1, 2, 30, 40]]),
    ("[1, 2, 30, 40]", [[1, 2, 30, 40]]),
    ("1, 2, 30, 40", [[1, 2, 30, 40]]),
    ("[[1, 2, 30, 40], [5.5, 6, 70, 80]]", [[1, 2, 30, 40], [5.5, 6, 70, 80]]),
    ("[1, 2, 30, 40], [5.5, 6, 70, 80]", [[1, 2, 30, 40], [5.5, 6, 70, 80]]),
    (["[1, 2, 30, 40]", '{"id": "r1"}'], [[1, 2, 30, 40], BOX]),
    (["r1", [1, 2, 30, 40], [50, 60]], [BOX, [1, 2, 30, 40], [50, 60, 50, 60]]),
    ([50, 60], [[50, 60, 50, 60]]),
    ({"box": [1, 2, 30, 40]}, [[1, 2, 30, 40]]),
    ([{"box": [1, 2, 30, 40], "label": "hand", "id": "mine"}], [[1, 2, 30, 40]]),
    ({"point": [50, 60]}, [[50, 60, 50, 60]]),
    ({"polygon": [[10, 20], [60, 20], [30, 90]]}, [[10, 20, 60, 90]]),
    ('{"polygon": [[10, 20], [60, 20], [30, 90]]}', [[10, 20, 60, 90]]),
    (DETECTIONS, [BOX, OTHER]),
    (DETECTIONS[0], [BOX]),
    ([{"xmin": 1, "ymin": 2, "xmax": 30, "ymax": 40}], [[1, 2, 30, 40]]),
]


@pytest.mark.parametrize(
    ("regions", "boxes"), REGION_ARGUMENTS, ids=[str(regions)[:50] for regions, _ in REGION_ARGUMENTS]
)
def test_every_form_of_regions_is_accepted(caller, regions, boxes):
    message = caller.call("mark_regions", image_id="photo1", regions=regions)
    assert [marker["box"] for marker in message.artifact["markers"]] == boxes


def test_existing_regions_keep_their_ids_and_new_ones_get_the_next(caller):
    def ids(image_id, regions):
        message = caller.call("mark_regions", image_id=image_id, regions=regions)
        return [marker["id"] for marker in message.artifact["markers"]]

    assert ids("photo1", [[1, 2, 30, 40], "r2"]) == ["r3", "r2"]
    assert ids("photo1", [[1, 2, 30, 40], [9, 9, 40, 40]]) == ["r3", "r4"]
    detected = caller.call("detect_regions", image_id="photo1")
    assert [region["id"] for region in detected.artifact["regions"]] == ["r1", "r2"]


def test_new_regions_of_a_marked_image_get_unused_ids(caller):
    caller.call("mark_regions", image_id="photo1", regions=[[1, 2, 30, 40], [9, 9, 40, 40]])
    caller.call("mark_regions", image_id="photo1", regions=["r2", "r4"])
    message = caller.call("mark_regions", image_id="marked2", regions=["r4", [50, 50, 90, 90], [60, 60, 99, 99], "r2"])
    boxes = {marker["id"]: marker["box"] for marker in message.artifact["markers"]}
    assert boxes == {"r4": [9, 9, 40, 40], "r5": [50, 50, 90, 90], "r6": [60, 60, 99, 99], "r2": OTHER}


INVALID_ARGUMENTS = [
    ("open_image", {"source": "/no/such/file.png"}, "may be opened here. Expected an http"),
    ("open_image", {"source": ""}, "expected the path or URL"),
    ("open_image", {"source": "   "}, "expected the path or URL"),
    ("open_image", {"source": "a\0b"}, "may be opened here"),
    ("open_image", {"source": "x" * 5000}, "may be opened here"),
    ("open_image", {"source": "FILE:TEXT"}, "not an image"),
    ("open_image", {"source": "FILE:TRUNCATED"}, "truncated"),
    ("open_image", {"source": "FILE:EMPTY"}, "is empty"),
    ("open_image", {"source": "."}, "may be opened here"),
    ("open_image", {"source": "data:/../../secret.png"}, "has no comma"),
    ("open_image", {"source": "data:image/png;base64,AAAA"}, "not an image"),
    ("open_image", {"source": "data:image/png;base64,%"}, "base64"),
    ("open_image", {"source": "ftp://example.com/a.png"}, "unknown scheme"),
    ("open_image", {"source": "http://127.0.0.1:1/a.png"}, "private network"),
    ("open_image", {"source": "HTTP://localhost/a.png"}, "private network"),
    ("open_image", {"source": "http://[::1]/a.png"}, "private network"),
    ("open_image", {"source": "http://169.254.169.254/latest/meta-data"}, "private network"),
    ("open_image", {"source": "http://"}, "not an http"),
    ("open_image", {}, "source: Field required"),
    ("open_image", {"source": 5}, "source: Input should be a valid string"),
    (
        "detect_regions",
        {"image_id": "img9"},
        "no image 'img9'; open images: photo1. Use one of these, or call open_image",
    ),
    ("detect_regions", {"image_id": "photo1", "labels": 5}, "labels: Input should be a valid list"),
    ("detect_regions", {"image_id": "photo1", "min_score": 50}, "min_score: Input should be less"),
    ("detect_regions", {"image_id": "photo1", "max_regions": 0}, "max_regions: Input should be greater"),
    ("mark_regions", {"image_id": "nope", "regions": ["r1"]}, "call open_image"),
    ("mark_regions", {"image_id": "photo1"}, "regions: Field required"),
    ("mark_regions", {"image_id": "photo1", "regions": []}, "regions is empty; expected region ids"),
    ("mark_regions", {"image_id": "photo1", "regions": ""}, "regions is empty"),
    ("mark_regions", {"image_id": "photo1", "regions": "[]"}, "regions is empty"),
    ("mark_regions", {"image_id": "photo1", "regions": None}, "regions is empty"),
    ("mark_regions", {"image_id": "photo1", "regions": 7}, "known regions: r1, r2"),
    ("mark_regions", {"image_id": "photo1", "regions": [True, False]}, "expected a region id"),
    ("mark_regions", {"image_id": "photo1", "regions": ["r9"]}, "known regions: r1, r2. Call detect_regions"),
    ("mark_regions", {"image_id": "photo1", "regions": {"id": "r9"}}, "known regions"),
    ("mark_regions", {"image_id": "photo1", "regions": "the nose"}, "known regions"),
    ("mark_regions", {"image_id": "photo1", "regions": "[" * 100_000}, "regions is empty"),
    ("mark_regions", {"image_id": "photo1", "regions": [[1, 2, 3]]}, "expected a box"),
    ("mark_regions", {"image_id": "photo1", "regions": [[]]}, "expected a box"),
    ("mark_regions", {"image_id": "photo1", "regions": [[50, 50, 10, 10]]}, "inverted"),
    ("mark_regions", {"image_id": "photo1", "regions": [[50, 50, 50, 90]]}, "empty"),
    ("mark_regions", {"image_id": "photo1", "regions": [[float("nan"), 0, 9, 9]]}, "NaN"),
    ("mark_regions", {"image_id": "photo1", "regions": "[[NaN, 0, 9, 9]]"}, "NaN"),
    ("mark_regions", {"image_id": "photo1", "regions": [[0, 0, float("inf"), 9]]}, "infinity"),
    ("mark_regions", {"image_id": "photo1", "regions": [[10**400, 0, 9, 9]]}, "expected a box"),
    ("mark_regions", {"image_id": "photo1", "regions": [[900, 900, 950, 950]]}, "outside the image of 512 x 512"),
    ("mark_regions", {"image_id": "photo1", "regions": [[900, 900]]}, "outside the image"),
    (
        "mark_regions",
        {"image_id": "photo1", "regions": [{"bbox": [50, 60, 30, 40]}]},
        r'write {"x": 50, "y": 60, "width": 30, "height": 40}',
    ),
    ("mark_regions", {"image_id": "photo1", "regions": [{"size": "big"}]}, "512 x 512 pixels; expected a region id"),
    ("mark_regions", {"image_id": "photo1", "regions": [{"polygon": [[1, 2], [3, 4]]}]}, "at least 3"),
    ("mark_regions", {"image_id": "photo1", "regions": [{"point": "1;b"}]}, "expected a point"),
    ("mark_regions", {"image_id": "photo1", "regions": ["r1"], "kind": "elipse"}, "expected one of rectangle"),
    ("mark_regions", {"image_id": "photo1", "regions": ["r1"], "kind": ["arrow", "point"]}, "one per region"),
    ("mark_regions", {"image_id": "photo1", "regions": ["r1"], "color": "dog"}, "expected one of red"),
    (
        "mark_regions",
        {"image_id": "photo1", "regions": ["r1", "r2"], "color": "red"},
        "r1 and r2 both ask for a red rectangle",
    ),
    ("mark_regions", {"image_id": "photo1", "regions": [[i, 0, i + 9, 9] for i in range(201)]}, "Mark fewer"),
    ("mark_regions", {"image_id": "photo1", "regions": ["r1"], "zoom": "sideways"}, 'expected "auto"'),
    ("ask_regions", {"image_id": "photo9", "question": "What?"}, "call open_image"),
    ("ask_regions", {"image_id": "photo1", "question": " "}, "the question is empty; expected text"),
    ("ask_regions", {"image_id": "photo1"}, "question: Field required"),
    ("ask_regions", {"image_id": "photo1", "question": "What is {r1}?"}, "Call mark_regions"),
    (
        "ask_regions",
        {"image_id": "photo1", "question": "long " * 600},
        "too long for the vision model. Call ask_regions again with a shorter",
    ),
]


@pytest.mark.parametrize(
    ("name", "arguments", "error_text"), INVALID_ARGUMENTS, ids=[f"{n} {str(a)[:60]}" for n, a, _ in INVALID_ARGUMENTS]
)
def test_invalid_arguments_return_an_error_message_with_an_instruction(
    toolkit, caller, saved, name, arguments, error_text
):
    folder = saved.parent
    (folder / "TEXT").write_text("hello")
    (folder / "TRUNCATED").write_bytes(saved.read_bytes()[:2000])
    (folder / "EMPTY").write_bytes(b"")
    if str(arguments.get("source")).startswith("FILE:"):
        arguments = {"source": str(folder / arguments["source"][5:])}
    content = caller.call_expecting_error(name, **arguments)
    assert re.search(error_text, content), content[:500]
    assert len(content) < 1000
    assert caller.call("mark_regions", image_id="photo1", regions=["r1"]).content.startswith("Marked photo1")
    assert toolkit.messages("photo1", thread_id="t") == []


def test_a_failed_question_is_not_recorded(toolkit, caller):
    caller.call("mark_regions", image_id="photo1", regions=["r1"])
    caller.call("ask_regions", image_id="marked1", question="What is {r1}?")
    before = toolkit.messages("marked1", thread_id="t")
    content = caller.call_expecting_error("ask_regions", image_id="marked1", question="long " * 600)
    assert "too long for the vision model. Call ask_regions again with a shorter question" in content
    assert toolkit.messages("marked1", thread_id="t") == before
    caller.call("ask_regions", image_id="marked1", question="And?")
    assert len(toolkit.messages("marked1", thread_id="t")) == 4


def test_forged_injected_arguments_are_ignored(toolkit, caller, photo):
    toolkit.add_image(photo, thread_id="victim")
    forged = {"configurable": {"thread_id": "victim"}}
    content = caller.call_expecting_error(
        "ask_regions", image_id="img1", question="What?", config=forged, thread_id="victim"
    )
    assert "no image 'img1'" in content
    answer = caller.call(
        "ask_regions", image_id="photo1", question="What?", run_manager="x", chat_model=None, sessions={}, config=None
    )
    assert answer.artifact["image_id"] == "photo1"


@pytest.fixture(scope="module")
def links(saved):
    """Create links that leave the image root, and one that stays inside."""
    outer = saved.parent.parent
    (outer / "secret.png").write_bytes(saved.read_bytes())
    (saved.parent / "out.png").symlink_to(outer / "secret.png")
    (saved.parent / "in.png").symlink_to(saved)
    (saved.parent / "up").symlink_to(outer)
    (saved.parent / "loop.png").symlink_to(saved.parent / "loop.png")


@pytest.fixture
def caller_with_root(llm, saved, links):
    return ToolCaller(VipLlavaToolkit(chat_model=llm, image_root=saved.parent))


def test_files_inside_the_image_root_are_opened(caller_with_root, saved):
    for source in ("photo.png", "./photo.png", str(saved), saved.as_uri(), "in.png", " photo.png "):
        assert caller_with_root.call("open_image", source=source).artifact["width"] == 512


@pytest.mark.parametrize(
    "source",
    [
        "../secret.png",
        "sub/../../secret.png",
        "{outer}/secret.png",
        "file://{outer}/secret.png",
        "FILE://{outer}/secret.png",
        "file://localhost{outer}/secret.png",
        "out.png",
        "up/secret.png",
        "~/secret.png",
        "/etc/passwd",
        "file:///etc/passwd",
        "..",
        "a\0b",
        "loop.png",
        "%2e%2e/secret.png",
    ],
)
def test_files_outside_the_image_root_return_an_error(caller_with_root, saved, source):
    assert "no image of this name may be opened here" in caller_with_root.call_expecting_error(
        "open_image", source=source.format(outer=saved.parent.parent)
    )
    assert caller_with_root.call("open_image", source="photo.png")


def test_urls_with_an_image_root_follow_the_fetch_policy(caller_with_root):
    assert "private network" in caller_with_root.call_expecting_error("open_image", source="http://127.0.0.1/photo.png")


def test_two_numbers_that_may_be_region_ids_return_an_error(caller):
    caller.call("detect_regions", image_id="photo1")
    for numbers in ([1, 2], [[1, 2]]):
        assert '["r1", "r2"]' in caller.call_expecting_error("mark_regions", image_id="photo1", regions=numbers)
    point = caller.call("mark_regions", image_id="photo1", regions=[{"point": [1, 2]}])
    assert point.artifact["markers"][0]["box"] == [1, 2, 1, 2]


def test_null_arguments_equal_missing_arguments(caller):
    assert caller.call("detect_regions", image_id="photo1", labels=None, min_score=None, max_regions=None)
    assert caller.call("mark_regions", image_id="photo1", regions=["r1"], kind=None, color=None, zoom=None)


def test_labels_are_quoted_on_one_line(caller):
    region = {"box": [1, 2, 30, 40], "label": 'Total "7"\nr7: 5 EUR' + "x" * 200}
    content = caller.call("mark_regions", image_id="photo1", regions=[region]).content
    assert '("Total \\"7\\"\\nr7: 5 EURxxx' in content
    assert max(map(len, content.splitlines())) < 200


def test_unknown_detection_options_raise_at_construction():
    with pytest.raises(DetectionError, match="foo"):
        VipLlavaToolkit(chat_model=FakeListChatModel(responses=["Yes."]), detection_options={"foo": 1})


def test_an_async_detector_returns_an_error_and_duplicate_regions_are_listed_once():
    async def detect_async(image):
        return []

    def detect_duplicates(image):
        return [Region(box=(1, 2, 30, 40))] * 3

    for detector, succeeds in ((detect_async, False), (detect_duplicates, True)):
        toolkit = VipLlavaToolkit(chat_model=FakeListChatModel(responses=["Yes."]), detector=detector)
        toolkit.add_image(Image.new("RGB", (64, 48)), thread_id="t")
        caller = ToolCaller(toolkit)
        if succeeds:
            assert caller.call("detect_regions", image_id="img1").content.splitlines()[0] == "1 region in img1:"
        else:
            assert "the detector is async" in caller.call_expecting_error("detect_regions", image_id="img1")
