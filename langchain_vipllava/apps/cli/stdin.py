"""Standard input: `-` as the image, the questions or the detections, for one of them only."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from langchain_vipllava.errors import ImageError, VipLlavaError

STDIN = "-"


def check_single(**users: bool) -> None:
    """Refuse two readers of standard input.

    Args:
        users: whether each may read it, by the name of the argument.

    Raises:
        VipLlavaError: two do.
    """
    names = [name.upper() for name, reads in users.items() if reads]
    if len(names) > 1:
        raise VipLlavaError(
            f"- stands for standard input in {' and in '.join(names)}; it can be read once. Put the other into a file."
        )


def read_input(what: str, max_bytes: int) -> bytes:
    """Read all of standard input.

    Raises:
        ImageError: it is empty, or larger than an image may be.
    """
    data = sys.stdin.buffer.read(max_bytes + 1)
    if not data:
        raise ImageError(f"standard input is empty; expected {what}.")
    if len(data) > max_bytes:
        raise ImageError(f"standard input has more than {max_bytes:,} bytes; expected {what}.")
    return data


def lines() -> Iterator[str]:
    """Yield the lines of standard input as they come, without those that are empty.

    Raises:
        VipLlavaError: they are not UTF-8.
    """
    while line := sys.stdin.buffer.readline():
        try:
            text = line.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise VipLlavaError(f"standard input is not UTF-8: {error}.") from error
        if text:
            yield text
