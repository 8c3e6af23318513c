"""A person's session without a browser: what the page can send, and what comes of it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import langchain_vipllava
from langchain_vipllava import ImageError, MarkerError, RegionError, SessionError, VipLlavaError, Workspace
from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.apps.studio.desk import MAX_REGIONS, Desk
from langchain_vipllava.apps.studio.drawn import Drawn
from langchain_vipllava.apps.studio.facts import conversation_json, numbers_html, prompt_text, view_html
from langchain_vipllava.apps.studio.python_code import BackendCode, python_code
from langchain_vipllava.apps.studio.strokes import stroke_mask
from langchain_vipllava.apps.studio.telling import TellingVision
from langchain_vipllava.backends.served import ServedBackend
from langchain_vipllava.prompt.conversation import Conversation
from langchain_vipllava.protocol.chat_request import ChatRequest
from langchain_vipllava.protocol.sampling import Sampling
from langchain_vipllava.regions.region import Region
from tests.support.model_server import ModelServer

BUNDLED_FOLDER = Path(langchain_vipllava.__file__).parent / "bundled"

BOX = {"action": "add", "tool": "box", "points": [[206, 30], [426, 250]]}
LOCAL = BackendCode.local({"model": "bundled", "device": "auto"})


@pytest.fixture
def desk(workspace):
    desk = Desk(workspace)
    desk.open(SCENE.read_bytes(), "scene.png")
    return desk


def answer(desk, question, **options):
    return list(desk.ask(question, **options))[-1]


def test_ids_begin_at_r1_after_every_change(desk):
    for _ in range(3):
        desk.edit(BOX)
        desk.edit({"action": "remove", "index": 0})
        desk.edit(BOX)
        assert [marker.region.id for marker in desk.markers] == ["r1"]
        desk.edit({"action": "clear"})
    desk.edit({"action": "detect"})
    assert [marker.region.id for marker in desk.markers] == ["r1", "r2", "r3", "r4"]
    assert len(desk.workspace.list(session=desk.session)) == 2


def test_a_change_of_the_regions_begins_a_new_conversation(desk):
    desk.edit(BOX)
    assert answer(desk, "What is the object {r1}?") == "A blue circle."
    desk.edit({"action": "change", "index": 0, "kind": "ellipse"})
    assert desk.exchanges == []
    assert "new conversation" in desk.shown[-1]["content"]
    assert answer(desk, "What is the object {r1}?") == "A blue circle."
    assert desk.exchanges[0].answered.question == "What is the object within the red ellipse?"


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (None, RegionError),
        ({}, RegionError),
        ({"action": "add", "tool": "box"}, RegionError),
        ({**BOX, "points": [[0, 0], [9_999, 10]]}, RegionError),
        ({**BOX, "points": [[5, 5], [5, 9]]}, RegionError),
        ({**BOX, "points": [[float("nan"), 5], [50, 90]]}, RegionError),
        ({**BOX, "points": [["1", "2"], [50, 90]]}, RegionError),
        ({**BOX, "points": [[1, 1]] * 3000}, RegionError),
        ({**BOX, "tool": "found"}, RegionError),
        ({**BOX, "tool": "polygon"}, RegionError),
        ({**BOX, "kind": "hexagon"}, MarkerError),
        ({**BOX, "color": "beige"}, MarkerError),
        ({"action": "remove", "index": 7}, RegionError),
        ({"action": "change", "index": True, "kind": "arrow"}, RegionError),
        ({"action": "__class__"}, RegionError),
    ],
)
def test_what_the_page_would_not_send_is_refused_and_changes_nothing(desk, message, error):
    desk.edit(BOX)
    answer(desk, "What is the object {r1}?")
    with pytest.raises(error):
        desk.edit(message)
    assert [marker.phrase for marker in desk.markers] == ["within the red rectangle"]
    assert len(desk.exchanges) == 1


def test_more_regions_than_the_page_marks_are_refused(desk):
    rng = random.Random(3)
    corners = [(rng.uniform(0, 500), rng.uniform(0, 500)) for _ in range(MAX_REGIONS + 1)]
    boxes = [Drawn.read({**BOX, "points": [[x, y], [x + 60, y + 60]]}, (640, 636)) for x, y in corners]
    desk.drawn = boxes[:-2]
    desk.edit({**BOX, "points": [list(point) for point in boxes[-2].points]})
    with pytest.raises(RegionError, match="at most"):
        desk.edit({**BOX, "points": [list(point) for point in boxes[-1].points]})
    assert len(desk.drawn) == MAX_REGIONS
    assert len(desk.pages) > 1
    assert view_html(desk, 208).count("<img") == len(desk.pages)
    compile(python_code(desk, LOCAL, ChatRequest(Conversation(()))), "copied", "exec")


def test_without_an_image_every_action_says_so(workspace):
    desk = Desk(workspace)
    for action in (lambda: desk.edit(BOX), lambda: next(desk.ask("What?")), desk.heat_map):
        with pytest.raises(SessionError, match="first"):
            action()
    assert workspace.list(session=desk.session) == ()
    with pytest.raises(ImageError):
        desk.open(b"nothing", "a.png")


def test_a_question_that_fails_leaves_the_chat_as_it_was(desk):
    desk.edit(BOX)
    for question in ("", "   ", "What is {r9}?"):
        with pytest.raises(VipLlavaError):
            answer(desk, question)
    assert desk.shown == []
    assert answer(desk, "What color is the object {r1}?") == "Blue."


def test_closing_the_answer_early_asks_nothing(desk):
    desk.edit(BOX)
    pieces = desk.ask("What is the object {r1}?")
    next(pieces)
    pieces.close()
    assert desk.exchanges == []
    assert desk.workspace.conversation(desk.image_id, session=desk.session).turns == ()


def test_the_stroke_is_the_marker_itself(desk):
    points = [[240, 140], [300, 100], [340, 180], [390, 140]]
    desk.edit({"action": "add", "tool": "stroke", "points": points, "color": "red"})
    inked = (np.asarray(desk.marked.image) != np.asarray(Image.open(SCENE).convert("RGB"))).any(axis=2)
    near = stroke_mask([tuple(point) for point in points], (640, 636), width=30)
    assert inked.sum() > 1000
    assert not (inked & ~near).any()
    for x, y in points[1:3]:
        assert inked[y - 8 : y + 9, x - 8 : x + 9].any()
    assert answer(desk, "What color is the object {r1}?") == "Blue."


def test_texts_of_others_are_no_html(workspace):
    desk = Desk(workspace)
    desk.open(SCENE.read_bytes(), "../../<b>\u202e.png")
    desk.edit({**BOX})
    answer(desk, "<script>alert(1)</script> What is {r1}?")
    assert "<script>" not in numbers_html(desk) + view_html(desk, 208)
    code = python_code(desk, LOCAL, ChatRequest(Conversation(())))
    assert "\u202e" not in code
    assert "'<b>\\u202e.png'" in code
    assert json.loads(conversation_json(desk))["turns"][0]["answer"]


def test_the_code_has_the_settings_that_are_not_the_default(desk):
    settings = ChatRequest(Conversation(()), sampling=Sampling(temperature=0.5, seed=3), max_tokens=9)
    served = BackendCode.served(("http://gpu-host:8000/v1",), None, "folder")
    code = python_code(desk, served, settings)
    assert "ServedBackend('http://gpu-host:8000/v1', tokenizer='folder', api_key=os.environ.get(" in code
    assert "max_tokens=9" in code
    assert "seed=3" in code
    compile(code, "copied", "exec")


@pytest.mark.parametrize(
    "name", [f"{'long ' * 40}name.png", "https:photo.png", "data:photo.png", "ph oto (1)#\u00e9 'a'.png"]
)
def test_the_code_finds_the_file_and_marks_the_same_pixels(backend, workspace, tmp_path, monkeypatch, name):
    desk = Desk(workspace)
    desk.open(SCENE.read_bytes(), name)
    desk.edit({"action": "add", "tool": "point", "points": [[640, 636]]})  # the corner, one pixel beyond the last
    desk.edit({"action": "add", "tool": "point", "points": [[316, 140]]})
    (tmp_path / name).write_bytes(SCENE.read_bytes())
    monkeypatch.chdir(tmp_path)
    copied = {}
    exec(python_code(desk, LOCAL, ChatRequest(Conversation(()))), copied)
    assert [page.encoded.sha256 for page in copied["marked"].pages] == [page.encoded.sha256 for page in desk.pages]


def test_the_code_has_what_a_detector_found_to_the_last_digit():
    found = Drawn.found(Region(box=(206.123456789, 30.98765432, 426.0, 250.1)))
    assert eval(found.code(), {"Region": Region}) == found.region


def test_closing_forgets_the_session(desk):
    desk.edit(BOX)
    desk.close()
    assert desk.workspace.list(session=desk.session) == ()


def test_a_vote_is_told_vote_by_vote(desk):
    desk.edit(BOX)
    assert answer(desk, "What color is the object {r1}?", vote=True) == "Blue."
    assert "agreement" in numbers_html(desk)
    assert len(prompt_text(desk).splitlines()) == len(desk.exchanges[0].answered.votes)


def test_a_served_model_answers_the_same_and_the_code_asks_it(backend, desk, tmp_path):
    with ModelServer(backend.runner) as server:
        url = server.base_url
        vision = TellingVision(ServedBackend(url, tokenizer=str(BUNDLED_FOLDER)))
        served = Desk(Workspace(model=vision))
        served.open(SCENE.read_bytes(), "scene.png")
        for one in (desk, served):
            one.edit(BOX)
            assert answer(one, "What is the object {r1}?") == "A blue circle."
        assert prompt_text(served) == prompt_text(desk)
        assert served.exchanges[0].told.confidence == pytest.approx(desk.exchanges[0].told.confidence, abs=0.01)
        code = python_code(served, BackendCode.served((url,), None, str(BUNDLED_FOLDER)), vision.settings)
        (tmp_path / "scene.png").write_bytes(SCENE.read_bytes())
        (tmp_path / "copied.py").write_text(code)
        done = subprocess.run([sys.executable, "copied.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "A blue circle.\n", done.stderr
