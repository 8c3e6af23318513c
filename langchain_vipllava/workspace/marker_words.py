"""Kinds, colors and zoom as LLMs write them: synonyms, other colors, lists as text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import ImageColor

from langchain_vipllava.errors import MarkerError, shorten
from langchain_vipllava.markers.kinds import COLORS, KINDS, MarkerColor, MarkerKind
from langchain_vipllava.markers.mark import Zoom
from langchain_vipllava.text import counted
from langchain_vipllava.workspace.region_input import Chosen
from langchain_vipllava.workspace.written import is_number, parse_text

KIND_WORDS: dict[str, MarkerKind] = {
    **dict.fromkeys(("box", "bbox", "bounding box", "rect", "square", "frame", "boxe", "highlight box"), "rectangle"),
    **dict.fromkeys(("circle", "oval", "ring", "round"), "ellipse"),
    **dict.fromkeys(("outline", "contour", "border", "edge", "boundary", "polygon", "silhouette"), "mask contour"),
    **dict.fromkeys(("dot", "keypoint", "key point", "pin", "marker", "spot"), "point"),
    **dict.fromkeys(
        ("segmentation", "segmentation mask", "segment", "overlay", "fill", "filled", "highlight", "shade"), "mask"
    ),
    **dict.fromkeys(("freehand", "stroke", "squiggle", "doodle", "hand drawn"), "scribble"),
    **dict.fromkeys(("pointer",), "arrow"),
}
"""What LLMs call the kinds, beside their names. Chosen: the words of drawing and annotation tools."""

COLOR_WORDS: dict[str, MarkerColor] = {
    "green": "lime",
    "magenta": "fuchsia",
    "pink": "fuchsia",
    "cyan": "aqua",
    "turquoise": "aqua",
    "teal": "aqua",
    "violet": "purple",
    "indigo": "purple",
    "crimson": "red",
    "maroon": "red",
    "scarlet": "red",
    "navy": "blue",
    "brown": "orange",
    "amber": "gold",
    "golden": "gold",
}
"""The nearest color that the model was trained on, where the nearest in RGB is not what a person would choose."""

_SHADES = re.compile(r"^(?:bright|light|dark|neon|deep|pale|hot|pure|vivid|royal|sky|bold|solid)[ _-]?")
_NEAR = 128.0
"""Distance in RGB within which another color has one's name. Chosen: half of a channel, so that gray has none."""

_ANY = ("", "auto", "any", "none", "null", "default", "random", "different", "automatic", "undefined", "mixed")


def read_kind(kind: Any, chosen: Chosen) -> Any:
    """Read the kind of markers: one for all, one per region, or by region id; items of their own wins.

    Raises:
        MarkerError: an unknown kind, or another number than that of the regions.
    """
    kinds = _per_region(kind, chosen, "kind")
    if not isinstance(kinds, list):
        if not chosen.kinds:
            return _kind(kinds, chosen.notes) or "rectangle"
        kinds = [kinds] * len(chosen.regions)
    own = [chosen.kinds.get(region.id or "", kind) for region, kind in zip(chosen.regions, kinds, strict=True)]
    return [_kind(kind, chosen.notes) or "rectangle" for kind in own]


def read_color(color: Any, chosen: Chosen) -> Any:
    """Read the colors of markers: one for all, one per region, or by region id; None to have them assigned.

    Raises:
        MarkerError: no color, or another number than that of the regions.
    """
    colors = _per_region(color, chosen, "color")
    if not isinstance(colors, list):
        if not chosen.colors:
            return _color(colors, chosen.notes)
        colors = [colors] * len(chosen.regions)
    own = [chosen.colors.get(region.id or "", color) for region, color in zip(chosen.regions, colors, strict=True)]
    read = [_color(color, chosen.notes) for color in own]
    return read if any(read) else None


def check_looks(kind: Any, color: Any, chosen: Chosen) -> None:
    """Refuse one look for two regions: its words have to name one of them.

    Args:
        kind: what `read_kind` returned.
        color: what `read_color` returned.
        chosen: the regions.

    Raises:
        MarkerError: two regions ask for the same kind and color.
    """
    count = len(chosen.regions)
    kinds = kind if isinstance(kind, list) else [kind] * count
    colors = color if isinstance(color, list) else [color] * count
    seen: dict[tuple[str, str], str | None] = {}
    for region, look in zip(chosen.regions, zip(kinds, colors, strict=True), strict=True):
        if "auto" in look or look[1] is None:
            continue
        if look in seen:
            raise MarkerError(
                f"{seen[look]} and {region.id} both ask for a {look[1]} {look[0]}; expected another color or kind for "
                "each region, so that its words name one. Leave color out, or give one color per region."
            )
        seen[look] = region.id


