"""`PydanticSchema`: the JSON schema of a pydantic type, with what pydantic checks and its own schema does not say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum
from fractions import Fraction
from typing import Annotated, Any, cast

from pydantic import BaseModel, ByteSize, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.schemas.alias_paths import Path, PathField, path_of, with_paths
from langchain_vipllava.schemas.bounded_times import bounded_date, bounded_date_time, bounded_duration, bounded_time
from langchain_vipllava.schemas.decimals import decimal_numbers
from langchain_vipllava.schemas.dict_keys import with_names
from langchain_vipllava.schemas.json_schema import rebuilt
from langchain_vipllava.schemas.narrow_schema import KIND, date_times, dates, times
from langchain_vipllava.schemas.outer_bounds import place_outer, with_outer_pattern

_MAX_STEPS = 10**6
"""Largest multiple of a step. Measured: with pydantic 2.14, multiples of 0.1 and 0.3 fail from 10**7 on."""

_UNITS = ("B", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB")
"""Units of a size in bytes. pydantic reads more."""

_WITH_HOST = ("http", "https", "ftp")
"""Schemes of an address that needs a host and may have any scheme."""

_LONG_URL = 400
"""Characters that no address of ours has: a longer limit need not be counted."""

_HOST = r"[a-z0-9]{1,20}(?:-[a-z0-9]{1,12}){0,2}(?:\.[a-z]{2,8}){1,2}"


class PydanticSchema(GenerateJsonSchema):
    """Also says which dates are past, future or within bounds, which times have an offset, what keys of dicts, decimals
    and URLs look like, and refuses what JSON does not hold.
    """

    def date_schema(self, schema: core_schema.DateSchema) -> JsonSchemaValue:
        """A date that is past or future, or within bounds, where the type says so."""
        return _pattern("date", bounded_date(schema) or dates(*_years(schema.get("now_op"))))

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        """The same for a date-time, with or without an offset where the type says so."""
        bounded = bounded_date_time(schema, aware=_aware(schema))
        return _pattern("date-time", bounded or date_times(dates(*_years(schema.get("now_op"))), aware=_aware(schema)))

    def time_schema(self, schema: core_schema.TimeSchema) -> JsonSchemaValue:
        """A time of day, within bounds where the type says so."""
        return _pattern("time", bounded_time(schema, aware=_aware(schema)) or times(aware=_aware(schema)))

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        """A duration, within bounds where the type says so."""
        given: Mapping[str, Any] = schema  # pydantic's own TypedDict leaves "multiple_of" out
        if given.get("multiple_of") is not None:
            raise GenerationError(
                f"multiple_of={given['multiple_of']} of a timedelta cannot be enforced; expected an int of such steps, "
                "or leave it out and check it in the answer."
            )
        bounded = bounded_duration(schema)  # pydantic 2.11 writes how it serializes one, not what it reads
        return _pattern("duration", bounded) if bounded else {"type": "string", "format": "duration"}

    def fraction_schema(self, schema: Any) -> JsonSchemaValue:
        """A fraction; within bounds a number, as a text has none. An older pydantic takes it for a text."""
        written = super().fraction_schema(schema)
        numbers = [option for option in written.get("anyOf", ()) if option.get("type") == "number"]
        return numbers[0] if numbers and schema.keys() & {"ge", "gt", "le", "lt"} else written

    def complex_schema(self, schema: core_schema.ComplexSchema) -> JsonSchemaValue:
        """A complex number as Python writes it."""
        del schema
        return _pattern("complex number", r"-?[0-9]{1,9}(?:\.[0-9]{1,6})?[+-][0-9]{1,9}(?:\.[0-9]{1,6})?j")

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        """The schema of any part, where JSON holds it."""
        if getattr(_function(schema), "__name__", "") == "import_string":
            raise GenerationError(
                "ImportString: JSON holds no Python object, and an answer must not import one. Expected a Literal of "
                "names, or an Enum."
            )
        return super().generate_inner(schema)

    def chain_schema(self, schema: core_schema.ChainSchema) -> JsonSchemaValue:
        """Several steps: a pattern behind a validator is the last."""
        return with_outer_pattern(super().chain_schema(schema), schema["steps"][-1])

    def model_fields_schema(self, schema: core_schema.ModelFieldsSchema) -> JsonSchemaValue:
        """A class, with the paths from which it reads fields."""
        paths = self._paths(schema["fields"])
        plain = {name: self._named(field) for name, field in schema["fields"].items() if name not in paths}
        written = super().model_fields_schema({**schema, "fields": plain})
        return self._with_paths(written, schema["fields"], paths)

    def dataclass_args_schema(self, schema: core_schema.DataclassArgsSchema) -> JsonSchemaValue:
        """The same of a dataclass."""
        fields = {field["name"]: field for field in schema["fields"]}
        paths = self._paths(fields)
        plain = [self._named(field) for name, field in fields.items() if name not in paths]
        return self._with_paths(super().dataclass_args_schema({**schema, "fields": plain}), fields, paths)

    def _named(self, field: Any) -> Any:
        """Return a field without its alias where its class reads none: pydantic 2.11 writes it all the same."""
        if getattr(self._config, "validate_by_alias", None) is not False:
            return field
        return {key: value for key, value in field.items() if key != "validation_alias"}

    def _paths(self, fields: Mapping[str, Any]) -> dict[str, Path]:
        """Return the paths of fields that have no name of their own."""
        if self._config.populate_by_name or getattr(self._config, "validate_by_name", False):
            return {}
        found = ((name, path_of(field.get("validation_alias"))) for name, field in fields.items())
        return {name: path for name, path in found if path is not None}

    def _with_paths(
        self, written: JsonSchemaValue, fields: Mapping[str, Any], paths: Mapping[str, Path]
    ) -> JsonSchemaValue:
        placed = [
            PathField(
                path, self.generate_inner(fields[name]["schema"]), self.field_is_required(fields[name], total=True)
            )
            for name, path in paths.items()
        ]
        return with_paths(written, placed)

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """One of several classes: a function that tells them apart says which, though others may fit too."""
        written = super().tagged_union_schema(schema)
        if "oneOf" in written and "discriminator" not in written:
            written["anyOf"] = written.pop("oneOf")
        return written

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        """A text: one that is stripped has its length without the spaces around it, and one may be ASCII alone."""
        written = super().str_schema(schema)
        if self._config.str_min_length:
            written.setdefault("minLength", self._config.str_min_length)  # pydantic 2.11 writes none of a class
        if self._config.str_max_length is not None:
            written.setdefault("maxLength", self._config.str_max_length)
        given: Mapping[str, Any] = schema  # pydantic before 2.14 knows no "ascii_only"
        least, most = written.get("minLength", 0), written.get("maxLength")
        strips = given.get("strip_whitespace", self._config.str_strip_whitespace) and least
        if "pattern" in written or not (strips or given.get("ascii_only")) or (most is not None and least > most):
            return written
        inside, outside = ("[ -~]", "[!-~]") if given.get("ascii_only") else (r"[^\n]", r"\S")
        if not strips:
            pattern = f"{inside}{{{least},{'' if most is None else most}}}"
        else:
            inner = f"{inside}{{{max(least - 2, 0)},{'' if most is None else max(most - 2, 0)}}}{outside}"
            pattern = f"{outside}{inner}" if least > 1 else outside if most == 1 else f"{outside}(?:{inner})?"
        return {"type": "string", "pattern": f"^{pattern}$"}

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JsonSchemaValue:
        """Bytes: pydantic counts those of UTF-8, and JSON schema characters."""
        written = super().bytes_schema(schema)
        coding = self._config.val_json_bytes
        if coding == "utf8" and "maxLength" in written:
            return _pattern("text", f"[ -!#-\\[\\]-~]{{{written.get('minLength', 0)},{written['maxLength']}}}")
        if coding == "hex":
            most = written.get("maxLength", "")
            return _pattern("hex", f"(?:[0-9a-f]{{2}}){{{written.get('minLength', 0)},{most}}}")
        return {**written, "format": "base64"} if coding == "base64" else written

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        """A number: of a step that no float holds exactly, pydantic takes no multiple that is too large."""
        written = super().float_schema(schema)
        step = schema.get("multiple_of")
        if step is None or Fraction(step) == Fraction(str(step)):
            return written
        limit = step * _MAX_STEPS
        low, high = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")
        return {**({} if written.keys() & {*low} else {"minimum": -limit}),
                **({} if written.keys() & {*high} else {"maximum": limit}), **written}  # fmt: skip

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> JsonSchemaValue:
        """What a function checks behind the type: a size in bytes is a number with or without a unit."""
        if isinstance(cls := getattr(_function(schema), "__self__", None), type) and issubclass(cls, ByteSize):
            size = _pattern("size", f"[0-9]{{1,6}}(?:\\.[0-9]{{1,3}})? ?(?:{'|'.join(_UNITS)})")
            return {"anyOf": [{"type": "integer", "minimum": 0}, size]}
        return super().function_after_schema(schema)

    def custom_error_schema(self, schema: core_schema.CustomErrorSchema) -> JsonSchemaValue:
        """What has an error of its own: of what is hashable, JSON holds no lists and objects."""
        if schema["custom_error_type"] == "is_hashable":
            return {"type": ["string", "number", "boolean", "null"]}
        return super().custom_error_schema(schema)

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        """One of several values; a member of an enum only if it is a text or a number too."""
        for value in schema["expected"]:
            if isinstance(value, bytes):
                raise GenerationError(f"Literal[{value!r}]: JSON holds no bytes; expected a text.")
            if isinstance(value, Enum) and not isinstance(value, (str, int)):
                raise GenerationError(
                    f"Literal[{value}]: pydantic reads no such member from JSON. Expected the whole enum, or the value "
                    f"itself: Literal[{value.value!r}]."
                )
        return super().literal_schema(schema)

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        """One of the values of an enum, where JSON holds them."""
        for member in schema["members"]:
            if not isinstance(member.value, (str, int, float, type(None))):
                raise GenerationError(
                    f"{member} has the value {shorten(member.value)}, which JSON does not hold; expected texts or "
                    "numbers."
                )
        written = super().enum_schema(schema)
        values = {(type(value), value): value for value in written.get("enum", ())}  # other names of a member
        return {**written, "enum": list(values.values())} if "enum" in written else written

    def is_subclass_schema(self, schema: core_schema.IsSubclassSchema) -> JsonSchemaValue:
        """A class, which no JSON holds."""
        raise GenerationError(
            f"type[{schema['cls'].__name__}]: JSON holds no class; expected a Literal of names, or an Enum."
        )

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """A dict whose keys are texts that parse as their type."""
        return self._with_keys(super().dict_schema(schema), schema)

    def ordered_dict_schema(self, schema: Any) -> JsonSchemaValue:
        """The same in order."""
        return self._with_keys(super().ordered_dict_schema(schema), schema)

    def counter_schema(self, schema: Any) -> JsonSchemaValue:
        """The same with counts."""
        return self._with_keys(super().counter_schema(schema), schema)

    def _with_keys(self, written: JsonSchemaValue, schema: Any) -> JsonSchemaValue:
        if "keys_schema" not in schema:
            return written
        keys: Any = schema["keys_schema"]
        if keys["type"] == "enum":  # pydantic writes a reference: with a text or an IntEnum its names are sure to parse
            if keys.get("sub_type") != "int" and not all(isinstance(member.value, str) for member in keys["members"]):
                raise GenerationError(
                    f"a dict with keys {keys['cls'].__name__}: names in JSON are texts, and pydantic reads no numbers "
                    "of an Enum from them. Expected an IntEnum, or values that are texts."
                )
            return written
        keys = self.generate_inner(keys)
        return written if "$ref" in keys else with_names(written, keys)

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """A number: a decimal may also come as text, which has no bounds."""
        return decimal_numbers(schema)

    def url_schema(self, schema: core_schema.UrlSchema) -> JsonSchemaValue:
        """An address with one of the schemes that the type allows."""
        schemes = schema.get("allowed_schemes") or (_WITH_HOST if schema.get("host_required") else None)
        if not schemes:
            return super().url_schema(schema)
        most = {"maxLength": schema["max_length"]} if schema.get("max_length", _LONG_URL) < _LONG_URL else {}
        return {**_pattern("url", f"(?:{_any_of(schemes)})://{_HOST}(?:/[A-Za-z0-9_.~-]{{0,40}}){{0,6}}"), **most}

    def multi_host_url_schema(self, schema: core_schema.MultiHostUrlSchema) -> JsonSchemaValue:
        """The same of a database: one host, and the name of a database."""
        schemes = schema.get("allowed_schemes") or _WITH_HOST
        return _pattern("url", f"(?:{_any_of(schemes)})://{_HOST}/[a-z0-9_]{{1,40}}")


def json_schema_of(adapter: Any) -> dict[str, Any]:
    """Return the JSON schema of a pydantic class or `TypeAdapter`, with its definitions."""
    make = getattr(adapter, "model_json_schema", None) or adapter.json_schema
    return cast(dict[str, Any], rebuilt(make(schema_generator=PydanticSchema), place_outer))


def unreadable(schema: Any, error: Exception) -> GenerationError:
    """Return why pydantic reads no schema from a type: the field of a class that it stops at, with its reason."""
    reason = (str(error).splitlines() or [""])[0].removesuffix(".")
    is_class = isinstance(schema, type) and issubclass(schema, BaseModel)
    for name, field in (schema.model_fields if is_class else {}).items():
        hint: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        try:
            json_schema_of(TypeAdapter(hint))
        except (PydanticUserError, TypeError, NameError):
            return GenerationError(
                f"field {name!r} of {schema.__name__} has no form in JSON: {shorten(reason)}. Expected a type that "
                "JSON holds, or a class without that field."
            )
    if isinstance(schema, type) or isinstance(error, PydanticInvalidForJsonSchema):
        return GenerationError(f"schema={shorten(schema)} has no form in JSON: {shorten(reason)}.")
    return GenerationError(
        f"schema={shorten(schema)}; expected a pydantic class, a type such as list[int], an Enum, a TypedDict or a "
        "JSON schema."
    )


def _function(schema: Any) -> Any:
    """Return the function of a core schema that has one."""
    function = schema.get("function") if isinstance(schema, Mapping) else None
    return function.get("function") if isinstance(function, Mapping) else None


def _pattern(kind: str, pattern: str) -> JsonSchemaValue:
    return {"type": "string", "pattern": f"^{pattern}$", KIND: kind}


def _years(now: str | None) -> tuple[str, ...]:
    """Return the pattern of the hundred years before or after this one; none for any year."""
    if now is None:
        return ()
    year = datetime.now(UTC).year
    listed = range(year - 100, year) if now == "past" else range(year + 1, year + 101)
    return (f"(?:{'|'.join(map(str, listed))})",)


def _any_of(schemes: Iterable[str]) -> str:
    return "|".join(scheme.replace("+", r"\+") for scheme in schemes)


def _aware(schema: Any) -> bool | None:
    constraint = schema.get("tz_constraint")
    return {"aware": True, "naive": False}.get(constraint) if isinstance(constraint, str) else None
