"""`ServedImages`: images as a server gets them, encoded once for all turns of a conversation."""

from __future__ import annotations

from base64 import b64encode
from collections import OrderedDict

from PIL import Image

from langchain_vipllava.errors import ImageError
from langchain_vipllava.images.decoding_room import DECODING
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.png import encode_png
from langchain_vipllava.images.shrink import model_square, processor_crop
from langchain_vipllava.images.view import CLIP_MEAN_COLOR, VIEW_SIZE, ImageFit
from langchain_vipllava.locks import fork_safe_lock, run_locked

_MAX_BYTES = 64 * 2**20
"""Bytes of the encoded images that are kept. Chosen: some 300 of 336 x 336 pixels."""

_Color = tuple[int, int, int]
_Key = tuple[str, ImageFit, int | None, int | None, _Color]


class ServedImages:
    """Makes data URIs of images: squares of the model's own side, whose pixels the server's processor leaves alone."""

    def __init__(self) -> None:
        self._uris: OrderedDict[_Key, str] = OrderedDict()
        self._bytes = 0
        self._lock = fork_safe_lock()

    def uri(
        self,
        image: EncodedImage,
        fit: ImageFit,
        side: int | None,
        resample: Image.Resampling | None,
        padding: _Color = CLIP_MEAN_COLOR,
    ) -> str:
        """Return an image as a data URI.

        Args:
            image: what the caller sent.
            fit: how it becomes square.
            side: side of the square that the model reads; None where that is unknown.
            resample: the filter of the checkpoint; None leaves it to the server to resize a square.
            padding: RGB of what it is padded with.

        Raises:
            ImageError: it cannot be decoded.
        """
        key = (image.sha256, fit, side, None if resample is None else int(resample), padding)
        uri = self._uris.get(key)
        if uri is None:
            with DECODING.keep():
                uri = _encode(image, fit, side, resample, padding)
            run_locked(self._lock, self._keep, key, uri)
        return uri

    def _keep(self, key: _Key, uri: str) -> None:
        if key in self._uris:
            return
        self._uris[key] = uri
        self._bytes += len(uri)
        while self._bytes > _MAX_BYTES:
            self._bytes -= len(self._uris.popitem(last=False)[1])


def _encode(
    image: EncodedImage, fit: ImageFit, side: int | None, resample: Image.Resampling | None, padding: _Color
) -> str:
    filter_ = Image.Resampling.BICUBIC if resample is None else resample
    try:
        if fit == "center_crop" and side is not None and resample is not None:
            square = processor_crop(image.decode(), side, resample)
        else:
            square = model_square(image.decode(), fit, side or VIEW_SIZE, filter_, padding)
        if side is not None and resample is not None and square.size != (side, side):
            square = square.resize((side, side), resample)
        encoded = encode_png(square)
    except MemoryError as error:
        raise ImageError("there is not enough memory to prepare an image for the model; shrink it.") from error
    return "data:image/png;base64," + b64encode(encoded).decode("ascii")


SERVED_IMAGES = ServedImages()
"""The one of the process."""
