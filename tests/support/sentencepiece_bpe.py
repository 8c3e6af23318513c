"""SentencePiece's BPE, as ViP-LLaVA's training tokenized: no code of `tokenizers` or of the package is in it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from tests.support.llama_vocabulary import is_blank

BEGIN, END, IMAGE = 1, 2, 32_000


class SentencePieceBPE:
    """Tokenizes with a vocabulary whose pieces are ranked by their ids.

    Args:
        pieces: by id; 0 to 2 are control pieces, 3 to 258 bytes.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        self._bytes = {int(piece[3:5], 16): index for index, piece in enumerate(pieces[:259]) if index > 2}
        self._ids = {piece: index for index, piece in enumerate(pieces) if index > 258}
        # pieces of spaces alone have equal scores, below all others: of equal ones SentencePiece takes the leftmost
        self._ranks = {piece: len(pieces) if is_blank(piece) else index for piece, index in self._ids.items()}

    def encode(self, text: str, *, prefix: bool) -> list[int]:
        """Return the ids of a text. Special tokens in it are text.

        Args:
            text: may be empty.
            prefix: whether a space is put in front of it, as at the start of a text.
        """
        symbols = list((("▁" if prefix else "") + text).replace(" ", "▁")) if text else []
        after = [*range(1, len(symbols)), -1]
        before = [*range(-1, len(symbols) - 1)]
        queue: list[tuple[int, int, str]] = []

        def offer(left: int) -> None:
            if left >= 0 and after[left] >= 0:
                pair = symbols[left] + symbols[after[left]]
                if pair in self._ranks:
                    heapq.heappush(queue, (self._ranks[pair], left, pair))

        for place in range(len(symbols)):
            offer(place)
        while queue:
            _, left, pair = heapq.heappop(queue)
            right = after[left]
            if right < 0 or not symbols[left] or symbols[left] + symbols[right] != pair:
                continue  # one of the two was merged meanwhile
            symbols[left], symbols[right] = pair, ""
            after[left] = after[right]
            if after[left] >= 0:
                before[after[left]] = left
            offer(left)
            offer(before[left])
        return [index for symbol in symbols if symbol for index in self._of(symbol)]

    def _of(self, symbol: str) -> list[int]:
        known = self._ids.get(symbol)
        return [self._bytes[byte] for byte in symbol.encode()] if known is None else [known]

    def encode_prompt(self, segments: Sequence[tuple[str, str]], image_tokens: int) -> list[int]:
        """Return the ids of a prompt as `tokenizer_image_token` of the training made them.

        A text at the start or behind an image is tokenized like a new one, the text behind `</s>` is not.

        Args:
            segments: (kind, text) in order; a kind is "text", "image" or "end".
            image_tokens: how many tokens an image is.
        """
        ids, text, prefix = [BEGIN], "", True
        for kind, content in [*segments, ("last", "")]:
            if kind == "text":
                text += content
                continue
            ids += self.encode(text, prefix=prefix)
            ids += {"image": [IMAGE] * image_tokens, "end": [END], "last": []}[kind]
            text, prefix = "", kind == "image"
        return ids
