"""Files of a benchmark: found below the folder of the data, read whole, and written in one step."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from langchain_vipllava.errors import BenchmarkError, describe_error, shorten


def find_file(data: Path, names: Iterable[str]) -> Path:
    """Return the first file of a benchmark that is there, or the only one of its kind in the folder.

    Args:
        data: the folder of the data, or the file itself.
        names: where it may lie in the folder.

    Raises:
        BenchmarkError: there is none, or there are several and none has the official name.
    """
    if data.is_file():
        return data
    listed = list(names)
    if not data.is_dir():
        raise BenchmarkError(f"there is no folder {shorten(str(data))}; expected one with {listed[0]}.")
    for name in listed:
        if (data / name).is_file():
            return data / name
    suffixes = {Path(name).suffix for name in listed if "/" not in name}
    alike = [path for path in sorted(data.iterdir()) if path.suffix in suffixes and path.is_file()]
    if len(alike) == 1:
        return alike[0]
    if alike:
        found = ", ".join(path.name for path in alike)
        raise BenchmarkError(f"{shorten(str(data))} has {shorten(found)}, and no {listed[0]}; pass the file itself.")
    raise BenchmarkError(f"{shorten(str(data))} has no {' or '.join(listed)}; expected the official layout.")


def read_text(path: Path) -> str:
    """Read a text in UTF-8.

    Raises:
        BenchmarkError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"cannot read {shorten(str(path))}: {describe_error(error)}.") from error


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        BenchmarkError: it cannot be read, or is not JSON.
    """
    return parse_json(read_text(path), str(path))


def parse_json(text: str, where: str) -> Any:
    """Parse JSON.

    Raises:
        BenchmarkError: it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BenchmarkError(f"{shorten(where)} is not JSON: {describe_error(error)}.") from error


def read_json_lines(path: Path) -> list[tuple[str, Any]]:
    """Read a file with a JSON document per line; returns where each stands, and the document.

    Raises:
        BenchmarkError: it cannot be read, or a line is not JSON.
    """
    documents = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            where = f"line {number} of {path.name}"
            documents.append((where, parse_json(line, where)))
    return documents


def field_of(row: Any, name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """Return a field of a row, checked.

    Raises:
        BenchmarkError: it is missing, or of another type.
    """
    if not isinstance(row, Mapping):
        raise BenchmarkError(f"{where} is {shorten(row)}; expected an object with {name!r}.")
    if name not in row:
        raise BenchmarkError(f"{where} has no {name!r}; expected the official layout. It has {shorten(sorted(row))}.")
    value = row[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise BenchmarkError(f"{name!r} of {where} is {shorten(value)}; expected {wanted}.")
    return value


def write_file(path: Path, text: str) -> Path:
    """Write a file in one step: a reader finds the old content or the new one, also after a kill.

    Raises:
        BenchmarkError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(text.encode("utf-8", "surrogatepass"))
        os.replace(part, path)
    except OSError as error:
        raise BenchmarkError(f"cannot write {shorten(str(path))}: {describe_error(error)}.") from error
    return path


def write_json(path: Path, value: Any, indent: int) -> Path:
    """Write JSON in one step.

    Raises:
        BenchmarkError: it cannot be written.
    """
    return write_file(path, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")
