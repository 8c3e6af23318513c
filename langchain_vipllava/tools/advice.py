"""Messages of errors in an LLM's terms: what it can do is to call a tool again with other arguments."""

from __future__ import annotations

import re

from langchain_vipllava.errors import (
    BusyError,
    CheckpointError,
    DetectionError,
    GenerationError,
    ImageError,
    PromptTooLongError,
    VipLlavaError,
)

_FOR_PROGRAMMERS = re.compile(
    r"\bPass\b|\bmax_(?!regions\b)\w+|\b(?!image_id\b)[a-z]\w*=|\b\w+\([^)]*=|\b[A-Z]\w+\((?!s\))|\w+_from\b|\bmark_pages\b|(?<![/:])\b[a-z]\w*\.[a-z]\w*\(|\bpip\b"
    r"|\b(?:numpy|torch|Python|environment variable|HF_\w+|keyword|parameter|constructor|subclass|iterator|callable)\b"
    r"|\bself\b|\bRegion objects?\b|\btry (?:again )?with\b.*\bdtype\b|`"
)
"""What only a programmer can do, or read: arguments of functions, calls, libraries."""

_SENTENCE = re.compile(r"(?<=[.;!?])\s+(?=[A-Z\[{\"'(])|;\s+")

_NEXT_STEPS = {
    "open_image": "Call open_image again with another source.",
    "detect_regions": "Mark boxes yourself: mark_regions with regions such as [[x0, y0, x1, y1]] in pixels.",
    "segment_regions": "Call segment_regions again with points [x, y] in pixels, or mark them as they are.",
    "mark_regions": "Call mark_regions again with region ids or boxes [x0, y0, x1, y1] in pixels.",
    "ask_regions": "Call ask_regions again with another question, or go on without an answer.",
}
"""What to do next where a message itself does not say it."""

_STEPS_OF_ERRORS: tuple[tuple[type[VipLlavaError], str], ...] = (
    (BusyError, "Call the tool again in a later step."),
    (CheckpointError, "The vision model cannot be used now; go on without it."),
    (GenerationError, "Call ask_regions again later or with a shorter question; if that fails too, go on without it."),
)


def advise(error: VipLlavaError, tool: str) -> str:
    """Return the message of an error without what only a programmer can do, and with what the LLM can.

    Args:
        error: what a tool raised.
        tool: its name.

    Example:
        >>> from langchain_vipllava import DetectionError
        >>> print(advise(DetectionError("the detector is async. Pass a function: detector=detect."), "detect_regions"))
        the detector is async. Mark boxes yourself: mark_regions with regions such as [[x0, y0, x1, y1]] in pixels.
    """
    if isinstance(error, PromptTooLongError):
        return "the question is too long for the vision model. Call ask_regions again with a shorter question."
    sentences = [sentence.strip(" ;") for sentence in _SENTENCE.split(str(error)) if sentence.strip(" ;")]
    kept = [sentence for sentence in sentences if not _is_for_programmers(sentence)]
    step = next((step for kind, step in _STEPS_OF_ERRORS if isinstance(error, kind)), None)
    if step is None and (len(kept) < len(sentences) or (isinstance(error, ImageError) and tool == "open_image")):
        step = _NEXT_STEPS.get(tool)
    if step is None and isinstance(error, DetectionError) and tool in ("detect_regions", "segment_regions"):
        step = _NEXT_STEPS[tool]
    text = str(error) if len(kept) == len(sentences) else " ".join(f"{sentence.rstrip('.')}." for sentence in kept)
    text = text.strip() or "the tool could not do this."
    return text if step is None or _names_step(text) else f"{text} {step}"


def _is_for_programmers(sentence: str) -> bool:
    quoted = re.sub(r"'[^']*'|\"[^\"]*\"", "", sentence)  # what the LLM wrote itself is no advice
    return _FOR_PROGRAMMERS.search(quoted) is not None


def _names_step(text: str) -> bool:
    """Whether a message says which tool to call."""
    return re.search(r"\b(?:open_image|(?:detect|segment|mark|ask)_regions)\b", text) is not None
