"""Detect, mark and ask as one LCEL chain: invoke, batch, stream and async."""

import asyncio
from pathlib import Path

from langchain_core.output_parsers import StrOutputParser

from langchain_vipllava import ChatVipLlava, DetectRegions, MarkRegions, RegionPrompt
from langchain_vipllava.apps.detectors import detect_shapes

SCENE = Path(__file__).parent / "scene.png"

chain = (
    DetectRegions(detector=detect_shapes, max_regions=4)
    | MarkRegions(kind="ellipse")
    | RegionPrompt()
    | ChatVipLlava(model="bundled")
    | StrOutputParser()
)


def ask(question: str) -> dict[str, object]:
    return {"image": SCENE, "question": question}


print(chain.invoke(ask("What is the object {0}?")))
print(chain.batch([ask(f"What is the object {{{index}}}?") for index in range(4)]))
print(*chain.stream(ask("Describe the image.")), sep="|")


async def ask_colors() -> list[str]:
    return await asyncio.gather(*(chain.ainvoke(ask(f"What color is the object {{{index}}}?")) for index in range(4)))


print(asyncio.run(ask_colors()))

# `MarkRegions` also reads raw detections.
detections = [{"score": 0.9, "label": "thing", "box": {"xmin": 206, "ymin": 30, "xmax": 426, "ymax": 250}}]
inputs = {"image": SCENE, "detections": detections, "question": "What is the object {0}?"}
print((MarkRegions() | RegionPrompt() | ChatVipLlava(model="bundled") | StrOutputParser()).invoke(inputs))
