"""Detections in a file."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import Any

from langchain_vipllava.errors import DetectionError, describe_error, shorten
from langchain_vipllava.regions.limits import RegionLimits
from langchain_vipllava.regions.parsing import decoded


def read_file(path: PathLike[Any], limits: RegionLimits) -> str:
    """Return the text of a file in UTF-8 or UTF-16.

    Raises:
        DetectionError: it cannot be read, is not text, or is larger than `max_text_bytes`.
    """
    file = Path(str(fspath(path)))
    try:
        with file.open("rb") as opened:
            data = opened.read(limits.max_text_bytes + 1)  # st_size of a pipe or of /proc is 0
    except (OSError, ValueError) as error:
        raise DetectionError(f"cannot read the detections in {shorten(str(file))}: {describe_error(error)}.") from error
    return decoded(data, limits)
