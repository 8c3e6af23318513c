"""Detecting, marking and asking as steps of an LCEL chain."""

from __future__ import annotations

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnablePassthrough
from PIL import Image

from langchain_vipllava import (
    DetectionError,
    DetectRegions,
    ImageError,
    MarkedImage,
    MarkerError,
    MarkRegions,
    PromptError,
    Region,
    RegionError,
    RegionPrompt,
    TinyRegionWarning,
    mark,
    regions_from,
)

BOXES = [
    {"score": 0.9, "label": "face", "box": {"xmin": 174, "ymin": 65, "xmax": 273, "ymax": 164}},
    {"score": 0.7, "label": "rocket", "box": {"xmin": 330, "ymin": 20, "xmax": 480, "ymax": 250}},
]


@pytest.fixture
def chain(llm):
    return MarkRegions() | RegionPrompt() | llm | StrOutputParser()


def given(photo, question="What is the object {0} doing?", detections=BOXES):
    return {"image": photo, "detections": detections, "question": question}


def by_hand(llm, photo, question, **look):
    """The same without a chain."""
    return llm.invoke([mark(photo, regions_from(BOXES), **look).message(question)]).text


def test_invoke_is_what_python_does(chain, llm, photo):
    assert chain.invoke(given(photo)) == by_hand(llm, photo, "What is the object {0} doing?")


def test_batch_and_stream(chain, llm, photo):
    inputs = [given(photo, "What is {0}?"), given(photo, "Where is {1}?"), given(photo.rotate(90), "Why {0} and {1}?")]
    alone = [chain.invoke(one) for one in inputs]
    assert len(set(alone)) > 1
    assert chain.batch(inputs) == alone
    pieces = list(chain.stream(inputs[0]))
    assert "".join(pieces) == alone[0]
    assert len(pieces) > 1


async def test_async_twins(chain, photo):
    inputs = [given(photo, "What is {0}?"), given(photo, "Where is {1}?")]
    alone = [chain.invoke(one) for one in inputs]
    assert await chain.ainvoke(inputs[0]) == alone[0]
    assert await chain.abatch(inputs) == alone
    pieces = [piece async for piece in chain.astream(inputs[1])]
    assert "".join(pieces) == alone[1]
    assert len(pieces) > 1


def test_every_key_goes_along(photo):
    marked = MarkRegions().invoke({**given(photo), "more": 5})
    assert marked["more"] == 5
    assert isinstance(marked["marked"], MarkedImage)
    assert marked["marked"].regions == tuple(regions_from(BOXES))
    assert set(marked) == {"image", "detections", "question", "more", "marked"}


def test_input_is_not_changed(chain, photo):
    before, pixels = given(photo), np.array(photo)
    mine = dict(before)
    chain.invoke(mine)
    assert mine == before
    assert np.array_equal(np.asarray(photo), pixels)


def test_looks_are_those_of_mark(llm, photo):
    look = {"kind": "arrow", "color": ["blue", "gold"], "numbers": True, "seed": 4}
    chain = MarkRegions(**look) | RegionPrompt() | llm | StrOutputParser()
    assert chain.invoke(given(photo, "What is {1}?")) == by_hand(llm, photo, "What is {1}?", **look)
    marked = MarkRegions(**look).invoke(given(photo))["marked"]
    assert marked.phrases == ["pointed to by the blue arrow", "pointed to by the gold arrow"]


def test_reading_arguments_reach_the_detections(photo):
    rows = [[10, 20, 100, 90], [200, 40, 50, 60]]
    marked = MarkRegions(box_format="xywh").invoke(given(photo, detections=rows))["marked"]
    assert [region.box for region in marked.regions] == [(10, 20, 110, 110), (200, 40, 250, 100)]
    assert len(MarkRegions(min_score=0.8).invoke(given(photo))["marked"].regions) == 1
    assert MarkRegions(max_regions=1).invoke(given(photo))["marked"].regions[0].label == "face"


