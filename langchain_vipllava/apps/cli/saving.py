"""Where a marked image is written: checked before any work, and never over the input."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from langchain_vipllava.apps.cli import exits
from langchain_vipllava.apps.cli.stdin import STDIN
from langchain_vipllava.errors import ImageError

if TYPE_CHECKING:
    from langchain_vipllava.markers.marked_image import MarkedImage


def check_target(target: Path, *inputs: str | None) -> Path:
    """Check that a file can be written, and return its path.

    Args:
        target: the file.
        inputs: names of the files that are read.

    Raises:
        ImageError: its folder does not exist, it is a folder, one of the inputs, or of no format that can be written.
    """
    path = target.expanduser()
    if path.is_dir():
        raise ImageError(f"cannot write {str(path)!r}: it is a folder; expected the name of a file in it.")
    if not path.parent.is_dir():
        raise ImageError(f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}. Make it first.")
    Image.init()
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise ImageError(f"cannot write {str(path)!r}: unknown format {path.suffix!r}. Use .png, .jpg or .webp.")
    for name in inputs:
        if name is not None and path.exists() and os.path.exists(name) and path.samefile(name):
            raise ImageError(f"{str(path)!r} is the input, which is not overwritten; expected another file.")
    if path.exists() and not os.access(path, os.W_OK):
        raise ImageError(f"cannot write {str(path)!r}: permission denied.")
    return path


def write_png(marked: MarkedImage) -> None:
    """Write the marked image to standard output as PNG."""
    data = marked.encoded.data
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        exits.end_now(exits.BROKEN_PIPE)


def is_stdout(target: Path | None) -> bool:
    """Whether a target is standard output."""
    return target is not None and str(target) == STDIN
