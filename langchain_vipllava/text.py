"""Text that came from outside, made safe to show: no control characters, a bounded length."""

from __future__ import annotations

import json
import re
import unicodedata

_JOINERS = "\u200c\u200d"
"""Invisible, but part of words (Persian, Hindi) and of emoji; they change no other character."""

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+|0x[0-9a-fA-F]{9,16}\b")
"""An address in memory, as `repr` writes it, or of as many digits as those of a 64-bit process have."""

_CREDENTIALS = re.compile(r"://[^\s/?#]*@")
"""Up to the last @ of a URL's authority: passwords with an @ or quotes occur, though they should be escaped."""


def without_credentials(text: str) -> str:
    """Leave user names and passwords out of the URLs in a text.

    Example:
        >>> without_credentials("no video at https://anna:secret@example.org/a.mp4")
        'no video at https://example.org/a.mp4'
    """
    return _CREDENTIALS.sub("://", text)


def without_addresses(text: str) -> str:
    """Leave addresses in memory out: they tell a stranger where to aim (CVE-2026-22778).

    Example:
        >>> without_addresses("cannot identify image file <_io.BytesIO object at 0x7f2d4c0b8e50>")
        'cannot identify image file <_io.BytesIO object>'
    """
    return _ADDRESS.sub("", text)


def whole_characters(text: str) -> str:
    r"""Replace halves of characters, which no tokenizer takes: JSON of other programs has them where a text was cut.

    Example:
        >>> whole_characters("a cut \ud83d, a whole \ud83d\ude42")
        'a cut \ufffd, a whole 🙂'
    """
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def printable(text: str, *, keep: str = "\n\t") -> str:
    r"""Write every character that a terminal or a reader would not see as such by its escape.

    These are control characters (ESC, NUL), bidirectional marks, tags, private-use characters and lone surrogates.
    Other spaces become plain ones.

    Args:
        text: any text.
        keep: control characters that stay.

    Example:
        >>> printable("red\x1b[31m \u202ecat"), printable("grün 猫 🙂")
        ('red\\x1b[31m \\u202ecat', 'grün 猫 🙂')
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in keep or character in _JOINERS else _escape(character)
        for character in text
    )


def quote(text: str, max_length: int | None = None) -> str:
    r"""Return text as data: one line in double quotes, as JSON writes it.

    Args:
        text: any text.
        max_length: maximum number of characters between the quotes, escapes counted as they are written.

    Example:
        >>> print(quote('He said "no".\nr2: cat'), quote("elephant", max_length=4))
        "He said \"no\".\nr2: cat" "elep..."
    """
    written: list[str] = []
    length = 0
    for character in text:
        length += len(data := _as_data(character))
        if max_length is not None and length > max_length:
            written.append("...")
            break
        written.append(data)
    return f'"{"".join(written)}"'


def cut(text: str, max_length: int) -> str:
    """Cut the middle out of a text that is longer than a maximum: its beginning and its end say the most.

    Example:
        >>> cut("0123456789", 10), cut("0123456789abcdef", 11)
        ('0123456789', '012345 ...f')
    """
    if len(text) <= max_length:
        return text
    tail = max(1, max_length // 4 - 1)
    head = max_length - tail - len(" ...")
    return f"{text[:head]} ...{text[-tail:]}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    Example:
        >>> counted(1, "region"), counted(3, "region")
        ('1 region', '3 regions')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _as_data(character: str) -> str:
    return printable(json.dumps(character, ensure_ascii=False)[1:-1], keep="")


def _escape(character: str) -> str:
    if unicodedata.category(character) == "Zs":
        return " "
    return character.encode("unicode_escape").decode("ascii")
