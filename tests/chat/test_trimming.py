"""`trim_turns`: drops the oldest turns until the prompt fits, and keeps the image."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage, trim_messages

from langchain_vipllava import GenerationError, PromptTooLongError, trim_turns


def long_conversation(marked, turns: int) -> list:
    messages = [SystemMessage("Be brief."), marked.message("What is {0}?"), AIMessage("A face.")]
    for number in range(turns):
        messages += [HumanMessage(f"Question {number} " + "word " * 20), AIMessage(f"Answer {number}.")]
    return [*messages, HumanMessage("And the last?")]


def test_a_conversation_that_fits_is_not_changed(llm, marked):
    messages = long_conversation(marked, 1)
    assert trim_turns(messages, llm) == messages


def test_the_oldest_turns_are_dropped_whole_and_the_image_is_kept(llm, marked):
    messages = long_conversation(marked, 12)
    kept = trim_turns(messages, llm)
    assert kept[:3] == messages[:3]
    assert kept[-1] == messages[-1]
    middle = kept[3:-1]
    assert middle == messages[len(messages) - 1 - len(middle) : -1]  # the newest messages, in order, in whole turns
    assert len(middle) % 2 == 0
    assert 0 < len(middle) < 24
    room = llm.backend.context_length - llm.get_num_tokens_from_messages(kept)
    assert room >= llm.max_tokens
    one_turn_more = [*kept[:3], *messages[len(messages) - 3 - len(middle) : -1], messages[-1]]
    assert llm.backend.context_length - llm.get_num_tokens_from_messages(one_turn_more) < llm.max_tokens
    assert llm.invoke(kept)


def test_tool_calls_and_results_are_dropped_with_their_question(llm, marked):
    call = {"name": "look", "args": {}, "id": "1"}
    turn = [HumanMessage("word " * 60), AIMessage("", tool_calls=[call]), ToolMessage("seen", tool_call_id="1")]
    messages = [marked.message("What is {0}?"), AIMessage("A face."), *turn * 4, HumanMessage("Last?")]
    kept = trim_turns(messages, llm)
    assert kept[:2] == messages[:2]
    assert (len(kept) - 3) % 3 == 0
    assert len(kept) < len(messages)


def test_room_reserves_tokens_for_the_answer(llm, marked):
    messages = long_conversation(marked, 12)
    assert len(trim_turns(messages, llm, room=200)) < len(trim_turns(messages, llm, room=10))
    with pytest.raises(GenerationError, match="room=0"):
        trim_turns(messages, llm, room=0)


def test_a_single_turn_that_is_too_long_raises_with_the_excess(llm, marked):
    with pytest.raises(PromptTooLongError, match=r"\d+ too many"):
        trim_turns([marked.message("What is {0}?"), AIMessage("A."), HumanMessage("word " * 800)], llm)


@pytest.mark.parametrize("strategy", ["first", "last"])
def test_trim_messages_can_count_any_part_of_a_conversation(llm, strategy):
    messages = [
        HumanMessage("Hello. " * 30),
        AIMessage("Hi."),
        HumanMessage("Who?"),
        AIMessage("Me."),
        HumanMessage("Ok?"),
    ]
    kept = trim_messages(messages, max_tokens=100, token_counter=llm, strategy=strategy)
    assert kept == (messages[1:] if strategy == "last" else [])
    assert llm.get_num_tokens_from_messages(messages) > 100 >= llm.get_num_tokens_from_messages(messages[1:])


def test_without_max_tokens_the_default_number_of_tokens_is_reserved(llm):
    messages = [part for n in range(40) for part in (HumanMessage(f"Question {n}?"), AIMessage("Yes, it is."))]
    messages.append(HumanMessage("And now?"))
    unbound = llm.model_copy(update={"max_tokens": None})
    assert trim_turns(messages, unbound) == trim_turns(messages, llm, room=256)


def test_chat_messages_with_a_role_are_turns_too(llm):
    named = [ChatMessage("Be brief.", role="system")]
    plain = [SystemMessage("Be brief.")]
    for turn in range(40):
        named += [ChatMessage(f"What is number {turn}?", role="user"), ChatMessage("A star.", role="assistant")]
        plain += [HumanMessage(f"What is number {turn}?"), AIMessage("A star.")]
    named, plain = ([*messages, HumanMessage("And this?")] for messages in (named, plain))
    kept = trim_turns(named, llm)
    assert [message.content for message in kept] == [message.content for message in trim_turns(plain, llm)]
    assert len(kept) < len(named)
    assert kept[0].content == "Be brief."
