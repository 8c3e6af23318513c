"""Writing the words of markers into a sentence: a noun stands where the sentence has none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from langchain_vipllava.markers.marker import Marker
from langchain_vipllava.markers.words import (
    ADJECTIVES,
    BEFORE_VERBS,
    DETERMINERS,
    FOREIGN,
    FOREIGN_ARTICLES,
    FOREIGN_ONLY,
    FUNCTION_WORDS,
    PAIRED,
    RELATIVES,
    SEEING,
    THINGS,
    is_noun_in_front,
    is_verb,
    singular,
)

_MAX_WORDS = 6
"""Words in front of a name that are looked at. Chosen: an article, three adjectives, a compound noun."""

_NEAR = 200
"""Characters in front of a name that are looked at. Chosen: longer than six words; it bounds the work."""

_LAST_WORDS = re.compile(rf"(?:\w[\w'\u2019-]*[ \t]+){{1,{_MAX_WORDS}}}$")
_CONTAINERS = re.compile(
    r"(?<=\w)(?P<in>[ \t]+(?:in|inside(?: of)?|within)[ \t]+)$"
    r"|\b(?:the [\w-]+|is|are|was|were|located|found|observed|see|lies|shown|seen|visible)(?P<at>[ \t]+at[ \t]+)$",
    re.IGNORECASE,
)
_THING_IN = re.compile(r"\b(?:the|a|an) [\w-]+(?P<in>[ \t]+(?:in|inside(?: of)?|within|at)[ \t]+)$", re.IGNORECASE)
"""Words for which a marker's own stand: "what is in r1" is "what is within the red rectangle"."""
_JOINER = re.compile(r"\s*(?:,\s*(?:and|or|nor|&)?|and|or|nor|&)\s*", re.IGNORECASE)
_SENTENCE_START = re.compile(
    r"(?:^|(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)[.!?][\"'\u201d\u2019)]*\s+|\n)[\s\"'\u201c\u2018(*-]*$"
)
_POSSESSIVE = re.compile(r"['\u2019]s?(?=\s|[?.!,;:)]|$)")
_POSSESSED = re.compile(r"[ \t]+([A-Za-z-]+)(?:[ \t]+([A-Za-z-]+))?")
_NAMES_MARKER = re.compile(r"\b(?:what|which)\s+(?:object|thing|item|animal)s?\s+(?:is|are)\s+$", re.IGNORECASE)
_WHAT_DO_YOU_SEE = re.compile(r"\bwhat\b[^.!?]*\bsee[ \t]+$", re.IGNORECASE)

_PRONOUNS = {"what", "which", "that", "both", "all", "one"}
"""Determiners that stand by themselves, too."""


@dataclass(frozen=True)
class Named:
    """A marker that a sentence names.

    Attributes:
        marker: whose words stand here.
        noun: what the sentence calls it elsewhere, such as behind the name in brackets; None to look in front.
    """

    marker: Marker
    noun: str | None = None


def write_question(parts: Sequence[str | Named]) -> str:
    """Write a sentence of texts and markers, each marker as a noun with the words that name it.

    The noun is the sentence's own ("the cup within the red rectangle"), else "the object". Text that is not next to a
    marker stays as it is.

    Example:
        >>> from langchain_vipllava import Region
        >>> cup = Named(Marker(Region(box=(1, 2, 30, 40)), "rectangle", "red", (9, 9)))
        >>> print(write_question(["Describe ", cup, "."]), write_question(["Where is the cup ", cup, "?"]))
        Describe the object within the red rectangle. Where is the cup within the red rectangle?
    """
    parts = _share_possessions(parts)
    written = ""
    noun: str | None = None  # of a plural in front of a list, for all of its names
    name_at = behind = 0  # where the last name begins, and where the text behind it does
    for index, part in enumerate(parts):
        if isinstance(part, str):
            rest = part
            if index > 0 and isinstance(parts[index - 1], Named):
                written, rest = _join_possession(written[:name_at], written[name_at:], part)
                behind = len(written)
            noun = noun if _JOINER.fullmatch(rest) else None
            written += rest
            continue
        if noun is not None:
            name = f"the {noun} {part.marker.phrase}" if noun else part.marker.phrase
            in_front = written
        else:
            joiner, *others = parts[index + 1 : index + 3] or [""]
            in_list = isinstance(joiner, str) and bool(_JOINER.fullmatch(joiner)) and bool(others)
            in_front, name, noun = _with_noun(written, part, behind, in_list=in_list)
        written, name_at = in_front + name, len(in_front)
        behind = len(written)
    return written


