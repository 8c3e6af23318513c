"""Long conversations cut down to the context: the image stays, whole turns go, the oldest first."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage, trim_messages

from langchain_vipllava import GenerationError, PromptTooLongError, trim_turns


def a_long_talk(marked, turns: int) -> list:
    talk = [SystemMessage("Be brief."), marked.message("What is {0}?"), AIMessage("A face.")]
    for number in range(turns):
        talk += [HumanMessage(f"Question {number} " + "word " * 20), AIMessage(f"Answer {number}.")]
    return [*talk, HumanMessage("And the last?")]


def test_what_fits_is_left_as_it_is(llm, marked):
    talk = a_long_talk(marked, 1)
    assert trim_turns(talk, llm) == talk


def test_the_oldest_turns_go_whole_and_the_image_stays(llm, marked):
    talk = a_long_talk(marked, 12)
    kept = trim_turns(talk, llm)
    assert kept[:3] == talk[:3]
    assert kept[-1] == talk[-1]
    middle = kept[3:-1]
    assert middle == talk[len(talk) - 1 - len(middle) : -1]  # the newest ones, in order, none torn apart
    assert len(middle) % 2 == 0
    assert 0 < len(middle) < 24
    room = llm.backend.runner.encoder.context_length - llm.get_num_tokens_from_messages(kept)
    assert room >= llm.max_tokens
    one_more = [*kept[:3], *talk[len(talk) - 3 - len(middle) : -1], talk[-1]]
    assert llm.backend.runner.encoder.context_length - llm.get_num_tokens_from_messages(one_more) < llm.max_tokens
    assert llm.invoke(kept)


def test_calls_and_what_their_tools_said_go_with_their_question(llm, marked):
    call = {"name": "look", "args": {}, "id": "1"}
    turn = [HumanMessage("word " * 60), AIMessage("", tool_calls=[call]), ToolMessage("seen", tool_call_id="1")]
    talk = [marked.message("What is {0}?"), AIMessage("A face."), *turn * 4, HumanMessage("Last?")]
    kept = trim_turns(talk, llm)
    assert kept[:2] == talk[:2]
    assert (len(kept) - 3) % 3 == 0
    assert len(kept) < len(talk)


def test_the_room_for_the_answer_is_yours(llm, marked):
    talk = a_long_talk(marked, 12)
    assert len(trim_turns(talk, llm, room=200)) < len(trim_turns(talk, llm, room=10))
    with pytest.raises(GenerationError, match="room=0"):
        trim_turns(talk, llm, room=0)


def test_a_turn_that_is_too_long_by_itself_says_by_how_much(llm, marked):
    with pytest.raises(PromptTooLongError, match=r"\d+ too many"):
        trim_turns([marked.message("What is {0}?"), AIMessage("A."), HumanMessage("word " * 800)], llm)


@pytest.mark.parametrize("strategy", ["first", "last"])
def test_trim_messages_may_count_any_part_of_a_conversation(llm, strategy):
    talk = [HumanMessage("Hello. " * 30), AIMessage("Hi."), HumanMessage("Who?"), AIMessage("Me."), HumanMessage("Ok?")]
    kept = trim_messages(talk, max_tokens=100, token_counter=llm, strategy=strategy)
    assert kept == (talk[1:] if strategy == "last" else [])
    assert llm.get_num_tokens_from_messages(talk) > 100 >= llm.get_num_tokens_from_messages(talk[1:])


def test_without_max_tokens_there_is_room_for_as_many_as_a_call_takes(llm):
    talk = [part for n in range(40) for part in (HumanMessage(f"Question {n}?"), AIMessage("Yes, it is."))]
    talk.append(HumanMessage("And now?"))
    unbound = llm.model_copy(update={"max_tokens": None})
    assert trim_turns(talk, unbound) == trim_turns(talk, llm, room=256)


def test_messages_that_only_name_their_role_are_turns_too(llm):
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
