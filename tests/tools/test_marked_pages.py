"""More regions than colors, and marked images that the LLM sees: one id for several pages."""

from __future__ import annotations

import base64
import io

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import ToolMessage
from PIL import Image

from langchain_vipllava import ChatVipLlava, ImageStore, MarkerError, Region, SessionError, VipLlavaToolkit, Workspace
from tests.support.tool_caller import ToolCaller
from tests.workspace.test_workspace import RecordingModel

CELLS = [[10 + 100 * (i % 6), 10 + 150 * (i // 6), 70 + 100 * (i % 6), 70 + 150 * (i // 6)] for i in range(18)]
GROUND = Image.new("RGB", (640, 480), "white")


@pytest.fixture
def model():
    return RecordingModel()


@pytest.fixture
def paged(model):
    """A workspace with eighteen regions as marked1, on pages."""
    made = Workspace(model=model)
    made.add_image(GROUND, session="a")
    made.mark("img1", CELLS, session="a")
    return made


def ids_of(workspace, page):
    return [region.id for region in workspace.look("marked1", session="a", page=page).regions]


def test_a_question_goes_to_the_page_of_its_regions(paged, model):
    (summary,) = [image for image in paged.list(session="a") if image.image_id == "marked1"]
    assert len(summary.regions) == len(summary.phrases) == 18
    for page in (1, 0):
        first, second = ids_of(paged, page)[:2]
        answered = paged.ask("marked1", f"Compare {first} and {second}.", session="a")
        look = paged.look("marked1", session="a", page=page)
        assert answered.page == page
        assert answered.question == f"Compare the object {look.phrases[0]} and the object {look.phrases[1]}."
        assert model.conversations[-1].images[0].decode().tobytes() == look.image.tobytes()
        assert paged.conversation("marked1", session="a", page=page).turns[0].question == answered.question


def test_a_follow_up_goes_to_the_page_that_was_asked_last(paged):
    last = ids_of(paged, 1)[0]
    with pytest.raises(MarkerError, match=r"3 pages, and the question names no region.*page 2: .*without markers"):
        paged.ask("marked1", "What is it?", session="a")
    paged.ask("marked1", f"What is {last}?", session="a")
    assert paged.ask("marked1", "What color is it?", session="a").page == 1
    assert len(paged.conversation("marked1", session="a", page=1).turns) == 2
    assert paged.conversation("marked1", session="a", page=0).turns == ()


def test_regions_of_two_pages_say_how_to_see_them_together(paged):
    one, other = ids_of(paged, 0)[0], ids_of(paged, 1)[0]
    with pytest.raises(MarkerError, match=rf'on page 2.*mark_regions with image_id "marked1" and regions \["{one}"'):
        paged.ask("marked1", f"Is {one} like {other}?", session="a")
    together = paged.mark("marked1", [one, other], session="a")
    assert len(together.pages) == 1
    assert paged.ask(together.image_id, f"Is {one} like {other}?", session="a").page is None


def test_pages_outlive_the_process(tmp_path, model):
    first = Workspace(model=model, store=ImageStore(tmp_path))
    first.add_image(GROUND, session="a")
    first.mark("img1", CELLS, session="a")
    last = ids_of(first, 1)[0]
    first.ask("marked1", f"What is {last}?", session="a")
    later = Workspace(model=model, store=ImageStore(tmp_path))
    assert ids_of(later, 0) == ids_of(first, 0)
    answered = later.ask("marked1", "What color is it?", session="a")
    assert answered.page == 1
    turns = later.conversation("marked1", session="a", page=1).turns
    assert [turn.question for turn in turns] == [
        f"What is the object {first.look('marked1', session='a', page=1).phrases[0]}?",
        "What color is it?",
    ]
    assert [len(turn.images) for turn in turns] == [1, 0]
    with pytest.raises(SessionError, match="pages 0 to 2"):
        later.look("marked1", session="a", page=3)


def test_kind_auto_keeps_many_regions_on_one_image(paged):
    assert len(paged.mark("img1", CELLS, session="a", kind="auto").pages) == 1
    many = [[8 * i % 600, 8 * (8 * i // 600) + 5, 8 * i % 600 + 6, 8 * (8 * i // 600) + 12] for i in range(80)]
    marked = paged.mark("img1", many, session="a", kind="auto")
    assert len(marked.pages) >= 9
    assert all(marker.kind == "rectangle" for marker in marked.marked.markers)


def test_zoom_shows_scattered_small_regions_on_pages(paged):
    corners = [[5, 5, 15, 15], [620, 460, 632, 472]]
    marked = paged.mark("img1", corners, session="a", zoom="auto")
    assert len(marked.pages) == 2
    assert all(min(marker.seen) >= 32 for marker in marked.marked.markers)
    assert "on 2 pages" in marked.text
    near = paged.mark("img1", [[5, 5, 15, 15], [20, 5, 30, 15]], session="a", zoom="auto")
    assert len(near.pages) == 1


def test_the_bundled_checkpoint_answers_about_regions_of_any_page():
    from langchain_vipllava.apps.assets import SCENE

    toolkit = VipLlavaToolkit(chat_model=ChatVipLlava(model="bundled", max_tokens=16))
    things = [(59, 378, 164, 483), (206, 30, 426, 250), (450, 469, 575, 579), (487, 78, 632, 217)]
    others = [Region(box=(x, y, x + 40, y + 40)) for x in (10, 60, 110) for y in (10, 60, 110)]
    toolkit.add_image(SCENE, detections=[*others, *(Region(box=box) for box in things)])
    caller = ToolCaller(toolkit)
    reply = caller.call("mark_regions", image_id="photo1", regions="all")
    assert "on 2 pages" in reply.content or "on 3 pages" in reply.content
    answers = {
        region: caller.call("ask_regions", image_id="marked1", question=f"What is {region}?").artifact
        for region in ("r10", "r11", "r12", "r13")
    }
    assert [answer["answer"] for answer in answers.values()] == [
        *("A white square.", "A blue circle.", "A yellow triangle.", "A purple triangle.")
    ]


@pytest.fixture
def seeing(photo):
    toolkit = VipLlavaToolkit(chat_model=FakeListChatModel(responses=["Yes."]), show_images=True)
    toolkit.add_image(photo.resize((3000, 2000)))
    return ToolCaller(toolkit)


def test_an_llm_that_sees_gets_the_marked_image_once(seeing):
    reply = seeing.call("mark_regions", image_id="photo1", regions=[[300, 300, 900, 900]])
    text, image = reply.content
    assert text == {"type": "text", "text": 'Marked photo1 as marked1:\nr1 (region): "within the red rectangle"'}
    assert (image["type"], image["mime_type"]) == ("image", "image/jpeg")
    shown = Image.open(io.BytesIO(base64.b64decode(image["base64"])))
    assert shown.size == (768, 512)
    red, green, blue = shown.getpixel((300 * 768 // 3000, 150))
    assert red > 180
    assert max(green, blue) < 90
    assert len(image["base64"]) < 600_000
    assert isinstance(reply, ToolMessage)
    assert [block["type"] for block in reply.content_blocks] == ["text", "image"]
    answered = seeing.call("ask_regions", image_id="marked1", question="Is r1 red?")
    assert answered.content == 'The vision model answered: "Yes."'


def test_at_most_four_pages_are_shown(seeing):
    boxes = [[60 * (i % 50), 90 * (i // 50), 60 * (i % 50) + 30, 90 * (i // 50) + 30] for i in range(100)]
    reply = seeing.call("mark_regions", image_id="photo1", regions=boxes)
    assert [block["type"] for block in reply.content] == ["text", *["image"] * 4, "text"]
    assert "more are not shown here; ask_regions sees them" in reply.content[-1]["text"]


def test_images_are_shown_only_where_the_program_says_so(caller):
    assert isinstance(caller.call("mark_regions", image_id="photo1", regions=["r1"]).content, str)
