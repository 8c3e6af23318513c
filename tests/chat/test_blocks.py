"""Content blocks: text and images in the formats of LangChain and of the providers."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from PIL import Image

from langchain_vipllava import ChatVipLlava, FetchPolicy, ImageError, PromptError, load_image
from langchain_vipllava.chat.messages import read_messages
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


def test_an_image_in_an_answer_raises(llm):
    answer = AIMessage([{"type": "text", "text": "Here."}, {"type": "image", "base64": B64, "mime_type": "image/png"}])
    with pytest.raises(PromptError, match="image in an answer"):
        llm.render_prompt([HumanMessage("Draw."), answer, HumanMessage("Why?")])


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
