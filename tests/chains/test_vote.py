"""`VoteAboutRegions`: several looks, one batch, one answer."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from PIL import Image

from langchain_vipllava import (
    ChatVipLlava,
    ImageStore,
    MarkerError,
    MarkRegions,
    PromptError,
    Region,
    VoteAboutRegions,
    Workspace,
    keep_images,
    mark,
)
from langchain_vipllava.tools.chat_model_vision import ChatModelVision
from tests.support.marked_scene import marked_scene


@pytest.fixture(scope="module")
def bundled():
    return ChatVipLlava(model="bundled", max_tokens=16)


def test_the_answer_is_that_of_the_workspace_byte_for_byte(bundled):
    marked = marked_scene()
    question, kinds = "What is the object {1}?", ["arrow", "ellipse", "rectangle"]
    result = VoteAboutRegions(llm=bundled, kinds=kinds).invoke({"marked": marked, "question": question, "more": 5})
    assert (result["answer"], result["agreement"], result["more"]) == ("A blue circle.", 1.0, 5)
    assert 0.5 < result["confidence"] <= 1
    assert result["message"].text == result["answer"]
    workspace = Workspace(model=ChatModelVision(bundled))
    image_id = workspace.add_image(marked.original, session="a")
    marked_id = workspace.mark(image_id, [list(region.box) for region in marked.regions], session="a").image_id
    voted = workspace.ask_vote(marked_id, "What is the object r2?", session="a", kinds=kinds)
    # a batch rounds other sums than single questions do: confidences agree to five places
    assert [replace(vote, confidence=None) for vote in voted.votes] == [
        replace(vote, confidence=None) for vote in result["votes"]
    ]
    assert voted.confidence == pytest.approx(result["confidence"], abs=1e-4)


async def test_a_chain_marks_and_votes_also_asynchronously_and_in_batches(bundled):
    marked = marked_scene()
    chain = MarkRegions() | VoteAboutRegions(llm=bundled, kinds=["rectangle", "point"])
    inputs = [
        {"image": marked.original, "regions": list(marked.regions), "question": f"What is the object {{{index}}}?"}
        for index in (0, 1)
    ]
    expected = ["A white square.", "A blue circle."]
    assert [result["answer"] for result in chain.batch(inputs)] == expected
    assert [result["answer"] for result in await chain.abatch(inputs)] == expected


def test_colors_are_handed_out_in_turn(bundled):
    step = VoteAboutRegions(llm=bundled, colors=["gold", "RED", "aqua"])
    votes = step.invoke({"marked": marked_scene(), "question": "What is the object {0}?"})["votes"]
    assert [vote.phrases for vote in votes] == [
        ("within the gold rectangle", "within the red rectangle"),
        ("within the red rectangle", "within the aqua rectangle"),
        ("within the aqua rectangle", "within the gold rectangle"),
    ]


def prompts_of(step, **chain_input):
    """Return the messages that a step asks with, and what it returns: every look gets its own markers as an answer."""
    seen = []

    def answer(messages):
        seen.append(messages)
        text = messages[-1].text
        return AIMessage(f"It is {re.search(r'(?:within|at|pointed to by) the [a-z ]+', text)[0]}.")

    return seen, step(RunnableLambda(answer)).invoke(chain_input)


def test_the_words_of_a_marker_name_it_in_every_look(bundled):
    step = VoteAboutRegions(llm=bundled, kinds=["point", "arrow", "rectangle"])
    result = step.invoke({"marked": marked_scene(), "question": "What is the object within the lime rectangle?"})
    assert (result["answer"], result["agreement"]) == ("A blue circle.", 1.0)
    assert [vote.question for vote in result["votes"]] == [
        "What is the object at the lime point?",
        "What is the object pointed to by the lime arrow?",
        "What is the object within the lime rectangle?",
    ]


@pytest.mark.parametrize("is_kept", [False, True])
def test_messages_so_far_come_in_the_words_and_with_the_image_of_each_look(is_kept):
    marked = mark(Image.new("RGB", (99, 99), "white"), [Region(box=(10, 10, 50, 50))])
    first = marked.message("What is {0}?")
    if is_kept:
        first = keep_images([first], ImageStore())[0]
    history = [first, AIMessage("A cat is within the red rectangle.")]

    def step(llm):
        return VoteAboutRegions(llm=llm, kinds=["point", "rectangle"])

    seen, result = prompts_of(step, marked=marked, question="And {0}?", history=history)
    looks = dict(zip(("point", "rectangle"), seen, strict=False))
    assert len(seen) == 2
    for messages in seen:
        phrase = re.search(r"(?:within|at) the red \w+", messages[-1].text)[0]
        assert messages[0].text == f"What is the object {phrase}?"
        assert messages[1].text == f"A cat is {phrase}."
        assert (
            len([block for message in messages for block in message.content if "base64" in block or "file_id" in block])
            == 1
        )
    shown = {messages[0].content[0].get("base64") for messages in seen}
    assert len(shown) == len(looks)
    assert (result["answer"], result["agreement"]) == ("It is within the red rectangle.", 1.0)


def test_images_without_markers_are_asked_about_without_a_vote(bundled):
    step = VoteAboutRegions(llm=bundled, whole_question="How many objects are there?")
    empty = {"image": marked_scene().original, "detections": [], "question": "What is {0}?"}
    whole = (MarkRegions(on_empty="whole_image") | step).invoke(empty)
    assert (whole["answer"], whole["agreement"], whole["votes"]) == ("Four.", None, ())
    nothing = (MarkRegions(on_empty="outcome") | step).invoke(empty)
    assert (nothing["answer"], nothing["outcome"], nothing["votes"]) == (None, "no_regions", ())


def test_wrong_names_and_inputs_are_refused(bundled):
    with pytest.raises(MarkerError, match="unknown marker kind 'box'"):
        VoteAboutRegions(llm=bundled, kinds=["box"])
    with pytest.raises(MarkerError, match="expected a list"):
        VoteAboutRegions(llm=bundled, colors="red")
    step = VoteAboutRegions(llm=bundled, kinds=["arrow"])
    with pytest.raises(MarkerError, match="too few to vote"):
        step.invoke({"marked": marked_scene(), "question": "What is {0}?"})
    with pytest.raises(MarkerError, match="names 'with the gold mask', which"):
        VoteAboutRegions(llm=bundled).invoke({"marked": marked_scene(), "question": "What is with the gold mask?"})
    thing = marked_scene().phrases[0].replace("within ", "")
    with pytest.raises(MarkerError, match=f"names '{thing}', a marker that other looks"):
        VoteAboutRegions(llm=bundled).invoke({"marked": marked_scene(), "question": f"What is {thing}?"})
    with pytest.raises(PromptError, match="'question'"):
        VoteAboutRegions(llm=bundled).invoke({"marked": marked_scene()})
    with pytest.raises(PromptError, match="'marked'"):
        VoteAboutRegions(llm=bundled).invoke({"question": "What is {0}?"})
    with pytest.raises(MarkerError, match="names no marker"):
        VoteAboutRegions(llm=bundled).invoke({"marked": marked_scene(), "question": "What is {7}?"})
