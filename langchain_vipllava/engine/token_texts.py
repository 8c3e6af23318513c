"""`TokenTexts`: texts and bytes of a tokenizer's tokens."""

from __future__ import annotations

import re

from langchain_vipllava.engine.text_encoding import TextEncoder

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


class TokenTexts:
    """Texts and bytes of a tokenizer's tokens; thread-safe.

    Args:
        texts: has the tokenizer.
    """

    def __init__(self, texts: TextEncoder) -> None:
        self._texts = texts
        added = texts.tokenizer.get_added_tokens_decoder()
        self._special = frozenset(token for token, how in added.items() if how.special)
        self._known: dict[int, tuple[str, bytes | None]] = {}

    def prepare(self) -> None:
        """Do what takes a while the first time: in the thread of the caller, not in the engine's."""
        _ = self._texts.guide

    def of(self, token: int) -> tuple[str, bytes | None]:
        """Return text and bytes of a token; no bytes for a special token, or an id without a token."""
        known = self._known.get(token)
        if known is None:
            known = self._known[token] = self._read(token)
        return known

    def _read(self, token: int) -> tuple[str, bytes | None]:
        name = self._texts.tokenizer.id_to_token(token) if 0 <= token < self._texts.vocabulary else None
        if name is None or token in self._special:
            return name or "", None
        byte = _BYTE_TOKEN.fullmatch(name)
        data = bytes.fromhex(byte[1]) if byte else bytes(self._texts.guide.decode_bytes([token]))
        return data.decode("utf-8", "backslashreplace"), data
