"""The JSON documents of `--json`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_vipllava.errors import VipLlavaError
    from langchain_vipllava.markers.marked_image import MarkedImage
    from langchain_vipllava.protocol.answer import Answer


def marked_record(image: str, marked: MarkedImage, saved: Path | None) -> dict[str, Any]:
    """Return what `mark` writes: the image, its size, and its regions in pixels of the upright image."""
    return {
        "image": image,
        "size": list(marked.original.size),
        "crop": None if marked.crop is None else list(marked.crop),
        "regions": [
            {
                "index": index,
                "id": marker.region.id,
                "label": marker.region.label,
                "score": marker.region.score,
                "box": [round(number, 2) for number in marker.region.box],
                "kind": marker.kind,
                "color": marker.color,
                "number": marker.number,
                "phrase": marker.phrase,
                "seen": [round(number, 1) for number in marker.seen],
            }
            for index, marker in enumerate(marked.markers)
        ],
        "saved": None if saved is None else str(saved),
    }


def answer_record(question: str, asked: str, answer: Answer) -> dict[str, Any]:
    """Return the fields of an answer.

    Args:
        question: as the user wrote it.
        asked: as the model reads it, with the phrases of markers.
        answer: what the model said.
    """
    return {
        "question": question,
        "asked": asked,
        "answer": answer.text,
        "finish_reason": answer.finish_reason,
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
    }


def error_record(question: str, error: VipLlavaError, message: str) -> dict[str, Any]:
    """Return the fields of a question that could not be asked or answered."""
    return {"question": question, "error": type(error).__name__, "message": message}
