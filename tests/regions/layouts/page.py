"""The page with all layouts, written from the samples: `python -m tests.regions.layouts`."""

from __future__ import annotations

from pathlib import Path

from tests.regions.layouts import all_groups
from tests.regions.layouts.layout import Layout

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "detections.md"

_HEAD = """# Layouts of detections

What `regions_from` makes of each layout. `make layouts` writes this page from the samples in `tests/regions/layouts/`;
the tests read every sample and compare this page. `out` is what you have, `size` is `image.size`, `names` the names of
class ids. [The guide](../guides/detections.md) says how to read what is not listed.

"""


def render() -> str:
    """Return the page."""
    groups = all_groups()
    layouts = [layout for group in groups.values() for layout in group]
    refused = sum(layout.regions is None for layout in layouts)
    counted = f"{len(layouts)} layouts: {len(layouts) - refused} read, {refused} refused, 0 silently wrong.\n"
    return _HEAD + counted + "".join(f"\n## {name}\n\n{_table(group)}" for name, group in groups.items())


def _table(layouts: tuple[Layout, ...]) -> str:
    rows = (f"| {layout.have} | `{layout.call}` | {_outcome(layout)} | {layout.source} |\n" for layout in layouts)
    return "| I have | I write | I get | source |\n|---|---|---|---|\n" + "".join(rows)


def _outcome(layout: Layout) -> str:
    if layout.regions is None:
        return f"refused: {layout.refusal}"
    if not layout.regions:
        return "no region"
    names = ("label", "score", "polygon", "mask", "point", "id")
    held = [name for name in names if any(getattr(region, name) is not None for region in layout.regions)]
    return ", ".join(["box", *held])
