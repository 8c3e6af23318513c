"""Message kinds and histories: the prompt that the model reads, byte for byte."""
# ruff: noqa: E501  # a row is a line

import base64
import warnings

import pytest
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder

from langchain_vipllava import ImageError, PromptError
from langchain_vipllava.apps.assets import SCENE
from tests.situations.registry import situation, situations

PNG = base64.b64encode(SCENE.read_bytes()).decode()
URI = f"data:image/png;base64,{PNG}"
CALL = {"name": "look", "args": {"at": "left"}, "id": "1"}
TEXT = {"type": "text", "text": "What?"}

PROMPTS = (
    ("a text instead of messages", "is the question", "Hi.", "USER: Hi.ASSISTANT:"),
    ("tuples `(role, text)`", "are messages", [("system", "Be brief."), ("human", "Hi.")],
     "Be brief. USER: Hi.ASSISTANT:"),
    ("OpenAI's dicts `{role, content}`", "are messages",
     [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Bye."}],
     "USER: Hi.ASSISTANT: Yes?USER: Bye.ASSISTANT:"),
    ("two human messages in a row", "are one turn, joined by a line break",
     [HumanMessage("Hi."), HumanMessage("Bye.")], "USER: Hi.\nBye.ASSISTANT:"),
    ("two answers in a row", "are one answer",
     [HumanMessage("Hi."), AIMessage("A"), AIMessage("B"), HumanMessage("C")], "USER: Hi.ASSISTANT: A\nBUSER: CASSISTANT:"),
    ("a system message in the middle", "stands in front", [HumanMessage("Hi."), SystemMessage("Be brief.")],
     "Be brief. USER: Hi.ASSISTANT:"),
    ("a greeting by the assistant comes first", "stands behind an empty question",
     [AIMessage("Hello!"), HumanMessage("Hi.")], "USER: ASSISTANT: Hello!USER: Hi.ASSISTANT:"),
    ("the conversation ends with an answer", "the question `Continue.` follows",
     [HumanMessage("Hi."), AIMessage("A")], "USER: Hi.ASSISTANT: AUSER: Continue.ASSISTANT:"),
    ("`ChatMessage(role='user')`", "is a human message", [ChatMessage("Hi.", role="user")], "USER: Hi.ASSISTANT:"),
    ("`ChatMessage(role='developer')`, `(role='model')`", "are a system message and an answer",
     [ChatMessage("Be brief.", role="developer"), HumanMessage("Hi."), ChatMessage("A", role="model"), HumanMessage("B")],
     "Be brief. USER: Hi.ASSISTANT: AUSER: BASSISTANT:"),
    ("a turn marker in a text", "is written with a space, and begins no turn", "a USER: b", "USER: a USER : bASSISTANT:"),
    ("the answer calls a tool", "the call stands as a JSON list",
     [HumanMessage("Hi."), AIMessage("", tool_calls=[CALL]), ToolMessage("a cat", tool_call_id="1")],
     'USER: Hi.ASSISTANT: [{"name":"look","arguments":{"at":"left"}}]USER: a catASSISTANT:'),
    ("the answer is a call that is no JSON", "its text stands as the arguments, in front of the tool's error",
     [HumanMessage("Hi."), AIMessage("", invalid_tool_calls=[
         {"type": "invalid_tool_call", "name": "look", "args": '{"at', "id": "1", "error": "cut"}]),
      ToolMessage("bad arguments", tool_call_id="1")],
     'USER: Hi.ASSISTANT: [{"name":"look","arguments":"{\\"at"}]USER: bad argumentsASSISTANT:'),
    ("OpenAI's `function_call` in `additional_kwargs`", "stands as a JSON list",
     [HumanMessage("Hi."), AIMessage("", additional_kwargs={"function_call": {"name": "look", "arguments": "{}"}}),
      HumanMessage("B")], 'USER: Hi.ASSISTANT: [{"name":"look","arguments":{}}]USER: BASSISTANT:'),
    ("a tool returns nothing", "`(no output)` stands for it",
     [HumanMessage("Hi."), AIMessage("", tool_calls=[CALL]), ToolMessage("", tool_call_id="1")],
     'USER: Hi.ASSISTANT: [{"name":"look","arguments":{"at":"left"}}]USER: (no output)ASSISTANT:'),
    ("a tool returns JSON blocks", "are its text", [ToolMessage([{"json": {"a": 1}}], tool_call_id="1")],
     'USER: {"a": 1}ASSISTANT:'),
    ("a tool returns Anthropic's `search_result`", "title, source and text are read",
     [ToolMessage([{"type": "search_result", "title": "T", "source": "S", "content": [{"type": "text", "text": "X"}]}],
                  tool_call_id="1")], "USER: T\nS\nXASSISTANT:"),
    ("a tool returns an MCP link to a PDF", "its name is the text",
     [ToolMessage([{"type": "resource_link", "uri": "https://a.b/r.pdf", "name": "r.pdf"}], tool_call_id="1")],
     "USER: [file r.pdf]ASSISTANT:"),
    ("a tool returns an image and no text", "the model sees it, and reads `(image)`",
     [ToolMessage([{"type": "image", "base64": PNG}], tool_call_id="1")], "USER: <image>\n(image)ASSISTANT:"),
    ("a v1 image block", "the model sees it", [HumanMessage([{"type": "image", "base64": PNG}, TEXT])],
     "USER: <image>\nWhat?ASSISTANT:"),
    ("OpenAI's `image_url`", "the model sees it",
     [HumanMessage([{"type": "image_url", "image_url": {"url": URI}}, TEXT])], "USER: <image>\nWhat?ASSISTANT:"),
    ("Responses' `input_image` and `input_text`", "are read",
     [HumanMessage([{"type": "input_image", "image_url": URI}, {"type": "input_text", "text": "What?"}])],
     "USER: <image>\nWhat?ASSISTANT:"),
    ("Anthropic's `source`", "the model sees it",
     [HumanMessage([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}, TEXT])],
     "USER: <image>\nWhat?ASSISTANT:"),
    ("Google's `media`", "the model sees it", [HumanMessage([{"type": "media", "mime_type": "image/png", "data": PNG}, TEXT])],
     "USER: <image>\nWhat?ASSISTANT:"),
    ("bare base64 as `image_url`", "the model sees it", [HumanMessage([{"type": "image_url", "image_url": PNG}, TEXT])],
     "USER: <image>\nWhat?ASSISTANT:"),
    ("Bedrock's `cachePoint`, Anthropic's `container_upload`", "are left out, wherever they stand",
     [SystemMessage([{"type": "text", "text": "Be brief."}, {"cachePoint": {"type": "default"}}]),
      HumanMessage([{"type": "container_upload", "file_id": "1"}, TEXT])], "Be brief. USER: What?ASSISTANT:"),
    ("Bedrock's `guardContent` and `document` of text", "are read",
     [HumanMessage([{"guardContent": {"text": {"text": "A"}}},
                    {"document": {"format": "txt", "name": "n", "source": {"text": "B"}}}])], "USER: A\nBASSISTANT:"),
    ("a `file` of text", "is read",
     [HumanMessage([{"type": "file", "mime_type": "text/plain", "base64": "aGVsbG8="}, TEXT])],
     "USER: hello\nWhat?ASSISTANT:"),
    ("a refusal in OpenAI's answer", "is its text",
     [HumanMessage("Hi."), AIMessage([{"type": "refusal", "refusal": "No."}]), HumanMessage("Why?")],
     "USER: Hi.ASSISTANT: No.USER: Why?ASSISTANT:"),
    ("a refusal in `additional_kwargs`", "is its text",
     [HumanMessage("Hi."), AIMessage("", additional_kwargs={"refusal": "No."}), HumanMessage("Why?")],
     "USER: Hi.ASSISTANT: No.USER: Why?ASSISTANT:"),
    ("an answer that was spoken", "its transcript is its text",
     [HumanMessage("Hi."), AIMessage("", additional_kwargs={"audio": {"id": "1", "transcript": "A"}}), HumanMessage("B")],
     "USER: Hi.ASSISTANT: AUSER: BASSISTANT:"),
    ("OpenAI's `web_search_call` in an answer", "is left out",
     [HumanMessage("Hi."), AIMessage([{"type": "web_search_call", "id": "1"}, {"type": "text", "text": "A"}]),
      HumanMessage("B")], "USER: Hi.ASSISTANT: AUSER: BASSISTANT:"),
    ("Anthropic's `thinking` and `server_tool_use` in an answer", "are left out",
     [HumanMessage("Hi."), AIMessage([{"type": "thinking", "thinking": "hm", "signature": "s"},
                                      {"type": "server_tool_use", "id": "1", "name": "x", "input": {}},
                                      {"type": "text", "text": "A"}]), HumanMessage("B")],
     "USER: Hi.ASSISTANT: AUSER: BASSISTANT:"),
    ("Google's `executable_code` in an answer", "is left out",
     [HumanMessage("Hi."), AIMessage([{"type": "executable_code", "executable_code": "x"}, "A"]), HumanMessage("B")],
     "USER: Hi.ASSISTANT: AUSER: BASSISTANT:"),
)  # fmt: skip


