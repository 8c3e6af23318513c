"""What LLMs write for regions, kinds, colors and zoom: read, with a word where something else was used."""

from __future__ import annotations

import pytest
from langchain_core.language_models import FakeListChatModel
from PIL import Image

from langchain_vipllava import Region, VipLlavaToolkit
from tests.support.tool_caller import ToolCaller

CUP, DOG, OTHER_DOG, PLAIN = [10, 10, 90, 90], [200, 10, 290, 90], [400, 10, 490, 90], [400, 110, 490, 190]
NEW = [100, 200, 300, 400]


@pytest.fixture
def four(llm):
    """Calls the tools on photo1, of 640 x 480 pixels: r1 is a cup, r2 and r3 are dogs, r4 has no label."""
    toolkit = VipLlavaToolkit(chat_model=llm)
    regions = [
        *(Region(box=CUP, label="Cup"), Region(box=DOG, label="dog"), Region(box=OTHER_DOG, label="dog")),
        Region(box=PLAIN),
    ]
    toolkit.add_image(Image.new("RGB", (640, 480), "white"), detections=regions)
    return ToolCaller(toolkit)


REGIONS = [
    ("R2", [DOG]),
    ("[r1]", [CUP]),
    ("<r1>", [CUP]),
    (["region 3", "#4", "{r1}"], [OTHER_DOG, PLAIN, CUP]),
    ("all", [CUP, DOG, OTHER_DOG, PLAIN]),
    (["All regions"], [CUP, DOG, OTHER_DOG, PLAIN]),
    ("r1-r4", [CUP, DOG, OTHER_DOG, PLAIN]),
    (["r2 to r3"], [DOG, OTHER_DOG]),
    ("r1..r2", [CUP, DOG]),
    ("r1 and r2", [CUP, DOG]),
    ("r1; r2\nr3", [CUP, DOG, OTHER_DOG]),
    ("the cup", [CUP]),
    (["CUP"], [CUP]),
    ("dogs", [DOG, OTHER_DOG]),
    ("all dogs", [DOG, OTHER_DOG]),
    ([{"label": "cup"}], [CUP]),
    ([{"region_id": "r2"}], [DOG]),
    ([{"id": 2}], [DOG]),
    (1, [CUP]),
    ([1], [CUP]),
    ("\u201cr1\u201d, \u201cr2\u201d", [CUP, DOG]),
    ("['r1', 'r2']", [CUP, DOG]),
    ('["r1", "r2"', [CUP, DOG]),
    ('```json\n["r1"]\n```', [CUP]),
    ("Here you are:\n```\nr1, r2\n```", [CUP, DOG]),
    ({"regions": ["r1"]}, [CUP]),
    ('{"region_ids": ["r1", "r2"]}', [CUP, DOG]),
    (["r1", ["r2"]], [CUP, DOG]),
    (["r1", None, ""], [CUP]),
    ("(100, 200, 300, 400)", [NEW]),
    ("100 200 300 400", [NEW]),
    ("[[100. 200. 300. 400.]\n [ 10.  10.  90.  90.]]", [NEW, CUP]),
    ("array([[100., 200., 300., 400.]], dtype=float32)", [NEW]),
    ("np.array([100, 200, 300, 400])", [NEW]),
    ([["100", "200", "300", "400"]], [NEW]),
    (["100px", "200px", "300px", "400px"], [NEW]),
    ([[[100, 200, 300, 400]]], [NEW]),
    ({"boxes": [[100, 200, 300, 400]]}, [NEW]),
    ([{"bbox": [100, 200, 300, 400]}], [NEW]),
    ([{"bounding_box": "100, 200, 300, 400"}], [NEW]),
    ([{"box": "(100, 200, 300, 400)"}], [NEW]),
    ([{"box": [[100, 200], [300, 400]]}], [NEW]),
    ([{"box": {"x1": 100, "y1": 200, "x2": 300, "y2": 400}}], [NEW]),
    ([{"xmin": 100, "ymin": 200, "xmax": 300, "ymax": 400}], [NEW]),
    ([{"left": 100, "top": 200, "right": 300, "bottom": 400}], [NEW]),
    ([{"x": 100, "y": 200, "width": 200, "height": 200}], [NEW]),
    ([{"X": 100, "Y": 200, "W": 200, "H": 200}], [NEW]),
    ("x=100, y=200, width=200, height=200", [NEW]),
    ("{'x': 100, 'y': 200, 'w': 200, 'h': 200}", [NEW]),
    ([{"top_left": [100, 200], "bottom_right": [300, 400]}], [NEW]),
    ([{"x": 100, "y": 200}], [[100, 200, 100, 200]]),
    ([{"point": "(100, 200)"}], [[100, 200, 100, 200]]),
    ([{"points": [[100, 200], [300, 200], [300, 400]]}], [NEW]),
    ([{"polygon": [100, 200, 300, 200, 300, 400]}], [NEW]),
    ([[-0.6, 0, 640.7, 480.9]], [[0, 0, 640, 480]]),
    (
        [{"box": [100.4, 200, 300, 400], "label": "cat", "confidence": 0.9, "why": "it is big"}],
        [[100.4, 200, 300, 400]],
    ),
]


