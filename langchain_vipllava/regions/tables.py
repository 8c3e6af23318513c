"""Tables of any shape as rows: a dict of columns, a list of dicts, a pandas DataFrame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.values import first_row, items, keys_of


def columns_of_table(output: Any) -> set[str]:
    """Return the names of the columns of a table; empty for anything else."""
    columns = getattr(output, "columns", None)
    if columns is not None and hasattr(output, "to_dict"):
        return {name for name in columns if isinstance(name, str)}
    return keys_of(first_row(output))


def rows_of_table(output: Any) -> list[Mapping[str, Any]]:
    """Convert a table to rows.

    Raises:
        DetectionError: columns of different length.
        ValueError: an item of a list is not a row.
    """
    if hasattr(output, "to_dict") and hasattr(output, "columns"):
        output = output.to_dict("list")
    if not isinstance(output, Mapping):
        listed = list(output)
        if not all(isinstance(row, Mapping) for row in listed):
            raise ValueError("it is not a dict like the rows before it")
        return listed
    columns = {name: _values(column) for name, column in output.items()}
    if all(column is None for column in columns.values()):
        return [output]
    lengths = {len(column) for column in columns.values() if column is not None}
    if len(lengths) > 1:
        raise DetectionError(f"its columns have {sorted(lengths)} values; expected one per row.")
    (length,) = lengths
    return [
        {name: output[name] if column is None else column[row] for name, column in columns.items()}
        for row in range(length)
    ]


def _values(column: Any) -> list[Any] | None:
    if isinstance(column, (str, bytes, Mapping)) or not hasattr(column, "__len__"):
        return None
    return items(column)
