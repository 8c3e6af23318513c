"""`mark_regions`: the tool that draws markers on the regions that the LLM means."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, Field

from langchain_vipllava.errors import RegionError, SessionError, VipLlavaError
from langchain_vipllava.markers.kinds import COLORS, KINDS
from langchain_vipllava.markers.mark import mark
from langchain_vipllava.markers.marked import MarkedImage, TinyRegionWarning
from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.region import Region
from langchain_vipllava.tools.base import RegionTool, Reply, as_tool_error, describe_region
from langchain_vipllava.tools.session import OpenImage


class MarkRegionsInput(BaseModel):
    """Arguments of `mark_regions`."""

    image_id: str = Field(description="Id of an open picture.")
    regions: Any = Field(
        description=(
            'What to mark, a list of: region ids ("r1"), boxes [x0, y0, x1, y1] in pixels, points [x, y] in pixels, or '
            'objects {"box": [...]}, {"point": [...]} or {"polygon": [[x, y], ...]} with an optional "label".'
        ),
        json_schema_extra={"type": "array", "items": {}},
    )
    kind: str | list[str] = Field(
        "rectangle", description=f"Kind of marker: {', '.join(KINDS)}; one for all, or one per region."
    )
    color: str | list[str] | None = Field(
        None, description=f"Colour: {', '.join(COLORS)}; one per region. Leave out to have them given out."
    )
    zoom: Literal["auto"] | None = Field(
        None, description='"auto" crops around the regions when they are small in the picture.'
    )


class MarkRegionsTool(RegionTool):
    """Draws markers and opens the marked picture under an id of its own, with a conversation of its own."""

    name: str = "mark_regions"
    description: str = (
        "Draw coloured markers on regions of an open picture. Gives the id of the marked picture and, for each region, "
        'the words that name it ("within the red rectangle"). Use these words, or {r1}, in ask_regions.'
    )
    args_schema: type[BaseModel] = MarkRegionsInput

    def _run(
        self,
        image_id: str,
        regions: Any,
        config: RunnableConfig,
        kind: str | list[str] = "rectangle",
        color: str | list[str] | None = None,
        zoom: Literal["auto"] | None = None,
    ) -> Reply:
        try:
            source = self._image(config, image_id)
            with source.lock:
                chosen = choose_regions(source, regions)
            marked, notes = _mark(source, chosen, kind=kind, color=color, zoom=zoom)
        except VipLlavaError as error:
            raise as_tool_error(error) from error
        opened = self._session(config).add("marked", marked.original, marked)
        for region in chosen:
            opened.regions[region.id or ""] = region
        lines = [f'{m.region.id} ({m.region.label or "region"}): "{m.phrase}"' for m in marked.markers]
        words = "\n".join([f"Marked {source.id} as {opened.id}:", *lines, *notes])
        markers = [{**describe_region(m.region), "phrase": m.phrase} for m in marked.markers]
        return words, {"image_id": opened.id, "source_id": source.id, "markers": markers}


def choose_regions(image: OpenImage, wanted: Any) -> list[Region]:
    """Read what an LLM wrote as regions of a picture; new ones get ids.

    Raises:
        SessionError: an unknown region id.
        RegionError: nothing chosen, or not a region.
    """
    chosen: list[Region] = []
    for item in _as_list(wanted):
        if isinstance(item, str):
            chosen.append(_known(image, item))
        elif isinstance(item, Mapping) and set(item) == {"id"}:
            chosen.append(_known(image, str(item["id"])))
        else:
            chosen += image.add_regions(_read(item, image))
    if not chosen:
        raise RegionError("regions is empty; expected region ids such as 'r1', or boxes [x0, y0, x1, y1].")
    unique = {region.id: region for region in chosen}
    return list(unique.values())


def _as_list(wanted: Any) -> list[Any]:
    if isinstance(wanted, str):
        text = wanted.strip()
        if text[:1] in ("[", "{"):
            try:
                return _as_list(json.loads(text))
            except ValueError:
                pass
        return [part.strip() for part in text.split(",") if part.strip()]
    if isinstance(wanted, (list, tuple)):
        numbers = bool(wanted) and all(isinstance(n, (int, float)) for n in wanted)
        return [list(wanted)] if numbers else list(wanted)
    return [wanted]


def _known(image: OpenImage, name: str) -> Region:
    if name in image.regions:
        return image.regions[name]
    known = ", ".join(image.regions) or "none yet"
    raise SessionError(
        f"{image.id} has no region {name!r}; known regions: {known}. Call detect_regions, or give a box "
        "[x0, y0, x1, y1] in pixels."
    )


def _read(item: Any, image: OpenImage) -> list[Region]:
    if isinstance(item, (list, tuple)) and all(isinstance(n, (int, float)) for n in item):
        if len(item) == 4:
            return [Region(box=tuple(item))]
        if len(item) == 2:
            return [Region(point=tuple(item))]
        raise RegionError(f"{item!r} is no region; expected a box [x0, y0, x1, y1] or a point [x, y] in pixels.")
    if isinstance(item, Mapping) and {"box", "point", "polygon"} & set(item):
        fields = {key: item[key] for key in ("box", "point", "polygon", "label", "score") if key in item}
        if not isinstance(fields.get("box"), Mapping):
            return [Region(**fields)]
    detections = [item] if isinstance(item, Mapping) else item
    return regions_from(detections, image_size=image.image.size)


def _mark(source: OpenImage, regions: list[Region], **look: Any) -> tuple[MarkedImage, list[str]]:
    """Mark, and turn warnings about tiny regions into notes for the LLM."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TinyRegionWarning)
        marked = mark(source.image, regions, **look)
    return marked, [f"Note: {warning.message}" for warning in caught if warning.category is TinyRegionWarning]
