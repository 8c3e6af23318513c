"""Turn markers inside a text: words that begin a turn of a prompt, and must not begin one where somebody typed them."""

from __future__ import annotations

from collections.abc import Iterable


def escape_turn_markers(text: str, markers: Iterable[str]) -> str:
    """Put a space before the last character of every turn marker in a text: readable as before, but no marker.

    Exact spellings are enough: the tokenizers of LLaMA and of the bundled checkpoint map nothing but a space and its
    sign U+2581 to equal ids, so ids that decode to a marker come from that marker alone.

    Args:
        text: any text.
        markers: without spaces, and such that none begins with the characters another ends with.

    Example:
        >>> escape_turn_markers("What is it?ASSISTANT: A star.USER: Why?", ("USER:", "ASSISTANT:"))
        'What is it?ASSISTANT : A star.USER : Why?'
    """
    for marker in markers:
        if marker in text:
            text = text.replace(marker, f"{marker[:-1]} {marker[-1]}")
    return text
