"""What our docstrings write and autodoc reads otherwise: `code` as in Markdown, and sentences behind `Returns:`."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)(?=(\w)?)")

_RETURNS = re.compile(r"^( *Returns:\n +)(?=\S)", re.MULTILINE)


def prepare(_app: Sphinx, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Change the lines of a docstring in place."""
    text = "\n".join(lines)
    text = _CODE.sub(lambda match: f"``{match[1]}``" + (r"\ " if match[2] else ""), text)
    text = _RETURNS.sub(r"\1: ", text)  # or napoleon takes what stands before a colon for the type
    lines[:] = text.split("\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", prepare, priority=400)
    return {"parallel_read_safe": True}
