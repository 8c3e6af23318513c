"""Regions that a question names in words: the first region, regions one and two, the green box."""

from __future__ import annotations

import re

from langchain_vipllava.markers.kinds import COLOR_NAMES
from langchain_vipllava.workspace.marker_names import MarkerNames
from langchain_vipllava.workspace.marker_words import COLOR_WORDS, KIND_WORDS

_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_NUMBER = rf"(?:{'|'.join(_NUMBERS)})"
ORDINAL = rf"(?:{'|'.join(_ORDINALS)}|last|final|[1-9]\d{{0,2}}(?:st|nd|rd|th))"
_REGION = r"(?:bounding[ _-]?box(?:es)?|bbox(?:es)?|box(?:es)?|regions?|markers?|rois?|rectangles?)"
_AND = r"(?:\s*,\s*(?:and\s+|or\s+|&\s*)?|\s+and\s+|\s+or\s+|\s*&\s*)"

_AFTER_WORD = re.compile(
    rf"\b(?:the\s+)?(?:{_REGION}|objects?)(?:\s+number)?\s+(?P<all>{_NUMBER}(?:{_AND}{_NUMBER}){{0,9}})"
    r"(?![\w-])(?!\s+(?:of|inch\w*|feet|foot|met(?:er|re)s?|pixels?|times?|more|or|and|person|people|objects?)\b)",
    re.IGNORECASE,
)
_PLACED = (
    r"(?![\w-])(?!\s+(?:from|row|column|line|on|to|at\s+the|counting"
    r"|in\s+(?:the\s+)?(?:row|column|line|list|sequence))\b)"
)
"""What does not follow "the second box" where the order is that of the regions."""
_MARKED = r"(?:(?:marked|highlighted|numbered|annotated|indicated|outlined)\s+)"
_AT = re.compile(
    rf"\bthe\s+(?P<all>{ORDINAL}(?:{_AND}(?:the\s+)?{ORDINAL}){{0,9}})(?:\s+(?P<many>{_NUMBER}|[2-9]))?\s+"
    rf"(?:{_MARKED}?{_REGION}|{_MARKED}objects?)(?:\s+of\s+interest)?{_PLACED}",
    re.IGNORECASE,
)
_COLORS = rf"(?:{'|'.join((*COLOR_NAMES, *COLOR_WORDS))})"
_COLOR = rf"(?:(?:bright|light|dark|neon)[ -])?(?P<color>{_COLORS})"
_COLORED = r"(?:[- ](?:colou?red|outlined|bordered|highlighted))?"
_KIND_NAMES = sorted((*KIND_WORDS, "bounding-box", "rectangle", "ellipse", "triangle", "arrow", "mask", "scribble"))
_KIND = rf"(?P<kind>mask contour|(?:colored |thin |thick )?(?:{'|'.join(sorted(_KIND_NAMES, key=len, reverse=True))}))"
_INSIDE = (
    r"(?P<in>\b(?:in|inside(?: of)?|within|(?<!is )(?<!are )(?<!was )"
    r"(?:marked|highlighted|outlined|enclosed|surrounded|indicated|framed|circled|bounded|delimited)"
    r"(?: by| with| in))\s+)"
)
_MARKER = re.compile(
    rf"(?:{_INSIDE}(?:the|(?<=by )an?|(?<=with )an?)\s+|(?P<bracket>[(]\s*)(?:the\s+|an?\s+)?|\b(?P<the>the)\s+)"
    rf"{_COLOR}{_COLORED}\s+{_KIND}"
    r"(?![\w-])(?!\s+of\b)",
    re.IGNORECASE,
)
_TWO_COLORS = re.compile(
    rf"(?P<in>\b(?:in|inside|within)\s+)?\bthe\s+(?P<first>{_COLORS})\s+and\s+(?P<second>{_COLORS})\s+"
    r"(?P<kind>bounding[ -]box|bbox|rectangle|ellipse|arrow|outline)(?:e?s)\b",
    re.IGNORECASE,
)
_COLOR_BEHIND = re.compile(
    r"\bthe\s+(?P<kind>bounding[ -]box|bbox|rectangle|ellipse|box|frame|circle)\s*"
    r"(?:\s(?:colou?red|that\s+is|which\s+is|drawn\s+in|with\s+(?:the|an?)|in)\s+(?:the\s+)?|\(\s*)"
    rf"(?P<color>{_COLORS})(?:\s+(?:border|outline|frame|lines?|edges?)|\s*\))?(?![\w-])(?!\s+[a-z]*ing\b)",
    re.IGNORECASE,
)
_IN_COLOR = re.compile(
    r"\b(?:outlined|boxed|circled|framed|marked|enclosed|highlighted|bordered)\s+(?:in|with|by)\s+"
    rf"{_COLOR}(?![\w-])(?!\s+[a-z]+)",
    re.IGNORECASE,
)
_BARE = re.compile(rf"\bthe\s+{_COLOR}\s+(?:box|square|circle)(?![\w-])", re.IGNORECASE)
_CLEAR = frozenset(
    (
        *("bounding box", "bounding-box", "bbox", "rectangle", "rect", "ellipse", "oval", "arrow", "mask", "outline"),
        *("contour", "scribble", "marker", "mask contour", "triangle"),
    )
)
"""Words for markers behind which there is seldom a thing of the image: "the red box" may be a parcel."""

