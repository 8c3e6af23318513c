"""Keeps the warnings of Pillow about a stranger's image out of the program's standard error."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TALKATIVE = ("PIL.TiffImagePlugin",)
"""Loggers of Pillow that write errors about a file; without a handler, logging prints them."""


class _HereOnly(logging.Filter):
    """Matches every warning and stops every record, but only in a thread that decodes an image.

    `warnings.catch_warnings` would swap the filters of all threads, and an ordinary filter would silence the
    program's own use of Pillow.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.local()

    @property
    def depth(self) -> int:
        return getattr(self._thread, "depth", 0)

    @depth.setter
    def depth(self, value: int) -> None:
        self._thread.depth = value

    def match(self, text: str) -> bool:
        """Stand in for the regular expression of a warnings filter."""
        del text
        return self.depth > 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide whether a log record is written."""
        del record
        return self.depth == 0


_here_only = _HereOnly()
_FILTER: Any = ("ignore", _here_only, Warning, re.compile(r"PIL\b"), 0)

for _name in _TALKATIVE:
    logging.getLogger(_name).addFilter(_here_only)


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Hold back the warnings of Pillow in this thread."""
    filters: Any = warnings.filters
    if not filters or filters[0] is not _FILTER:  # resetwarnings, or a newer filter in front of it
        if _FILTER in filters:
            filters.remove(_FILTER)
        filters.insert(0, _FILTER)
    _here_only.depth += 1
    try:
        yield
    finally:
        _here_only.depth -= 1
