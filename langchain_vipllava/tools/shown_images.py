"""Marked images as content blocks, for an LLM that sees."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.text import counted

MAX_SIDE = 768
"""Long side of a shown image in pixels. Chosen: two tiles of GPT-4o and 786 tokens of Claude; lines of training stay
wider than 6 px."""

MAX_PAGES = 4
"""Pages that are shown. Chosen: with `MAX_SIDE`, at most some 2 MB of base64 and 3,000 tokens."""


def image_blocks(pages: Sequence[MarkedImage]) -> list[dict[str, Any]]:
    """Return standard v1 image blocks of marked images: JPEG, at most `MAX_SIDE` pixels a side, at most `MAX_PAGES`."""
    blocks: list[dict[str, Any]] = []
    for page in pages[:MAX_PAGES]:
        image = page.image.copy()
        image.thumbnail((MAX_SIDE, MAX_SIDE))
        data = io.BytesIO()
        image.save(data, "JPEG", quality=90, subsampling=0)  # subsampled colors would run beside the lines
        encoded = base64.b64encode(data.getvalue()).decode("ascii")
        blocks.append({"type": "image", "base64": encoded, "mime_type": "image/jpeg"})
    if len(pages) > MAX_PAGES:
        left_out = counted(len(pages) - MAX_PAGES, "page")
        blocks.append({"type": "text", "text": f"{left_out} more are not shown here; ask_regions sees them."})
    return blocks
