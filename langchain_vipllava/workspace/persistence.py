"""`StoredSessions`: a session's images, regions and conversations as bytes in an `ImageStore`, and back."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_vipllava.errors import ImageError, VipLlavaError, describe_error, shorten
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.store import ImageStore, image_id
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.markers.marked_json import crop_from_json, marker_from_json, marker_to_json, typed
from langchain_vipllava.prompt.conversation import Turn
from langchain_vipllava.regions.region import Region
from langchain_vipllava.workspace.open_image import OpenImage
from langchain_vipllava.workspace.session_id import ProgramSession, StoredKey

logger = logging.getLogger(__name__)

_FORMAT = 3
"""Version of the JSON below."""


class StoredSessions:
    """Persists sessions. Only one workspace, in one process, may use a session at a time.

    Args:
        store: keeps the images by their content, and one JSON text per session.
    """

    def __init__(self, store: ImageStore) -> None:
        self._store = store

    def save(self, session: StoredKey, images: Sequence[OpenImage], counts: Mapping[str, int]) -> None:
        """Save the images of a session, the least recently used first.

        Raises:
            ImageError: the store cannot be written.
        """
        record = {"format": _FORMAT, "counts": dict(counts), "images": [self._image_record(image) for image in images]}
        self._store.mset([(_key(session), json.dumps(record).encode())])

    def load(self, session: StoredKey) -> tuple[list[OpenImage], dict[str, int]]:
        """Return what `save` saved; nothing for an unknown session. Images that the store lost are left out.

        Raises:
            ImageError: the record is there and cannot be read.
        """
        (data,) = self._store.mget([_key(session)])
        if data is None:
            return [], {}
        try:
            record = json.loads(data)
            if record["format"] != _FORMAT:
                raise ValueError(f"format {shorten(record['format'])}; expected {_FORMAT}")
            counts = {typed(prefix, str): typed(count, int) for prefix, count in record["counts"].items()}
            images = [image for entry in record["images"] if (image := self._read_image(entry)) is not None]
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError, VipLlavaError) as error:
            aside = f"unread-{_key(session)}"
            self._store.mset([(aside, data)])
            logger.warning(
                "session %s cannot be read (%s); it starts empty, the old record is %s.",
                shorten(session),
                describe_error(error),
                aside,
            )
            return [], {}
        return images, counts

    def delete(self, session: StoredKey) -> None:
        """Forget what `save` saved. Images stay until the store needs their room: other sessions may use them."""
        self._store.mdelete([_key(session)])

    def _image_record(self, image: OpenImage) -> dict[str, Any]:
        return {
            "id": image.id,
            "image": self._add(image.image),
            "regions": [region.model_dump(mode="json") for region in image.regions.copy().values()],
            "last_page": image.last_page,
            "views": [
                {"marked": None if view.marked is None else self._marked_record(view.marked), "turns": _turns(view)}
                for view in image.views
            ],
        }

    def _marked_record(self, marked: MarkedImage) -> dict[str, Any]:
        markers = [marker_to_json(marker) for marker in marked.markers]
        crop = None if marked.crop is None else list(marked.crop)
        return {"image": self._add(marked.encoded), "markers": markers, "crop": crop}

    def _add(self, image: EncodedImage) -> str:
        """Store an image unless it is there: every question saves the session, whose images seldom change."""
        name = image_id(image)
        return name if name in self._store else self._store.add(image)

    def _read_image(self, record: Mapping[str, Any]) -> OpenImage | None:
        try:
            image = self._load(record["image"])
            marked = [
                None if view["marked"] is None else self._read_marked(view["marked"], image) for view in record["views"]
            ]
        except ImageError as error:
            logger.warning("image %s is left out: %s", shorten(record["id"]), describe_error(error))
            return None
        regions = [Region.model_validate(region) for region in record["regions"]]
        by_id = OrderedDict((_region_id(region), region) for region in regions)
        views = [OpenImage(typed(record["id"], str), image, by_id, one) for one in marked]
        for view, stored in zip(views, record["views"], strict=True):
            _read_turns(view, stored["turns"])
        if len(views) == 1:
            return views[0]
        for view in views:
            view.regions = OrderedDict((_region_id(r), r) for r in view.shown.regions)
        last_page = record["last_page"]
        return OpenImage(
            typed(record["id"], str),
            image,
            by_id,
            pages=tuple(views),
            last_page=None if last_page is None else range(len(views))[typed(last_page, int)],
        )

    def _read_marked(self, record: Mapping[str, Any], original: EncodedImage) -> MarkedImage:
        markers = tuple(map(marker_from_json, record["markers"]))
        crop = None if record["crop"] is None else crop_from_json(record["crop"])
        return MarkedImage.from_encoded(self._load(record["image"]), original.decode(), markers, crop)

    def _load(self, name: str) -> EncodedImage:
        image = EncodedImage(self._store.get(name))
        image.decode()  # a damaged image is left out here, instead of failing in a later call
        return image


def _turns(view: OpenImage) -> list[dict[str, Any]]:
    return [
        {"question": turn.question, "answer": turn.answer, "answer_ids": turn.answer_ids} for turn in list(view.turns)
    ]


def _read_turns(view: OpenImage, turns: Sequence[Mapping[str, Any]]) -> None:
    for turn in turns:
        ids = turn["answer_ids"]
        images = () if view.turns else (view.shown_image,)
        token_ids = None if ids is None else tuple(typed(token, int) for token in ids)
        view.turns.append(Turn(typed(turn["question"], str), images, typed(turn["answer"], str), token_ids))


def _region_id(region: Region) -> str:
    if re.fullmatch(r"r\d{1,9}", region.id or "") is None:
        raise ValueError(f"region id {shorten(region.id)} in the record; expected r1, r2, ...")
    return str(region.id)


def _key(session: StoredKey) -> str:
    kind, name = ("program", session.name) if isinstance(session, ProgramSession) else ("session", session)
    return f"{kind}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()}"
