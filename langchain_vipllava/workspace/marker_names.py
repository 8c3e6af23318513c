"""`MarkerNames`: the names by which a question may call the markers of an image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

from langchain_vipllava.errors import MarkerError, shorten
from langchain_vipllava.markers.marker import Marker

_MAX_LISTED = 40
"""Ids that a message lists. Chosen: some 200 characters."""

_MAX_LOOKS = 9
"""Markers whose words a message lists. Chosen: those of one page."""

_ANY_KIND = frozenset(("outline", "border", "marker", "frame", "highlight", "edge", "boundary"))
"""Words for a marker of any kind."""


class MarkerNames:
    """The markers of an image, by region id, number, label and words.

    Args:
        image_id: of the image, for messages.
        markers: its markers; their regions have ids.
        unmarked: ids of regions of the image that are not marked.
    """

    def __init__(self, image_id: str, markers: Sequence[Marker], unmarked: Sequence[str] = ()) -> None:
        self._image_id, self._markers = image_id, tuple(markers)
        self._by_id = {marker.region.id: marker for marker in markers}
        self._by_number = {marker.number: marker for marker in markers if marker.number is not None}
        self._unmarked = [region_id for region_id in unmarked if region_id not in self._by_id]

    @property
    def has_regions(self) -> bool:
        """Whether the image has any region, so that "region 1" means one."""
        return bool(self._by_id or self._unmarked)

    @property
    def has_numbers(self) -> bool:
        """Whether numbers are drawn beside the markers."""
        return bool(self._by_number)

    def has(self, number: int) -> bool:
        """Whether a number is that of a marked region."""
        return f"r{number}" in self._by_id

    def find(self, number: int, *, by_number: bool = False) -> Marker:
        """Return the marker of a region.

        Args:
            number: of the region's id, or the one drawn beside it.
            by_number: whether the question says that it is the one that is drawn.

        Raises:
            MarkerError: there is none, or the two are different ones.
        """
        by_id, drawn = self._by_id.get(f"r{number}"), self._by_number.get(number)
        if by_number and drawn is not None:
            return drawn
        found = by_id or drawn
        if found is None:
            raise MarkerError(self._describe_missing(f"r{number}"))
        return found

    def labeled(self, name: str) -> int | None:
        """Return the number of the one region with a label, for a name in braces; None for what is no name.

        Raises:
            MarkerError: a name in braces that no region or several have.
        """
        if not re.fullmatch(r"(?=.*[^\W\d])[\w.:# -]+", name) or re.fullmatch(r"[rR]\W?_?\d+", name):
            return None
        same = [marker for marker in self._markers if (marker.region.label or "").lower() == name.lower()]
        if len(same) == 1 and (number := re.fullmatch(r"r(\d+)", same[0].region.id or "")):
            return int(number[1])
        raise MarkerError(self._describe_missing(shorten(name, 60)))

    def at(self, place: int, said: str) -> int:
        """Return the number of the id of the region at a place in the order of the markers.

        Args:
            place: from 1; -1 is the last.
            said: how the question says it, for messages.

        Raises:
            MarkerError: there is none, or its id has another number.
        """
        if not self._markers or not 0 < abs(place) <= len(self._markers):
            raise MarkerError(self._describe_missing(shorten(said, 60)))
        region_id = self._markers[place - 1 if place > 0 else place].region.id or ""
        if place > 0 and region_id != f"r{place}":
            raise MarkerError(
                f"{shorten(said, 60)} may be {region_id}, the marker at that place, or r{place}. Write the id of the "
                "one that you mean."
            )
        return int(region_id[1:])

    def looking(self, color: str, kind: str, said: str) -> Marker | None:
        """Return the one marker of a color and of a kind, or of any kind where the word says none.

        Args:
            color: one of the nine.
            kind: one of the eight, or another word.
            said: the word for the kind.
        """
        same = [marker for marker in self._markers if marker.color == color]
        fitting = [marker for marker in same if marker.kind == kind]
        if not fitting and said in _ANY_KIND:
            fitting = same
        return fitting[0] if len(fitting) == 1 else None

    def refuse_look(self, said: str) -> None:
        """Refuse words for a marker that no marker has; where there are none, they are a thing of the image.

        Raises:
            MarkerError: the image has markers.
        """
        if self._markers:
            looks = ", ".join(f'{m.region.id} "{m.phrase}"' for m in self._markers[:_MAX_LOOKS])
            raise MarkerError(
                f"the question names {shorten(said, 60)}, which no marker of {self._image_id} is; its markers "
                f"are {looks}. Name one of these by its id."
            )

    def phrase_at_end(self, text: str) -> Marker | None:
        """Return the marker whose words end a text: "the object within the red rectangle"."""
        lower = text.lower()
        return next((marker for words, marker in self._words if lower.endswith(words)), None)

    def phrase_at_start(self, text: str) -> tuple[Marker, int] | None:
        """Return the marker whose words follow a name, and their length: " (within the red rectangle)"."""
        for words, marker in self._words:
            lead = (
                r"\s*(?P<open>\(|,)?\s*(?:(?:i\.e\.|which is|located|shown|marked|the (?:object|region)|that is),?\s+)*"
            )
            match = re.match(rf"{lead}{re.escape(words)}(?![\w])", text, re.IGNORECASE)
            if match is None:
                continue
            behind = text[match.end() :]
            closing = re.match(r"\s*\)" if match["open"] == "(" else r"," if match["open"] == "," else r"", behind)
            if closing is not None:
                return marker, match.end() + closing.end()
            if match["open"] == ",":
                return marker, match.end()
        return None

    def check_same(self, named: Marker, marker: Marker) -> None:
        """Refuse a name and the words of another marker beside it.

        Raises:
            MarkerError: they are of two markers.
        """
        if named is not marker:
            raise MarkerError(
                f'the question calls {marker.region.id} "{named.phrase}", which is {named.region.id}; '
                f'{marker.region.id} is "{marker.phrase}". Write one of them.'
            )

    @cached_property
    def _words(self) -> list[tuple[str, Marker]]:
        """Phrases, and phrases without their preposition; the longest first: "the red mask" begins another one."""
        words = [(marker.phrase.lower(), marker) for marker in self._markers]
        words += [(f"the {phrase.split(' the ', 1)[1]}", marker) for phrase, marker in words]
        return sorted(words, key=lambda pair: -len(pair[0]))

    def _describe_missing(self, name: str) -> str:
        if not self._by_id:
            ids = self._unmarked[:1] or ["r1"]
            regions = f" Its regions are {', '.join(self._unmarked[:_MAX_LISTED])}." if self._unmarked else ""
            return (
                f"the question names {name}, and {self._image_id} has no markers.{regions} Call mark_regions with "
                f'image_id "{self._image_id}" and regions such as ["{ids[0]}"], and ask about the image_id that it '
                "returns."
            )
        listed = [str(name) for name in self._by_id]
        ids_text = ", ".join(listed[:_MAX_LISTED]) + (
            f" and {len(listed) - _MAX_LISTED} more" * (len(listed) > _MAX_LISTED)
        )
        return (
            f"the question names {name}, which is not marked in {self._image_id}; marked are {ids_text}. Name one of "
            "these, or mark the other one with mark_regions. Text that can be read in the image goes in double quotes "
            "with the words around it."
        )
