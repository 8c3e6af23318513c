"""Detecting, marking and asking as steps of an LCEL chain."""

from __future__ import annotations

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnablePassthrough
from PIL import Image

from langchain_vipllava import (
    AskAboutRegions,
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

DETECTIONS = [
    {"score": 0.9, "label": "face", "box": {"xmin": 174, "ymin": 65, "xmax": 273, "ymax": 164}},
    {"score": 0.7, "label": "rocket", "box": {"xmin": 330, "ymin": 20, "xmax": 480, "ymax": 250}},
]


@pytest.fixture
def chain(llm):
    return MarkRegions() | RegionPrompt() | llm | StrOutputParser()


def chain_input(photo, question="What is the object {0} doing?", detections=DETECTIONS):
    return {"image": photo, "detections": detections, "question": question}


def answer_without_chain(llm, photo, question, **style):
    """Return the same answer, computed without a chain."""
    return llm.invoke([mark(photo, regions_from(DETECTIONS), **style).message(question)]).text


def test_invoke_returns_the_same_answer_as_without_a_chain(chain, llm, photo):
    assert chain.invoke(chain_input(photo)) == answer_without_chain(llm, photo, "What is the object {0} doing?")


def test_batch_and_stream_return_the_answers_of_invoke(chain, llm, photo):
    inputs = [
        chain_input(photo, "What is {0}?"),
        chain_input(photo, "Where is {1}?"),
        chain_input(photo.rotate(90), "Why {0} and {1}?"),
    ]
    expected = [chain.invoke(item) for item in inputs]
    assert len(set(expected)) > 1
    assert chain.batch(inputs) == expected
    pieces = list(chain.stream(inputs[0]))
    assert "".join(pieces) == expected[0]
    assert len(pieces) > 1


async def test_async_methods_return_the_answers_of_invoke(chain, photo):
    inputs = [chain_input(photo, "What is {0}?"), chain_input(photo, "Where is {1}?")]
    expected = [chain.invoke(item) for item in inputs]
    assert await chain.ainvoke(inputs[0]) == expected[0]
    assert await chain.abatch(inputs) == expected
    pieces = [piece async for piece in chain.astream(inputs[1])]
    assert "".join(pieces) == expected[1]
    assert len(pieces) > 1


def test_every_input_key_is_passed_through(photo):
    marked = MarkRegions().invoke({**chain_input(photo), "more": 5})
    assert marked["more"] == 5
    assert isinstance(marked["marked"], MarkedImage)
    assert marked["marked"].regions == tuple(regions_from(DETECTIONS))
    assert set(marked) == {"image", "detections", "question", "more", "marked", "outcome"}


def test_input_is_not_changed(chain, photo):
    before, pixels = chain_input(photo), np.array(photo)
    inputs = dict(before)
    chain.invoke(inputs)
    assert inputs == before
    assert np.array_equal(np.asarray(photo), pixels)


def test_style_arguments_are_passed_to_mark(llm, photo):
    style = {"kind": "arrow", "color": ["blue", "gold"], "numbers": True, "seed": 4}
    chain = MarkRegions(**style) | RegionPrompt() | llm | StrOutputParser()
    assert chain.invoke(chain_input(photo, "What is {1}?")) == answer_without_chain(llm, photo, "What is {1}?", **style)
    marked = MarkRegions(**style).invoke(chain_input(photo))["marked"]
    assert marked.phrases == ["pointed to by the blue arrow", "pointed to by the gold arrow"]


def test_detection_options_are_applied(photo):
    rows = [[10, 20, 100, 90], [200, 40, 50, 60]]
    marked = MarkRegions(box_format="xywh").invoke(chain_input(photo, detections=rows))["marked"]
    assert [region.box for region in marked.regions] == [(10, 20, 110, 110), (200, 40, 250, 100)]
    assert len(MarkRegions(min_score=0.8).invoke(chain_input(photo))["marked"].regions) == 1
    assert MarkRegions(max_regions=1).invoke(chain_input(photo))["marked"].regions[0].label == "face"


def test_zoom_crops_and_small_regions_warn(photo):
    tiny = [Region(box=(100, 100, 108, 108))]
    with pytest.warns(TinyRegionWarning):
        MarkRegions().invoke(chain_input(photo, detections=tiny))
    assert MarkRegions(zoom="auto").invoke(chain_input(photo, detections=tiny))["marked"].crop


def test_a_chain_detects_marks_and_asks(llm, photo):
    def detector(image):
        assert image.mode == "RGB"
        return DETECTIONS

    chain = DetectRegions(detector=detector) | MarkRegions() | RegionPrompt() | llm | StrOutputParser()
    question = "What is {0}?"
    assert chain.invoke({"image": photo, "question": question}) == answer_without_chain(llm, photo, question)


def test_detect_regions_filters_by_label_score_and_number(photo):
    def labels(**settings):
        step = DetectRegions(detector=lambda image: DETECTIONS, **settings)
        return [region.label for region in step.invoke({"image": photo})["regions"]]

    assert labels() == ["face", "rocket"]
    assert labels(only=["ROCKET"]) == ["rocket"]
    assert labels(min_score=0.8) == ["face"]
    assert labels(max_regions=1) == ["face"]
    rows = DetectRegions(detector=lambda image: [[1, 2, 30, 40]], box_format="xyxy").invoke({"image": photo})
    assert rows["regions"] == [Region(box=(1, 2, 30, 40))]


def test_a_detector_that_draws_on_its_image_does_not_change_the_input(photo):
    def draw_and_detect(image):
        image.paste((255, 0, 0), (0, 0, 100, 100))
        return DETECTIONS

    output = DetectRegions(detector=draw_and_detect).invoke({"image": photo})
    assert np.array_equal(np.asarray(output["image"]), np.asarray(photo))


def test_an_image_rotated_by_exif_is_upright_in_every_step(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "rotated.jpg"
    photo.crop((0, 0, 400, 200)).save(path, exif=exif)
    sizes = []
    detect = DetectRegions(
        detector=lambda image: sizes.append(image.size) or [{"box": [10, 300, 50, 390]}], box_format="xyxy"
    )
    marked = (detect | MarkRegions()).invoke({"image": str(path)})["marked"]
    assert sizes == [(200, 400)]
    assert marked.image.size == (200, 400)


def test_a_question_with_history_is_the_next_turn(llm, photo):
    marked = mark(photo, regions_from(DETECTIONS))
    first = marked.message("What is {0}?")
    history = [first, AIMessage("A face.")]
    messages = RegionPrompt().invoke({"marked": marked, "question": "And {1}?", "history": history})
    assert messages == [*history, HumanMessage("And the object within the lime rectangle?")]
    assert len(history) == 2
    assert llm.render_prompt(messages) == (
        "USER: <image>\nWhat is the object within the red rectangle?ASSISTANT: A face."
        "USER: And the object within the lime rectangle?ASSISTANT:"
    )
    chain = MarkRegions() | RegionPrompt() | llm | StrOutputParser()
    answer = chain.invoke({**chain_input(photo, "And {1}?"), "history": history})
    assert answer == llm.invoke(messages).text


def test_a_chain_returns_the_answer_and_the_marked_image(llm, photo):
    chain = MarkRegions() | RunnablePassthrough.assign(answer=RegionPrompt() | llm | StrOutputParser())
    result = chain.invoke(chain_input(photo))
    assert result["answer"] == answer_without_chain(llm, photo, "What is the object {0} doing?")
    assert result["marked"].image.size == photo.size


INVALID_INPUTS = [
    ({}, PromptError, "'image'"),
    ({"question": "What?"}, PromptError, r"\['question'\].*'image'"),
    ({"image": None, "detections": DETECTIONS, "question": "What?"}, PromptError, "'image'"),
    ({"image": "PHOTO", "question": "What?"}, PromptError, "'detections'"),
    ({"image": "PHOTO", "detections": DETECTIONS}, PromptError, "'question'"),
    ({"image": "PHOTO", "detections": DETECTIONS, "question": 5}, PromptError, "'question' is a int"),
    ({"image": "PHOTO", "detections": [], "question": "What?"}, DetectionError, "no detections to mark"),
    ({"image": "PHOTO", "detections": "nonsense", "question": "What?"}, DetectionError, "no known format"),
    ({"image": "PHOTO", "detections": [[1, 2, 3, 4]], "question": "What?"}, DetectionError, "box_format"),
    ({"image": "PHOTO", "detections": [Region(box=(600, 0, 700, 9))], "question": "?"}, RegionError, "outside"),
    ({"image": "PHOTO", "detections": DETECTIONS, "question": "What is {7}?"}, MarkerError, "names no marker"),
    ({"image": "PHOTO", "detections": DETECTIONS, "question": " "}, MarkerError, "empty"),
    ({"image": "/no/such.png", "detections": DETECTIONS, "question": "What?"}, ImageError, "no file"),
    ({"image": b"", "detections": DETECTIONS, "question": "What?"}, ImageError, "empty"),
    ("PHOTO", PromptError, "'image'"),
    (None, PromptError, "'image'"),
]


@pytest.mark.parametrize(
    ("invalid", "error", "error_text"),
    INVALID_INPUTS,
    ids=[f"{i} {error_text}" for i, (_, _, error_text) in enumerate(INVALID_INPUTS)],
)
def test_invalid_input_raises_and_the_next_call_works(chain, photo, invalid, error, error_text):
    if isinstance(invalid, dict) and invalid.get("image") == "PHOTO":
        invalid = {**invalid, "image": photo}
    with pytest.raises(error, match=error_text):
        chain.invoke(invalid)
    assert chain.invoke(chain_input(photo))


def test_one_invalid_input_of_a_batch_does_not_affect_the_others(chain, photo):
    results = chain.batch(
        [chain_input(photo), chain_input(photo, detections=[]), chain_input(photo)], return_exceptions=True
    )
    assert isinstance(results[1], DetectionError)
    assert results[0] == results[2] == chain.invoke(chain_input(photo))


def test_region_prompt_without_a_marked_image_raises(photo):
    with pytest.raises(PromptError, match="expected a MarkedImage"):
        RegionPrompt().invoke({"marked": photo, "question": "What?"})


def test_a_failing_detector_raises_a_detection_error(photo):
    def broken(image):
        raise RuntimeError("no GPU")

    with pytest.raises(DetectionError, match="the detector failed: RuntimeError: no GPU"):
        DetectRegions(detector=broken).invoke({"image": photo})
    with pytest.raises(DetectionError, match="no known format"):
        DetectRegions(detector=lambda image: "nonsense").invoke({"image": photo})
    finds_nothing = DetectRegions(detector=lambda image: [])
    assert finds_nothing.invoke({"image": photo})["regions"] == []
    with pytest.raises(DetectionError, match="no detections to mark"):
        (finds_nothing | MarkRegions()).invoke({"image": photo})


def test_unknown_and_missing_arguments_of_a_step_raise():
    with pytest.raises(ValueError, match="colour"):
        MarkRegions(colour="red")
    with pytest.raises(ValueError, match="detector"):
        DetectRegions()


def test_the_image_is_added_if_the_history_does_not_contain_it(marked):
    history = [HumanMessage("Hi"), AIMessage("Hello")]
    inputs = {"marked": marked, "question": "What is the object {0}?", "history": history}
    messages = RegionPrompt().invoke(inputs)
    assert [block["type"] for block in messages[-1].content] == ["image", "text"]
    follow_up = RegionPrompt().invoke({**inputs, "history": [*messages, AIMessage("A face.")], "question": "Why?"})
    assert follow_up[-1].content == "Why?"
    with pytest.raises(PromptError, match="list of messages"):
        RegionPrompt().invoke({**inputs, "history": "abc"})


def test_mark_regions_accepts_every_argument_of_mark(photo):
    step = MarkRegions(width=8, opacity=0.5, labels=["cat"], channels="bgr", box_format="xyxy")
    bgr = np.asarray(photo)[:, :, ::-1]
    output = step.invoke({"image": bgr, "detections": {"boxes": [[10, 10, 90, 90]], "labels": [0], "scores": [0.9]}})
    assert output["marked"].regions[0].label == "cat"
    assert output["marked"].original.tobytes() == photo.tobytes()


def test_a_history_that_is_none_is_refused_whatever_it_is(marked):
    deep: list = []
    for _ in range(3000):
        deep = [deep]
    for history in (deep, 10**5000, "\x1b[2J" * 10**5, [1]):
        with pytest.raises(PromptError, match="expected a list of messages") as caught:
            RegionPrompt().invoke({"marked": marked, "question": "What?", "history": history})
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "looks",
    [{"kind": "elipse"}, {"kind": ["arrow", "elipse"]}, {"color": "gren"}, {"color": ["red", "gren"]}, {"zoom": "in"}],
)
def test_a_step_with_a_wrong_name_is_not_made(looks):
    with pytest.raises(MarkerError, match="expected"):
        MarkRegions(**looks)
    assert MarkRegions(kind=["arrow", None, "auto"], color=["red", None, "auto"], zoom="auto")


def nothing_and_something(image):
    """Find nothing in a blank image."""
    return DETECTIONS if image.getextrema() != ((0, 0),) * 3 else []


def batch_with_a_blank(photo):
    blank = Image.new("RGB", (64, 64))
    question = "What is the object {0}?"
    return [{"image": image, "question": question} for image in (photo, blank, photo)]


def test_images_without_detections_pass_a_batch_with_a_named_outcome(llm, photo):
    step = DetectRegions(detector=nothing_and_something) | MarkRegions(on_empty="outcome") | AskAboutRegions(llm=llm)
    first, empty, last = step.batch(batch_with_a_blank(photo))
    assert (empty["outcome"], empty["answer"], empty["message"], empty["marked"]) == ("no_regions", None, None, None)
    assert (first["outcome"], last["outcome"]) == ("marked", "marked")
    assert first["answer"] == last["answer"] == answer_without_chain(llm, photo, "What is the object {0}?")
    with pytest.raises(PromptError, match=r"outcome 'no_regions'.*AskAboutRegions passes"):
        (MarkRegions(on_empty="outcome") | RegionPrompt()).invoke(chain_input(photo, detections=[]))


async def test_an_outcome_comes_from_async_batches_too(llm, photo):
    step = DetectRegions(detector=nothing_and_something) | MarkRegions(on_empty="outcome") | AskAboutRegions(llm=llm)
    results = await step.abatch(batch_with_a_blank(photo))
    assert [result["outcome"] for result in results] == ["marked", "no_regions", "marked"]


@pytest.mark.parametrize("ask", ["step", "prompt"])
def test_images_without_detections_are_asked_about_as_a_whole(llm, photo, ask):
    whole = {"whole_question": "What is in the image?"}
    ending = AskAboutRegions(llm=llm, **whole) if ask == "step" else RegionPrompt(**whole) | llm
    detect = DetectRegions(detector=nothing_and_something)
    result = (detect | MarkRegions(on_empty="whole_image") | ending).batch(batch_with_a_blank(photo))[1]
    marked = MarkRegions(on_empty="whole_image").invoke(chain_input(Image.new("RGB", (64, 64)), detections=[]))
    assert (marked["outcome"], marked["marked"].markers) == ("whole_image", ())
    expected = llm.invoke([marked["marked"].message("What is in the image?")]).text
    assert (result["answer"] if ask == "step" else result.text) == expected


def test_a_placeholder_about_the_whole_image_raises(photo):
    chain = MarkRegions(on_empty="whole_image") | RegionPrompt()
    with pytest.raises(MarkerError, match="this image has none; pass whole_question="):
        chain.invoke(chain_input(photo, detections=[]))
    messages = chain.invoke(chain_input(photo, "What is it?", detections=[]))
    assert [block["type"] for block in messages[0].content] == ["image", "text"]


def test_an_unknown_choice_for_empty_images_raises():
    with pytest.raises(DetectionError, match="on_empty='ignore'; expected 'raise', 'whole_image' or 'outcome'"):
        MarkRegions(on_empty="ignore")
    with pytest.raises(DetectionError, match="takes='hsv'; expected 'pil', 'rgb', 'bgr'"):
        DetectRegions(detector=nothing_and_something, takes="hsv")
