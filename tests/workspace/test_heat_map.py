"""`Workspace.heat_map`: which parts of an image an answer depends on."""

from __future__ import annotations

import json
import threading
import warnings
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

from benchmarks.looking import look
from langchain_vipllava import (
    ChatVipLlava,
    FaintMarkerWarning,
    GenerationError,
    PromptError,
    SessionError,
    VipLlavaToolkit,
    Workspace,
    load_image,
)
from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.backends.local import LocalBackend
from langchain_vipllava.backends.served import ServedBackend
from langchain_vipllava.backends.vision import BackendVision
from langchain_vipllava.images.view import CLIP_MEAN_COLOR
from langchain_vipllava.workspace.vision_model import ModelReply
from tests.support.model_server import ModelServer


@dataclass
class WhiteSeeker:
    """A fake vision model that finds its answer as likely as the image has white pixels: what it depends on is known.

    The bundled model is asked below; this one says exactly where the maximum has to be.
    """

    conversations: list = field(default_factory=list)
    view_size: int = 64

    def answer(self, conversation):
        return ModelReply("Yes.")

    def score(self, conversation, answer):
        self.conversations.append((conversation, answer))
        pixels = np.asarray(conversation.images[0].decode())
        return float((pixels.min(axis=2) > 250).mean())


def _with_white_spot(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    image = Image.new("RGB", size, (0, 60, 0))
    image.paste("white", box)
    return image


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((240, 240), (20, 180, 60, 220)),
        ((600, 200), (500, 50, 550, 100)),
        ((150, 450), (0, 0, 30, 30)),
        ((4000, 3000), (3500, 100, 3900, 500)),
        ((33, 47), (20, 30, 26, 36)),
        ((400, 1), (300, 0, 330, 1)),
    ],
)
def test_the_peak_is_where_the_answer_comes_from_in_pixels_of_the_image(size, box):
    workspace = Workspace(model=WhiteSeeker())
    image_id = workspace.add_image(_with_white_spot(size, box), session="a")
    workspace.ask(image_id, "Is it white?", session="a")
    found = workspace.heat_map(image_id, session="a")
    x, y = found.peak
    assert box[0] <= x <= box[2]
    assert box[1] <= y <= box[3]
    rows, columns = found.drops.shape
    assert max(rows, columns) >= 8
    assert abs(columns / rows - size[0] / size[1]) < 0.5 or 1 in (rows, columns)
    assert found.overlay().size == size
    assert found.drops[rows // 2 if y < size[1] / 2 and rows > 3 else 0, 0] < found.drops.max()


def test_what_is_cold_stays_as_it_is_and_what_is_hot_does_not():
    workspace = Workspace(model=WhiteSeeker())
    image = _with_white_spot((240, 240), (160, 160, 200, 200))
    image_id = workspace.add_image(image, session="a")
    workspace.ask(image_id, "Is it white?", session="a")
    shown = np.asarray(workspace.heat_map(image_id, session="a").overlay()).astype(int)
    change = np.abs(shown - np.asarray(image).astype(int)).sum(axis=2)
    assert change[:100, :100].max() == 0
    assert change[170:190, 170:190].min() > 20


def test_the_model_is_asked_about_the_last_turn_with_the_conversation_before_it():
    model = WhiteSeeker()
    workspace = Workspace(model=model)
    image_id = workspace.add_image(_with_white_spot((60, 40), (5, 5, 9, 9)), session="a")
    for question in ("Is it white?", "Sure?"):
        workspace.ask(image_id, question, session="a")
    before = workspace.conversation(image_id, session="a")
    seen: list[float] = []
    found = workspace.heat_map(image_id, session="a", on_progress=seen.append)
    assert workspace.conversation(image_id, session="a") == before
    assert (found.question, found.answer, found.page) == ("Sure?", "Yes.", None)
    turns = [[(turn.question, turn.answer, len(turn.images)) for turn in c.turns] for c, _ in model.conversations]
    assert turns == [[("Is it white?", "Yes.", 1), ("Sure?", None, 0)]] * len(turns)
    assert {answer for _, answer in model.conversations} == {"Yes."}
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert len(seen) == len(turns) - 1


def test_patches_have_the_color_of_the_padding_and_cover_every_cell():
    model = WhiteSeeker()
    workspace = Workspace(model=model)
    image_id = workspace.add_image(Image.new("RGB", (120, 60), "blue"), session="a")
    workspace.ask(image_id, "Is it white?", session="a")
    workspace.heat_map(image_id, session="a")
    grayed = np.array([np.asarray(c.images[0].decode()) for c, _ in model.conversations])
    colors = np.unique(grayed.reshape(-1, 3), axis=0).tolist()
    assert colors == [[0, 0, 255], list(CLIP_MEAN_COLOR)]
    assert (grayed[1:] != grayed[0]).any(axis=3).any(axis=0).all()
    assert ((grayed[1:] != grayed[0]).any(axis=3).reshape(len(grayed) - 1, -1).any(axis=1)).all()


def test_an_error_in_on_progress_stops_the_work():
    class Stopped(Exception):
        pass

    def stop(share):
        raise Stopped

    model = WhiteSeeker()
    workspace = Workspace(model=model)
    image_id = workspace.add_image(_with_white_spot((120, 120), (5, 5, 9, 9)), session="a")
    workspace.ask(image_id, "Is it white?", session="a")
    with pytest.raises(Stopped):
        workspace.heat_map(image_id, session="a", on_progress=stop)
    assert len(model.conversations) < 60
    assert not [thread for thread in threading.enumerate() if "heat-map" in thread.name]


class NoScore:
    """A fake vision model that answers, and no more."""

    def answer(self, conversation):
        return ModelReply("Yes.")


class Failing(WhiteSeeker):
    """A fake whose scores fail in a way that is not ours."""

    def score(self, conversation, answer):
        raise RuntimeError("CUDA out of memory")


def test_what_has_no_heat_map_says_why():
    workspace = Workspace(model=WhiteSeeker())
    image_id = workspace.add_image(SCENE, session="a")
    with pytest.raises(PromptError, match=f"{image_id} has no answer yet; ask a question"):
        workspace.heat_map(image_id, session="a")
    with pytest.raises(SessionError, match="no image 'img7'"):
        workspace.heat_map("img7", session="a")
    with pytest.raises(SessionError, match="page=1"):
        workspace.heat_map(image_id, session="a", page=1)
    with pytest.raises(SessionError, match="no image"):
        workspace.heat_map(image_id, session="b")
    for model, said in ((NoScore(), "NoScore does not say how likely"), (Failing(), "RuntimeError: CUDA out of mem")):
        other = Workspace(model=model)
        image_id = other.add_image(SCENE, session="a")
        other.ask(image_id, "Is it?", session="a")
        with pytest.raises(GenerationError, match=said):
            other.heat_map(image_id, session="a")
    drawing = Workspace()
    with pytest.raises(GenerationError, match="no vision model"):
        drawing.heat_map(drawing.add_image(SCENE))


@pytest.fixture(scope="module")
def backend():
    return LocalBackend.load(model="bundled")


def _asked(model) -> tuple[Workspace, str]:
    """Ask about a strip of the scene, which has few patches: a white square, and the tip of a yellow triangle."""
    workspace = Workspace(model=model)
    image_id = workspace.add_image(load_image(SCENE).crop((0, 365, 640, 495)), session="a")
    marked = workspace.mark(image_id, [[59, 13, 164, 118], [450, 104, 575, 130]], session="a")
    assert workspace.ask(marked.image_id, "What is the object {r1}?", session="a").answer == "A white square."
    return workspace, marked.image_id


@pytest.fixture(scope="module")
def in_process(backend):
    workspace, image_id = _asked(BackendVision(backend))
    return workspace.heat_map(image_id, session="a"), workspace.look(image_id, session="a")


def test_the_bundled_model_looks_at_the_marked_object(in_process):
    found, marked = in_process
    x0, y0, x1, y1 = marked.regions[0].box
    x, y = found.peak
    assert x0 <= x <= x1
    assert y0 <= y <= y1
    assert found.log_probability > -0.1
    assert found.drops.max() > 1
    assert found.image == marked.image
    described = json.loads(json.dumps(found.to_dict()))
    assert described["method"] == "occlusion"
    assert described["peak"] == [round(x, 1), round(y, 1)]
    assert np.shape(described["drops"]) == found.drops.shape
    assert found.text == (
        f'By occlusion, the answer "A white square." about marked1 depends most on what is around the point '
        f"[{x:.0f}, {y:.0f}]."
    )
    assert found._repr_html_().startswith('<div><img src="data:image/png;base64,')
    assert "What is the object within the red rectangle? A white square." in found._repr_html_()
    assert repr(found) == '<HeatMap by occlusion, 12 x 2 cells, of "A white square.">'
    with pytest.raises(ValueError, match="read-only"):
        found.drops[0, 0] = 1


def test_a_served_model_has_the_same_heat_map(backend, in_process):
    with ModelServer(backend.runner) as server:
        served = ServedBackend(server.base_url, "bundled")
        workspace, image_id = _asked(BackendVision(served))
        found = workspace.heat_map(image_id, session="a")
    assert np.allclose(found.drops, in_process[0].drops, atol=1e-3)
    assert found.peak == pytest.approx(in_process[0].peak, abs=0.1)


def test_a_server_that_only_chats_cannot_say(backend):
    """Its log-probabilities are those of what it may choose from: every answer would be certain."""
    with ModelServer(backend.runner, scale_out=False) as server:
        workspace, image_id = _asked(BackendVision(ServedBackend(server.base_url, "bundled")))
        with pytest.raises(GenerationError, match="--enable-scale-out"):
            workspace.heat_map(image_id, session="a")


def test_the_toolkits_workspace_has_the_same_heat_map(in_process):
    toolkit = VipLlavaToolkit(chat_model=ChatVipLlava(model="bundled"))
    image_id = toolkit.add_image(in_process[1].original, thread_id="a")
    toolkit.workspace.mark(image_id, list(in_process[1].regions), session="a")
    toolkit.workspace.ask("marked1", "What is the object {r1}?", session="a")
    found = toolkit.workspace.heat_map("marked1", session="a")
    assert np.allclose(found.drops, in_process[0].drops, atol=1e-3)


def test_a_zoomed_image_has_its_peak_in_pixels_of_the_whole():
    workspace = Workspace(model=WhiteSeeker())
    image = _with_white_spot((1000, 800), (700, 600, 712, 612))
    image_id = workspace.add_image(image, session="a")
    marked = workspace.mark(image_id, [[699, 599, 713, 613]], session="a", zoom="auto")
    workspace.ask(marked.image_id, "Is it white?", session="a")
    found = workspace.heat_map(marked.image_id, session="a")
    crop = marked.marked.crop
    assert crop is not None
    assert found.crop == crop
    assert found.image.size == (crop[2] - crop[0], crop[3] - crop[1])
    x, y = found.peak
    assert 695 <= x <= 717
    assert 595 <= y <= 617


@pytest.mark.slow
def test_the_peak_lies_on_the_marked_object_in_nine_of_ten_scenes(backend):
    """Scenes of the bundled checkpoint's world with markers of every kind, which nothing here was fitted to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FaintMarkerWarning)
        seen = list(look(BackendVision(backend), 40))
    assert np.mean([found.hit for found in seen]) >= 0.9
    assert np.mean([found.chance for found in seen]) < 0.2
