"""What bytes and texts are that are no image of an allowed format, and what to do about it."""

from __future__ import annotations

import re

_BASE64_STARTS = {
    "iVBORw0KGgo": "png", "/9j/": "jpeg", "UklGR": "webp", "R0lGOD": "gif", "Qk": "bmp", "SUkqA": "tiff",
    "TU0AK": "tiff", "AAAA[A-Z]GZ0eX": "avif",
}  # fmt: skip
"""How the base64 of an image begins, as regular expressions."""

_MIN_BASE64 = 64
"""Characters from which a text may be the base64 of an image. Chosen: the smallest PNG has 92."""


def advice(data: bytes) -> str:
    """Return a sentence about bytes that are no image, with a space in front; nothing if they are unknown."""
    start = data[:512].lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return " It is a Git LFS pointer: run `git lfs pull`."
    if start.startswith((b"<!doctype html", b"<html")):
        return " It is an HTML page: the address is that of a page, or of one that asks to log in."
    if b"<svg" in start:
        return " It is an SVG drawing: render it to PNG."
    if start.startswith(b"%pdf"):
        return " It is a PDF: render a page to PNG."
    if start.startswith((b"{", b"[")):
        return " It is JSON, such as an error of a server."  # not its text, which an LLM may not be allowed to see
    return " It is base64: decode it, or pass a data: URI." if base64_kind(data[:512].decode("latin-1")) else ""


def base64_kind(text: str) -> str | None:
    """Return the format of the image whose bare base64 a text is; None for any other text."""
    start = text.lstrip()[:512]
    if len(start) < _MIN_BASE64 or not re.fullmatch(r"[A-Za-z0-9+/=\s]+", start):
        return None
    return next((kind for known, kind in _BASE64_STARTS.items() if re.match(known, start)), None)