def read_zoom(zoom: Any) -> Zoom | None:
    """Read whether to zoom: "auto", true and their like.

    Raises:
        MarkerError: something else.
    """
    text = str(zoom).strip(" \"'").lower() if isinstance(zoom, (str, bool, int, float)) else None
    if zoom is None or text in ("", "false", "no", "none", "null", "off", "0", "0.0", "out"):
        return None
    if text in ("auto", "true", "yes", "on", "in", "automatic", "zoom") or (is_number(zoom) and zoom > 0):
        return "auto"
    if text is not None and re.fullmatch(r"\d+(?:\.\d+)?x?", text):
        return "auto"
    raise MarkerError(
        f'zoom={shorten(zoom)} is not known; expected "auto", or leave zoom out.'.replace("zoom=", "zoom ")
    )


def _per_region(value: Any, chosen: Chosen, what: str) -> Any:
    """Return one value, or a list of one per region."""
    if isinstance(value, str):
        parsed = parse_text(value) if value.lstrip().startswith(("[", "{", "(", "```")) else None
        words = re.split(r"\s*,\s*", value)
        named = re.fullmatch(r"(?:rgb|hsl)a?\(.*\)", value.strip(), re.IGNORECASE)
        value = parsed if parsed is not None else words if len(words) > 1 and not named else value
    if isinstance(value, Mapping):
        ids = {str(key).strip().lower(): one for key, one in value.items()}
        return [ids.get(region.id or "") for region in chosen.regions]
    if not isinstance(value, (list, tuple)):
        return value
    if what == "color" and len(value) == 3 and all(map(is_number, value)):
        return f"rgb({','.join(str(max(0, min(255, int(n)))) for n in value)})"
    if len(value) == 1:
        return shorten(value[0]) if isinstance(value[0], (list, tuple)) else value[0]
    if len(value) != len(chosen.regions):
        raise MarkerError(
            f"{len(value)} values in {what} for {counted(len(chosen.regions), 'region')}; expected one {what} for all, "
            f"or one per region. Leave {what} out to have it chosen."
        )
    return list(value)


def _kind(kind: Any, notes: list[str]) -> str | None:
    """Return a kind by any of its names; None to choose the usual one."""
    text = _words(kind)
    if text in _ANY:
        return "auto" if text in ("auto", "mixed", "different") else None
    for name in (text, text.rstrip("s"), text.removesuffix("es"), text.removesuffix(" marker")):
        if name in KINDS:
            return name
        if name in KIND_WORDS:
            _note(notes, f'there is no kind "{text}"; "{KIND_WORDS[name]}" was used.')
            return KIND_WORDS[name]
    raise MarkerError(f"there is no kind {shorten(kind)}; expected one of {', '.join(KINDS)}, or auto.")


def _color(color: Any, notes: list[str]) -> str | None:
    text = _words(color)
    if text in _ANY:
        return None
    name = next((name for name in (text, text.rstrip("s")) if name in COLORS), None)
    if name is not None:
        return name
    known = COLOR_WORDS.get(text) or COLOR_WORDS.get(_SHADES.sub("", text)) or _nearest(text)
    if known is None and _SHADES.sub("", text) in COLORS:
        known = _SHADES.sub("", text)
    rgb = _rgb(text)
    if known is None and rgb is None:
        raise MarkerError(
            f"there is no color {shorten(color)}; expected one of {', '.join(COLORS)}. Leave color out to have it "
            "chosen."
        )
    if known is None:
        _note(notes, f'there is no marker like "{text}"; colors were chosen. The colors are {", ".join(COLORS)}.')
    elif COLORS[known] != rgb or not text.startswith(("#", "rgb")):  # type: ignore[index]  # it is one of them
        _note(notes, f'there is no color "{text}"; "{known}" was used.')
    return known


def _nearest(text: str) -> str | None:
    """Return the color that is nearest in RGB, if one is near."""
    rgb = _rgb(text)
    if rgb is None:
        return None
    distances = {
        name: sum((a - b) ** 2 for a, b in zip(rgb, other, strict=True)) ** 0.5 for name, other in COLORS.items()
    }
    nearest = min(distances, key=lambda name: distances[name])
    return nearest if distances[nearest] < _NEAR else None


def _rgb(text: str) -> Sequence[int] | None:
    try:
        return ImageColor.getrgb(text.replace(" ", ""))[:3]
    except ValueError:
        return None


def _words(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else shorten(value)
    return " ".join(text.strip(" \"'`").lower().replace("_", " ").replace("-", " ").split())


def _note(notes: list[str], note: str) -> None:
    if note not in notes:
        notes.append(note)
