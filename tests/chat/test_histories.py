"""Histories that other models and programs leave: what they say is in the prompt, and errors name the message."""

from __future__ import annotations

import base64
import json

import pytest
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate

from langchain_vipllava import ChatVipLlava, ImageError, ImageStore, PromptError, keep_images, trim_turns
from langchain_vipllava.apps.notebook import ConversationView
from langchain_vipllava.chat.image_refs import restore_images
from tests.support.echo import EchoBackend


def base64_of(text):
    return base64.b64encode(text.encode()).decode()


@pytest.fixture(scope="module")
def echo():
    return ChatVipLlava(backend=EchoBackend())


CALL = '[{"name":"look","arguments":{"at":"left"}}]'
LOOK = {"name": "look", "arguments": '{"at": "left"}'}

ANSWERS: dict[str, tuple[BaseMessage, str]] = {
    "a refusal of OpenAI's": (AIMessage("", additional_kwargs={"refusal": "I cannot."}), "I cannot."),
    "a refusal beside a text": (AIMessage("Well.", additional_kwargs={"refusal": "I cannot."}), "Well.\nI cannot."),
    "a refusal that is there twice": (
        AIMessage([{"type": "refusal", "refusal": "No."}], additional_kwargs={"refusal": "No."}),
        "No.",
    ),
    "a refusal that LangChain wrapped": (
        AIMessage([{"type": "non_standard", "value": {"type": "refusal", "refusal": "No."}}]),
        "No.",
    ),
    "spoken words": (AIMessage("", additional_kwargs={"audio": {"id": "a", "transcript": "A star."}}), "A star."),
    "spoken words in a block": (AIMessage([{"type": "audio", "base64": "AA", "transcript": "A star."}]), "A star."),
    "a function call": (AIMessage("", additional_kwargs={"function_call": LOOK}), CALL),
    "a function call of an assistant's": (
        ChatMessage("", role="assistant", additional_kwargs={"tool_calls": [{"id": "1", "function": LOOK}]}),
        CALL,
    ),
    "a call that is no JSON": (
        AIMessage(
            "",
            invalid_tool_calls=[{"type": "invalid_tool_call", "name": "f", "args": '{"a', "id": "1", "error": "cut"}],
        ),
        '[{"name":"f","arguments":"{\\"a"}]',
    ),
    "a call beside one that is no JSON": (
        AIMessage(
            "Wait.",
            tool_calls=[{"name": "look", "args": {"at": "left"}, "id": "1"}],
            invalid_tool_calls=[{"type": "invalid_tool_call", "name": "f", "args": None, "id": "2", "error": None}],
        ),
        f'Wait.\n{CALL[:-1]},{{"name":"f","arguments":""}}]',
    ),
    "a call that max_tokens cut": (
        AIMessage(
            "",
            invalid_tool_calls=[
                {"type": "invalid_tool_call", "name": None, "args": CALL[:20], "id": "1", "error": "cut"}
            ],
        ),
        CALL[:20],
    ),
    "Anthropic's tool_use": (
        AIMessage([{"type": "tool_use", "id": "1", "name": "look", "input": {"at": "left"}}]),
        CALL,
    ),
    "OpenAI's function_call": (AIMessage([{"type": "function_call", "call_id": "1", **LOOK}]), CALL),
    "OpenAI's custom call": (
        AIMessage([{"type": "custom_tool_call", "call_id": "1", "name": "run", "input": "print(1)"}]),
        '[{"name":"run","arguments":"print(1)"}]',
    ),
    "Bedrock's toolUse": (AIMessage([{"toolUse": {"toolUseId": "1", "name": "look", "input": {"at": "left"}}}]), CALL),
    "Google's function_call": (AIMessage([{"function_call": {"name": "look", "args": {"at": "left"}}}]), CALL),
    "a call that LangChain has read": (
        AIMessage(
            [{"type": "tool_use", "id": "1", "name": "look", "input": {"at": "left"}}],
            tool_calls=[{"name": "look", "args": {"at": "left"}, "id": "1"}],
        ),
        CALL,
    ),
    "Bedrock's guarded text": (AIMessage([{"guardContent": {"text": {"text": "A star."}}}]), "A star."),
    "Bedrock's cited text": (AIMessage([{"citationsContent": {"content": [{"text": "A star."}]}}]), "A star."),
    "Anthropic's cited text": (
        AIMessage(
            [
                {"type": "text", "text": "It is "},
                {"type": "text", "text": "a red", "citations": [{"type": "char_location", "cited_text": "red"}]},
                {"type": "text", "text": " star", "citations": [{"type": "char_location", "cited_text": "star"}]},
                {"type": "text", "text": "."},
                {"type": "text", "text": "Yes."},
            ]
        ),
        "It is a red star.\nYes.",
    ),
    "Bedrock's text around a citation": (
        AIMessage([{"text": "It is "}, {"citationsContent": {"content": [{"text": "a star"}]}}, {"text": "."}]),
        "It is a star.",
    ),
    "base64 that is damaged": (
        AIMessage(
            [
                "A star.",
                {"type": "file", "base64": "!!", "mime_type": "image/png"},
                {"type": "text-plain", "base64": "!"},
            ]
        ),
        "A star.",
    ),
    "half a character": (AIMessage("A star \ud83c."), "A star \ufffd."),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_an_answer_says_is_in_the_prompt(echo, name):
    message, said = ANSWERS[name]
    messages = [HumanMessage("Hi."), message, ToolMessage("x", tool_call_id="1"), HumanMessage("Why?")]
    assert echo.render_prompt(messages) == f"USER: Hi.ASSISTANT: {said}USER: x\nWhy?ASSISTANT:"
    assert echo.invoke(messages).text == "x Why?"


MARKS = {
    "Bedrock's cachePoint": {"cachePoint": {"type": "default"}},
    "cachePoint with a type": {"type": "cachePoint"},
    "langchain-aws's cache_point": {"cache_point": {"type": "default"}},
    "wrapped by LangChain": {"type": "non_standard", "value": {"cachePoint": {"type": "default"}}},
    "Anthropic's container_upload": {"type": "container_upload", "file_id": "file-1"},
    "Anthropic's tool_reference": {"type": "tool_reference", "tool_name": "look"},
    "OpenAI's approval": {"type": "mcp_approval_response", "approve": True, "approval_request_id": "1"},
    "Bedrock's reasoning": {"reasoningContent": {"reasoningText": {"text": "hm"}}},
}


@pytest.mark.parametrize("name", MARKS)
def test_marks_without_content_are_skipped_wherever_they_stand(echo, name):
    messages = [SystemMessage(["Be brief.", MARKS[name]]), HumanMessage([MARKS[name], "Why?"])]
    assert echo.render_prompt(messages) == "Be brief. USER: Why?ASSISTANT:"
    assert echo.invoke(messages).text == "Why?"


TEXT_FILES = {
    "base64": {"type": "file", "mime_type": "text/plain", "base64": base64_of("Grün.")},
    "with a byte order mark": {
        "type": "file",
        "mime_type": "text/plain; charset=utf-8",
        "base64": base64_of("\ufeffGrün."),
    },
    "JSON": {"type": "file", "mime_type": "application/json", "base64": base64_of("Grün.")},
    "in v0": {"type": "file", "source_type": "base64", "mime_type": "text/plain", "data": base64_of("Grün.")},
    "as text in v0": {"type": "file", "source_type": "text", "mime_type": "text/plain", "text": "Grün."},
    "OpenAI's file": {
        "type": "file",
        "file": {"filename": "a.txt", "file_data": f"data:text/plain;base64,{base64_of('Grün.')}"},
    },
    "OpenAI's input_file": {
        "type": "input_file",
        "filename": "a.csv",
        "file_data": f"data:text/csv;base64,{base64_of('Grün.')}",
    },
    "Google's media": {"type": "media", "mime_type": "text/plain", "data": "Grün.".encode()},
    "Google's inline data": {"inlineData": {"mimeType": "text/markdown", "data": base64_of("Grün.")}},
    "Anthropic's base64": {
        "type": "document",
        "source": {"type": "base64", "media_type": "text/plain", "data": base64_of("Grün.")},
    },
    "Bedrock's text": {"document": {"format": "txt", "name": "n", "source": {"text": "Grün."}}},
    "Bedrock's text with a type": {
        "type": "document",
        "document": {"format": "md", "name": "n", "source": {"text": "Grün."}},
    },
    "Bedrock's bytes": {"document": {"format": "csv", "name": "n", "source": {"bytes": "Grün.".encode()}}},
    "Bedrock's base64": {"document": {"format": "html", "name": "n", "source": {"bytes": base64_of("Grün.")}}},
    "Bedrock's parts": {"document": {"format": "txt", "name": "n", "source": {"content": [{"text": "Grün."}]}}},
    "Bedrock's guarded text": {"guardContent": {"text": {"text": "Grün.", "qualifiers": ["query"]}}},
    "langchain-aws's guarded text": {"type": "guard_content", "guard_content": {"type": "text", "text": "Grün."}},
    "langchain-aws's guarded text, short": {"type": "guard_content", "text": "Grün."},
    "wrapped by LangChain": {
        "type": "non_standard",
        "value": {"document": {"format": "txt", "name": "n", "source": {"text": "Grün."}}},
    },
}


@pytest.mark.parametrize("name", TEXT_FILES)
def test_a_file_that_holds_text_is_read(echo, name):
    for message in (
        HumanMessage([TEXT_FILES[name], "Why?"]),
        ToolMessage([TEXT_FILES[name], "Why?"], tool_call_id="1"),
    ):
        assert echo.render_prompt([message]) == "USER: Grün.\nWhy?ASSISTANT:"
        assert echo.invoke([message]).text == "Grün. Why?"


OTHER_FILES = {
    "a PDF": {"type": "file", "mime_type": "application/pdf", "base64": base64_of("%PDF-1.7")},
    "a PDF called a text": {"type": "file", "file": {"filename": "a.txt", "file_data": base64_of("%PDF-1.7")}},
    "a ZIP called a text": {"type": "file", "mime_type": "text/plain", "base64": base64_of("PK\x03\x04\x00\x00")},
    "a PDF of Bedrock's": {"document": {"format": "pdf", "name": "n", "source": {"bytes": b"%PDF"}}},
    "a text in S3": {"document": {"format": "txt", "name": "n", "source": {"s3Location": {"uri": "s3://a/b"}}}},
    "a link to a text": {"type": "file", "mime_type": "text/plain", "url": "https://example.com/a.txt"},
    "a link to a plain text": {"type": "text-plain", "mime_type": "text/plain", "url": "https://example.com/a.txt"},
    "a link of OpenAI's": {"type": "input_file", "file_url": "https://example.com/a.pdf"},
    "OpenAI's file_id": {"type": "input_file", "file_id": "file-1"},
    "a link to a document": {"type": "document_url", "document_url": "https://example.com/a.pdf"},
    "a video of Bedrock's": {"video": {"format": "mp4", "source": {"bytes": b"x"}}},
    "an empty guard": {"guardContent": {}},
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_a_file_that_cannot_be_read_is_refused_from_the_user_and_named_from_a_tool(echo, name):
    with pytest.raises(PromptError) as caught:
        echo.invoke([HumanMessage([OTHER_FILES[name], "Why?"])])
    assert len(str(caught.value)) < 400
    named = echo.render_prompt([ToolMessage([OTHER_FILES[name]], tool_call_id="1")])
    assert named.startswith("USER: [" if name != "an empty guard" else "USER: {}")


def test_an_image_called_a_text_is_an_image(echo):
    block = {"type": "file", "mime_type": "text/plain", "base64": IMAGE["base64"]}
    assert echo.render_prompt([HumanMessage([block, "Why?"])]) == "USER: <image>\nWhy?ASSISTANT:"


def test_damaged_base64_of_a_users_text_is_refused(echo):
    for kind in ("file", "text-plain"):
        with pytest.raises(ImageError, match="a text's base64 '!!' cannot be decoded"):
            echo.invoke([HumanMessage([{"type": kind, "mime_type": "text/plain", "base64": "!!"}, "Why?"])])


ROLES = {
    "developer": "d USER: xASSISTANT:",
    "system": "d USER: xASSISTANT:",
    "model": "USER: ASSISTANT: dUSER: xASSISTANT:",
    "Assistant": "USER: ASSISTANT: dUSER: xASSISTANT:",
    "Human ": "USER: d\nxASSISTANT:",
}


@pytest.mark.parametrize("role", ROLES)
def test_the_roles_of_providers_are_read(echo, role):
    assert echo.render_prompt([ChatMessage("d", role=role), HumanMessage("x")]) == ROLES[role]


@pytest.mark.parametrize("role", ["tool", "function", "bot", "x" * 1000])
def test_an_unknown_role_is_named(echo, role):
    with pytest.raises(PromptError, match=f"of role '{role[:50]}") as caught:
        echo.render_prompt([ChatMessage("d", role=role), HumanMessage("x")])
    assert "developer" in str(caught.value)
    assert len(str(caught.value)) < 400


IMAGE = {"type": "image", "base64": "iVBORw0KGgo="}

EMPTY = {
    "in the middle": ([HumanMessage("a"), AIMessage("b"), HumanMessage(""), AIMessage("c"), HumanMessage("d")], 2),
    "at the end": ([SystemMessage("s"), HumanMessage("a"), AIMessage("b"), HumanMessage(" \n")], 3),
    "two in a row": ([HumanMessage("a"), AIMessage("b"), HumanMessage(""), HumanMessage([])], 3),
    "only a mark": ([HumanMessage("a"), AIMessage("b"), HumanMessage([MARKS["Bedrock's cachePoint"]])], 2),
    "alone": ([HumanMessage("")], 0),
    "an image alone": ([HumanMessage([IMAGE])], 0),
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_message_is_named(echo, name):
    messages, place = EMPTY[name]
    what = "an image without a question" if name == "an image alone" else "an empty question"
    expected = rf"messages\[{place}\], the HumanMessage in place {place + 1} of {len(messages)}, is {what}"
    for call in (echo.invoke, echo.render_prompt, lambda value: list(echo.stream(value))):
        with pytest.raises(PromptError, match=expected):
            call(messages)
    assert echo.get_num_tokens_from_messages(messages) > 0  # any part of a conversation is counted


def test_an_empty_question_beside_others_is_none(echo):
    messages = [HumanMessage("a"), HumanMessage(""), AIMessage("b"), HumanMessage(""), HumanMessage("c")]
    assert echo.render_prompt(messages) == "USER: aASSISTANT: bUSER: cASSISTANT:"


FORMS = {
    "a text": "Hi there.",
    "tuples": [("human", "Hi there.")],
    "dicts": [{"role": "user", "content": "Hi there."}],
    "messages": [HumanMessage("Hi there.")],
    "a text in a list": ["Hi there."],
    "a prompt's value": ChatPromptTemplate.from_messages([("human", "Hi {who}.")]).invoke({"who": "there"}),
}


@pytest.mark.parametrize("name", FORMS)
def test_whatever_invoke_takes_is_counted_trimmed_and_kept(echo, name):
    form = FORMS[name]
    assert echo.invoke(form).text == "Hi there."
    assert echo.get_num_tokens_from_messages(form) == 3
    assert trim_turns(form, echo) == [HumanMessage("Hi there.")]
    assert keep_images(form, ImageStore()) == restore_images(form, ImageStore()) == [HumanMessage("Hi there.")]


def test_a_notebook_shows_tuples_too():
    assert repr(ConversationView([("user", "Hi."), ("ai", "A star.")])) == "USER: Hi.\nASSISTANT: A star."


def test_trim_turns_drops_turns_of_tuples(echo):
    history = [
        part for turn in range(2000) for part in (("user", f"And number {turn}, what is it?"), ("ai", "A star."))
    ]
    kept = trim_turns([*history, ("user", "Last?")], echo, room=100)
    assert kept[-1] == HumanMessage("Last?")
    assert 1 < len(kept) < len(history)


def test_arguments_of_invalid_calls_stay_one_line_of_json(echo):
    calls = [{"type": "invalid_tool_call", "name": "f", "args": 'x"\n', "id": "1", "error": "e"}]
    prompt = echo.render_prompt([HumanMessage("a"), AIMessage("", invalid_tool_calls=calls), HumanMessage("b")])
    written = prompt.partition("ASSISTANT: ")[2].partition("USER:")[0]
    assert json.loads(written) == [{"name": "f", "arguments": 'x"\n'}]
