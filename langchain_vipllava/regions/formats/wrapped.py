"""Rows in a dict with other keys around them, as services and language models write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.region import Region
from langchain_vipllava.regions.row import Row, UnreadableRow


def _rows(output: Any) -> list[Any] | None:
    """Return the only list of dicts in a dict; None if there is none, or more than one."""
    if not isinstance(output, Mapping):
        return None
    lists = [value for value in output.values() if isinstance(value, list) and value and isinstance(value[0], Mapping)]
    return lists[0] if len(lists) == 1 else None


def _format_of(rows: list[Any]) -> Format | None:
    from langchain_vipllava.regions.formats import FORMATS  # noqa: PLC0415  # this module is one of them

    for format_ in FORMATS:
        if Precedence.ROWS <= format_.precedence < Precedence.ON_REQUEST:
            try:
                if format_.matches(rows):
                    return format_
            except Exception:  # noqa: S112  # matchers fail on foreign objects
                continue
    return None


def _is_wrapped(output: Any) -> bool:
    rows = _rows(output)
    return rows is not None and _format_of(rows) is not None


def _read_wrapped(output: Any, context: Context) -> Iterable[Row | Region | UnreadableRow]:
    rows = _rows(output)
    format_ = None if rows is None else _format_of(rows)
    if rows is None or format_ is None:
        raise ValueError("expected a dict with one list of dicts")
    return format_.read(rows, context)


FORMATS = (
    Format("dicts", "dict with a list of dicts", _is_wrapped, _read_wrapped, Precedence.UNNAMED, ("detections",)),
)
