"""`mark_regions`: the tool that draws markers on the regions that the LLM means."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, Field, WithJsonSchema, field_validator

from langchain_vipllava.errors import DetectionError, RegionError, SessionError, VipLlavaError
from langchain_vipllava.markers.kinds import COLORS, KINDS
from langchain_vipllava.markers.mark import mark
from langchain_vipllava.markers.marked_image import TINY, MarkedImage
from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.region import Region
from langchain_vipllava.tools.base import RegionTool, Reply, as_tool_error, describe_region, one_line, save
from langchain_vipllava.tools.session import OpenImage

_NUMBERS = {"type": "array", "items": {"type": "number"}}
_LABEL = {"type": "string"}

RegionItem = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "description": "a region id"},
                {**_NUMBERS, "description": "[x0, y0, x1, y1] or [x, y] in pixels"},
                {"type": "object", "properties": {"box": _NUMBERS, "label": _LABEL}, "required": ["box"]},
                {"type": "object", "properties": {"point": _NUMBERS, "label": _LABEL}, "required": ["point"]},
                {
                    "type": "object",
                    "properties": {"polygon": {"type": "array", "items": _NUMBERS}, "label": _LABEL},
                    "required": ["polygon"],
                },
            ]
        }
    ),
]
"""What an LLM is told that it may write; what is read is more lenient."""


class MarkRegionsInput(BaseModel):
    """Arguments of `mark_regions`."""

    image_id: str = Field(description="Id of an open image.")
    regions: list[RegionItem] = Field(
        description=(
            'What to mark, a list of: region ids ("r1"), boxes [x0, y0, x1, y1] in pixels, points [x, y] in pixels, or '
            'objects {"box": [...]}, {"point": [...]} or {"polygon": [[x, y], ...]} with an optional "label".'
        )
    )
    kind: str | list[str] = Field(
        "rectangle", description=f"Kind of marker: {', '.join(KINDS)}; one for all, or one per region."
    )
    color: str | list[str] | None = Field(
        None, description=f"Color: {', '.join(COLORS)}; one per region. Leave out to have them given out."
    )
    zoom: Literal["auto"] | None = Field(
        None, description='"auto" crops around the regions when they are small in the image.'
    )

    @field_validator("kind", mode="before")
    @classmethod
    def _usual(cls, kind: Any) -> Any:
        return "rectangle" if kind is None else kind  # LLMs write null for what they leave out

    @field_validator("regions", mode="before")
    @classmethod
    def _list_them(cls, wanted: Any) -> list[Any]:
        return _as_list(wanted)


class MarkRegionsTool(RegionTool):
    """Draws markers and opens the marked image under an id of its own, with a conversation of its own."""

    name: str = "mark_regions"
    description: str = (
        "Draw colored markers on regions of an open image. Gives the id of the marked image and, for each region, "
        'the words that name it ("within the red rectangle"). Use these words, or {r1}, in ask_regions.'
    )
    args_schema: type[BaseModel] = MarkRegionsInput

    def _run(
        self,
        image_id: str,
        regions: list[Any],
        config: RunnableConfig,
        kind: str | list[str] = "rectangle",
        color: str | list[str] | None = None,
        zoom: Literal["auto"] | None = None,
    ) -> Reply:
        try:
            session = self._session(config)
            source = self._image(session, image_id)
            with source.lock:
                before = source.regions.copy()
                try:
                    chosen = choose_regions(source, regions)
                    marked = mark(source.image, chosen, kind=kind, color=color, zoom=zoom)
                except VipLlavaError:
                    source.regions = before  # a region that cannot be marked gets no id
                    raise
        except VipLlavaError as error:
            raise as_tool_error(error) from error
        opened = session.add("marked", marked.original, regions=chosen, marked=marked)
        save(session)
        lines = [f'{m.region.id} ({one_line(m.region.label)}): "{m.phrase}"' for m in marked.markers]
        words = "\n".join([f"Marked {source.id} as {opened.id}:", *lines, *_notes(marked, zoomed=zoom is not None)])
        markers = [{**describe_region(m.region), "phrase": m.phrase} for m in marked.markers]
        return words, {"image_id": opened.id, "source_id": source.id, "markers": markers}


def choose_regions(image: OpenImage, wanted: list[Any]) -> list[Region]:
    """Read what an LLM wrote as regions of an image; new ones get ids.

    Raises:
        SessionError: an unknown region id.
        RegionError: nothing chosen, or not a region.
    """
    chosen: list[Region] = []
    for item in wanted:
        if isinstance(item, str):
            chosen.append(_known(image, item))
        elif isinstance(item, Mapping) and "id" in item and set(item) <= {"id", "label", "score"}:
            chosen.append(_known(image, str(item["id"])))
        else:
            chosen += image.add_regions(_read(item, image))
    if not chosen:
        raise RegionError("regions is empty; expected region ids such as 'r1', or boxes [x0, y0, x1, y1].")
    unique = {region.id: region for region in chosen}
    return list(unique.values())


def _as_list(wanted: Any) -> list[Any]:
    """What an LLM wrote where a list belongs: JSON as text, ids or numbers with commas, one thing without its list."""
    if isinstance(wanted, str):
        for text in (wanted, f"[{wanted}]"):
            parsed = _parse_json(text)
            if parsed is not None:
                return _as_list(parsed)
        return [part.strip() for part in wanted.split(",") if part.strip()]
    if not isinstance(wanted, (list, tuple)):
        return [wanted]
    if wanted and all(map(_is_number, wanted)):
        return [list(wanted)]
    return [_parse_json(item) or item.strip() if isinstance(item, str) else item for item in wanted]


def _parse_json(text: str) -> Any:
    """A list or mapping that came as text, else None."""
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _known(image: OpenImage, name: str) -> Region:
    if name in image.regions:
        return image.regions[name]
    known = ", ".join(image.regions) or "none yet"
    raise SessionError(
        f"{image.id} has no region {name[:100]!r}; known regions: {known}. Call detect_regions, or give a box "
        "[x0, y0, x1, y1] in pixels."
    )


def _read(item: Any, image: OpenImage) -> list[Region]:
    if isinstance(item, (list, tuple)) and all(map(_is_number, item)):
        _check_pixels(item, image)
        if len(item) == 4:
            return [Region(box=tuple(item))]
        if len(item) == 2 and all(f"r{number}" in image.regions for number in item):
            x, y = item
            raise RegionError(
                f"[{x}, {y}] may be a point, or the regions r{x} and r{y}; write {{'point': [{x}, {y}]}} or "
                f"['r{x}', 'r{y}']."
            )
        if len(item) == 2:
            return [Region(point=tuple(item))]
        raise RegionError(f"{item!r} is no region; expected a box [x0, y0, x1, y1] or a point [x, y] in pixels.")
    if isinstance(item, Mapping) and {"box", "point", "polygon"} & set(item):
        fields = {key: item[key] for key in ("box", "point", "polygon", "label", "score") if key in item}
        if not isinstance(fields.get("box"), Mapping):
            region = Region(**fields)
            _check_pixels(region.box, image)
            return [region]
    try:
        return regions_from([item] if isinstance(item, Mapping) else item, image_size=image.image.size)
    except DetectionError as error:  # its advice is for programmers
        width, height = image.image.size
        raise RegionError(
            f"{str(item)[:200]} is no region of this image of {width} x {height} pixels; expected a region id such "
            "as 'r1', a box [x0, y0, x1, y1], a point [x, y], or an object with 'box', 'point' or 'polygon', in pixels."
        ) from error


def _check_pixels(numbers: Sequence[float], image: OpenImage) -> None:
    """LLMs like to write fractions of the image."""
    if any(0 < abs(number) < 1 for number in numbers) and all(abs(number) <= 1 for number in numbers):
        width, height = image.image.size
        raise RegionError(f"{list(numbers)} are fractions; this image is {width} x {height} pixels, give pixels.")


def _notes(marked: MarkedImage, *, zoomed: bool) -> list[str]:
    """What the LLM should know of regions that are hard to see; `mark` warns the program of the same."""
    # The warnings themselves cannot be caught: catch_warnings is not thread-safe, and tools run in threads.
    advice = "Mark fewer regions that lie nearer together." if zoomed else 'Pass zoom="auto" to crop around it.'
    return [
        f"Note: {m.region.id} is {m.seen[0]:.1f} x {m.seen[1]:.1f} px where the vision model looks; below {TINY:.0f} "
        f"px little of it is left. {advice}"
        for m in marked.markers
        if m.is_tiny
    ]
