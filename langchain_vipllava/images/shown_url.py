"""URLs in messages: without passwords, tokens and parameters."""

from __future__ import annotations

import re

from langchain_vipllava.errors import shorten

_SCHEME = re.compile(r"https?:[/\\]*|[^/]*//", re.IGNORECASE)
"""Up to the host; also with slashes that are missing or fall backwards, behind which a password is one all the same."""

_AUTHORITY = re.compile(r"(?:\[[^\]@]*\]|[^:@\[\]]*)(?::[0-9]*)?\Z")


def show_url(text: str) -> str:
    """Return a URL as messages quote it: scheme, host and path, at most 120 characters.

    Example:
        >>> show_url("https://anna:secret@example.org/a.png?token=secret#top")
        "'https://example.org/a.png'"
    """
    scheme = match[0] if (match := _SCHEME.match(text)) else ""
    rest = text[len(scheme) :]
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    if not _AUTHORITY.match(authority.rpartition("@")[2]):  # a password with a / or ? in it ends here, at its @
        authority, path = "...", path.rpartition("@")[2] if "@" in path else ""
    return shorten(scheme + authority.rpartition("@")[2] + re.split(r"[?#]", path, maxsplit=1)[0])
