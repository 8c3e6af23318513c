"""`schema_text`: a JSON schema in a line that a model reads: `{"color": red | blue, "count": whole number}`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any

from langchain_vipllava.schemas.json_schema import referred
from langchain_vipllava.schemas.narrow_schema import KIND
from langchain_vipllava.text import cut

_MAX_LENGTH = 1000
"""Characters of a line. Chosen: some 300 tokens, a tenth of the context of the published checkpoints."""

_MAX_VALUES, _MAX_DESCRIPTION = 40, 80
"""Values of an enum and characters of a description that are shown. Chosen: more would fill the line."""

_DEPTHS = (8, 4, 2, 1)
"""Levels that are written out, the deepest whose line is short enough."""

_WORD = re.compile(r"[^\W\d_][\w -]*")

_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true | false", "null": "null"}


def schema_text(schema: Mapping[str, Any]) -> str:
    """Write a JSON schema in one line; empty where it says nothing, or does not fit into a line.

    What neighbors with descriptions have in common is written once, after the last of them.

    Example:
        >>> color = {"enum": ["red", "blue"]}
        >>> schema_text({"type": "object", "properties": {"color": color, "many": {"type": "boolean"}}})
        '{"color"?: red | blue, "many"?: true | false}'
        >>> parts = {name: {**color, "description": f"the {name} one"} for name in ("left", "right")}
        >>> schema_text({"type": "object", "properties": parts, "required": ["left", "right"]})
        '{"left" (the left one), "right" (the right one): red | blue}'
    """
    for depth in _DEPTHS:
        with suppress(_TooLongError):
            line = _Writer(schema).write(schema, depth)
            return "" if line == "{...}" else line
    return ""


class _TooLongError(Exception):
    """A part of a line is longer than a line may be."""


class _Writer:
    """Writes the parts of one schema.

    A schema that refers to itself has a line that grows with a power of its levels. So what a reference stands for is
    written once for each number of levels, and a part that is too long ends the attempt.

    Args:
        root: the whole schema.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._referred: dict[tuple[str, int], str] = {}

    def write(self, schema: Any, depth: int) -> str:
        """Write a part with at most `depth` levels.

        Raises:
            _TooLongError: the line would be too long.
        """
        text = self._write(schema, depth)
        if len(text) > _MAX_LENGTH:
            raise _TooLongError
        return text

    def _write(self, schema: Any, depth: int) -> str:
        if not isinstance(schema, Mapping):
            return "anything"
        if isinstance(schema.get("$ref"), str):
            return self._write_reference(schema["$ref"], depth)
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(values, (list, tuple)):
            shown = [_write_value(value) for value in values[:_MAX_VALUES]]
            return " | ".join(shown + ["..."] * (len(values) > _MAX_VALUES))
        for key, sign in (("anyOf", " | "), ("oneOf", " | "), ("allOf", " and ")):
            if isinstance(schema.get(key), (list, tuple)) and not _only_require(schema, schema[key]):
                return sign.join(dict.fromkeys(self.write(part, depth) for part in schema[key]))
        types = schema.get("type", "object" if "properties" in schema else None)
        if isinstance(types, (list, tuple)):
            return " | ".join(self.write({**schema, "type": name}, depth) for name in types)
        if types == "object":
            return self._write_object(schema, depth)
        if types == "array":
            return self._write_array(schema, depth)
        return str(schema.get(KIND) or _WORDS.get(str(types), "anything"))

    def _write_reference(self, reference: str, depth: int) -> str:
        if depth <= 0:
            return "{...}"
        key = (reference, depth)
        if key not in self._referred:
            self._referred[key] = self.write(referred(self._root, reference), depth - 1)
        return self._referred[key]

    def _write_object(self, schema: Mapping[str, Any], depth: int) -> str:
        properties, required = schema.get("properties"), schema.get("required") or ()
        values = schema.get("additionalProperties")
        parts = []
        if isinstance(properties, Mapping) and depth > 0:
            written = [
                (_name(name, part, required), self.write(part, depth - 1), bool(_said(part)))
                for name, part in properties.items()
            ]
            for (value, said), group in groupby(written, key=lambda item: item[1:]):
                names = [name for name, _, _ in group]
                parts += [f"{', '.join(names)}: {value}"] if said else [f"{name}: {value}" for name in names]
        if isinstance(values, Mapping) and values and depth > 0:
            parts.append(f"text: {self.write(values, depth - 1)}, ...")
        return f"{{{', '.join(parts)}}}" if parts else "{...}"

    def _write_array(self, schema: Mapping[str, Any], depth: int) -> str:
        first: Sequence[Any] = schema.get("prefixItems") or ()
        parts = [self.write(part, depth - 1) for part in first] if depth > 0 else []
        items = schema.get("items")
        if isinstance(items, Mapping) and depth > 0:
            parts += [self.write(items, depth - 1), "..."]
        return f"[{', '.join(parts or ['...'])}]"


def _only_require(schema: Mapping[str, Any], options: Sequence[Any]) -> bool:
    """Whether options say no more than which of the named properties are required."""
    return "properties" in schema and all(isinstance(one, Mapping) and one.keys() <= {"required"} for one in options)


def _write_value(value: Any) -> str:
    """Write a word as it is, which takes fewer tokens, and anything else as JSON."""
    if isinstance(value, str) and _WORD.fullmatch(value) and value not in ("true", "false", "null"):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _name(name: Any, part: Any, required: Sequence[str]) -> str:
    """Write the key of a property, and what the schema says about it: next to each other, so that they stay one."""
    return f"{json.dumps(str(name), ensure_ascii=False)}{'' if name in required else '?'}{_said(part)}"


def _said(part: Any) -> str:
    """What the schema says about a property, in parentheses."""
    description = part.get("description") if isinstance(part, Mapping) else None
    return f" ({cut(' '.join(description.split()), _MAX_DESCRIPTION)})" if isinstance(description, str) else ""
