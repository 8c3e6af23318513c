"""`value_schema`: how pydantic reads and writes a value of ours that is a field of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic_core import core_schema


def value_schema(kind: type, read: Callable[[Any], Any], write: Callable[[Any], Any]) -> core_schema.CoreSchema:
    """Make the schema of a type.

    Args:
        kind: instances of it are taken as they are.
        read: makes an instance of its JSON.
        write: makes JSON of an instance, also for `model_dump()`, which takes dataclasses apart otherwise.
    """
    read_schema = core_schema.no_info_after_validator_function(read, core_schema.dict_schema())
    return core_schema.json_or_python_schema(
        json_schema=read_schema,
        python_schema=core_schema.union_schema([core_schema.is_instance_schema(kind), read_schema]),
        serialization=core_schema.plain_serializer_function_ser_schema(write),
    )