@pytest.mark.parametrize(("regions", "boxes"), REGIONS, ids=[str(regions)[:50] for regions, _ in REGIONS])
def test_regions_in_any_writing(four, regions, boxes):
    message = four.call("mark_regions", image_id="photo1", regions=regions)
    assert [marker["box"] for marker in message.artifact["markers"]] == boxes


ASKED = [
    ("dog", "'dog' may be r2, r3; write the id of the one"),
    ("r3-r9", "no region 'r5'; known regions: r1, r2, r3, r4"),
    (["R9"], "no region 'R9'"),
    ("the whole image", 'needs no marker: call ask_regions with image_id "photo1"'),
    (["1", "2"], '["r1", "r2"]'),
    ([[0.1, 0.2, 0.5, 0.6]], "fractions of the image; it is 640 x 480 pixels. Write pixels: [64, 96, 320, 288]"),
    ([[0, 0, 1, 1]], "Write pixels: [0, 0, 640, 480]"),
    ([[0.5, 0.5]], "Write pixels: [320, 240]"),
    ([{"box": {"x": 0.1, "y": 0.1, "width": 0.5, "height": 0.5}}], "Write pixels: [64, 48, 384, 288]"),
    ([[300, 300, 800, 800]], "640 x 480 pixels. Write pixels of this image: x from 0 to 640, y from 0 to 480"),
    ([[300, 300, 800, 800]], "If these are in 0..1000, write [192, 144, 512, 384]"),
    ([[300, 300, 500, 482]], "partly outside"),
    ([[700, 500]], "outside the image of 640 x 480"),
    ([{"polygon": [[1, 2], [30, 2], [30, 2000]]}], "partly outside"),
    ([{"score": 0.9, "label": "cat", "box": {"xmin": 1, "ymin": 2, "xmax": 3000, "ymax": 40}}], "partly outside"),
    ([{"box_2d": [100, 200, 500, 600]}], 'write {"box": [128, 48, 384, 240]}'),
    ([{"bbox": [100, 200, 50, 60]}], 'write {"x": 100, "y": 200, "width": 50, "height": 60}'),
    ([["10%", "20%", "30%", "40%"]], "Percent are not read"),
    ("nothing", "known regions"),
    ("none", "regions is empty"),
]


@pytest.mark.parametrize(("regions", "said"), ASKED, ids=[str(regions)[:50] for regions, _ in ASKED])
def test_what_may_mean_something_else_is_asked_about(four, regions, said):
    content = four.call_expecting_error("mark_regions", image_id="photo1", regions=regions)
    assert said in content
    assert len(content) < 400
    assert "r5" not in four.call("mark_regions", image_id="photo1", regions="all").content


KINDS = [
    *(("box", "rectangle"), ("bbox", "rectangle"), ("bounding box", "rectangle"), ("Bounding_Box", "rectangle")),
    *(("boxes", "rectangle"), ("rectangles", "rectangle"), ("Rectangle", "rectangle"), ("square", "rectangle")),
    *(("circle", "ellipse"), ("circles", "ellipse"), ("oval", "ellipse"), ("outline", "mask contour")),
    *(("contour", "mask contour"), ("mask_contour", "mask contour"), ("dot", "point"), ("dots", "point")),
    *(("arrows", "arrow"), ("highlight", "mask"), ("auto", "rectangle"), ("", "rectangle"), ("default", "rectangle")),
    *((["circle"], "ellipse"), ('["arrow"]', "arrow"), ({"r1": "arrow"}, "arrow"), ("null", "rectangle")),
]


@pytest.mark.parametrize(("kind", "used"), KINDS, ids=[str(kind) for kind, _ in KINDS])
def test_kinds_by_their_other_names(four, kind, used):
    reply = four.call("mark_regions", image_id="photo1", regions=["r1"], kind=kind)
    assert reply.artifact["markers"][0]["phrase"].endswith(f"the red {used}")
    plain = {"", "auto", "default", "null", "rectangle", "rectangles", "mask contour", "arrow", "arrows"}
    is_synonym = isinstance(kind, str) and kind.lower().replace("_", " ") not in plain and "[" not in kind
    assert (f'"{used}" was used' in reply.content) is (is_synonym or kind == ["circle"])