def test_zoom_crops_and_small_regions_warn(photo):
    tiny = [Region(box=(100, 100, 108, 108))]
    with pytest.warns(TinyRegionWarning):
        MarkRegions().invoke(given(photo, detections=tiny))
    assert MarkRegions(zoom="auto").invoke(given(photo, detections=tiny))["marked"].crop


def test_detecting_marking_and_asking(llm, photo):
    def detector(image):
        assert image.mode == "RGB"
        return BOXES

    chain = DetectRegions(detector=detector) | MarkRegions() | RegionPrompt() | llm | StrOutputParser()
    question = "What is {0}?"
    assert chain.invoke({"image": photo, "question": question}) == by_hand(llm, photo, question)


def test_detector_arguments(photo):
    def steps(**settings):
        return [
            r.label for r in DetectRegions(detector=lambda image: BOXES, **settings).invoke({"image": photo})["regions"]
        ]

    assert steps() == ["face", "rocket"]
    assert steps(only=["ROCKET"]) == ["rocket"]
    assert steps(min_score=0.8) == ["face"]
    assert steps(max_regions=1) == ["face"]
    rows = DetectRegions(detector=lambda image: [[1, 2, 30, 40]], box_format="xyxy").invoke({"image": photo})
    assert rows["regions"] == [Region(box=(1, 2, 30, 40))]


def test_a_detector_that_draws_does_not_draw_on_our_image(photo):
    def vandal(image):
        image.paste((255, 0, 0), (0, 0, 100, 100))
        return BOXES

    found = DetectRegions(detector=vandal).invoke({"image": photo})
    assert np.array_equal(np.asarray(found["image"]), np.asarray(photo))