@situations("Messages and histories", *PROMPTS)
def test_the_prompt_is(llm, case):
    messages, prompt = case
    assert llm.render_prompt(messages) == prompt


@situation("Messages and histories", "an image in an answer", "is left out, with a warning")
def test_an_image_in_an_answer(llm):
    messages = [HumanMessage("Hi."), AIMessage([{"type": "image", "base64": PNG}, TEXT]), HumanMessage("B")]
    with pytest.warns(UserWarning, match="left out"):
        assert llm.render_prompt(messages) == "USER: Hi.ASSISTANT: What?USER: BASSISTANT:"


SVG = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode()

NAMED = (
    ("a tool returns an SVG, or damaged base64", "is named, with a warning",
     [{"type": "image", "base64": SVG, "mime_type": "image/svg+xml"}, {"type": "image", "base64": PNG[:4000]}],
     "[image]\n[image]"),
    ("a tool returns a file or a URL of this machine", "is named, with a warning, unless it may be opened",
     [{"type": "resource_link", "uri": "file:///tmp/a.png", "name": "a.png"},
      {"type": "image", "url": "http://127.0.0.1/b.png"}], "[file a.png]\n[image b.png]"),
)  # fmt: skip


@situations("Messages and histories", *NAMED)
def test_it_is_named(llm, case):
    blocks, named = case
    messages = [HumanMessage("Hi."), AIMessage("", tool_calls=[CALL]), ToolMessage(blocks, tool_call_id="1")]
    with pytest.warns(UserWarning, match=r"2 image\(s\) of a tool's result cannot be read"):
        assert llm.render_prompt(messages).endswith(f"USER: {named}ASSISTANT:")
    with pytest.warns(UserWarning, match="named in the prompt"):
        assert llm.invoke(messages).text


