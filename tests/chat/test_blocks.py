"""Content blocks: text and images in the formats of LangChain and of the providers."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from PIL import Image

from langchain_vipllava import ChatVipLlava, FetchPolicy, ImageError, PromptError, load_image
from langchain_vipllava.chat.messages import UNOPENED, read_messages
from tests.support.engine import open_image

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))


def png():
    buffer = io.BytesIO()
    IMAGE.save(buffer, format="PNG")
    return buffer.getvalue()


RAW = png()
B64 = base64.b64encode(RAW).decode()
URI = f"data:image/png;base64,{B64}"
LINES = "\n".join(B64[start : start + 76] for start in range(0, len(B64), 76))

IMAGE_BLOCKS = {
    "v1 base64": {"type": "image", "base64": B64, "mime_type": "image/png"},
    "v1 base64 with id and extras": {
        "type": "image",
        "id": "lc_1",
        "base64": B64,
        "mime_type": "image/png",
        "extras": {"regions": []},
    },
    "v1 url": {"type": "image", "url": URI},
    "v1 base64 in lines": {"type": "image", "base64": LINES, "mime_type": "image/png"},
    "v1 base64 that is a data URI": {"type": "image", "base64": URI, "mime_type": "image/png"},
    "v0 base64": {"type": "image", "source_type": "base64", "data": B64, "mime_type": "image/png"},
    "v0 url": {"type": "image", "source_type": "url", "url": URI},
    "OpenAI": {"type": "image_url", "image_url": {"url": URI}},
    "OpenAI with detail": {"type": "image_url", "image_url": {"url": URI, "detail": "high"}},
    "OpenAI, plain": {"type": "image_url", "image_url": URI},
    "OpenAI Responses": {"type": "input_image", "image_url": URI, "detail": "auto"},
    "Anthropic base64": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64}},
    "Anthropic url": {"type": "image", "source": {"type": "url", "url": URI}},
    "Bedrock": {"image": {"format": "png", "source": {"bytes": RAW}}},
    "Bedrock with type": {"type": "image", "image": {"format": "png", "source": {"bytes": RAW}}},
    "Bedrock, base64 bytes": {"image": {"format": "png", "source": {"bytes": B64}}},
    "Google media": {"type": "media", "mime_type": "image/png", "data": B64},
    "Google media bytes": {"type": "media", "mime_type": "image/png", "data": RAW},
    "Google media URI": {"type": "media", "mime_type": "image/png", "file_uri": URI},
    "Google inline data": {"inline_data": {"mime_type": "image/png", "data": B64}},
    "Google inline data, as its JSON": {"inlineData": {"mimeType": "image/png", "data": B64}},
    "Hugging Face PIL": {"type": "image", "image": IMAGE},
    "Hugging Face array": {"type": "image", "image": np.asarray(IMAGE)},
    "Hugging Face bytes": {"type": "image", "image": RAW},
    "Hugging Face url": {"type": "image", "url": URI},
    "Hugging Face base64": {"type": "image", "base64": B64},
    "a file": {"type": "file", "base64": B64, "mime_type": "image/png"},
    "a file that LangChain calls a PDF": {"type": "file", "base64": B64, "mime_type": "application/pdf"},
    "OpenAI file": {"type": "file", "file": {"filename": "a.png", "file_data": URI}},
    "non-standard": {"type": "non_standard", "value": {"type": "image_url", "image_url": URI}},
}


def conversation_with(block):
    message = HumanMessage("")  # LangChain validates the content of the constructor only
    message.content = [block, {"type": "text", "text": "What?"}]
    return read_messages([message], open_image)


@pytest.mark.parametrize("name", IMAGE_BLOCKS)
def test_every_image_block_format_is_read(name):
    conversation = conversation_with(IMAGE_BLOCKS[name])
    assert conversation.turns[0].question == "What?"
    (source,) = conversation.images
    assert np.array_equal(np.asarray(load_image(source)), np.asarray(IMAGE))


def test_paths_in_image_blocks_are_opened(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(RAW)
    for block in (
        {"type": "image", "path": str(path)},
        {"type": "image", "image": str(path)},
        {"type": "image", "url": path.as_uri()},
        {"type": "image", "image": path},
    ):
        (source,) = conversation_with(block).images
        assert load_image(source).size == IMAGE.size


def test_all_image_block_formats_get_the_same_answer(llm):
    names = ("v1 base64", "OpenAI", "OpenAI, plain", "Anthropic base64", "Google media", "Hugging Face PIL")
    messages = [[HumanMessage([IMAGE_BLOCKS[name], {"type": "text", "text": "What?"}])] for name in names]
    assert len({llm.invoke(message).text for message in messages}) == 1
    assert llm.invoke(messages[0]).text != llm.invoke("What?").text


@pytest.mark.parametrize(
    "block",
    [
        "What?",
        {"type": "text", "text": "What?"},
        {"type": "input_text", "text": "What?"},
        {"type": "output_text", "text": "What?"},
        {"type": "text-plain", "text": "What?", "mime_type": "text/plain"},
        {"text": "What?"},
    ],
    ids=str,
)
def test_every_text_block_format_is_read(block):
    conversation = read_messages([HumanMessage([block, {"type": "text", "text": "Why?"}])], open_image)
    assert conversation.turns[0].question == "What?\nWhy?"


def test_reasoning_and_tool_use_blocks_are_not_part_of_the_prompt():
    blocks = [
        {"type": "reasoning", "reasoning": "hmm"},
        {"type": "thinking", "thinking": "hmm"},
        {"type": "tool_use", "id": "1", "name": "f", "input": {}},
        {"type": "text", "text": "What?"},
    ]
    assert read_messages([HumanMessage(blocks)], open_image).turns[0].question == "What?"


@pytest.mark.parametrize(
    ("block", "error_text"),
    [
        ({"type": "audio", "base64": B64, "mime_type": "audio/wav"}, "text and images only"),
        ({"type": "video", "url": "https://example.com/a.mp4"}, "text and images only"),
        ({"type": "input_audio", "input_audio": {"data": B64}}, "text and images only"),
        ({"type": "file", "base64": "JVBERi0xLjcK", "mime_type": "application/pdf"}, "expected an image"),
        ({"type": "media", "data": B64, "mime_type": "video/mp4"}, "expected an image"),
        ({"type": "image", "file_id": "file-1"}, "local model cannot fetch"),
        ({"type": "image"}, "has no image"),
        ({"type": "image", "source": {}}, "has no image"),
        ({"type": "image_url"}, "has no URL"),
        ({"type": "image_url", "image_url": {}}, "has no URL"),
        ({"type": "image_url", "image_url": ""}, "has no URL"),
        ({"type": "image", "bytes": 10**12}, "int for bytes"),
        ({"type": "image", "bytes": [1, 2, "x"]}, "list for bytes"),
        ({"type": "media", "inline_data": "x"}, "has no image"),
        ({"type": "hologram", "data": "x"}, "neither text nor image"),
        ({}, "neither text nor image"),
        ({"type": ["text"]}, "neither text nor image"),
        (5, "expected a text or a mapping"),
        (None, "expected a text or a mapping"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_blocks_without_text_or_image_raise(block, error_text):
    with pytest.raises(PromptError, match=error_text) as caught:
        conversation_with(block)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["not base64!", "é", "AAA"])
def test_base64_that_cannot_be_decoded_raises(text):
    with pytest.raises(ImageError, match="cannot be decoded"):
        conversation_with({"type": "image", "base64": text, "mime_type": "image/png"})


def test_a_block_without_an_image_raises_when_it_is_decoded():
    for block in ({"type": "image", "base64": ""}, {"type": "image", "image": 5}, {"type": "image", "bytes": b""}):
        with pytest.raises(ImageError):
            conversation_with(block).images[0].decode()


def test_images_come_before_the_question_in_message_order():
    other = IMAGE.rotate(180)
    message = HumanMessage(["One", {"type": "image", "image": IMAGE}, "two", {"type": "image", "image": other}])
    (turn,) = read_messages([message], open_image).turns
    assert turn.question == "One\ntwo"
    assert [image.decode() for image in turn.images] == [IMAGE, other]


ANSWERS = {
    "OpenAI web search": [{"type": "web_search_call", "id": "ws_1", "status": "completed"}],
    "OpenAI code": [{"type": "code_interpreter_call", "id": "ci_1", "code": "1 + 1", "outputs": []}],
    "OpenAI MCP": [{"type": "mcp_list_tools", "server_label": "x", "tools": []}, {"type": "mcp_call", "id": "m"}],
    "OpenAI image": [{"type": "image_generation_call", "id": "ig_1", "result": B64}],
    "Anthropic search": [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result", "url": "x"}]},
    ],
    "Anthropic MCP": [{"type": "mcp_tool_use", "id": "m", "name": "f", "input": {}}],
    "Google code": [
        {"type": "executable_code", "executable_code": "1 + 1", "language": "PYTHON"},
        {"type": "code_execution_result", "code_execution_result": "2", "outcome": 1},
    ],
    "Bedrock": [{"reasoning_content": {"text": "hmm"}}, {"cachePoint": {"type": "default"}}],
    "unknown": [{"type": "hologram", "data": "x"}, {}, None],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_blocks_of_other_models_answers_are_left_out(name):
    answer = AIMessage([{"type": "text", "text": "It is"}])
    answer.content = [*ANSWERS[name], {"type": "text", "text": "It is"}, *ANSWERS[name], "a cat."]
    conversation = read_messages([HumanMessage("What?"), answer, HumanMessage("Why?")], open_image)
    assert [(turn.question, turn.answer) for turn in conversation.turns] == [("What?", "It is\na cat."), ("Why?", None)]


def test_a_refusal_is_what_the_answer_says():
    answer = AIMessage([{"type": "refusal", "refusal": "I cannot say."}])
    assert read_messages([HumanMessage("What?"), answer], open_image).turns[0].answer == "I cannot say."


def test_images_in_answers_are_left_out_with_a_warning():
    answer = AIMessage(["Here.", IMAGE_BLOCKS["v1 base64"]])
    with pytest.warns(UserWarning, match=r"1 image\(s\) in an answer are left out"):
        conversation = read_messages([HumanMessage("Draw."), answer], open_image)
    assert conversation.turns[0].answer == "Here."
    assert conversation.images == ()


PDF, PDF_TYPE = "JVBERi0xLjcK", "application/pdf"
RESULTS = {
    "Bedrock json": ({"json": {"count": 2}}, '{"count": 2}'),
    "json": ({"type": "json", "json": [1, "ä"]}, '[1, "ä"]'),
    "Anthropic search result": (
        {
            "type": "search_result", "title": "Cups", "source": "https://a.com/cups",
            "content": [{"type": "text", "text": "Cups are round."}], "citations": {"enabled": True},
        },
        "Cups\nhttps://a.com/cups\nCups are round.",
    ),
    "Anthropic text document": (
        {"type": "document", "title": "Note", "source": {"type": "text", "media_type": "text/plain", "data": "Hi."}},
        "Note\nHi.",
    ),
    "Anthropic content document": (
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "Hi."}]}},
        "Hi.",
    ),
    "Anthropic PDF document": (
        {"type": "document", "title": "R.pdf", "source": {"type": "base64", "media_type": PDF_TYPE, "data": PDF}},
        "[document R.pdf]",
    ),
    "LangChain PDF": ({"type": "file", "base64": PDF, "mime_type": PDF_TYPE, "filename": "r.pdf"}, "[file r.pdf]"),
    "MCP link to text": ({"type": "file", "url": "https://a.com/b/c.txt", "mime_type": "text/plain"}, "[file c.txt]"),
    "MCP link to PDF": (
        {"type": "resource_link", "uri": "file:///tmp/a/report.pdf", "name": "report.pdf", "mimeType": PDF_TYPE},
        "[file report.pdf]",
    ),
    "MCP text": ({"type": "resource", "resource": {"uri": "note://1", "text": "Hi.", "mimeType": "text/plain"}}, "Hi."),
    "MCP blob": ({"type": "resource", "resource": {"uri": "a://b/c.zip", "blob": PDF, "mimeType": "application/zip"}},
                 "[file c.zip]"),
    "OpenAI's custom tool": ({"type": "custom_tool_call_output", "output": "42"}, "42"),
    "OpenAI's custom tool with parts": (
        {"type": "custom_tool_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "42"}]},
        "42",
    ),
    "OpenAI's shell": (
        {"type": "shell_call_output", "call_id": "1", "output": [{"stdout": "a.png", "stderr": ""}]},
        '{"stdout": "a.png", "stderr": ""}',
    ),
    "OpenAI's local shell": ({"type": "local_shell_call_output", "id": "1", "output": "a.png"}, "a.png"),
    "audio": ({"type": "audio", "base64": B64, "mime_type": "audio/wav"}, "[audio]"),
    "any dict": ({"boxes": [1, 2]}, '{"boxes": [1, 2]}'),
    "a number": (5, "5"),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_blocks_of_tool_results_are_text(name):
    block, text = RESULTS[name]
    result = ToolMessage("x", tool_call_id="1")
    result.content = [block, {"type": "text", "text": "Done."}]
    messages = [HumanMessage("What?"), AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}]), result]
    assert read_messages(messages, open_image).turns[1].question == f"{text}\nDone."


RESULT_IMAGES = {
    "Anthropic": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64}},
    "MCP blob": {"type": "resource", "resource": {"uri": "a://b.png", "blob": B64, "mimeType": "image/png"}},
    "nested": {"type": "tool_result", "tool_use_id": "1", "content": [IMAGE_BLOCKS["v1 base64"]]},
}


@pytest.mark.parametrize("name", RESULT_IMAGES)
def test_images_of_tool_results_are_shown(name):
    result = ToolMessage([RESULT_IMAGES[name]], tool_call_id="1")
    conversation = read_messages([HumanMessage("What?"), result], open_image)
    assert [image.decode().size for image in conversation.images] == [IMAGE.size]


@pytest.mark.parametrize("kind", ["file", "resource_link"])
def test_a_link_to_a_png_without_a_type_is_an_image(kind):
    key = "url" if kind == "file" else "uri"
    result = ToolMessage(
        [{"type": kind, key: "https://example.com/a/chart.png?x=1", "name": "chart"}], tool_call_id="1"
    )
    opened = []
    read_messages([HumanMessage("What?"), result], lambda source: opened.append(source) or UNOPENED)
    assert opened == ["https://example.com/a/chart.png?x=1"]


def test_anthropics_tool_result_in_a_human_message():
    block = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "42"}, {"json": {"a": 1}}]}
    conversation = read_messages([HumanMessage([block, {"type": "text", "text": "Why?"}])], open_image)
    assert conversation.turns[0].question == '42\n{"a": 1}\nWhy?'
    plain = {"type": "tool_result", "tool_use_id": "1", "content": "42"}
    assert read_messages([HumanMessage([plain])], open_image).turns[0].question == "42"


def test_a_file_of_the_users_own_is_still_refused():
    block = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}
    with pytest.raises(PromptError, match="neither text nor image"):
        read_messages([HumanMessage([block, "Read this."])], open_image)


def test_images_of_messages_are_limited_to_the_image_root_and_public_hosts(tmp_path):
    inside, outside = tmp_path / "images", tmp_path / "secret.png"
    inside.mkdir()
    Image.new("RGB", (64, 48), "red").save(outside)
    Image.new("RGB", (64, 48), "blue").save(inside / "a.png")
    llm = ChatVipLlava(model="bundled", max_tokens=3, image_root=inside)

    def ask(url):
        return llm.invoke([HumanMessage([{"type": "image_url", "image_url": {"url": url}}, "What is it?"])]).text

    unrestricted = ChatVipLlava(model="bundled", max_tokens=3)
    by_value = HumanMessage([{"type": "image", "image": Image.open(inside / "a.png")}, "What is it?"])
    assert (
        ask("a.png")
        == ask(str(inside / "a.png"))
        == ask(f"file://{inside}/a.png")
        == unrestricted.invoke([by_value]).text
    )
    for path in (str(outside), "../secret.png", f"file://{outside}", " ../secret.png"):
        with pytest.raises(ImageError, match="may be opened here"):
            ask(path)
    with pytest.raises(ImageError, match="private network"):
        ask("http://127.0.0.1:9/a.png")
    only = llm.model_copy(update={"fetch_policy": FetchPolicy(hosts=["images.example"])})
    with pytest.raises(ImageError, match=r"FetchPolicy\.hosts"):
        only.invoke([HumanMessage([{"type": "image", "url": "https://example.com/a.png"}, "What is it?"])])
    assert llm.invoke([by_value]).text == unrestricted.invoke([by_value]).text