def test_an_image_turned_by_exif_is_upright_for_all_steps(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    photo.crop((0, 0, 400, 200)).save(path, exif=exif)
    sizes = []
    detect = DetectRegions(
        detector=lambda image: sizes.append(image.size) or [{"box": [10, 300, 50, 390]}], box_format="xyxy"
    )
    marked = (detect | MarkRegions()).invoke({"image": str(path)})["marked"]
    assert sizes == [(200, 400)]
    assert marked.image.size == (200, 400)


def test_history_makes_the_question_the_next_turn(llm, photo):
    marked = mark(photo, regions_from(BOXES))
    first = marked.message("What is {0}?")
    history = [first, AIMessage("A face.")]
    messages = RegionPrompt().invoke({"marked": marked, "question": "And {1}?", "history": history})
    assert messages == [*history, HumanMessage("And within the lime rectangle?")]
    assert len(history) == 2
    assert llm.render_prompt(messages) == (
        "USER: <image>\nWhat is within the red rectangle?ASSISTANT: A face."
        "USER: And within the lime rectangle?ASSISTANT:"
    )
    chain = MarkRegions() | RegionPrompt() | llm | StrOutputParser()
    answer = chain.invoke({**given(photo, "And {1}?"), "history": history})
    assert answer == llm.invoke(messages).text


def test_answers_beside_the_marked_image(llm, photo):
    chain = MarkRegions() | RunnablePassthrough.assign(answer=RegionPrompt() | llm | StrOutputParser())
    result = chain.invoke(given(photo))
    assert result["answer"] == by_hand(llm, photo, "What is the object {0} doing?")
    assert result["marked"].image.size == photo.size


WRONG = [
    ({}, PromptError, "'image'"),
    ({"question": "What?"}, PromptError, r"\['question'\].*'image'"),
    ({"image": None, "detections": BOXES, "question": "What?"}, PromptError, "'image'"),
    ({"image": "PHOTO", "question": "What?"}, PromptError, "'detections'"),
    ({"image": "PHOTO", "detections": BOXES}, PromptError, "'question'"),
    ({"image": "PHOTO", "detections": BOXES, "question": 5}, PromptError, "'question' is a int"),
    ({"image": "PHOTO", "detections": [], "question": "What?"}, DetectionError, "no detections to mark"),
    ({"image": "PHOTO", "detections": "nonsense", "question": "What?"}, DetectionError, "no known format"),
    ({"image": "PHOTO", "detections": [[1, 2, 3, 4]], "question": "What?"}, DetectionError, "box_format"),
    ({"image": "PHOTO", "detections": [Region(box=(600, 0, 700, 9))], "question": "?"}, RegionError, "outside"),
    ({"image": "PHOTO", "detections": BOXES, "question": "What is {7}?"}, MarkerError, "names no marker"),
    ({"image": "PHOTO", "detections": BOXES, "question": " "}, MarkerError, "empty"),
    ({"image": "/no/such.png", "detections": BOXES, "question": "What?"}, ImageError, "no file"),
    ({"image": b"", "detections": BOXES, "question": "What?"}, ImageError, "empty"),
    ("PHOTO", PromptError, "'image'"),
    (None, PromptError, "'image'"),
]


@pytest.mark.parametrize(
    ("wrong", "error", "words"), WRONG, ids=[f"{i} {words}" for i, (_, _, words) in enumerate(WRONG)]
)
def test_what_is_wrong_is_said_and_the_next_call_works(chain, photo, wrong, error, words):
    if isinstance(wrong, dict) and wrong.get("image") == "PHOTO":
        wrong = {**wrong, "image": photo}
    with pytest.raises(error, match=words):
        chain.invoke(wrong)
    assert chain.invoke(given(photo))


def test_one_bad_input_of_a_batch_is_that_ones_error(chain, photo):
    found = chain.batch([given(photo), given(photo, detections=[]), given(photo)], return_exceptions=True)
    assert isinstance(found[1], DetectionError)
    assert found[0] == found[2] == chain.invoke(given(photo))


def test_marked_must_be_a_marked_image(photo):
    with pytest.raises(PromptError, match="expected a MarkedImage"):
        RegionPrompt().invoke({"marked": photo, "question": "What?"})


def test_failing_detector_is_a_detection_error(photo):
    def broken(image):
        raise RuntimeError("no GPU")

    with pytest.raises(DetectionError, match="the detector failed: RuntimeError: no GPU"):
        DetectRegions(detector=broken).invoke({"image": photo})
    with pytest.raises(DetectionError, match="no known format"):
        DetectRegions(detector=lambda image: "nonsense").invoke({"image": photo})
    nothing = DetectRegions(detector=lambda image: [])
    assert nothing.invoke({"image": photo})["regions"] == []
    with pytest.raises(DetectionError, match="no detections to mark"):
        (nothing | MarkRegions()).invoke({"image": photo})


def test_unknown_arguments_of_a_step_are_refused():
    with pytest.raises(ValueError, match="colour"):
        MarkRegions(colour="red")
    with pytest.raises(ValueError, match="detector"):
        DetectRegions()


def test_a_history_without_the_image_gets_it(marked):
    history = [HumanMessage("Hi"), AIMessage("Hello")]
    given = {"marked": marked, "question": "What is the object {0}?", "history": history}
    messages = RegionPrompt().invoke(given)
    assert [block["type"] for block in messages[-1].content] == ["image", "text"]
    again = RegionPrompt().invoke({**given, "history": [*messages, AIMessage("A face.")], "question": "Why?"})
    assert again[-1].content == "Why?"
    with pytest.raises(PromptError, match="list of messages"):
        RegionPrompt().invoke({**given, "history": "abc"})


def test_marking_takes_all_that_mark_takes(photo):
    step = MarkRegions(width=8, opacity=0.5, labels=["cat"], channels="bgr", box_format="xyxy")
    bgr = np.asarray(photo)[:, :, ::-1]
    out = step.invoke({"image": bgr, "detections": {"boxes": [[10, 10, 90, 90]], "labels": [0], "scores": [0.9]}})
    assert out["marked"].regions[0].label == "cat"
    assert out["marked"].original.tobytes() == photo.tobytes()