COLORS = [
    *(("green", "lime", True), ("Green", "lime", True), ("#ff0000", "red", False), ("#FF0000", "red", False)),
    *(("#00ff01", "lime", True), ("rgb(0, 0, 255)", "blue", False), ([0, 0, 255], "blue", False)),
    *(("Red", "red", False), ("reds", "red", False), ("pink", "fuchsia", True), ("cyan", "aqua", True)),
    *(("light blue", "blue", True), ("dark_green", "lime", True), ("auto", "red", False), ("random", "red", False)),
    *((["green"], "lime", True), ({"r1": "blue"}, "blue", False), ('["blue"]', "blue", False), (None, "red", False)),
]


@pytest.mark.parametrize(("color", "used", "told"), COLORS, ids=[str(color) for color, *_ in COLORS])
def test_colors_by_their_other_names(four, color, used, told):
    reply = four.call("mark_regions", image_id="photo1", regions=["r1"], color=color)
    assert reply.artifact["markers"][0]["phrase"] == f"within the {used} rectangle"
    assert (f'; "{used}" was used' in reply.content) is told


@pytest.mark.parametrize("color", ["grey", "gray", "white", "black", "#808080"])
def test_a_color_that_no_marker_has_is_chosen_and_told(four, color):
    reply = four.call("mark_regions", image_id="photo1", regions=["r1", "r2"], color=color)
    assert f'there is no marker like "{color}"; colors were chosen. The colors are red, lime' in reply.content
    assert [marker["phrase"][7:] for marker in reply.artifact["markers"]] == ["the red rectangle", "the lime rectangle"]


def test_items_with_kinds_and_colors_of_their_own(four):
    items = [{"id": "r1", "color": "green"}, {"id": "r2", "kind": "circle"}, "r3"]
    reply = four.call("mark_regions", image_id="photo1", regions=items)
    assert reply.artifact["markers"][0]["phrase"] == "within the lime rectangle"
    assert reply.artifact["markers"][1]["phrase"] == "within the red ellipse"
    assert reply.artifact["markers"][2]["phrase"] == "within the blue rectangle"


@pytest.mark.parametrize("zoom", [True, "true", "yes", "auto", "AUTO", 1, 2.0, "2x", "on"])
def test_zoom_in_any_writing(four, zoom):
    reply = four.call("mark_regions", image_id="photo1", regions=[[100, 100, 106, 106]], zoom=zoom)
    assert "Note:" not in reply.content
    for off in (False, "false", "no", "none", None, 0, ""):
        with pytest.warns(UserWarning, match="px"):
            reply = four.call("mark_regions", image_id="photo1", regions=[[100, 100, 106, 106]], zoom=off)
        assert 'zoom "auto"' in reply.content


@pytest.mark.parametrize("labels", ["face", "face, cup", '["face"]', "'face'", ["face"], ["'face'"]])
def test_labels_in_any_writing(caller, labels):
    regions = caller.call("detect_regions", image_id="photo1", labels=labels).artifact["regions"]
    assert [region["label"] for region in regions] == ["face"]


@pytest.mark.parametrize("everything", [None, "", "all", [], ["all"], "any"])
def test_every_label(caller, everything):
    reply = caller.call("detect_regions", image_id="photo1", labels=everything, min_score="", max_regions="all")
    assert len(reply.artifact["regions"]) == 2


def test_one_region_is_one():
    toolkit = VipLlavaToolkit(chat_model=FakeListChatModel(responses=["Yes."]), detector=lambda image: [])
    toolkit.add_image(Image.new("RGB", (64, 48)), detections=[Region(box=(1, 2, 30, 40))])
    content = ToolCaller(toolkit).call_expecting_error(
        "mark_regions", image_id="photo1", regions="r1", color="red, blue"
    )
    assert "2 values in color for 1 region;" in content


@pytest.mark.parametrize("image_id", ["photo1", " photo1\n", "`photo1`", '"photo1"', "Photo1", "photo 1", "<photo_1>"])
def test_image_ids_in_any_writing(four, image_id):
    assert four.call("mark_regions", image_id=image_id, regions=["r1"]).content.startswith("Marked photo1 as marked1")
    assert four.call("ask_regions", image_id=image_id, question="What is it?").artifact["image_id"] == "photo1"


@pytest.mark.parametrize("dress", ["{}", "`{}`", '"{}"', "<{}>", " '{}' "])
def test_sources_in_any_writing(toolkit, saved, dress):
    assert ToolCaller(toolkit).call("open_image", source=dress.format(saved)).artifact["width"] == 512
