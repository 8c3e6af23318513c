"""PaliGemma's `<loc0123>` and Florence-2's `<loc_123>` as the models write them, before any post-processing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import outline_row
from langchain_vipllava.regions.row import Row

_PALIGEMMA_BINS = 1024
"""Bins of a side. Source: big_vision's PaliGemma; `<loc0000>` to `<loc1023>`, as y0, x0, y1, x1."""

_FLORENCE_BINS = 1000
"""Bins of a side. Source: Florence-2's processor, which takes the middle of a bin."""

_PALIGEMMA = re.compile(r"((?:<loc\d{4}>\s*){1,1000})((?:<seg\d{3}>\s*){0,16})([^<>;]*)")
_FLORENCE = re.compile(r"(?:<loc_\d{1,4}>){1,20000}")
_LABEL = re.compile(r"[^<>]{1,200}\Z")
_INTEGER = re.compile(r"\d+")


def _is_paligemma(output: Any) -> bool:
    return isinstance(output, str) and _PALIGEMMA.search(output) is not None


def _read_paligemma(output: str, _context: Context) -> Iterator[Row]:
    # The <seg> tokens are a mask that only the model's own decoder can draw; the box holds it.
    for match in _PALIGEMMA.finditer(output):
        bins = [int(number) for number in _INTEGER.findall(match[1])]
        if len(bins) != 4 or max(bins) >= _PALIGEMMA_BINS:
            raise DetectionError(
                f"it has {len(bins)} <loc> in a row, up to {max(bins)}; expected four of 0000 to 1023 for each object."
            )
        y0, x0, y1, x1 = (number / _PALIGEMMA_BINS for number in bins)
        yield Row(box=(x0, y0, x1, y1), box_format="xyxyn", label=match[3].strip() or None)


def _is_florence(output: Any) -> bool:
    return isinstance(output, str) and _FLORENCE.search(output) is not None


def _read_florence(output: str, context: Context) -> Iterator[Row]:
    text = re.sub(r"</?s>|<pad>", "", output)
    label: str | None = None
    end = 0
    for match in _FLORENCE.finditer(text):
        before = _LABEL.search(text[max(end, match.start() - 200) : match.start()])
        label, end = (before[0].strip(" ,.") if before else "") or label, match.end()
        bins = [int(number) for number in _INTEGER.findall(match[0])]
        context.limits.check_points(len(bins) // 2)
        if max(bins) >= _FLORENCE_BINS or len(bins) < 4 or len(bins) % 2:
            raise DetectionError(f"it has {len(bins)} <loc_> in a row, up to {max(bins)}; expected pairs of 0 to 999.")
        if len(bins) % 4 == 0 and len(bins) > 4:
            raise DetectionError(
                f"its {len(bins)} <loc_> in a row are boxes in some tasks and one outline in others; pass the result "
                "of processor.post_process_generation(text, task=..., image_size=...)."
            )
        yield outline_row([(number + 0.5) / _FLORENCE_BINS for number in bins], normalized=True, label=label)


FORMATS = (
    Format("paligemma", "PaliGemma text with <loc0000>", _is_paligemma, _read_paligemma, Precedence.TEXT, ("<loc",)),
    Format("florence2", "Florence-2 text with <loc_0>", _is_florence, _read_florence, Precedence.TEXT, ("<loc_",)),
)
