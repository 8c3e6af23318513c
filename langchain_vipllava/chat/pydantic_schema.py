"""`PydanticSchema`: the JSON schema of a pydantic type, with what pydantic checks and its own schema does not say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any, cast

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from langchain_vipllava.chat.bounded_times import bounded_date, bounded_date_time, bounded_duration, bounded_time
from langchain_vipllava.chat.dict_keys import with_names
from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.protocol.narrow_schema import KIND, MAX_DECIMAL_PLACES, date_times, dates, times

_NUMBER_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}

_WITH_HOST = ("http", "https", "ftp")
"""Schemes of an address that needs a host and may have any scheme."""

_HOST = r"[a-z0-9-]{1,40}(?:\.[a-z]{2,8}){1,2}"


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
        bounded = bounded_duration(schema)
        return _pattern("duration", bounded) if bounded else super().timedelta_schema(schema)

    def complex_schema(self, schema: core_schema.ComplexSchema) -> JsonSchemaValue:
        """A complex number as Python writes it."""
        del schema
        return _pattern("complex number", r"-?[0-9]{1,9}(?:\.[0-9]{1,6})?[+-][0-9]{1,9}(?:\.[0-9]{1,6})?j")

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        """One of several values; a member of an enum only if it is a text or a number too."""
        for value in schema["expected"]:
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
        return super().enum_schema(schema)

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
        given: Mapping[str, Any] = schema  # a TypedDict wants its keys spelled out
        bounds = {name: float(given[key]) for key, name in _NUMBER_BOUNDS.items() if given.get(key) is not None}
        places, digits = schema.get("decimal_places"), schema.get("max_digits")
        if places is not None and places > MAX_DECIMAL_PLACES:
            raise GenerationError(
                f"decimal_places={places} of a Decimal; expected at most {MAX_DECIMAL_PLACES}: a grammar counts no "
                "more. Leave it out, or check it in the answer."
            )
        if digits is not None:
            largest = float(10 ** (digits - (places or 0))) - (10.0 ** -(places or 0))
            bounds.setdefault("maximum", largest)
            bounds.setdefault("minimum", -largest)
            places = 0 if places is None else places
        if schema.get("multiple_of") is not None:
            bounds["multipleOf"] = float(schema["multiple_of"])
        elif places is not None:
            bounds["multipleOf"] = float(f"1e-{places}")
        return {"type": "number", **bounds}

    def url_schema(self, schema: core_schema.UrlSchema) -> JsonSchemaValue:
        """An address with one of the schemes that the type allows."""
        schemes = schema.get("allowed_schemes") or (_WITH_HOST if schema.get("host_required") else None)
        if not schemes:
            return super().url_schema(schema)
        return _pattern("url", f"(?:{_any_of(schemes)})://{_HOST}(?:/[A-Za-z0-9_.~-]{{0,40}}){{0,6}}")

    def multi_host_url_schema(self, schema: core_schema.MultiHostUrlSchema) -> JsonSchemaValue:
        """The same of a database: one host, and the name of a database."""
        schemes = schema.get("allowed_schemes") or _WITH_HOST
        return _pattern("url", f"(?:{_any_of(schemes)})://{_HOST}/[a-z0-9_]{{1,40}}")


def json_schema_of(adapter: Any) -> dict[str, Any]:
    """Return the JSON schema of a pydantic class or `TypeAdapter`, with its definitions."""
    make = getattr(adapter, "model_json_schema", None) or adapter.json_schema
    return cast(dict[str, Any], make(schema_generator=PydanticSchema))


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
