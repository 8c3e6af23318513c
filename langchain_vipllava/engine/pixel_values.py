"""`PixelValues`: what the model reads of images, shared by all requests that ask about one."""

from __future__ import annotations

from collections import OrderedDict
from weakref import WeakValueDictionary

import torch

from langchain_vipllava.locks import fork_safe_lock, run_locked

MAX_BYTES = 64 * 2**20
"""Bound of the pixel values that no request needs any more. Chosen: 49 images of the published checkpoints, at
(3, 336, 336) float32."""


class PixelValues:
    """Pixel values of images by their key. Those that a request holds are always found, the others while they fit.

    Args:
        max_bytes: bound of those that are kept beyond their requests; the least recently used go first.

    Attributes:
        bytes: size of those that are kept.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self.bytes = 0
        self._in_use: WeakValueDictionary[int, torch.Tensor] = WeakValueDictionary()
        self._recent: OrderedDict[int, torch.Tensor] = OrderedDict()
        self._lock = fork_safe_lock()

    def get(self, key: int) -> torch.Tensor | None:
        """Return the pixel values of an image, (3, side, side), or None."""
        pixels = self._in_use.get(key)
        return None if pixels is None else self.add(key, pixels)

    def add(self, key: int, pixels: torch.Tensor) -> torch.Tensor:
        """Add pixel values, and return those to use: another thread may have added equal ones meanwhile."""
        return run_locked(self._lock, self._add, key, pixels)

    def _add(self, key: int, pixels: torch.Tensor) -> torch.Tensor:
        pixels = self._in_use.setdefault(key, pixels)
        if key not in self._recent:
            self._recent[key] = pixels
            self.bytes += pixels.nbytes
        self._recent.move_to_end(key)
        while self.bytes > self._max_bytes:
            _, evicted = self._recent.popitem(last=False)
            self.bytes -= evicted.nbytes
        return pixels
