"""`PixelCache`: the images that were decoded last, within a bound for the whole process."""

from __future__ import annotations

from collections import OrderedDict

from PIL import Image

from langchain_vipllava.locks import fork_safe_lock, run_locked

MAX_BYTES = 256 * 2**20
"""Default bound. Chosen: five photographs of 12 megapixels, at 4 bytes per pixel."""


_OVERHEAD = 1024
"""Bytes of an image beside its pixels. Measured: 760, for one of 1 x 1 pixels; uncounted, 67 million would be kept."""


class PixelCache:
    """Keeps decoded images alive, so that the next question about one does not decode it again.

    Everybody else holds an image as its encoded bytes, which are smaller: 3 kB of PNG may decode to 75 MiB. The least
    recently used image goes first. One that is larger than the bound is not kept.

    Args:
        max_bytes: bound of all images together.

    Attributes:
        bytes: size of all images, of whatever belongs to them included.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._images: OrderedDict[int, Image.Image] = OrderedDict()
        self._lock = fork_safe_lock()

    def keep(self, image: Image.Image) -> None:
        """Keep an image, as the most recently used one."""
        if _OVERHEAD + pixel_bytes(image) <= self.max_bytes:
            run_locked(self._lock, self._keep, image)

    def clear(self) -> None:
        """Drop all images."""
        run_locked(self._lock, self._evict, 0)

    def _keep(self, image: Image.Image) -> None:
        if id(image) not in self._images:
            self._images[id(image)] = image
            self.bytes += _OVERHEAD + pixel_bytes(image)
        self._images.move_to_end(id(image))
        self._evict(self.max_bytes)

    def _evict(self, max_bytes: int) -> None:
        while self.bytes > max_bytes:
            _, evicted = self._images.popitem(last=False)
            self.bytes -= _OVERHEAD + pixel_bytes(evicted)


def pixel_bytes(image: Image.Image) -> int:
    """Return the memory of an RGB image: Pillow stores 4 bytes per pixel."""
    return 4 * image.width * image.height


PIXELS = PixelCache()
"""The one cache of the process."""