_MAX_QUOTED = 200
_QUOTED = re.compile(rf"\"[^\"\n]{{1,{_MAX_QUOTED}}}\"|\u201c[^\u201d\n]{{1,{_MAX_QUOTED}}}\u201d")


def numbered_in_words(question: str, names: MarkerNames, *, others: bool) -> list[tuple[int, int, tuple[int, ...]]]:
    """Find "region one" and, where no other name stands that it may count, "the first region".

    Args:
        question: as the LLM wrote it.
        names: the markers of the image.
        others: whether the question names regions in another way, too.

    Returns:
        Where each begins and ends, and the numbers of its regions' ids.

    Raises:
        MarkerError: an ordinal beyond the markers, or one that may be two regions.
    """
    found = []
    for match in _AFTER_WORD.finditer(question):
        numbers = tuple(_NUMBERS.index(word.lower()) + 1 for word in re.findall(_NUMBER, match["all"], re.IGNORECASE))
        found.append((match.start(), match.end(), numbers))
    if not found and not others:
        for match in _AT.finditer(question):
            words = re.findall(ORDINAL, match["all"], re.IGNORECASE)
            places = [_place(word.lower()) for word in words]
            if match["many"]:
                many = match["many"].lower()
                count = int(many) if many.isdigit() else _NUMBERS.index(many) + 1
                places = list(range(1, count + 1)) if places == [1] else list(range(-count, 0))
            found.append((match.start(), match.end(), tuple(names.at(place, match[0]) for place in places)))
    return found


def name_markers(question: str, names: MarkerNames) -> str:
    """Write "in the green box" as the words of the one green rectangle; what may be a thing of the image stays.

    Raises:
        MarkerError: a bounding box of a color that no marker has.
    """
    if _QUOTED.search(question) is None:
        question = _COLOR_BEHIND.sub(r"the \g<color> \g<kind>", question)
        question = _TWO_COLORS.sub(r"\g<in>the \g<first> \g<kind> and \g<in>the \g<second> \g<kind>", question)
    quotations = [quoted.span() for quoted in _QUOTED.finditer(question)]

    compared = {match["color"].lower() for match in _BARE.finditer(question)}
    are_markers = len(compared) > 1 and all(names.looking(_color(said), "", "marker") for said in compared)

    def placed(match: re.Match[str]) -> str:
        marker = names.looking(_color(match["color"].lower()), "", "marker")
        is_quoted = any(start < match.start() < end for start, end in quotations)
        return match[0] if marker is None or is_quoted else marker.phrase

    def renamed(match: re.Match[str]) -> str:
        if any(start < match.start() < end for start, end in quotations):
            return match[0]
        said, kind = match["color"].lower(), re.sub(r"^(?:colored|thin|thick) ", "", match["kind"].lower())
        marker = names.looking(_color(said), KIND_WORDS.get(kind.replace("-", " "), kind), kind)
        if marker is None:
            if kind in ("bounding box", "bounding-box", "bbox"):
                names.refuse_look(match[0])
            return match[0]
        bare = f"the {marker.phrase.split(' the ', 1)[1]}"
        if f"the {said} {kind}" == bare and not match["bracket"]:
            return match[0]
        if match["in"]:
            behind_id = re.search(r"\b[rR](\d+)\s*$", question[max(match.start() - 12, 0) : match.start()])
            asks_inside = behind_id is not None and f"r{behind_id[1]}" != marker.region.id  # "is r2 in the red box"
            if asks_inside or question[match.end() : match.end() + 2] in ("'s", "\u2019s"):
                return f"{match['in']}{bare}"
            return marker.phrase[0].upper() + marker.phrase[1:] if match[0][0].isupper() else marker.phrase
        if match["bracket"]:
            return f"{match['bracket']}{bare}"
        return f"{match['the']} {bare[4:]}" if kind in _CLEAR or are_markers else match[0]

    renamed_question = _MARKER.sub(renamed, question)
    quotations = [quoted.span() for quoted in _QUOTED.finditer(renamed_question)]
    return _IN_COLOR.sub(placed, renamed_question)


def _color(said: str) -> str:
    return COLOR_WORDS.get(said, said)


def _place(word: str) -> int:
    if word in ("last", "final"):
        return -1
    return _ORDINALS.index(word) + 1 if word in _ORDINALS else int(re.sub(r"\D", "", word))
