"""Google Vision's responses, parsed or as objects of its client, and Vertex AI's predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError, shorten
from langchain_vipllava.regions.columns import column
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import outline_row
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import field, keys_of

_PLACED = {
    "localizedObjectAnnotations": ("localized_object_annotations", None),
    "faceAnnotations": ("face_annotations", "face"),
    "logoAnnotations": ("logo_annotations", None),
    "landmarkAnnotations": ("landmark_annotations", None),
    "textAnnotations": ("text_annotations", None),
}
"""Lists of a response whose items have an outline: the client's name, and a label where items have none."""

_WHOLE_IMAGE = {
    "labelAnnotations": "label_annotations",
    "safeSearchAnnotation": "safe_search_annotation",
    "imagePropertiesAnnotation": "image_properties_annotation",
    "webDetection": "web_detection",
}


def _outline(row: Any) -> Any:
    return field(row, "boundingPoly", "bounding_poly", "boundingBox", "bounding_box")


def _vertices(row: Any) -> Any:
    return field(_outline(row), "normalizedVertices", "normalized_vertices", "vertices")


def _is_response(output: Any) -> bool:
    names = (*_PLACED, *_WHOLE_IMAGE, "fullTextAnnotation", "cropHintsAnnotation")
    if _responses(output) is not None or _is_full_text(output):
        return True
    return any(field(output, *_names(name)) is not None for name in names)


def _is_full_text(output: Any) -> bool:
    pages = field(output, "pages")
    first = pages[0] if hasattr(pages, "__len__") and not isinstance(pages, Mapping) and len(pages) else None
    # doctr's pages have dimensions, Azure's a unit
    return (
        field(output, "text") is not None and field(first, "blocks") is not None and field(first, "width") is not None
    )


def _responses(output: Any) -> Any:
    found = field(output, "responses")
    return found if hasattr(found, "__len__") and not isinstance(found, (str, Mapping)) else None


def _names(name: str) -> tuple[str, str]:
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return name, snake


def _read_response(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    responses = _responses(output)
    if responses is not None:
        if len(responses) > 1:
            raise DetectionError(f"it holds {len(responses)} images; pass one: response['responses'][0].")
        output = responses[0] if len(responses) else {}
    error = field(output, "error")
    if error and (field(error, "message") or field(error, "code")):
        raise DetectionError(f"Google Vision failed: {shorten(field(error, 'message') or field(error, 'code'))}.")
    rows = list(_rows(output))
    if not rows:
        others = [name for name, snake in _WHOLE_IMAGE.items() if _holds(field(output, name, snake))]
        if others:
            raise DetectionError(
                f"its {' and '.join(others)} are about the whole image; ask for OBJECT_LOCALIZATION, TEXT_DETECTION or "
                "FACE_DETECTION."
            )
    yield from each(rows, lambda found: _row(*found))


def _holds(value: Any) -> bool:
    # An empty message of the client is false, as an empty list is.
    return value is not None and (len(value) > 0 if hasattr(value, "__len__") else bool(value))


def _rows(output: Any) -> Iterator[tuple[Any, str | None]]:
    for name, (snake, label) in _PLACED.items():
        for row in _without_whole_text(field(output, name, snake) or ()):
            yield row, label
    if not field(output, *_names("textAnnotations")):
        yield from _words(field(output, *_names("fullTextAnnotation")) or output)
    for hint in field(field(output, *_names("cropHintsAnnotation")), "cropHints", "crop_hints") or ():
        yield hint, "crop hint"


def _without_whole_text(rows: Iterable[Any]) -> list[Any]:
    """Drop the first text where it is the whole text of the image, which the others repeat word by word."""
    listed = list(rows)
    texts = [str(field(row, "description") or "") for row in listed]
    is_whole = len(listed) > 1 and all(text and text in texts[0] for text in texts[1:]) and bool(_text_like(listed[0]))
    return listed[1:] if is_whole else listed


def _text_like(row: Any) -> bool:
    # Objects have a name; logos and landmarks a description and a score; texts only a description.
    return not field(row, "name") and not field(row, "score")


def _words(full: Any) -> Iterator[tuple[Any, str | None]]:
    pages = field(full, "pages") or ()
    if len(pages) > 1:
        raise DetectionError(f"it holds {len(pages)} pages; pass an annotation of one.")
    for page in pages:
        for block in field(page, "blocks") or ():
            for paragraph in field(block, "paragraphs") or ():
                for word in field(paragraph, "words") or ():
                    yield word, "".join(str(field(symbol, "text")) for symbol in field(word, "symbols") or ())


def _row(row: Any, label: str | None) -> Row:
    outline = _outline(row)
    normalized = field(outline, "normalizedVertices", "normalized_vertices") or ()
    vertices = normalized if len(normalized) else field(outline, "vertices")
    if not vertices:
        raise KeyError("boundingPoly.vertices")
    # Google omits coordinates that are 0. The client's messages have 0.0 and "" where there is no score or name.
    points = [(field(vertex, "x") or 0, field(vertex, "y") or 0) for vertex in vertices]
    return outline_row(
        points,
        normalized=bool(len(normalized)),
        label=label or field(row, "name") or field(row, "description"),
        score=next((score for score in (field(row, name) for name in _SCORES) if score), None),
    )


_SCORES = ("score", "detectionConfidence", "detection_confidence", "confidence")


def _are_rows(output: Any) -> bool:
    if not hasattr(output, "__len__") or isinstance(output, (str, bytes, Mapping)):
        return False
    return len(output) > 0 and field(output[0], "boundingPoly", "bounding_poly") is not None


def _read_rows(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    # FACE_DETECTION's rows are the only ones with a detectionConfidence.
    is_face = field(output[0], "detectionConfidence", "detection_confidence") is not None
    yield from each(_without_whole_text(output), lambda row: _row(row, "face" if is_face else None))


def _vertex(output: Any) -> Any:
    predictions = field(output, "predictions")
    inner = field(output, "prediction")
    if inner is None:
        inner = predictions[0] if isinstance(predictions, (list, tuple)) and predictions else output
    return inner if keys_of(inner) >= {"displayNames", "bboxes"} else None


def _is_vertex(output: Any) -> bool:
    return _vertex(output) is not None


def _read_vertex(output: Any, _context: Context) -> Iterator[Row]:
    predictions = field(output, "predictions") or ()
    if len(predictions) > 1:
        raise DetectionError(f"it holds {len(predictions)} images; pass one: response['predictions'][0].")
    found = _vertex(output)
    boxes = found["bboxes"]
    names = column(found["displayNames"], len(boxes), "displayNames")
    scores = column(found.get("confidences"), len(boxes), "confidences")
    # Source: Vertex AI, Interpret prediction results: [xMin, xMax, yMin, yMax].
    for (x0, x1, y0, y1), name, score in zip(boxes, names, scores, strict=True):
        yield Row(box=(x0, y0, x1, y1), box_format="xyxyn", label=name, score=score)


FORMATS = (
    Format("google-vision", "Google Vision response", _is_response, _read_response, Precedence.IMAGE),
    Format("google-vision", "Google Vision annotations", _are_rows, _read_rows, Precedence.ROWS, ("boundingPoly",)),
    Format("vertex-ai", "Vertex AI prediction", _is_vertex, _read_vertex, Precedence.IMAGE, ("displayNames",)),
)
