"""Regions that a question names, in whatever dress an LLM writes them: r1, [r1], "r1", region 1, #1, r1-r3."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from langchain_vipllava.markers.marker import Marker
from langchain_vipllava.markers.wording import Named
from langchain_vipllava.markers.words import THINGS
from langchain_vipllava.workspace.marker_names import MarkerNames
from langchain_vipllava.workspace.marker_words import COLOR_WORDS
from langchain_vipllava.workspace.reference_names import (
    COLOR,
    KIND,
    NUMBERED,
    QUOTES,
    REGION,
    Found,
    find_names,
    write_possessives,
)
from langchain_vipllava.workspace.reference_words import ORDINAL, name_markers, numbered_in_words

_RANGE = re.compile(r"\s*(?:-{1,2}|[\u2013\u2014~\u2026]|\.{2,3}|through|thru)\s*", re.IGNORECASE)
_TO = re.compile(r"\s*(?:to|until|till|up to)\s*", re.IGNORECASE)
_PLURAL_IN_FRONT = re.compile(rf"\b(?:{NUMBERED})(?<=s)(?:\s+ids?)?(?:\s+from)?\s*[(\[]?\s*$", re.IGNORECASE)
_TOGETHER = re.compile(r"\s*[/|+&]\s*")
_LISTED = re.compile(rf"[\s{QUOTES}]*(?:,\s*(?:and|or)?|;|and|or|&)[\s{QUOTES}]*", re.IGNORECASE)

_NEAR = 100
"""Characters beside a name that are looked at. Chosen: longer than "the object with the region id"; bounds the work."""

_MAX_LISTED = 200
"""Names in one pair of brackets. Chosen: the regions that one call may mark."""

_PAIRS = {
    "(": ")", "[": "]", "{": "}", "<": ">", '"': '"', "'": "'", "`": "`", "*": "*", "_": "_", "$": "$", "|": "|",
    "\u2018": "\u2019", "\u201c": "\u201d", "\u00ab": "\u00bb", "\u201e": "\u201c", "\u201a": "\u2018",
    "\u300c": "\u300d", "\u3010": "\u3011", "\u27e8": "\u27e9", "\uff08": "\uff09",
}  # fmt: skip
_TAG = re.compile(r"<([A-Za-z_]+)(?:\s[^<>]*)?>\s*$")
_QUOTED = re.compile(
    r"\"[^\"\n]{1,200}\"|\u201c[^\u201d\n]{1,200}\u201d|\u00ab[^\u00bb\n]{1,200}\u00bb|`[^`\n]{1,200}`"
    r"|\u2018[^\u2019\n]{1,200}\u2019(?!\w)|(?<!\w)'[^'\n]{1,200}'(?!\w)"
)
_SAYS = re.compile(
    r"\w[\s,]*\b(?:says?|said|saying|reads?|spells?)\s*(?:[\"\u201c'][^\"\u201d'\n]{1,60}[\"\u201d']\s*(?:,|or|and)[\s,]*(?:or\s+)?)*$"
)
"""Words behind which a quotation is text of the image, even if it looks like an id. An order, "Read", is none."""
_EACH_OF = re.compile(
    rf"\b(?:each|every\s+one)\s+of\s+(?:(?:the|these|those)\s+)?(?:(?:two|three|four|five|six|seven|eight|nine|\d+)\s+)?"
    rf"(?:(?:(?:marked|following|highlighted|detected)\s+)?(?:{REGION}|objects?)\s*:?\s*)?$|\b(?:each|every\s+one)"
    r"\s+of\s+(?:the|these|those)\s+(?=[a-z]+s\s*$)",
    re.IGNORECASE,
)
_FIRST_REGION = re.compile(rf"\b(?P<the>the\s+){ORDINAL}\s+(?P<word>(?:{REGION}|objects?)\s*),?\s*$", re.IGNORECASE)
_FIRST = re.compile(rf"\b(?:the\s+|(?P<and>(?:and|or)\s+)(?:the\s+)?){ORDINAL}\s*$", re.IGNORECASE)
_CLAUSE = re.compile(
    r"\b(?:true|false|say|says|think|know|clear|sure|possible|likely|claim|assume)\s+that\s+(?=objects?\s*$)",
    re.IGNORECASE,
)
"""What makes "that" begin a clause: "is it true that object 2 is red"."""
_LINK = re.compile(
    r"(?<=\s)\(?(?:with\s+(?:the\s+)?(?:region\s+)?(?:id|label|number|marker)"
    r"|(?:(?:region|object|box)[ _-])?ids?|number|no\.|nr\.|named|called|numbered"
    r"|referred\s+to\s+as|(?:labell?ed|tagged|designated)(?:\s+(?:as|by|with))?|marked(?:\s+(?:as|by|with|in))?"
    r"|denoted(?:\s+(?:by|as))?|(?:identified|shown|highlighted|referenced)\s+(?:as|by)"
    r"|(?:indicated|represented|specified|defined|given|enclosed|delimited)\s+by|(?:outlined|boxed)(?:\s+(?:by|in))?)"
    r"\s*[:=]?\s*$",
    re.IGNORECASE,
)
_INSIDE_REGION = re.compile(
    rf"(\b(?:in|inside(?:\s+of)?|within|at)\s+)(?:the\s+)?(?:(?:marked|highlighted|{COLOR})\s+){{0,2}}{REGION}[\s:_-]*$",
    re.IGNORECASE,
)
_REGION_WORD = re.compile(
    rf"\b(?:(?P<color>{COLOR})\s+)?(?P<word>{REGION}|(?:mask )?{KIND})(?:\s*[:=])?[\s_-]*$", re.IGNORECASE
)
_REGION_BEHIND = re.compile(rf"\s+{REGION}(?![\w-])|\s+objects?(?![\w-])", re.IGNORECASE)
_NOUN_BEHIND = re.compile(r"\s+([A-Za-z]+)(?![\w-])")
_IN_BRACKETS = re.compile(rf"\s*\(\s*(?P<quote>[{QUOTES}]?)(?P<words>[A-Za-z][A-Za-z -]{{0,40}}?)[{QUOTES}]?\s*\)")


def read_references(question: str, names: MarkerNames) -> list[str | Named]:
    """Split a question into texts and the markers that it names.

    Args:
        question: as the LLM wrote it. Words in quotes that are not just ids are text of the image, and stay.
        names: the markers of the image.

    Raises:
        MarkerError: it names a region that is not marked.
    """
    question = name_markers(write_possessives(question), names)
    found = _drop_quoted(_joined(find_names(question, names), question), question)
    if names.has_regions:
        in_words = numbered_in_words(question, names, others=bool(found))
        others = _drop_quoted([Found(*place) for place in in_words], question)
        found = sorted([*found, *others], key=lambda one: one.start)
    parts: list[str | Named] = []
    end = 0
    for reference in found:
        if reference.start < end:
            continue
        markers = _resolve(reference, names)
        before = question[end : reference.start]
        before, skip = _before(before, markers, names, in_brackets=question[reference.start] == "(")
        if skip:
            parts.append(before)
            end = reference.end
            continue
        noun, before, end = _behind(question, reference.end, markers, before, names)
        parts.append(before)
        for index, marker in enumerate(markers):
            if index:
                parts.append(reference.joiner if index == len(markers) - 1 else ", ")
            parts.append(Named(marker, noun))
    parts.append(question[end:])
    return _without_empty(parts)


def _joined(atoms: Sequence[Found], question: str) -> list[Found]:
    """Join ranges, pairs and lists in brackets, and add the brackets and quotes around each."""
    joined: list[Found] = []
    for atom in (_dressed(atom, question) for atom in atoms):
        if joined:
            last = joined[-1]
            between = question[last.end : atom.start]
            if atom.numbers == last.numbers and not between.strip() and question[atom.start] in "([":  # "region 1 (r1)"
                joined[-1] = replace(last, end=atom.end)
                continue
            is_range = _RANGE.fullmatch(between) or (
                _TO.fullmatch(between) and _PLURAL_IN_FRONT.search(_near(question[: last.start]))
            )
            if is_range and len(last.numbers) == 1:
                numbers = _range(last.numbers[0], atom.numbers[0])
                joined[-1] = _dressed(replace(last, end=atom.end, numbers=numbers), question)
                continue
            if _TOGETHER.fullmatch(between):
                joined[-1] = _dressed(replace(last, end=atom.end, numbers=last.numbers + atom.numbers), question)
                continue
        joined.append(atom)
    return _lists(joined, question)


def _lists(found: Sequence[Found], question: str) -> list[Found]:
    """Join what stands in one pair of brackets: [r1, r2], (r1 or r2)."""
    result: list[Found] = []
    index = 0
    while index < len(found):
        group, last = found[index], index
        is_open = question[: group.start].rstrip(" ")[-1:] in _PAIRS
        while is_open and last + 1 < len(found) and last - index < _MAX_LISTED and _is_listed(found, last, question):
            last += 1
        for end in range(last, index, -1):
            numbers = tuple(number for one in found[index : end + 1] for number in one.numbers)
            joiner = " or " if "or" in question[found[end - 1].end : found[end].start] else " and "
            whole = replace(group, end=found[end].end, numbers=numbers, joiner=joiner)
            dressed = _dressed(whole, question)
            if (dressed.start, dressed.end) != (whole.start, whole.end):
                is_aside = joiner == " or " and question[dressed.start] == "("  # "which is larger (r1 or r2)?"
                group, index = whole if is_aside else dressed, end
                break
        result.append(group)
        index += 1
    return result


def _is_listed(found: Sequence[Found], index: int, question: str) -> bool:
    """Whether a name and the next one belong to one list."""
    between = question[found[index].end : found[index + 1].start]
    return len(between) < _NEAR and _LISTED.fullmatch(between) is not None


def _dressed(found: Found, question: str) -> Found:
    """Add the brackets, quotes and tags around a name to it."""
    start, end = found.start, found.end
    while True:
        before, behind = question[:start].rstrip(" "), question[end:].lstrip(" ")
        opening, closing = before[-1:], behind[:1]
        is_key = closing in QUOTES and behind[1:].lstrip().startswith(":")  # of JSON that the model is to write
        is_possessive = closing == "'" and behind[1:2].isalnum()
        # a quotation that ends in front of the name and one that begins behind it: "r1" [r2] "r3"
        is_between = opening == closing and (len(before), len(behind)) != (start, len(question) - end)
        if opening and _PAIRS.get(opening) == closing and not (is_key or is_possessive or is_between):
            start, end = len(before) - 1, len(question) - len(behind) + 1
            continue
        tag = _TAG.search(before)
        if tag is not None and (close := re.match(rf"</{tag[1]}>", behind)) is not None:
            start, end = tag.start(), len(question) - len(behind) + close.end()
            continue
        if re.search(r"(?:^|[\s(])[@$]$", question[max(start - 2, 0) : start]):  # "@r1", "$r1"
            start -= 1
        return found if (start, end) == (found.start, found.end) else replace(found, start=start, end=end)


def _near(text: str) -> str:
    """Return the end of a text, where all is that may belong to a name behind it."""
    return text[-_NEAR:]


def _range(first: int, last: int) -> tuple[int, ...]:
    step = 1 if last >= first else -1
    # the ends are enough to refuse a range that no image has
    return tuple(range(first, last + step, step)) if abs(last - first) < 1000 else (first, last)


def _drop_quoted(found: Sequence[Found], question: str) -> list[Found]:
    """Leave out what is part of a longer quotation: text in the image, such as "R1 route"."""
    kept = list(found)
    for quoted in _QUOTED.finditer(question):
        if quoted[0].strip(QUOTES).rstrip().endswith("?") or quoted[0] == question.strip():
            continue
        if _SAYS.search(_near(question[: quoted.start()])):
            kept = [one for one in kept if not (quoted.start() <= one.start and one.end <= quoted.end())]
            continue
        kept = [
            one
            for one in kept
            if one.end <= quoted.start()
            or one.start >= quoted.end()
            or (one.start <= quoted.start() + 1 and quoted.end() - 1 <= one.end)
            or question[one.start] == "{"
        ]
    return kept


def _resolve(reference: Found, names: MarkerNames) -> list[Marker]:
    markers = [names.find(number, by_number=reference.by_number) for number in reference.numbers]
    return list({id(marker): marker for marker in markers}.values())


def _before(text: str, markers: Sequence[Marker], names: MarkerNames, *, in_brackets: bool) -> tuple[str, bool]:
    """Tidy the text in front of a name; say whether it names the marker itself, so that the name can go."""
    if len(markers) == 1:
        named = names.phrase_at_end(_near(text.rstrip(" ,(")))
        if named is not None:
            names.check_same(named, markers[0])
            return text.rstrip(" ,("), True
    far, text = text[: -len(_near(text))] if text else "", _near(text)
    text = _FIRST_REGION.sub(r"\g<the>\g<word>", _EACH_OF.sub("", text))
    text = _CLAUSE.sub(r"\g<0>the ", text)
    if in_brackets:
        text = _FIRST.sub(r"\g<and>", text)
    link = _LINK.search(text)
    if link is not None:
        text = text[: link.start()]
    if (inside := _INSIDE_REGION.search(text)) is not None:
        return far + text[: inside.end(1)], False
    word = _REGION_WORD.search(text)
    said = "" if word is None else word["word"].lower()
    is_kind = re.fullmatch(rf"(?:mask )?{KIND}", said) is not None
    if word is None or any(said.rstrip("s") in (m.region.label or "").lower() for m in markers):
        return far + text, False
    if is_kind and said.rstrip("s") not in markers[0].kind:
        return far + text, False
    noun = "objects" if said.endswith("s") or len(markers) > 1 else "object"
    is_own_color = (word["color"] or "").lower() == markers[0].color
    start = word.start() if is_own_color else word.start("word")
    is_capital = text[start].isupper() and not word["word"].isupper()
    return f"{far}{text[:start]}{noun.capitalize() if is_capital else noun} ", False


def _behind(
    question: str, end: int, markers: Sequence[Marker], before: str, names: MarkerNames
) -> tuple[str | None, str, int]:
    """Return a noun that stands behind a name, the text in front without its article, and where the rest begins."""
    if len(markers) != 1:
        return None, before, end
    marker = markers[0]
    if (phrase := names.phrase_at_start(question[end : end + _NEAR])) is not None:
        named, length = phrase
        names.check_same(named, marker)
        return None, before, end + length
    without_article = re.sub(r"\bthe\s+(?:object\s+)?$", "", before, flags=re.IGNORECASE)
    label = (marker.region.label or "").lower()
    brackets = _IN_BRACKETS.match(question, end)
    if brackets is not None:
        words = re.sub(r"^(?:the|a|an)\s+", "", brackets["words"], flags=re.IGNORECASE)
        is_own_color = COLOR_WORDS.get(words.lower(), words.lower()) == marker.color
        if words.lower() == "region" or is_own_color:  # as mark_regions calls one without a label
            return None, before, brackets.end()
        if brackets["quote"] or words != brackets["words"] or words.lower() == label:
            return words, re.sub(r"\bobject\s+$", "", without_article, flags=re.IGNORECASE), brackets.end()
    if (region := _REGION_BEHIND.match(question, end)) is not None:
        return None, before, region.end()
    noun = _NOUN_BEHIND.match(question, end)
    if without_article != before and noun is not None and (noun[1].lower() in THINGS or noun[1].lower() == label):
        return noun[1], without_article, noun.end()
    return None, before, end


def _without_empty(parts: Sequence[str | Named]) -> list[str | Named]:
    """Join texts that follow one another."""
    joined: list[str | Named] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return joined