def _share_possessions(parts: Sequence[str | Named]) -> list[str | Named]:
    """Write "r1's and r2's colors" and "r1 and r2's colors" as "the colors of r1 and r2"."""
    shared = list(parts)
    for index in range(len(shared) - 3):
        first, between, second, behind = shared[index : index + 4]
        if not (isinstance(first, Named) and isinstance(between, str) and isinstance(second, Named)):
            continue
        owned = _POSSESSIVE.match(between)
        joiner = between[owned.end() if owned else 0 :]
        mark = _POSSESSIVE.match(behind) if isinstance(behind, str) else None
        if mark is None or not isinstance(behind, str) or not re.fullmatch(r"\s+(?:and|or|&)\s+", joiner):
            continue
        found = _POSSESSED.match(behind[mark.end() :])
        if found is None or is_verb(found[1].lower()) or found[1].lower() in FUNCTION_WORDS:
            continue
        if owned is None and not found[1].endswith("s"):
            continue
        in_front = shared[index - 1] if index else ""
        kept = re.sub(r"\b(?:the\s+)?objects?\s*$", "", in_front) if isinstance(in_front, str) else ""
        noun = f"{_article(kept)}{found[1]} of "
        rest = behind[mark.end() + found.end(1) :]
        head: list[str | Named] = [*shared[: max(index - 1, 0)], kept + noun, first, joiner, second, rest]
        return [*head, *shared[index + 4 :]]
    return shared


def _with_noun(written: str, named: Named, behind: int, *, in_list: bool) -> tuple[str, str, str | None]:
    """Put a marker's words behind a noun.

    Args:
        written: the sentence so far.
        named: the marker.
        behind: where the text behind the last name begins.
        in_list: whether another name follows.

    Returns:
        The text in front of the noun phrase, the noun phrase, and the noun of a list that begins here ("" for a list of
        places, such as "in r1 or r2", which needs none).
    """
    phrase, clause = named.marker.phrase, written[max(behind, len(written) - _NEAR) :]
    if named.noun is not None:
        return written, f"{_article(written)}{named.noun} {phrase}", None
    container = (_CONTAINERS if behind == 0 else _THING_IN).search(clause)
    if container is not None:
        kept = written[: len(written) - len(clause) + container.start(container.lastgroup or 0)]
        return f"{kept.rstrip()} ", phrase, "" if in_list else None
    words = _LAST_WORDS.search(clause)
    last = words[0].split() if words else []
    lower = [word.lower() for word in last]
    if _NAMES_MARKER.search(clause) or _WHAT_DO_YOU_SEE.search(clause) or (lower and lower[-1] in SEEING):
        return written, phrase, None
    if last and _is_foreign(lower):
        is_named = (len(lower) > 1 and lower[-2] in FOREIGN_ARTICLES) or "'" in lower[-1].replace("\u2019", "'")
        has_noun = is_named and lower[-1] not in FOREIGN
        return written, phrase if has_noun else f"{_article(written)}object {phrase}", None
    determiner = _determiner(lower)
    if determiner == len(last) - 1 and in_list and lower[-1] in ("neither", "either"):
        determiner, last, lower = None, [], []
    is_open = determiner is not None and (lower[-1] in ADJECTIVES - THINGS or lower[-1] in DETERMINERS - _PRONOUNS)
    own = [] if is_open else _own_noun(last, named.marker, at_start=_begins(clause, words)) or []
    first = len(last) - len(own) if determiner is None else _first_determiner(lower, determiner)
    tail = _tail(written, len(last) - first)
    kept = written[: len(written) - len(tail)]
    if is_open:
        return kept, f"{tail}object {phrase}", None
    if not own:
        return written, f"{_article(written)}object {phrase}", None
    one = singular(own[-1]) if in_list else None
    if one is not None:
        noun = " ".join([*(word for word in own[:-1] if word.lower() not in DETERMINERS), one])
        noun = noun if determiner is not None else _uncapitalized(noun, kept)
        return kept, f"{_article(kept)}{noun} {phrase}", noun
    if determiner is None:
        return kept, f"{_article(kept)}{_uncapitalized(' '.join(own), kept)} {phrase}", None
    return kept, f"{tail.rstrip()} {phrase}", None


def _is_foreign(lower: Sequence[str]) -> bool:
    """Whether words are of another language, whose nouns are not known."""
    return any(word in FOREIGN_ONLY or re.match(r"(?:l|d|qu|c)['\u2019]\w", word) for word in lower)


