"""Tables with named columns as rows: data frames, and dicts of columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from langchain_vipllava.regions.limits import RegionLimits
from langchain_vipllava.regions.values import plain


def as_rows(output: Any, limits: RegionLimits) -> Any:
    """Return a data frame of pandas, polars or Arrow as a list of dicts; anything else as it is.

    Raises:
        DetectionError: it has more rows than the limits allow.
    """
    if isinstance(output, (str, bytes, list, tuple, Mapping, np.ndarray)) or output is None:
        return output
    count = 0
    with suppress(Exception):  # of a foreign class; it is then no data frame
        count = len(output) if hasattr(output, "columns") else 0
    limits.check_rows(count)
    with suppress(Exception):
        if count == 0 and not hasattr(output, "itertuples"):
            return output
        if hasattr(output, "to_pylist"):  # Arrow
            return output.to_pylist()
        if hasattr(output, "to_dicts"):  # polars
            return output.to_dicts()
        if hasattr(output, "itertuples"):  # pandas; `to_dict("records")` turns missing values into NaN
            names = [str(name) for name in output.columns]
            return [
                {name: _present(value) for name, value in zip(names, row, strict=True)}
                for row in output.itertuples(index=False, name=None)
            ]
    return output


def _present(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


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
