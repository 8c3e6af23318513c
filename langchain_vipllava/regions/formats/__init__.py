"""The built-in detection formats. To add one, add a module with a `FORMATS` tuple to this folder.

A module is found because it lies here; nothing else lists it. `Precedence` says when its formats are tried.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from importlib import import_module

from langchain_vipllava.regions.format import Format


def find_formats(package: str, folders: Iterable[str]) -> tuple[Format, ...]:
    """Import every module in the folders of a package and return their formats in the order in which they are tried.

    Raises:
        AttributeError: a module has no `FORMATS`.
    """
    modules = [import_module(f"{package}.{module.name}") for module in pkgutil.iter_modules(folders)]
    return in_order(format_ for module in modules for format_ in module.FORMATS)


def in_order(formats: Iterable[Format]) -> tuple[Format, ...]:
    """Sort formats by precedence, then by name."""
    return tuple(sorted(formats, key=lambda format_: (format_.precedence, format_.name)))


FORMATS = find_formats(__name__, __path__)
