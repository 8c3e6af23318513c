"""`PROMPT_CASES`: conversations whose prompt a server must render byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from PIL import Image

from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.prompt.conversation import Conversation, Turn


@cache
def case_image() -> EncodedImage:
    """Return a small wide image with edges in both directions."""
    image = Image.new("RGB", (90, 30), "white")
    image.paste((200, 30, 30), (10, 5, 40, 25))
    image.paste((30, 30, 200), (55, 10, 80, 28))
    return EncodedImage.from_pixels(image)


@cache
def prompt_cases() -> tuple[Conversation, ...]:
    """Return conversations with one to three turns, with and without images, system texts and unusual characters."""
    image = (case_image(),)
    first = Turn("What is within the red rectangle?", image, "A dog.")
    return (
        Conversation((Turn("Hello."),)),
        Conversation((Turn("What is within the red rectangle?", image),)),
        Conversation((first, Turn("What color is it?"))),
        Conversation((first, Turn("Is it old?", (), "Yes."), Turn("¿Por qué? 为什么 🙂"))),
        Conversation((first, Turn("And here?", image))),
        Conversation((Turn("", (), "Hello!"), Turn("What is it?", image))),
        Conversation((first, Turn("What color is it?")), system="Answer with one word."),
        Conversation((Turn('Read:\n\n  {"a": 1}\t100%', image * 2),)),
        Conversation((Turn("He said USER: and ASSISTANT: and ###Human: to me."),)),
    )


def chat_messages(conversation: Conversation, images: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Write a conversation as the messages of a chat endpoint.

    Args:
        conversation: what was said.
        images: URLs of its images, oldest first; None for parts that only say that an image is there.
    """
    urls = iter(images or ())
    messages: list[dict[str, Any]] = []
    if conversation.system is not None:
        messages.append({"role": "system", "content": conversation.system})
    for index, turn in enumerate(conversation.turns):
        if turn.images:
            parts: list[dict[str, Any]] = [
                {"type": "image"} if images is None else {"type": "image_url", "image_url": {"url": next(urls)}}
                for _ in turn.images
            ]
            messages.append({"role": "user", "content": [*parts, {"type": "text", "text": turn.question}]})
        elif index or turn.question or turn.answer is None:  # a greeting has no question in front
            messages.append({"role": "user", "content": turn.question})
        if turn.answer is not None:
            messages.append({"role": "assistant", "content": turn.answer})
    return messages


def data_url(image: EncodedImage) -> str:
    """Write an image as a `data:` URL."""
    return f"data:{image.mime_type};base64,{image.base64}"
