"""The directive `{parameters}`: a table of the fields or arguments of a class or function, read from the code.

Names, types and defaults come from the signature, descriptions from the `Attributes:` or `Args:` of the docstring. A
parameter without a description is a warning, so `make docs` fails and no table goes stale.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

from docutils import nodes
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import stringify_annotation

logger = logging.getLogger(__name__)

_SECTION = re.compile(r"^(?:Args|Attributes):\n((?:[ \t]+.*\n|\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"^    ([\w*, ]+): (.*(?:\n {5,}.*)*)", re.MULTILINE)


class Parameter(NamedTuple):
    """One row of a table."""

    name: str
    type: str
    default: str

    @property
    def code(self) -> str:
        """Type and default as Markdown; a parameter without a default is required."""
        typed = f"{self.type} = {self.default}" if self.default else self.type
        return f"`{typed}`" + ("" if self.default else " required")


class ParameterTable(SphinxDirective):
    """`{parameters} package.module.Name`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Build the table."""
        module, _, name = self.arguments[0].rpartition(".")
        target = getattr(import_module(module), name)
        descriptions = _descriptions(target)
        lines = ["| parameter | description |", "|---|---|"]
        for parameter in _parameters(target):
            if parameter.name not in descriptions:
                logger.warning(
                    "%s: no description of %r in the docstring",
                    self.arguments[0],
                    parameter.name,
                    location=self.get_location(),
                )
            cells = (f"**`{parameter.name}`**<br>{parameter.code}", descriptions.get(parameter.name, ""))
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        parsed = self.parse_text_to_nodes("\n".join(lines))
        for table in (node for root in parsed for node in root.findall(nodes.table)):
            table["classes"].append("parameters")
        return parsed


def _descriptions(target: Any) -> dict[str, str]:
    """Descriptions by name; an entry may describe several names."""
    described: dict[str, str] = {}
    for owner in reversed(target.__mro__) if isinstance(target, type) else [target]:
        if not owner.__module__.startswith("langchain_vipllava"):
            continue
        for section in _SECTION.findall(f"{inspect.getdoc(owner)}\n"):
            for names, text in _ENTRY.findall(section):
                described |= {name.strip(" *"): " ".join(text.split()) for name in names.split(",")}
    return described


def _parameters(target: Any) -> Iterator[Parameter]:
    if isinstance(target, type) and issubclass(target, BaseModel):
        for name, field in target.model_fields.items():
            if any(name in vars(owner).get("__annotations__", {}) for owner in _ours(target)):
                yield Parameter(field.alias or name, _type_text(field.annotation), _default_of_field(field))
    elif dataclasses.is_dataclass(target):
        for field in dataclasses.fields(target):
            default = field.default_factory() if callable(field.default_factory) else field.default
            yield Parameter(field.name, str(field.type), "" if default is dataclasses.MISSING else repr(default))
    else:
        for name, parameter in inspect.signature(target).parameters.items():
            default = "" if parameter.default is parameter.empty else repr(parameter.default)
            yield Parameter(name, _type_text(parameter.annotation), default)


def _ours(target: type) -> list[type]:
    return [owner for owner in target.__mro__ if owner.__module__.startswith("langchain_vipllava")]


def _default_of_field(field: Any) -> str:
    if field.is_required():
        return ""
    if field.default_factory is None:
        return repr(field.default)
    try:
        return repr(field.default_factory())
    except (TypeError, ValueError):  # read from the environment
        return ""


def _type_text(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    return re.sub(r"[\w.]+\.(\w+)", r"\1", stringify_annotation(annotation, "smart")).replace("~", "")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("parameters", ParameterTable)
    return {"parallel_read_safe": True}
