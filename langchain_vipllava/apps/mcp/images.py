"""Marked images as resources, by the hash of their PNG; only those of the client that asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_vipllava.apps.mcp.callers import Caller
from langchain_vipllava.errors import SessionError
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.workspace.workspace import Workspace


def described_images(workspace: Workspace, caller: Caller, artifact: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Describe the pages of the marked image that a tool's result is about.

    Args:
        workspace: has it.
        caller: whose it is.
        artifact: of the tool; one with a "page" is about that page alone.
    """
    if "page" in artifact:
        numbers = [artifact["page"]]
    else:
        numbers = sorted({marker.get("page", 0) for marker in artifact["markers"]})
    pages = [(number, workspace.look(artifact["image_id"], session=caller.session, page=number)) for number in numbers]
    return [_described(caller, number, page) for number, page in pages if page.markers]


def listed_images(workspace: Workspace, caller: Caller) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and the description of every marked image of a client."""
    found = []
    for summary in workspace.list(session=caller.session):
        number = 0
        while summary.phrases and (page := _page(workspace, caller, summary.image_id, number)) is not None:
            found.append((f"{summary.image_id}: {'; '.join(page.phrases)}", _described(caller, number, page)))
            number += 1
    return found


def read_image(workspace: Workspace, caller: Caller, digest: str) -> bytes | None:
    """Return the PNG of a marked image of a client; None where the client has none with this hash.

    Args:
        workspace: has it.
        caller: whose it must be.
        digest: SHA-256 of the PNG, in hexadecimal digits.
    """
    for summary in workspace.list(session=caller.session):
        if not summary.phrases:
            continue
        number = 0
        while (page := _page(workspace, caller, summary.image_id, number)) is not None:
            if page.encoded.sha256 == digest:
                return page.encoded.data
            number += 1
    return None


def _page(workspace: Workspace, caller: Caller, image_id: str, number: int) -> MarkedImage | None:
    try:
        return workspace.look(image_id, session=caller.session, page=number)
    except SessionError:  # the page before was the last one, or another call has just forgotten the image
        return None


def _described(caller: Caller, number: int, page: MarkedImage) -> dict[str, Any]:
    width, height = page.image.size
    return {"uri": caller.uri(page.encoded.sha256), "page": number, "width": width, "height": height}
