"""Tables with named columns as rows: data frames, and dicts of columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from langchain_vipllava.regions.limits import RegionLimits
from langchain_vipllava.regions.parsing import json_cell
from langchain_vipllava.regions.values import plain, rows


def as_rows(output: Any, limits: RegionLimits) -> Any:
    """Return a data frame of pandas, polars or Arrow, or a structured array, as a list of dicts; else what came.

    An array of objects becomes a list, a frame without names of columns an array, and a row of a frame a dict.

    Raises:
        DetectionError: it has more rows than the limits allow.
    """
    if isinstance(output, np.ndarray):
        return _array_rows(output, limits)
    if isinstance(output, Mapping) and output.keys() == {"index", "columns", "data"}:  # `to_dict("split")`
        return [dict(zip(output["columns"], row, strict=True)) for row in output["data"]]
    if isinstance(output, (str, bytes, list, tuple, Mapping)) or output is None:
        return output
    count = 0
    with suppress(Exception):  # of a foreign class; it is then no data frame
        count = len(output) if hasattr(output, "columns") else 0
    limits.check_rows(count)
    with suppress(Exception):
        if hasattr(output, "to_pylist"):  # Arrow
            return output.to_pylist()
        if hasattr(output, "to_dicts"):  # polars
            return output.to_dicts()
        if hasattr(output, "itertuples"):
            return _pandas_rows(output)
        if hasattr(output, "to_dict") and hasattr(output, "index"):  # a row: pandas' Series
            return {str(name): _present(value) for name, value in output.to_dict().items()}
    return output


def _array_rows(array: np.ndarray, limits: RegionLimits) -> Any:
    if array.dtype.names is None and array.dtype.kind != "O":
        return array
    limits.check_rows(len(array) if array.ndim else 1)
    if array.dtype.names is None:
        return array.tolist() if array.ndim == 1 else array
    names = array.dtype.names
    return [dict(zip(names, row, strict=True)) for row in np.atleast_1d(array).tolist()]


def _pandas_rows(frame: Any) -> Any:
    if all(isinstance(name, (int, np.integer)) for name in frame.columns) and len(frame.columns):
        return frame.to_numpy()
    if any(name is not None for name in frame.index.names):  # a column that became the index
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    return [
        {name: _present(value) for name, value in zip(names, row, strict=True)}  # a missing value is NaN
        for row in frame.itertuples(index=False, name=None)
    ]


def _present(value: Any) -> Any:
    if isinstance(value, str):
        return json_cell(value)  # as `read_csv` leaves boxes
    is_missing = isinstance(value, float) and math.isnan(value)
    return None if is_missing or type(value).__name__ in ("NAType", "NaTType") else value


def column_rows(columns: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return a dict of columns of one length as rows; None for any other dict.

    Also `DataFrame.to_dict()`, whose columns are dicts by index.
    """
    listed: dict[str, list[Any]] = {}
    for name, values in columns.items():
        if isinstance(values, (str, bytes)):
            return None
        if isinstance(values, Mapping):
            values = list(values.values())  # noqa: PLW2901
        array = plain(values)
        if not hasattr(array, "__len__") or np.ndim(array) == 0:
            return None
        listed[name] = array.tolist() if hasattr(array, "tolist") else list(array)
    lengths = {len(values) for values in listed.values()}
    if len(lengths) != 1:
        return None
    count = lengths.pop()
    return [{name: values[number] for name, values in listed.items()} for number in range(count)]


def table_rows(output: Any) -> list[Mapping[str, Any]]:
    """Return a dict of columns, or a list of dicts, as rows.

    Raises:
        ValueError: an item of the list is not a dict.
    """
    if isinstance(output, Mapping):
        found = column_rows(output)
        return [output] if found is None else list(found)
    return list(rows(output))
