"""Nothing to interpret: an empty output, `Region` objects, and their dumps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.region import Region
from langchain_vipllava.regions.rle import rle_size
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import describe, field, first_row, keys_of, rows


def _is_empty(output: Any) -> bool:
    # Google Vision responds with `{}` where it detected nothing.
    if isinstance(output, (list, tuple, Mapping)):
        return len(output) == 0
    shape = field(output, "shape")
    return isinstance(shape, tuple) and 0 in shape and field(output, "xyxy") is None


def _read_empty(_output: Any, _context: Context) -> Iterator[Row]:
    return iter(())


def _are_regions(output: Any) -> bool:
    return isinstance(output, Region) or (isinstance(output, (list, tuple)) and isinstance(output[0], Region))


def _read_regions(output: Any, _context: Context) -> Iterator[Region]:
    for region in [output] if isinstance(output, Region) else output:
        if not isinstance(region, Region):
            raise ValueError(f"it is {describe(region)}; expected a Region like the rows before it")
        yield region


def _are_dumped(output: Any) -> bool:
    return keys_of(first_row([output] if isinstance(output, Mapping) else output)) == Region.model_fields.keys()


def _read_dumped(output: Any, context: Context) -> Iterator[Region]:
    dumped = [output] if isinstance(output, Mapping) else list(rows(output))
    for row in dumped:
        if isinstance(row["mask"], Mapping):
            context.masks.spend(*rle_size(row["mask"]))
        context.limits.check_points(len(row["polygon"] or ()))
    for row in dumped:
        # The box of a bare point is empty: let Region derive it.
        is_point = row["point"] is not None and tuple(row["box"][:2]) == tuple(row["box"][2:])
        yield Region(**{name: value for name, value in row.items() if name != "box" or not is_point})


FORMATS = (
    Format("regions", "empty output", _is_empty, _read_empty, Precedence.READY),
    Format("regions", "list of regions", _are_regions, _read_regions, Precedence.READY),
    Format("regions", "list of Region.model_dump()", _are_dumped, _read_dumped, Precedence.READY),
)
