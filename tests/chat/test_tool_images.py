"""Images of tools' results: what cannot be read is named, ends no run, and is counted before anything is opened."""

from __future__ import annotations

import asyncio
import base64
import io
import warnings

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from PIL import Image

from langchain_vipllava import (
    ChatVipLlava,
    FetchPolicy,
    GenerationError,
    ImageAccessPolicy,
    ImageError,
    ImageStore,
    PromptError,
    RequestLimits,
    keep_images,
)
from tests.support.echo import EchoBackend

SVG = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg' width='5' height='5'/>").decode()


def png():
    buffer = io.BytesIO()
    Image.effect_noise((64, 48), 50).save(buffer, format="PNG")
    return buffer.getvalue()


RAW = png()
B64 = base64.b64encode(RAW).decode()
TRUNCATED = base64.b64encode(RAW[: len(RAW) // 2]).decode()

UNREADABLE = {
    "an SVG": ({"type": "image", "base64": SVG, "mime_type": "image/svg+xml"}, "[image]"),
    "an SVG without a type": ({"type": "image", "base64": SVG}, "[image]"),
    "an SVG in a data URI": (
        {"type": "image_url", "image_url": {"url": f"data:image/svg+xml;base64,{SVG}"}},
        "[image]",
    ),
    "an SVG in v0": ({"type": "image", "source_type": "base64", "data": SVG, "mime_type": "image/svg+xml"}, "[image]"),
    "an SVG of Anthropic's": (
        {"type": "image", "source": {"type": "base64", "media_type": "image/svg+xml", "data": SVG}},
        "[image]",
    ),
    "an MCP resource": (
        {"type": "resource", "resource": {"uri": "file:///a/plot.svg", "mimeType": "image/svg+xml", "blob": SVG}},
        "[file plot.svg]",
    ),
    "empty base64": ({"type": "image", "base64": "", "mime_type": "image/png"}, "[image]"),
    "no base64": ({"type": "image", "base64": "!!", "mime_type": "image/png"}, "[image]"),
    "base64 of something else": ({"type": "image", "base64": "AAAA", "mime_type": "image/png"}, "[image]"),
    "half a PNG": ({"type": "image", "base64": TRUNCATED, "mime_type": "image/png"}, "[image]"),
    "Bedrock's bytes": ({"image": {"format": "png", "source": {"bytes": b"abc" * 999}}}, "[image]"),
    "a link to a file": (
        {"type": "resource_link", "uri": "file:///tmp/shots/a.png", "name": "shot a.png"},
        "[file shot a.png]",
    ),
    "a path": ({"type": "image_url", "image_url": {"url": "/etc/secret/a.png"}}, "[image a.png]"),
    "a path of Hugging Face's": ({"type": "image", "image": "shots/a.png"}, "[image a.png]"),
    "a URL of this machine": ({"type": "image", "url": "http://localhost:9/b/a.png?x=1"}, "[image a.png]"),
    "an address of this machine": ({"type": "image", "url": "http://127.0.0.1:9/a.png"}, "[image a.png]"),
    "an id without a store": ({"type": "image", "file_id": "sha256-0"}, "[image sha256-0]"),
}

SILENT = {
    "base64 of a file": ({"type": "file", "base64": "!!", "mime_type": "image/png"}, "[file]"),
    "base64 of a text": ({"type": "text-plain", "base64": "!!", "mime_type": "text/plain"}, "[text-plain]"),
    "a v0 block without data": ({"type": "image", "source_type": "base64"}, "[image]"),
    "a PDF of Bedrock's": (
        {"document": {"format": "pdf", "name": "report", "source": {"bytes": b"%PDF" * 999}}},
        "[document report]",
    ),
    "a video of Bedrock's": ({"video": {"format": "mp4", "source": {"bytes": b"abc" * 999}}}, "[video]"),
    "keys that are no text": ({"boxes": {(1, 2): 3}}, "{'boxes': {(1, 2): 3}}"),
    "half a character": ({"type": "text", "text": "cut \ud83d"}, "cut \ufffd"),
}


def history(*blocks):
    call = {"name": "look", "args": {}, "id": "1"}
    result = ToolMessage("x", tool_call_id="1")
    result.content = list(blocks)
    return [HumanMessage("Look."), AIMessage("", tool_calls=[call]), result]


def prompt_of(text):
    return f'USER: Look.ASSISTANT: [{{"name":"look","arguments":{{}}}}]USER: {text}\nDone.ASSISTANT:'


def ways(llm):
    async def collect(messages):
        return "".join([chunk.text async for chunk in llm.astream(messages)])

    return {
        "invoke": lambda messages: llm.invoke(messages).text,
        "ainvoke": lambda messages: asyncio.run(llm.ainvoke(messages)).text,
        "stream": lambda messages: "".join(chunk.text for chunk in llm.stream(messages)),
        "astream": lambda messages: asyncio.run(collect(messages)),
    }


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_image_of_a_tools_result_that_cannot_be_read_is_named_with_one_warning(name):
    block, text = UNREADABLE[name]
    messages = history(block, {"type": "text", "text": "Done."})
    llm = ChatVipLlava(backend=EchoBackend())
    with pytest.warns(UserWarning, match="named in the prompt") as caught:
        assert llm.render_prompt(messages) == prompt_of(text)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="named in the prompt"):
        assert llm.get_num_tokens_from_messages(messages) == len(prompt_of(text).split())
    for call in ways(llm).values():
        with pytest.warns(UserWarning, match="named in the prompt") as caught:
            assert call(messages) == " ".join(f"{text} Done.".split())
        assert len(caught) == 1


@pytest.mark.parametrize("name", SILENT)
def test_whatever_else_a_tool_returns_is_text(name):
    block, text = SILENT[name]
    messages = history(block, {"type": "text", "text": "Done."})
    llm = ChatVipLlava(backend=EchoBackend())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert llm.render_prompt(messages) == prompt_of(text)
        for call in ways(llm).values():
            assert call(messages) == " ".join(f"{text} Done.".split())


def test_two_images_that_cannot_be_read_are_one_warning_and_a_third_is_shown():
    blocks = [UNREADABLE["an SVG"][0], {"type": "image", "base64": B64}, UNREADABLE["a path"][0]]
    with pytest.warns(UserWarning, match=r"2 image\(s\) of a tool's result cannot be read.*SVG") as caught:
        prompt = ChatVipLlava(backend=EchoBackend()).render_prompt(history(*blocks))
    assert prompt.endswith("USER: <image>\n[image]\n[image a.png]ASSISTANT:")
    assert len(caught) == 1


def test_anthropics_tool_result_in_a_human_message_is_as_forgiving():
    block = {"type": "tool_result", "tool_use_id": "1", "content": [UNREADABLE["an SVG"][0]]}
    llm = ChatVipLlava(backend=EchoBackend())
    with pytest.warns(UserWarning, match="named in the prompt"):
        assert llm.invoke([HumanMessage([block, "Why?"])]).text == "[image] Why?"
    assert llm.render_prompt([HumanMessage([{**block, "content": []}])]) == "USER: (no output)ASSISTANT:"
    shown = {**block, "content": [{"type": "image", "base64": B64}]}
    assert llm.render_prompt([HumanMessage([shown])]) == "USER: <image>\n(image)ASSISTANT:"
    raw = {"toolResult": {"toolUseId": "1", "content": [{"text": "yes"}, {"json": {"a": 1}}]}}
    assert llm.render_prompt([HumanMessage([raw])]) == 'USER: yes\n{"a": 1}ASSISTANT:'


@pytest.mark.parametrize("name", ["no base64", "a path", "a URL of this machine", "an id without a store"])
def test_the_same_image_of_the_users_ends_the_call(name):
    message = HumanMessage([UNREADABLE[name][0], "What is it?"])
    llm = ChatVipLlava(backend=EchoBackend())
    with pytest.raises(ImageError):
        llm.invoke([message])


def test_results_nested_deeper_than_anybody_writes_are_named():
    block = {"type": "text", "text": "x"}
    for _ in range(5000):
        block = {"type": "tool_result", "tool_use_id": "1", "content": [block]}
    llm = ChatVipLlava(backend=EchoBackend())
    assert llm.invoke(history(block)).text == "[tool_result]"
    assert llm.render_prompt([HumanMessage([block])]) == "USER: [tool_result]ASSISTANT:"


def test_a_cache_and_keep_images_leave_what_a_tool_returned():
    path = {"type": "image", "path": "/tmp/none/a.png"}
    cached = ChatVipLlava(backend=EchoBackend(), cache=InMemoryCache())
    with pytest.warns(UserWarning, match="named in the prompt"):
        assert cached.invoke(history(path)).text == "[image a.png]"
    assert asyncio.run(cached.ainvoke(history(path))).text == "[image a.png]"
    answer = AIMessage([path, "Here."])
    kept = keep_images([*history(path), answer], ImageStore())
    assert [message.content for message in kept[2:]] == [[path], [path, "Here."]]
    with pytest.raises(ImageError, match="may be opened"):
        keep_images([HumanMessage([path, "What?"])], ImageStore())


def test_a_url_is_not_fetched_to_render_or_to_count():
    link = {"type": "image", "url": "https://example.com/a.png"}
    llm = ChatVipLlava(backend=EchoBackend())
    assert llm.render_prompt(history(link)).endswith("USER: <image>\nASSISTANT:")
    closed = llm.model_copy(update={"fetch_policy": FetchPolicy(enabled=False)})
    with pytest.warns(UserWarning, match="switched off"):
        assert closed.render_prompt(history(link)).endswith("USER: [image a.png]ASSISTANT:")


MISSING = {
    "v1": {"type": "image", "url": "missing.png"},
    "Google's media": {"type": "media", "mime_type": "image/png", "file_uri": "missing.png"},
    "Anthropic's tool_result": {
        "type": "tool_result",
        "tool_use_id": "1",
        "content": [{"type": "image", "url": "missing.png"}],
    },
    "without a type": {"image": {"url": "missing.png"}},
    "a file": {"type": "file", "url": "missing.png", "mime_type": "image/png"},
    "an MCP link": {"type": "resource_link", "uri": "missing.png", "mimeType": "image/png"},
    "non-standard": {"type": "non_standard", "value": {"type": "image_url", "image_url": "missing.png"}},
    "inline data": {"inline_data": {"mime_type": "image/png", "file_uri": "missing.png"}},
}


@pytest.mark.parametrize("cache", [None, InMemoryCache()], ids=["plain", "cached"])
@pytest.mark.parametrize("name", MISSING)
def test_too_many_images_are_refused_before_one_is_opened(name, cache, tmp_path, monkeypatch):
    def refuse(self, source, **settings):
        raise AssertionError(f"{source!r} was opened")

    monkeypatch.setattr(ImageAccessPolicy, "resolve", refuse)
    llm = ChatVipLlava(backend=EchoBackend(), limits=RequestLimits(max_images=2), image_root=tmp_path, cache=cache)
    with pytest.raises(GenerationError, match="max_images=2"):
        llm.invoke([HumanMessage([MISSING[name]] * 3 + ["What?"])])
    two = [HumanMessage([MISSING[name], "What?"]), AIMessage("A."), HumanMessage([*[MISSING[name]] * 2, "And now?"])]
    with pytest.raises(GenerationError, match="max_images=2"):
        llm.invoke(two)


def test_no_image_is_opened_before_all_messages_are_read(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(ImageAccessPolicy, "resolve", lambda self, source, **settings: opened.append(source))
    llm = ChatVipLlava(backend=EchoBackend(), image_root=tmp_path)
    messages = [HumanMessage([MISSING["v1"], "What?"]), HumanMessage([{"type": "audio", "base64": "AAAA"}, "And?"])]
    with pytest.raises(PromptError, match="Leave it out"):
        llm.invoke(messages)
    assert opened == []


def test_images_of_answers_are_not_counted():
    llm = ChatVipLlava(backend=EchoBackend(), limits=RequestLimits(max_images=0))
    messages = [HumanMessage("Draw."), AIMessage(["Here.", {"type": "image", "base64": B64}]), HumanMessage("Why?")]
    with pytest.warns(UserWarning, match="left out"):
        assert llm.invoke(messages).text == "Why?"
