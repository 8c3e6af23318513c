"""`PydanticSchema`: the JSON schema of a pydantic type, with what pydantic checks and its own schema does not say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from langchain_vipllava.protocol.narrow_schema import KIND, date_times, dates, times

_NUMBER_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}

_WITH_HOST = ("http", "https", "ftp")
"""Schemes of an address that needs a host and may have any scheme: pydantic 2.10 wants one in `AnyUrl`."""


class PydanticSchema(GenerateJsonSchema):
    """Also says which dates are past or future, which times have an offset, and what decimals and URLs look like."""

    def date_schema(self, schema: core_schema.DateSchema) -> JsonSchemaValue:
        """A date that is past or future, where the type says so."""
        return _pattern("date", dates(*_years(schema.get("now_op"))))

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        """The same for a date-time, with or without an offset where the type says so."""
        return _pattern("date-time", date_times(dates(*_years(schema.get("now_op"))), aware=_aware(schema)))

    def time_schema(self, schema: core_schema.TimeSchema) -> JsonSchemaValue:
        """A time of day."""
        return _pattern("time", times(aware=_aware(schema)))

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """A number: a decimal may also come as text, which has no bounds."""
        given: Mapping[str, Any] = schema  # a TypedDict wants its keys spelled out
        bounds = {name: float(given[key]) for key, name in _NUMBER_BOUNDS.items() if given.get(key) is not None}
        places, digits = schema.get("decimal_places"), schema.get("max_digits")
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
        return _pattern(
            "url",
            rf"(?:{'|'.join(schemes)})://[a-z0-9-]{{1,40}}(?:\.[a-z]{{2,8}}){{1,2}}(?:/[A-Za-z0-9_.~-]{{0,40}}){{0,6}}",
        )


def json_schema_of(adapter: Any) -> dict[str, Any]:
    """Return the JSON schema of a pydantic class or `TypeAdapter`, with its definitions."""
    make = getattr(adapter, "model_json_schema", None) or adapter.json_schema
    return cast(dict[str, Any], make(schema_generator=PydanticSchema))


def _pattern(kind: str, pattern: str) -> JsonSchemaValue:
    return {"type": "string", "pattern": f"^{pattern}$", KIND: kind}


def _years(now: str | None) -> tuple[str, ...]:
    """Return the pattern of the hundred years before or after this one; none for any year."""
    if now is None:
        return ()
    year = datetime.now(UTC).year
    listed = range(year - 100, year) if now == "past" else range(year + 1, year + 101)
    return (f"(?:{'|'.join(map(str, listed))})",)


def _aware(schema: Any) -> bool | None:
    constraint = schema.get("tz_constraint")
    return {"aware": True, "naive": False}.get(constraint) if isinstance(constraint, str) else None
