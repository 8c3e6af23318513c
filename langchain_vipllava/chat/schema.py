"""`AnswerSchema`: what users write for the form of an answer, as a JSON schema and a check of what it reads."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError

from langchain_vipllava.chat.tool_forms import is_function, openai_function
from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.protocol.output_spec import relocate
from langchain_vipllava.schemas.json_schema import inlined, subschemas
from langchain_vipllava.schemas.outer_bounds import BOUNDS
from langchain_vipllava.schemas.pydantic_schema import json_schema_of, unreadable
from langchain_vipllava.schemas.schema_dialects import in_one_dialect
from langchain_vipllava.schemas.typed_dict import readable_type

_VALUE = "value"
"""Argument of a call whose schema is no object: arguments have names."""

_FUNCTION_KEYS = frozenset({"function", "parameters", "input_schema", "inputSchema", "toolSpec"})
"""Keys of a function in the form of OpenAI, Anthropic, MCP or Bedrock."""

_NAMES_PROPERTIES = frozenset(
    {"properties", "patternProperties", "additionalProperties", "propertyNames", "allOf", "anyOf", "oneOf", "$ref"}
)
"""Keywords that say which properties an object has."""

_CONSTRAINTS = frozenset(
    {"type", "properties", "patternProperties", "additionalProperties", "required", "enum", "const", "anyOf", "oneOf",
     "allOf", "not", "if", "then", "else", "items", "prefixItems", "contains", "$ref", "minimum", "maximum",
     "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern", "format", "minItems",
     "maxItems", "uniqueItems", "minProperties", "maxProperties", "propertyNames", "dependentSchemas",
     "dependentRequired", "unevaluatedProperties", "unevaluatedItems", *BOUNDS}
)  # fmt: skip
_ANNOTATIONS = frozenset(
    {"$schema", "$id", "$anchor", "$defs", "$comment", "definitions", "title", "description", "default", "examples",
     "deprecated", "readOnly", "writeOnly", "discriminator", "contentEncoding", "contentMediaType", "contentSchema",
     "strict", "nullable", "example"}
)  # fmt: skip
_NEAR = 0.8
"""Likeness to a keyword, by difflib, from which another one is a misspelling. Chosen: "propertys" is one, "x-order" is
not."""


@dataclass(frozen=True)
class AnswerSchema:
    """The form of an answer.

    Attributes:
        name: of the answer, for providers' formats.
        json: the JSON schema.
        validate: makes the result of an answer's JSON text; None where the JSON is the result.
    """

    name: str
    json: Mapping[str, Any]
    validate: Callable[[str], Any] | None = None

    @classmethod
    def read(cls, schema: Any) -> AnswerSchema:
        """Read a pydantic class, a type, an enum, a `TypedDict`, a JSON schema or a provider's wrapper around one.

        Raises:
            GenerationError: it is none of these.
        """
        if isinstance(schema, Mapping):
            try:
                return cls._of_mapping(schema)
            except RecursionError as error:
                raise GenerationError("the schema contains itself; refer to it with '$ref' instead.") from error
        if isinstance(schema, str):  # pydantic takes it for the name of a type
            raise GenerationError(f"schema={shorten(schema)} is a text; expected a type, or json.loads(...) of it.")
        if (isinstance(schema, type) and _is_old_model(schema)) or is_function(schema):
            converted = convert_to_json_schema(schema)
            validate = getattr(schema, "parse_raw", None)  # of pydantic 1
            return cls(str(converted.get("title", "answer")), converted, validate)
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(readable_type(schema))
            written = json_schema_of(schema if isinstance(schema, type) and _is_model(schema) else adapter)
        except (PydanticUserError, TypeError, NameError) as error:
            raise unreadable(schema, error) from error
        return cls(str(written.get("title", "answer")), written, adapter.validate_json)

    @classmethod
    def _of_mapping(cls, schema: Mapping[str, Any]) -> AnswerSchema:
        wrapped = schema.get("json_schema", schema)
        if isinstance(wrapped, Mapping) and isinstance(wrapped.get("schema"), Mapping):
            inner = cls._of_mapping(wrapped["schema"])
            return cls(str(wrapped.get("name", inner.name)), inner.json)
        if _FUNCTION_KEYS & schema.keys():
            function = openai_function(schema)
            if function is None:
                raise GenerationError(f"schema={shorten(schema)} is a function without a name; expected one in 'name'.")
            said = {"description": function["description"]} if "description" in function else {}
            return cls(function["name"], in_one_dialect({**said, **function["parameters"]}))
        _check_keywords(schema)
        return cls(str(schema.get("title", "answer")), in_one_dialect(schema))

    @property
    def is_object(self) -> bool:
        """Whether every value is an object, so that it can be the arguments of a call."""
        top = inlined(self.json)
        return top.get("type") == "object" or ("type" not in top and "properties" in top)

    def as_tool(self) -> dict[str, Any]:
        """Return a function whose arguments are the answer, in OpenAI's form."""
        parameters = inlined(self.json)
        if not self.is_object:
            moved = relocate(self.json, f"#/properties/{_VALUE}")
            parameters = {"type": "object", "properties": {_VALUE: moved}, "required": [_VALUE]}
        elif not _NAMES_PROPERTIES & parameters.keys():
            parameters = {**parameters, "additionalProperties": True}  # a function without these takes no arguments
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", self.name)[:64] or "answer"
        description = str(self.json.get("description", ""))
        return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}

    def result_of(self, arguments: Any) -> Any:
        """Return the result of a call's arguments.

        Raises:
            ValueError: they do not fit the type.
        """
        value = arguments if self.is_object else arguments.get(_VALUE)
        return value if self.validate is None else self.validate(json.dumps(value))


def _check_keywords(schema: Mapping[str, Any]) -> None:
    """Refuse a mapping that is no JSON schema, and misspelt keywords in one.

    Raises:
        GenerationError: it is not, or has some.
    """
    if schema and not _CONSTRAINTS & schema.keys():
        example = "{'title': 'Thing', 'type': 'object', 'properties': {'shape': {'type': 'string'}}}"
        raise GenerationError(
            f"schema={shorten(schema)} has no keyword of JSON schema, so it says nothing; expected such as {example}."
        )
    for part in subschemas(schema):
        for key in part.keys() - _CONSTRAINTS - _ANNOTATIONS:
            meant = difflib.get_close_matches(str(key), _CONSTRAINTS, 1, _NEAR)
            if meant:
                raise GenerationError(f"unknown keyword {shorten(key)} in the schema; did you mean {meant[0]!r}?")


def _is_model(schema: type) -> bool:
    return issubclass(schema, BaseModel)


def _is_old_model(schema: type) -> bool:
    """Whether it is a class of pydantic 1."""
    return is_basemodel_subclass(schema) and not _is_model(schema)
