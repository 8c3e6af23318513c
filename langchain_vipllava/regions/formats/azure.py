"""Azure's Image Analysis 3.2 and 4.0, Face, Custom Vision, Read and Document Intelligence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import Size
from langchain_vipllava.regions.outlines import outline_row
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import field, first_row, keys_of, rows


def _as_json(output: Any) -> Any:
    """Return the result of a client as its JSON: the older clients' objects are no mappings, and write snake case."""
    if isinstance(output, (list, tuple)) and output and hasattr(output[0], "as_dict"):
        return [_as_json(one) for one in output]
    if isinstance(output, Mapping) or not callable(getattr(output, "as_dict", None)):
        return output
    return _camel(output.as_dict())


def _camel(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_camel_name(str(name)): _camel(inner) for name, inner in value.items()}
    return [_camel(inner) for inner in value] if isinstance(value, list) else value


def _camel_name(name: str) -> str:
    first, *others = name.split("_")
    # `object` and `property` are words of Python
    return "object" if name == "object_property" else first + "".join(word.capitalize() for word in others)


_RESULTS = ("objectsResult", "peopleResult", "denseCaptionsResult", "smartCropsResult", "readResult", "tagsResult")
_LABELS = {"peopleResult": "person", "smartCropsResult": "crop"}


def _is_analysis4(output: Any) -> bool:
    output = _as_json(output)
    return isinstance(output, Mapping) and any(output.get(name) is not None for name in _RESULTS)


def _read_analysis4(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    """Read Image Analysis 4.0. Its client's results are mappings with the same keys."""
    output = _as_json(output)
    size = _size(output)
    found = [name for name in _RESULTS[:-1] if output.get(name) is not None]
    if not found:
        raise DetectionError("its tagsResult is about the whole image; ask for the features OBJECTS, PEOPLE or READ.")
    for name in found[: None if "readResult" not in found else -1]:
        label = _LABELS.get(name)
        yield from each(rows(output[name]["values"]), partial(_row4, label=label, size=size))
    words = [word for block in (output.get("readResult") or {}).get("blocks") or () for word in _words(block["lines"])]
    yield from each(words, lambda word: _word(word, size))


def _row4(row: Mapping[str, Any], *, label: str | None, size: Size | None) -> Row:
    tags = row.get("tags") or [{}]
    box = [row["boundingBox"][side] for side in "xywh"]
    return Row(
        box=box,
        box_format="xywh",
        label=label or tags[0].get("name") or row.get("text"),
        score=row.get("confidence", tags[0].get("confidence")),
        image_size=size,
    )


def _size(output: Any) -> Size | None:
    metadata = field(output, "metadata")
    width, height = field(metadata, "width"), field(metadata, "height")
    return None if not width or not height else (int(width), int(height))


def _words(lines: Sequence[Any]) -> Iterator[Any]:
    """Yield the words of lines, and lines that list no words."""
    for line in lines:
        yield from line.get("words") or [line]


def _word(word: Mapping[str, Any], size: Size | None, page: tuple[float, float] | None = None) -> Row:
    outline = field(word, "boundingPolygon", "polygon", "boundingBox")
    if isinstance(outline[0], Mapping):
        outline = [(point["x"], point["y"]) for point in outline]
    if page is not None:
        outline = [side / page[axis % 2] for axis, side in enumerate(outline)]
    return outline_row(
        outline,
        normalized=page is not None,
        label=field(word, "text", "content"),
        score=word.get("confidence"),
        image_size=size,
    )


def _is_analysis3(output: Any) -> bool:
    output = _as_json(output)
    objects, faces, brands = (field(output, name) for name in ("objects", "faces", "brands"))
    return (
        keys_of(first_row(objects)) >= {"rectangle", "object"}
        or "faceRectangle" in keys_of(first_row(faces))
        or keys_of(first_row(brands)) >= {"rectangle", "name"}
        or (keys_of(output) >= {"requestId", "metadata"} and bool(keys_of(output) & {"objects", "faces", "brands"}))
    )


def _read_analysis3(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    output = _as_json(output)
    size = _size(output)
    for name in ("objects", "brands"):
        yield from each(rows(output.get(name) or ()), lambda row: _rectangle(row, size))
    yield from each(rows(output.get("faces") or ()), lambda row: _face(row, size))


def _rectangle(row: Mapping[str, Any], size: Size | None) -> Row:
    return Row(
        box=[row["rectangle"][side] for side in "xywh"],
        box_format="xywh",
        label=row.get("object") or row.get("name"),
        score=row.get("confidence"),
        image_size=size,
    )


def _are_faces(output: Any) -> bool:
    output = _as_json(output)
    return "faceRectangle" in keys_of(first_row(output))


def _read_faces(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    output = _as_json(output)
    yield from each(rows(output), lambda row: _face(row, None))


def _face(row: Mapping[str, Any], size: Size | None) -> Row:
    box = [row["faceRectangle"][side] for side in ("left", "top", "width", "height")]
    return Row(box=box, box_format="xywh", label="face", image_size=size)


def _is_custom_vision(output: Any) -> bool:
    output = _as_json(output)
    return keys_of(first_row(field(output, "predictions"))) >= {"tagName", "probability"}


def _read_custom_vision(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    output = _as_json(output)
    yield from each(rows(output["predictions"]), _prediction)


def _prediction(row: Mapping[str, Any]) -> Row:
    if row.get("boundingBox") is None:
        raise DetectionError("a prediction without a boundingBox is about the whole image; expected object detection.")
    box = [row["boundingBox"][side] for side in ("left", "top", "width", "height")]
    return Row(box=box, box_format="xywhn", label=row["tagName"], score=row["probability"])


def _pages(output: Any) -> Any:
    result = field(output, "analyzeResult")
    return field(output if result is None else result, "readResults", "pages")


def _is_read(output: Any) -> bool:
    output = _as_json(output)
    pages = _pages(output)
    return isinstance(pages, list) and keys_of(first_row(pages)) >= {"width", "height", "unit"}


def _read_read(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    output = _as_json(output)
    pages = _pages(output)
    if len(pages) > 1:
        raise DetectionError(f"it holds {len(pages)} pages; keep one.")
    (page,) = pages
    in_pixels = page["unit"] == "pixel"
    size = (int(page["width"]), int(page["height"]))
    # Pages of a PDF are in inches.
    sides = None if in_pixels else (float(page["width"]), float(page["height"]))
    words = page.get("words") or list(_words(page.get("lines") or ()))
    yield from each(words, lambda word: _word(word, size if in_pixels else None, sides))


FORMATS = (
    Format("azure", "Azure Image Analysis 4.0", _is_analysis4, _read_analysis4, Precedence.IMAGE, _RESULTS),
    Format("azure", "Azure Image Analysis 3.2", _is_analysis3, _read_analysis3, Precedence.IMAGE, ("rectangle",)),
    Format("azure", "Azure Face result", _are_faces, _read_faces, Precedence.ROWS, ("faceRectangle",)),
    Format("azure", "Azure Custom Vision", _is_custom_vision, _read_custom_vision, Precedence.IMAGE, ("tagName",)),
    Format("azure", "Azure Read", _is_read, _read_read, Precedence.IMAGE, ("analyzeResult", "readResults", "pages")),
)
