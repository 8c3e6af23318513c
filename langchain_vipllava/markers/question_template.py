"""The template of a question: placeholders that stand for markers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from langchain_vipllava.errors import MarkerError
from langchain_vipllava.markers.marker import Marker
from langchain_vipllava.markers.wording import Named, write_question

PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}|\{([^{}]*)\}")
_NAME = re.compile(r"(?=.*\w)[\w.:# -]+")
"""What counts as a placeholder even if no marker has this id, so that a typo raises an error. JSON does not match."""

_MAX_DIGITS = 8
"""Longest placeholder that is read as an index. Chosen: int() of thousands of digits is slow, and an error."""


def fill_question(template: str, markers: Sequence[Marker]) -> str:
    """Replace `{index}` and `{region id}` by the words of markers; see `MarkedImage.question`.

    Raises:
        MarkerError: the template is not a string, or a placeholder names no marker, or more than one.
    """
    return write_question(_parts(template, markers))


def _parts(template: str, markers: Sequence[Marker]) -> list[str | Named]:
    """Split a template into its texts and the markers that it names."""
    if not isinstance(template, str):
        raise MarkerError(f"the question is a {type(template).__name__}; expected words.")
    ids = _ids(markers)
    parts: list[str | Named] = [""]
    end = 0
    for match in PLACEHOLDER.finditer(template):
        escaped, name = match[1], match[2]
        placeholder = (name if escaped is None else escaped).strip()
        if not _NAME.fullmatch(placeholder) and placeholder not in ids:
            continue
        text = f"{parts.pop()}{template[end : match.start()]}"
        if escaped is None:
            parts += [text, Named(_find_marker(placeholder, markers)), ""]
        else:
            parts.append(f"{text}{{{escaped}}}")
        end = match.end()
    return [*parts[:-1], f"{parts[-1]}{template[end:]}"]


def named_markers(template: str, markers: Sequence[Marker]) -> list[int]:
    """Return the indices of the markers that a question names, each once, in their order in the question.

    Raises:
        MarkerError: see `fill_question`.
    """
    found = [part.marker for part in _parts(template, markers) if isinstance(part, Named)]
    named = [next(index for index, marker in enumerate(markers) if marker is other) for other in found]
    return list(dict.fromkeys(named))


def _ids(markers: Sequence[Marker]) -> list[str]:
    return [marker.region.id for marker in markers if marker.region.id]


def _find_marker(name: str, markers: Sequence[Marker]) -> Marker:
    index = int(name) if name.isdecimal() and len(name) <= _MAX_DIGITS else len(markers)
    by_index = markers[index] if index < len(markers) else None
    by_id = [marker for marker in markers if marker.region.id == name]
    if by_index is not None and any(marker is not by_index for marker in by_id):
        raise MarkerError(
            f"the question's placeholder {{{name}}} is the index of one marker and the id of another; use ids with a "
            "letter in them, or none: region.model_copy(update={'id': None})."
        )
    if by_index is not None:
        return by_index
    if len(by_id) == 1:
        return by_id[0]
    if by_id:
        raise MarkerError(f"the question's placeholder {{{name}}} names {len(by_id)} markers; use their indices.")
    if not markers:
        raise MarkerError(f"the question's placeholder {{{name}}} names no marker; this image has none. Mark first.")
    ids = f", or by id {', '.join(_ids(markers))}" if _ids(markers) else ""
    indices = "{0}" if len(markers) == 1 else f"{{0}} to {{{len(markers) - 1}}}"
    raise MarkerError(f"the question's placeholder {{{name}}} names no marker; expected {indices}{ids}.")