REFUSED = (
    ("no message at all", "PromptError", [], PromptError, "message"),
    ("a system message alone", "PromptError", [SystemMessage("Hi.")], PromptError, "expected"),
    ("an empty message in the middle", "PromptError names its place",
     [HumanMessage("Hi."), AIMessage("A"), HumanMessage(""), AIMessage("B"), HumanMessage("C")], PromptError,
     r"messages\[2\], the HumanMessage in place 3 of 5"),
    ("`ChatMessage` of another role", "PromptError names the role",
     [ChatMessage("Hi.", role="bot"), HumanMessage("Hi.")], PromptError, "role 'bot'"),
    ("an image in a system message", "PromptError: expected in a human message",
     [SystemMessage([{"type": "image", "base64": PNG}]), HumanMessage("Hi.")], PromptError, "human message"),
    ("audio or video from the user", "PromptError: leave it out",
     [HumanMessage([{"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"}, TEXT])], PromptError, "Leave it out"),
    ("`RemoveMessage` outside of a reducer", "PromptError names its type",
     [HumanMessage("Hi."), RemoveMessage(id="1")], PromptError, "RemoveMessage"),
    ("`FunctionMessage`", "PromptError names its type", [FunctionMessage("1", name="f"), HumanMessage("Hi.")], PromptError,
     "FunctionMessage"),
    ("OpenAI's `file_id` of an image", "PromptError: send the image",
     [HumanMessage([{"type": "image", "file_id": "file-123"}, TEXT])], PromptError, "Send the image"),
    ("a file named by a message", "ImageError, unless `image_root` allows it",
     [HumanMessage([{"type": "image", "url": "/etc/passwd"}, TEXT])], ImageError, "may be opened"),
    ("a URL of this machine in a message", "ImageError, unless `fetch_policy` allows it",
     [HumanMessage([{"type": "image", "url": "http://127.0.0.1/a.png"}, TEXT])], ImageError, "127.0.0.1"),
)  # fmt: skip


@situations("Messages and histories", *REFUSED)
def test_it_is_refused(llm, case):
    messages, error, words = case
    with pytest.raises(error, match=words):
        llm.invoke(messages)


@situation("Messages and histories", "`ChatPromptTemplate` with `MessagesPlaceholder`", "its messages are read")
def test_a_prompt_template(llm, question):
    prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), MessagesPlaceholder("history")])
    assert "white square" in (prompt | llm).invoke({"history": [question]}).text.lower()


@situation(
    "Messages and histories", "an image block in a `ChatPromptTemplate`", "its variables are filled, and it is seen"
)
def test_an_image_template(llm):
    block = {"type": "image_url", "image_url": {"url": "{picture}"}}
    prompt = ChatPromptTemplate.from_messages([("human", [block, {"type": "text", "text": "What is {what}?"}])])
    messages = prompt.invoke({"picture": URI, "what": "this"})
    assert llm.render_prompt(messages) == "USER: <image>\nWhat is this?ASSISTANT:"


@situation("Messages and histories", "two images in one conversation", "both are seen, with one warning")
def test_two_images(llm):
    block = {"type": "image", "base64": PNG}
    fresh = llm.model_copy()
    fresh._warned = False
    with pytest.warns(UserWarning, match="trained on one"):
        prompt = fresh.render_prompt([HumanMessage([block, block, TEXT])])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh.render_prompt([HumanMessage([block, block, TEXT])])
    assert prompt.count("<image>") == 2