def _own_noun(last: Sequence[str], marker: Marker, *, at_start: bool) -> list[str] | None:
    """Return the noun phrase, without its article, that stands directly in front of a name; None if there is none."""
    if not last or not is_noun_in_front(last[-1].lower()):
        return None
    lower = [word.lower() for word in last]
    determiner = _determiner(lower)
    label = (marker.region.label or "").lower().split()
    if label and lower[-1] in (label[-1], f"{label[-1]}s"):
        start = len(last) - 1 if determiner is None else determiner + 1
        return list(last[start:])
    if determiner is not None:
        between = lower[determiner + 1 :]
        if not between:  # "are both r1 and r2 red"
            return None
        if len(between) > 1 and lower[determiner] in ("what", "which") and re.search(r"[^s]s$", between[-1]):
            return None  # "which color dominates r1"
        is_action = (is_verb(between[-1]) and between[-1] not in THINGS) and (
            (len(between) > 1 and between[-2] not in ADJECTIVES) or lower[determiner] in RELATIVES
        )
        return None if is_action else list(last[determiner + 1 :])
    start = len(last)
    while start > 0 and lower[start - 1] not in FUNCTION_WORDS and not lower[start - 1].endswith("ly"):
        start -= 1
    bare = list(last[start:])
    if start > 0 and lower[start - 1] in BEFORE_VERBS:  # "I think r1 is"
        bare = bare[1:]
    opens = at_start and start == 0
    while bare and (is_verb(bare[0].lower()) or (opens and bare[0].lower() not in THINGS | ADJECTIVES)):
        bare, opens = bare[1:], False
    if not bare or (is_verb(bare[-1].lower()) and bare[-1].lower() not in THINGS):
        return None
    return bare


def _determiner(lower: Sequence[str]) -> int | None:
    """Return the index of the article, or the like, of the noun that ends a text; None without one."""
    for index in range(len(lower) - 1, -1, -1):
        if lower[index] in DETERMINERS - ({"one"} if index == len(lower) - 1 else set()):
            return index
        if lower[index] in FUNCTION_WORDS - ADJECTIVES:
            return None
    return None


def _first_determiner(lower: Sequence[str], index: int) -> int:
    """Return where "all the three" begins, of whose last word the index is given."""
    while index > 0 and lower[index - 1] in DETERMINERS:
        index -= 1
    return index


def _begins(clause: str, words: re.Match[str] | None) -> bool:
    """Whether the words that end a clause are its first: there, a verb is more likely than a noun."""
    return words is not None and not clause[: words.start()].rstrip(" \t\n\"'\u201c\u2018(*-")[-1:].isalnum()


def _tail(text: str, words: int) -> str:
    """Return the last words of a text, with the space behind them."""
    found = re.search(rf"(?:\w[\w'\u2019-]*[ \t]+){{{words}}}$", text[-_NEAR:])
    return found[0] if found else ""


def _article(in_front: str) -> str:
    return "The " if _starts_sentence(in_front) else "the "


def _starts_sentence(in_front: str) -> bool:
    near = in_front if len(in_front) < _NEAR else f"x{in_front[-_NEAR:]}"  # x: its beginning is that of no sentence
    return _SENTENCE_START.search(near) is not None


def _uncapitalized(noun: str, in_front: str) -> str:
    return noun[:1].lower() + noun[1:] if _starts_sentence(in_front) else noun


def _join_possession(in_front: str, name: str, text: str) -> tuple[str, str]:
    """Write "r1's color" as "the color of ...": behind "the red rectangle", it would be the rectangle's.

    Args:
        in_front: the text in front of the name.
        name: the noun phrase of a marker.
        text: what stands behind it.

    Returns:
        The text up to here, and what is left of the text behind.
    """
    mark = _POSSESSIVE.match(text)
    if mark is None:
        return in_front + name, text
    rest = text[mark.end() :]
    if not name.lower().startswith("the "):  # "the person in r1's hand": the hand is the person's
        owner = re.search(r"\b(?:the|an?)\s+[\w-]+\s+$", in_front, re.IGNORECASE)
        kept = in_front[: owner.start()] if owner else in_front
        in_front, name = kept, f"{owner[0] if owner else 'the object '}{name}"
    inner = name[0].lower() + name[1:]
    found = _POSSESSED.match(rest)
    if found is None:  # "darker than r2's?"
        return f"{in_front}{_article(in_front).replace('he ', 'hat')} of {inner}", rest
    first, second = found[1].lower(), (found[2] or "").lower()
    is_side = first in ADJECTIVES and bool(second) and second not in FUNCTION_WORDS | DETERMINERS  # "r1's left hand"
    if (first in FUNCTION_WORDS | DETERMINERS - ADJECTIVES and not is_side) or (
        first.endswith("ing") and is_verb(first)
    ):
        return f"{in_front}{name} is", rest
    is_pair = bool(second) and second not in FUNCTION_WORDS | DETERMINERS and (first in ADJECTIVES or first in PAIRED)
    end = found.end(2 if is_pair else 1)
    return f"{in_front}{_article(in_front)}{rest[:end].strip()} of {inner}", rest[end:]
