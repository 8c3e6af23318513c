"""Single names of regions in a question: r1, #1, region 1, {cup}."""

from __future__ import annotations

import re
from dataclasses import dataclass

from langchain_vipllava.markers.kinds import COLOR_NAMES
from langchain_vipllava.markers.question_template import PLACEHOLDER
from langchain_vipllava.workspace.marker_names import MarkerNames

REGION = (
    r"(?:bounding[ _-]?box(?:es)?|bbox(?:es)?|box(?:es)?|regions?|areas?|markers?|markings?|rois?"
    r"|detections?|segments?|points?|locations?|spots?|positions?)"
)
COLOR = rf"(?:{'|'.join(COLOR_NAMES)})"
KIND = r"(?:rectangles?|ellipses?|arrows?|masks?|contours?|scribbles?)"
NUMBERED = rf"(?:{REGION}|{KIND}|objects?)"
QUOTES = "\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb\u201e\u201a\u300c\u300d"

_ID = re.compile(
    r"(?<![0-9A-Za-z_\\.])(?:(?<=[rR]\d&)|(?<!&))(?<!\w@)(?<!\D[/-])[rR\uff32\uff52](?:(?P<brace>_\{)|[_-])?(?P<n>\d{1,9})(?(brace)\})(?![0-9A-Za-z_])(?!\.\w)(?!-(?![rR]?\d)\w)(?!/(?![rR]\d)\w)"
)
_SPACED_ID = re.compile(r"(?<![\w.&'\u2019-])[rR][ .](?P<n>\d{1,3})(?!\w)(?![.,]\d)(?!\s*[%/])")
_OWNED = re.compile(r"(?<![\w.&-])([rR]\d{1,3})s(?=\s[a-z])")
_ID_NUMBER = re.compile(r"\b(?:region[ _-]?)?id\s*[:=]\s*(?P<n>\d{1,3})(?![\w.])", re.IGNORECASE)
_HASH = re.compile(r"(?<![\w#&/])#\s?(?P<n>\d{1,9})(?!\w)(?!\.\d)")
_BRACED_NUMBER = re.compile(r"\{\s*(?P<n>\d{1,9})\s*\}")
_AFTER_WORD = re.compile(
    rf"\b{NUMBERED}(?:[ _-]{{0,3}}(?:ids?|numbers?|no\.?|nr\.?))?\s{{0,3}}[:=]?\s{{0,3}}"
    rf"[\s_(\[{{<{QUOTES}#-]\s{{0,3}}#?(?P<n>\d{{1,9}})"
    r"(?![\w%])(?!\.\d)(?!\s*(?:px|pixels|percent)\b)",
    re.IGNORECASE,
)
_GLUED = re.compile(r"\b(?:region|object|obj|marker|bbox|box|roi)_?(?P<n>\d{1,9})(?!\w)(?!\.\d)", re.IGNORECASE)
_IN_PAIR = re.compile(
    rf"[(\[{{<{QUOTES}]\s{{0,3}}{NUMBERED}[\s_:#-]{{0,3}}r?(?P<n>\d{{1,9}})\s{{0,3}}[)\]}}>{QUOTES}]", re.IGNORECASE
)
_SQUARE = re.compile(r"(?<!\w)[\[<](?P<n>\d{1,9})[\]>]")
_NEXT_NUMBER = re.compile(
    r"[)\]}>]?\s*(?:,|and|or|&|/|to|through|-|\u2013|,\s*and|,\s*or)\s*[(\[{<]?#?(?P<n>\d{1,9})(?!\w)(?!\.\d)", re.I
)
_OF_NUMBER = re.compile(r"\b(?:number|marked|numbered|no\.)\s+(?P<n>\d{1,9})(?!\w)(?!\.\d)", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """Region numbers that stand in a question from one index to another."""

    start: int
    end: int
    numbers: tuple[int, ...]
    joiner: str = " and "
    by_number: bool = False


def find_names(question: str, names: MarkerNames) -> list[Found]:
    """Find single names of regions; joined and dressed, they are references."""
    found = [Found(match.start(), match.end(), (int(match["n"]),)) for match in _ID.finditer(question)]
    if names.has_regions:
        found += [Found(match.start(), match.end(), (int(match["n"]),)) for match in _HASH.finditer(question)]
        for pattern in (_GLUED, _IN_PAIR):
            found += [Found(match.start(), match.end(), (int(match["n"]),)) for match in pattern.finditer(question)]
        for match in _AFTER_WORD.finditer(question):
            start, end = match.start("n"), match.end("n")
            start -= question[start - 1] == "#"
            found.append(Found(start, end, (int(match["n"]),)))
            while (more := _NEXT_NUMBER.match(question, end)) is not None:
                start, end = more.start("n"), more.end("n")
                start -= question[start - 1] == "#"
                found.append(Found(start, end, (int(more["n"]),)))
        for match in (
            *_SQUARE.finditer(question),
            *_SPACED_ID.finditer(question),
            *_ID_NUMBER.finditer(question),
        ):
            if names.has(int(match["n"])):
                found.append(Found(match.start(), match.end(), (int(match["n"]),)))
        if names.has_numbers:
            for match in _OF_NUMBER.finditer(question):
                found.append(Found(match.start(), match.end(), (int(match["n"]),), by_number=True))
    found += [Found(match.start(), match.end(), (int(match["n"]),)) for match in _BRACED_NUMBER.finditer(question)]
    for match in PLACEHOLDER.finditer(question):
        number = names.labeled((match[1] if match[2] is None else match[2]).strip())
        if number is not None:
            found.append(Found(match.start(), match.end(), (number,)))
    apart: list[Found] = []
    for atom in sorted(found, key=lambda atom: (atom.start, -atom.end)):
        if not apart or atom.start >= apart[-1].end:
            apart.append(atom)
    return apart


def write_possessives(question: str) -> str:
    """Write "r1s color" as "r1's color"."""
    return _OWNED.sub(r"\1's", question)
