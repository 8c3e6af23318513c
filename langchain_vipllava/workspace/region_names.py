"""Regions as LLMs name them when they mark: r1, R1, "region 1", r1-r4, all, the cup."""

from __future__ import annotations

import re
from collections.abc import Sequence

from langchain_vipllava.errors import SessionError, shorten
from langchain_vipllava.markers.words import singular
from langchain_vipllava.regions.region import Region
from langchain_vipllava.workspace.open_image import OpenImage

_DRESS = " \t\n\"'`[](){}<>*.:\u2018\u2019\u201c\u201d\u00ab\u00bb"
_ALL = re.compile(
    r"(?:all|every|each|everything|\*|any)"
    r"(?: (?:of )?(?:the |them|these )?(?:regions?|objects?|boxes|detections|ids)?)?"
)
_KIND = r"(?:region|object|box|marker|id)"
_ID = re.compile(
    rf"(?:{_KIND}s?[ _]?(?:id|number|no\.?)?[ :=_]*)?[r#][_-]?(\d{{1,9}})|{_KIND}[ _:=#]*(\d{{1,9}})|(\d{{1,9}})"
)
_RANGE = re.compile(r"(?:regions? )?r?(\d{1,9})\s*(?:-|\u2013|\u2014|\.\.+|:|to|through|thru)\s*r?(\d{1,9})")
_WHOLE = re.compile(r"(?:the )?(?:whole|entire|full|complete) (?:image|picture|photo|scene)|(?:the )?image")
_MAX_SHOWN = 1000
"""Characters of ids that a message lists."""


def find_regions(image: OpenImage, name: str, *, can_detect: bool) -> list[Region]:
    """Return the regions of an image that a name means.

    Args:
        image: whose regions can be named.
        name: an id in any dress, a range of ids, "all", or a label.
        can_detect: whether to advise running the detector.

    Raises:
        SessionError: none, or several where one is meant.
    """
    if name in image.regions:
        return [image.regions[name]]
    text = " ".join(name.strip(_DRESS).lower().split())
    if _ALL.fullmatch(text) and image.regions:
        return list(image.regions.values())
    if (span := _RANGE.fullmatch(text)) is not None and "r" in text:
        first, last = sorted((int(span[1]), int(span[2])))
        ids = [f"r{number}" for number in range(first, min(last, first + len(image.regions)) + 1)]
        unknown = next((region_id for region_id in ids if region_id not in image.regions), None)
        if unknown is not None:
            raise _unknown(image, unknown, can_detect=can_detect)
        return [image.regions[region_id] for region_id in ids]
    if (match := _ID.fullmatch(text)) is not None:
        region_id = f"r{int(next(filter(None, match.groups())))}"
        if region_id in image.regions:
            return [image.regions[region_id]]
        raise _unknown(image, name, can_detect=can_detect)
    return _labeled(image, name, text, can_detect=can_detect)


def _labeled(image: OpenImage, name: str, text: str, *, can_detect: bool) -> list[Region]:
    for_all = re.match(r"(?:all|both|every|each)(?: of)?(?: the)? ", text)
    words = text[for_all.end() :] if for_all else re.sub(r"^(?:the|a|an) ", "", text)
    same = _with_label(image, words)
    if not same and (one := singular(words)) is not None:
        same, for_all = _with_label(image, one), for_all or re.match("", "")
    if len(same) > 1 and for_all is None:
        ids = ", ".join(str(region.id) for region in same)
        raise SessionError(f"{shorten(name)} may be {ids}; write the id of the one that you mean, or all of these ids.")
    if same:
        return same
    raise _unknown(image, name, can_detect=can_detect)


def _with_label(image: OpenImage, words: str) -> list[Region]:
    return [region for region in image.regions.values() if " ".join((region.label or "").lower().split()) == words]


def _unknown(image: OpenImage, name: str, *, can_detect: bool) -> SessionError:
    if _WHOLE.fullmatch(name.strip(_DRESS).lower()):
        return SessionError(
            f'{shorten(name)} needs no marker: call ask_regions with image_id "{image.id}". To mark a part, give a '
            "region id or a box [x0, y0, x1, y1] in pixels."
        )
    known = _listed(list(image.regions.values())) or "none yet"
    return SessionError(
        f"{image.id} has no region {shorten(name)}; known regions: {known[:_MAX_SHOWN]}. "
        f"{'Call detect_regions, or give' if can_detect else 'Give'} a box [x0, y0, x1, y1] in pixels."
    )


def _listed(regions: Sequence[Region]) -> str:
    return ", ".join(str(region.id) for region in regions)
