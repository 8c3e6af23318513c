"""Conversations that fill the model's context, or `max_turns`: the oldest are forgotten, and the reply says so."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.language_models import FakeListChatModel

from langchain_vipllava import ChatVipLlava, PromptTooLongError, VipLlavaToolkit, Workspace
from langchain_vipllava.errors import ContextOverflowError
from tests.support.tool_caller import ToolCaller
from tests.workspace.test_workspace import RecordingModel

BOX = [1, 2, 30, 40]


class SmallModel(RecordingModel):
    """Has room for four questions."""

    def answer(self, conversation):
        if len(conversation.turns) > 4:
            raise PromptTooLongError("the prompt is 9 tokens too long.")
        return super().answer(conversation)


def ask_in_every_way(workspace, image_id, question):
    """Ask with `ask`, `aask`, `stream` or `astream`, in turn."""

    async def last_of(stream):
        return [piece async for piece in stream][-1]

    number = len(workspace.conversation(image_id, session="a").turns)
    ways = [
        lambda: workspace.ask(image_id, question, session="a"),
        lambda: asyncio.run(workspace.aask(image_id, question, session="a")),
        lambda: list(workspace.stream(image_id, question, session="a"))[-1],
        lambda: asyncio.run(last_of(workspace.astream(image_id, question, session="a"))),
    ]
    return ways[number % 4]()


@pytest.mark.parametrize("ask", [ask_in_every_way, lambda w, i, q: w.ask(i, q, session="a")])
def test_a_full_context_forgets_the_oldest_half_and_says_so(photo, ask):
    workspace = Workspace(model=SmallModel())
    image_id = workspace.add_image(photo, session="a")
    answers = [ask(workspace, image_id, f"Q{number}") for number in range(9)]
    assert [answer.forgotten for answer in answers] == [0, 0, 0, 0, 2, 0, 2, 0, 2]
    assert [turn.question for turn in workspace.conversation(image_id, session="a").turns] == ["Q6", "Q7", "Q8"]
    assert [len(turn.images) for turn in workspace.conversation(image_id, session="a").turns] == [1, 0, 0]
    note = answers[4].text.splitlines()[1]
    assert "forgot the 2 oldest questions about img1" in note
    assert "Say again in your next question" in note
    assert answers[4].to_dict()["forgotten"] == 2
    assert "forgotten" not in answers[5].to_dict()


def test_max_turns_bounds_a_conversation_that_goes_on(photo):
    workspace = Workspace(model=RecordingModel(), max_turns=4)
    image_id = workspace.add_image(photo, session="a")
    for number in range(30):
        answered = workspace.ask(image_id, f"Q{number}", session="a")
        turns = workspace.conversation(image_id, session="a").turns
        assert len(turns) <= 4
        assert (answered.question, turns[-1].question) == (f"Q{number}", f"Q{number}")
    alone = Workspace(model=RecordingModel(), max_turns=1)
    image_id = alone.add_image(photo, session="a")
    assert [alone.ask(image_id, "Q", session="a").forgotten for _ in range(3)] == [0, 1, 1]


def test_a_question_that_is_too_long_by_itself_is_an_error_and_nothing_is_forgotten(photo):
    class Full(RecordingModel):
        def answer(self, conversation):
            if "long" in conversation.turns[-1].question:
                raise PromptTooLongError("the prompt is 9 tokens too long.")
            return super().answer(conversation)

    workspace = Workspace(model=Full())
    image_id = workspace.add_image(photo, session="a")
    for number in range(3):
        workspace.ask(image_id, f"Q{number}", session="a")
    with pytest.raises(PromptTooLongError, match="9 tokens"):
        workspace.ask(image_id, "a long one", session="a")
    assert [turn.question for turn in workspace.conversation(image_id, session="a").turns] == ["Q0", "Q1", "Q2"]


def test_an_answer_that_has_begun_is_not_begun_again(photo):
    class Breaks(RecordingModel):
        def stream(self, conversation):
            yield "The "
            raise PromptTooLongError("the prompt grew too long.")

    workspace = Workspace(model=Breaks())
    image_id = workspace.add_image(photo, session="a")
    workspace.ask(image_id, "Q0", session="a")
    pieces = workspace.stream(image_id, "Q1", session="a")
    assert next(pieces) == "The "
    with pytest.raises(PromptTooLongError):
        next(pieces)


def test_forty_questions_of_an_agent_about_one_image(tiny_checkpoint, photo):
    """The checkpoint's context of 512 tokens is full after some 20; `ask_regions` used to fail from then on."""
    toolkit = VipLlavaToolkit(chat_model=ChatVipLlava(model=str(tiny_checkpoint), max_tokens=12))
    toolkit.add_image(photo)
    caller = ToolCaller(toolkit)
    caller.call("mark_regions", image_id="photo1", regions=[BOX])
    replies = [caller.call("ask_regions", image_id="marked1", question=f"What is r1, {n}?") for n in range(40)]
    notes = [number for number, reply in enumerate(replies) if "Note: to make room" in reply.content]
    assert 1 <= len(notes) < 10
    assert replies[notes[0]].artifact["forgotten"] > 1


def test_the_overflow_of_another_chat_model_is_one_too(photo):
    class Overflow(ContextOverflowError):
        """As chat models of other packages raise it."""

    class SmallChatModel(FakeListChatModel):
        def _call(self, messages, *args, **kwargs):
            if len(messages) > 3:
                raise Overflow("maximum context length is 8192 tokens")
            return super()._call(messages, *args, **kwargs)

    toolkit = VipLlavaToolkit(chat_model=SmallChatModel(responses=["Yes."]))
    toolkit.add_image(photo)
    caller = ToolCaller(toolkit)
    replies = [caller.call("ask_regions", image_id="photo1", question=f"Q{n}") for n in range(4)]
    assert [reply.artifact.get("forgotten", 0) for reply in replies] == [0, 0, 1, 1]
