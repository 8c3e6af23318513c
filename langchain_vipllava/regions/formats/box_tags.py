"""Boxes between tags in the text of vision-language models: InternVL, Qwen-VL, MiniCPM-V, DeepSeek-VL2, GLM-V, Seed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import fractions, outline_row
from langchain_vipllava.regions.row import Row

_NUMBERS = re.compile(r"[\d.\s,()\[\];-]+")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")

_LENGTH = 2000
"""Characters between two tags. Chosen: 50 boxes. A bound, because each opening tag may lack its closing one."""


@dataclass(frozen=True)
class _Tags:
    """How one model writes a phrase and the boxes behind it.

    Attributes:
        phrase: the tags around a phrase.
        boxes: the tags around numbers.
        whole: what the far side of the image is in its numbers.
        points: numbers of an outline.
    """

    phrase: tuple[str, str]
    boxes: tuple[str, str]
    whole: int = 1000
    points: int = 4

    def found(self, text: str) -> Iterator[tuple[str | None, str]]:
        """Yield each phrase with the numbers behind it. The phrase may be missing."""
        phrase, boxes = [(re.escape(a), re.escape(b)) for a, b in (self.phrase, self.boxes)]
        inner = f"([^<]{{0,{_LENGTH}}})"
        pattern = re.compile(f"{phrase[0]}{inner}{phrase[1]}|{boxes[0]}{inner}{boxes[1]}")
        named: str | None = None
        for match in pattern.finditer(text):
            if match[2] is None:
                named = match[1]
            elif _NUMBERS.fullmatch(match[2]):
                yield named, match[2]


_REF = ("<ref>", "</ref>")
_QWEN2_REF = ("<|object_ref_start|>", "<|object_ref_end|>")
_DIALECTS: dict[str, tuple[_Tags, ...]] = {
    # Qwen-VL writes (x0,y0),(x1,y1), InternVL [[x0, y0, x1, y1]], MiniCPM-V x0 y0 x1 y1, all in 0..1000.
    "internvl": (_Tags(_REF, ("<box>", "</box>")), _Tags(_REF, ("<quad>", "</quad>"), points=8)),
    "qwen2": (
        _Tags(_QWEN2_REF, ("<|box_start|>", "<|box_end|>")),
        _Tags(_QWEN2_REF, ("<|quad_start|>", "<|quad_end|>"), points=8),
    ),
    # Source: DeepSeek-VL2's and DeepSeek-OCR's own drawing code divides by 999.
    "deepseek": (_Tags(("<|ref|>", "<|/ref|>"), ("<|det|>", "<|/det|>"), whole=999),),
    "glm": (_Tags(("<|phrase|>", "<|/phrase|>"), ("<|begin_of_box|>", "<|end_of_box|>")),),
    "seed": (_Tags(("<label>", "</label>"), ("<bbox>", "</bbox>")),),
}


def _matches(dialect: str, output: Any) -> bool:
    return isinstance(output, str) and any(next(tags.found(output), None) for tags in _DIALECTS[dialect])


def _read(dialect: str, output: str, context: Context) -> Iterator[Row]:
    for tags in _DIALECTS[dialect]:
        for phrase, text in tags.found(output):
            context.limits.check_values(len(text) // 2)
            values = [float(number) for number in _NUMBER.findall(text)]
            if not values or len(values) % tags.points:
                raise DetectionError(
                    f"{tags.boxes[0]} holds {len(values)} numbers; expected {tags.points} for each outline."
                )
            # Ovis writes the same tags in 0..1, with decimals.
            whole = 1 if "." in text and max(values) <= 1 else tags.whole
            for at in range(0, len(values), tags.points):
                shares = fractions(values[at : at + tags.points], whole, "box")
                if tags.points == 4:
                    yield Row(box=shares, box_format="xyxyn", label=phrase)
                else:
                    yield outline_row(shares, normalized=True, label=phrase)


def _format(key: str, name: str, dialect: str) -> Format:
    clues = tuple(tag for tags in _DIALECTS[dialect] for tag in tags.boxes)
    return Format(
        key,
        name,
        lambda output: _matches(dialect, output),
        lambda output, context: _read(dialect, output, context),
        Precedence.TEXT,
        clues,
    )


FORMATS = (
    _format("internvl", "text with <box> (InternVL, Qwen-VL, MiniCPM-V)", "internvl"),
    _format("qwen2", "Qwen2-VL text with <|box_start|>", "qwen2"),
    _format("deepseek-vl2", "DeepSeek-VL2 text with <|det|>", "deepseek"),
    _format("glm-v", "GLM-V text with <|begin_of_box|>", "glm"),
    _format("seed-vl", "Seed-VL text with <bbox>", "seed"),
)
