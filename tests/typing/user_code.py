"""What a user writes. Never run; mypy must accept it in strict mode without the pydantic plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from PIL import Image
from pydantic import BaseModel

from langchain_vipllava import (
    ChatVipLlava,
    DetectRegions,
    FetchPolicy,
    MarkedImage,
    MarkRegions,
    Region,
    RegionPrompt,
    VipLlavaToolkit,
    load_image,
    mark,
    regions_from,
)


class Finding(BaseModel):
    """What the model says about an object."""

    name: str
    damaged: bool


def detect(image: Image.Image) -> list[dict[str, Any]]:
    return [{"box": [0, 0, image.width, image.height], "label": "car", "score": 0.9}]


def make_models() -> list[ChatVipLlava]:
    return [
        ChatVipLlava(model="bundled"),
        ChatVipLlava(model="llava-hf/vip-llava-7b-hf", dtype="bfloat16", device="cuda:1", quantization="4bit"),
        ChatVipLlava(model="bundled", temperature=0.2, top_p=0.9, top_k=40, seed=1, max_tokens=64, stop=["\n"]),
        ChatVipLlava(model="bundled", prompt_format="llava_v1", multi_image="restart", image_fit="center_crop"),
        ChatVipLlava(model="bundled", image_root=Path("images"), fetch_policy=FetchPolicy(hosts=["*.example.org"])),
    ]


def mark_regions(path: Path) -> MarkedImage:
    image = load_image(path)
    regions = regions_from(detect(image), image_size=image.size, box_format="xyxy", min_score=0.5)
    mark(np.asarray(image), Region(box=(10, 20, 110, 220)), kind="mask contour", channels="bgr")
    mark(image, regions, kind="auto", color="lime", numbers=True, zoom="auto")
    mark(image, regions, kind=["ellipse", None], color=["red", None])
    return mark(image, regions, kind="ellipse", color=None, width=4, seed=7)


def ask(llm: ChatVipLlava, marked: MarkedImage) -> str:
    history: list[BaseMessage] = [marked.message("What is the object {0}?")]
    answer: AIMessage = llm.invoke(history)
    return "".join(str(chunk.text) for chunk in llm.stream([*history, answer, HumanMessage("What color is it?")]))


def make_chain(llm: ChatVipLlava) -> Runnable[dict[str, Any], str]:
    detector = DetectRegions(detector=detect, only=["car"], box_format="xyxy", max_regions=3)
    return detector | MarkRegions(kind="arrow", color="red") | RegionPrompt() | llm | StrOutputParser()


def make_structured(llm: ChatVipLlava, marked: MarkedImage) -> list[Runnable[Any, Any]]:
    return [
        llm.with_structured_output(Finding),
        llm.with_structured_output(Finding, include_raw=True, method="json_schema"),
        llm.with_structured_output(marked.answers_schema()),
        llm.bind_tools([detect], tool_choice="any"),
    ]


def make_tools(llm: ChatVipLlava, other: BaseChatModel) -> list[BaseTool]:
    toolkit = VipLlavaToolkit(chat_model=llm)
    bounded = VipLlavaToolkit(chat_model=other, detector=detect, max_images=8, image_root=Path("images"))
    image_id: str = toolkit.add_image("photo.png", detections=detect(load_image("photo.png")))
    toolkit.marked_image(image_id).save("marked.png")
    return [*toolkit.get_tools(), *bounded.get_tools()]
