"""Every layout that is tried, by group. A module of this folder adds a group: its `GROUP` and its `LAYOUTS`."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from tests.regions.layouts.layout import Layout


def all_groups() -> dict[str, tuple[Layout, ...]]:
    """Return the layouts of every module here, by the name of their group."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [
        import_module(f"{__name__}.{name}") for name in names if name not in ("layout", "parts", "page", "__main__")
    ]
    return {module.GROUP: module.LAYOUTS for module in modules}
