"""Which files a client may open: those of the operator's folders, its roots, or both."""

from __future__ import annotations

import pytest
from PIL import Image

pytest.importorskip("mcp", reason="the MCP SDK is not installed: pip install 'langchain-vipllava[mcp]'")

from langchain_vipllava import ImageAccessPolicy
from langchain_vipllava.apps.mcp.folders import readable
from tests.support.mcp_clients import over_http, serving


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """`outer/a` and `outer/a/b` and `outer/c`, each with an image of its own width; `outer/c/link` leads to `a`."""
    outer = tmp_path_factory.mktemp("outer")
    for width, name in ((41, "a"), (42, "a/b"), (43, "c")):
        (outer / name).mkdir()
        Image.new("RGB", (width, 40)).save(outer / name / "image.png")
    (outer / "c" / "link").symlink_to(outer / "a")
    (outer / "c" / "link.png").symlink_to(outer / "a" / "image.png")
    return outer


async def widths(client, *sources):
    """Return the width of each image, None for one that may not be opened."""
    results = [await client.try_call("open_image", source=str(source)) for source in sources]
    assert all("may be opened here" in result.text for result in results if result.is_error)
    return [None if result.is_error else result.structured["width"] for result in results]


async def test_a_remote_client_reads_the_operators_folders_narrowed_by_its_roots(vision, folders, mode):
    images = [folders / name / "image.png" for name in ("a", "a/b", "c")]
    with serving(vision, access=ImageAccessPolicy(folders / "a")) as served:
        for roots, expected in (
            (None, [41, 42, None]),
            ([(folders / "a" / "b").as_uri()], [None, 42, None]),
            ([folders.as_uri()], [41, 42, None]),
            ([folders.as_uri(), (folders / "c").as_uri()], [41, 42, None]),
            ([(folders / "c").as_uri()], [None, None, None]),
            ([(folders / "c" / "link").as_uri()], [41, 42, None]),
            ([], [None, None, None]),
            (["file:///"], [41, 42, None]),
        ):
            async with over_http(served.url, mode, roots=roots) as client:
                assert await widths(client, *images) == expected, roots


async def test_a_remote_client_reads_nothing_where_the_operator_names_no_folder(vision, folders, mode):
    with serving(vision) as served:
        for roots in (None, [folders.as_uri()], ["file:///"]):
            async with over_http(served.url, mode, roots=roots) as client:
                assert await widths(client, folders / "a" / "image.png", "a/image.png") == [None, None]


def test_folders_of_a_client_of_this_machine(folders):
    """Over standard input and output: `test_command.py`."""
    inside = (folders / "a" / "b").as_uri()
    assert readable([], [inside, folders.as_uri()], is_local=True) == (folders / "a" / "b", folders)
    assert readable([], [inside], is_local=False) == ()
    assert readable([folders], [inside] * 1000, is_local=True) == (folders / "a" / "b",)
    assert readable([folders / "a"], [f"{folders.as_uri()}/c/../a/b"], is_local=False) == (folders / "a" / "b",)


@pytest.mark.parametrize(
    "uri",
    ["http://x.org/", "file://host/etc", "file:", "file:relative", "file:///%00", "", "a", "file:///" + "a/" * 8000],
)
def test_roots_that_are_no_folders_open_nothing(uri):
    assert readable([], [uri], is_local=True) == ()
