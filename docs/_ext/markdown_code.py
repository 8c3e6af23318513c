"""Docstrings write `code`, as Markdown does; autodoc reads reStructuredText, which wants double backticks."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)(?=(\w)?)")


def double_backticks(_app: Sphinx, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Change the lines of a docstring in place."""
    text = _CODE.sub(lambda match: f"``{match[1]}``" + (r"\ " if match[2] else ""), "\n".join(lines))
    lines[:] = text.split("\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", double_backticks, priority=400)
    return {"parallel_read_safe": True}
