"""`situation`: makes a test a row of docs/reference/langchain-situations.md."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "langchain-situations.md"

_GROUPS = (
    "Messages and histories",
    "Structured output: what comes back, in every method",
    "Structured output: refused when it is bound",
    "Structured output and tools: habits",
    "Agents and middleware",
    "Graphs and checkpointers",
    "Streaming, batches and cancellation",
    "Runnables, caches and callbacks",
    "Settings, trimming and counting",
)
"""The groups in the order of the page, whatever order pytest imports the tests in."""

_ROWS: dict[str, dict[str, str]] = {group: {} for group in _GROUPS}

_Test = TypeVar("_Test", bound=Callable[..., Any])

_HEAD = """# LangChain situations

What happens with `ChatVipLlava` in the situations that LangChain and LangGraph users get into. Each row is a test in
`tests/situations`, on the bundled checkpoint, with real agents, middleware and checkpointers. `make situations` writes
this page; a test compares it.
"""


def situation(group: str, what: str, happens: str) -> Callable[[_Test], _Test]:
    """Make a test a row of the page."""
    rows = _ROWS[group]
    assert what not in rows, what
    rows[what] = happens
    return lambda test: test


def situations(group: str, *cases: tuple[Any, ...]) -> Any:
    """Make a test a row per case: `(what, happens, *arguments)`; the test takes the arguments as `case`."""
    for what, happens, *_ in cases:
        situation(group, what, happens)
    return pytest.mark.parametrize("case", [pytest.param(case[2:], id=case[0]) for case in cases])


def all_rows() -> dict[str, dict[str, str]]:
    """Return what happens by situation, by group."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"tests.situations.{path.stem}")
    return _ROWS


def render() -> str:
    """Write the page."""
    parts = [_HEAD]
    for group, rows in all_rows().items():
        lines = [f"| {what} | {happens} |" for what, happens in rows.items()]
        parts.append("\n".join([f"## {group}", "", "| situation | what happens |", "|---|---|", *lines]) + "\n")
    return "\n".join(parts)
