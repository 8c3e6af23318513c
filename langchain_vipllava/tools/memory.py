"""A thread's images, regions and conversations as bytes in a `ImageStore`, and back."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import messages_from_dict, messages_to_dict
from PIL import Image

from langchain_vipllava.chat.image_refs import keep_images, restore_images
from langchain_vipllava.errors import ImageError, VipLlavaError
from langchain_vipllava.images.load import encode_image, load_image
from langchain_vipllava.images.store import ImageStore
from langchain_vipllava.markers.marked_image import MarkedImage, Marker
from langchain_vipllava.regions.region import Region
from langchain_vipllava.tools.session import OpenImage

logger = logging.getLogger(__name__)

_FORMAT = 1


class ThreadMemory:
    """Where sessions outlive the process. One process, and one toolkit in it, works on a thread at a time.

    Args:
        store: keeps the images by their content, and a JSON text per thread.
    """

    def __init__(self, store: ImageStore) -> None:
        self._store = store

    def save(self, thread_id: str, images: Sequence[OpenImage], counts: Mapping[str, int]) -> None:
        """Remember the images of a thread, the least recently used first."""
        described = {"format": _FORMAT, "counts": dict(counts), "images": [self._describe(image) for image in images]}
        self._store.mset([(_key(thread_id), json.dumps(described, default=str).encode())])

    def load(self, thread_id: str) -> tuple[list[OpenImage], dict[str, int]]:
        """What `save` remembered; nothing for an unknown thread. An image that the store has no more is left out."""
        (data,) = self._store.mget([_key(thread_id)])
        if data is None:
            return [], {}
        try:
            described = json.loads(data)
            if described["format"] != _FORMAT:
                raise ValueError(f"format {described['format']!r}; expected {_FORMAT}")
            counts = {str(name): int(count) for name, count in described["counts"].items()}
            images = [image for known in described["images"] if (image := self._read(known)) is not None]
        except (KeyError, TypeError, ValueError, AttributeError, VipLlavaError) as error:
            aside = f"unread-{_key(thread_id)}"
            self._store.mset([(aside, data)])
            logger.warning("thread %r cannot be read (%s); it begins anew, the old one is %s.", thread_id, error, aside)
            return [], {}
        return images, counts

    def _describe(self, image: OpenImage) -> dict[str, Any]:
        marked, regions = image.marked, image.regions.copy()
        return {
            "id": image.id,
            "image": self._keep(image.image, image.kept),
            "regions": [region.model_dump(mode="json") for region in regions.values()],
            "marked": None if marked is None else self._describe_marked(marked, image.kept),
            "messages": messages_to_dict(keep_images(list(image.messages), self._store)),
        }

    def _describe_marked(self, marked: MarkedImage, kept: dict[int, str]) -> dict[str, Any]:
        markers = [
            {
                "region": marker.region.model_dump(mode="json"),
                "kind": marker.kind,
                "color": marker.color,
                "seen": list(marker.seen),
                "number": marker.number,
            }
            for marker in marked.markers
        ]
        crop = None if marked.crop is None else list(marked.crop)
        return {"image": self._keep(marked.image, kept), "markers": markers, "crop": crop}

    def _keep(self, image: Image.Image, kept: dict[int, str]) -> str:
        """Keep an image; one that was kept before, and still is, is not encoded again."""
        name = kept.get(id(image))
        if name is None or self._store.mget([name]) == [None]:
            data = encode_image(image)
            assert data is not None  # noqa: S101  # only a URL has no bytes
            name = kept[id(image)] = self._store.keep(data)
        return name

    def _read(self, known: Mapping[str, Any]) -> OpenImage | None:
        try:
            image = self._image(known["image"])
            marked = None if known["marked"] is None else self._read_marked(known["marked"], image)
            messages = restore_images(messages_from_dict(known["messages"]), self._store)
        except ImageError as error:
            logger.warning("image %s is left out: %s", known["id"], error)
            return None
        regions = [Region.model_validate(region) for region in known["regions"]]
        opened = OpenImage(known["id"], image, OrderedDict((region.id or "", region) for region in regions), marked)
        opened.messages = messages
        return opened

    def _read_marked(self, known: Mapping[str, Any], original: Image.Image) -> MarkedImage:
        markers = tuple(
            Marker(
                Region.model_validate(marker["region"]),
                marker["kind"],
                marker["color"],
                tuple(marker["seen"]),
                marker["number"],
            )
            for marker in known["markers"]
        )
        crop = None if known["crop"] is None else tuple(known["crop"])
        return MarkedImage(self._image(known["image"]), original, markers, crop)

    def _image(self, name: str) -> Image.Image:
        return load_image(self._store.find(name))


def _key(thread_id: str) -> str:
    return f"thread-{hashlib.sha256(thread_id.encode()).hexdigest()}"
