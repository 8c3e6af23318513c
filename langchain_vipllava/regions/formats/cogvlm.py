"""CogVLM's and GLM-4V's `[[x0,y0,x1,y1]]` in text: three digits each, in 0..1000."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import fractions
from langchain_vipllava.regions.row import Row

_BOXES = re.compile(r"\[\[(\d{3},\d{3},\d{3},\d{3}(?:;\d{3},\d{3},\d{3},\d{3})*)\]\]")
_LABEL = re.compile(r"[\w'-]+(?: [\w'-]+){0,5}\s*\Z")
_LABEL_LENGTH = 60
"""Characters before a box in which its phrase is looked for. Chosen: phrases are a few words."""


def _is_cogvlm(output: Any) -> bool:
    if not isinstance(output, str) or "<" in output:
        return False
    numbers = [number for match in _BOXES.finditer(output) for number in re.split("[,;]", match[1])]
    # Without a zero in front, three digits may be pixels.
    return any(number.startswith("0") for number in numbers)


def _are_thousandths(output: Any) -> bool:
    if isinstance(output, str):
        return _BOXES.search(output) is not None
    return isinstance(output, list) and all(
        isinstance(box, list) and len(box) == 4 and all(type(side) is int and 0 <= side <= 999 for side in box)
        for box in output
    )


def _read_cogvlm(output: Any, _context: Context) -> Iterator[Row]:
    if isinstance(output, list):  # text that is JSON, too
        text = ";".join(",".join(f"{number:03d}" for number in box) for box in output)
        output = f"[[{text}]]"
    found = list(_BOXES.finditer(output))
    if not found:
        raise DetectionError("it has no [[x0,y0,x1,y1]] of three digits each.")
    for match in found:
        phrase = _LABEL.search(output[max(match.start() - _LABEL_LENGTH, 0) : match.start()])
        for box in match[1].split(";"):
            yield Row(
                box=fractions([int(number) for number in box.split(",")], 1000, "box"),
                box_format="xyxyn",
                label=phrase[0] if phrase else None,
            )


FORMATS = (
    Format("cogvlm", "CogVLM text with [[000,000,999,999]]", _is_cogvlm, _read_cogvlm, Precedence.TEXT, ("[[",)),
    Format("cogvlm", "CogVLM boxes", _are_thousandths, _read_cogvlm, Precedence.ON_REQUEST),
)
