"""What the oldest versions that we admit do otherwise, for `make test-oldest`."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import pytest
from langchain_core.load import load
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer


def _release(package: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version(package).split(".")[:2])


HAS_NEW_TRANSFORMERS = _release("transformers") >= (5, 0)

CORE_OBJECTS: dict[str, Any] = (
    {"allowed_objects": "core"} if "allowed_objects" in inspect.signature(load).parameters else {}
)
"""Arguments of `load` with which it loads the messages of langchain-core, and nothing else where it can tell."""

needs_lazy_core = pytest.mark.skipif(
    _release("langchain-core") < (1, 1), reason="langchain-core 1.0 loads torch with its base class"
)

needs_mcp = pytest.mark.skipif(
    find_spec("langchain_mcp_adapters") is None, reason="langchain-mcp-adapters is not installed"
)

needs_lazy_typer = pytest.mark.skipif(_release("typer") < (0, 20), reason="an older typer loads rich")

needs_new_transformers = pytest.mark.skipif(
    not HAS_NEW_TRANSFORMERS, reason="transformers 4 replaces functions of its layers for good, and these then run"
)

needs_new_tokenizers = pytest.mark.skipif(
    _release("tokenizers") < (0, 23),
    reason="tokenizers 0.22 aborts a process that exits inside it",
)

needs_pinned_processors = pytest.mark.skipif(
    not HAS_NEW_TRANSFORMERS, reason="transformers 4 also asks for the main revision of processor_config.json"
)

needs_escaped_dumps = pytest.mark.skipif(
    "allowed_objects" not in inspect.signature(load).parameters, reason="an older langchain-core has CVE-2025-68664"
)

needs_allow_lists = pytest.mark.skipif(
    "allowed_msgpack_modules" not in inspect.signature(JsonPlusSerializer).parameters,
    reason="an older LangGraph blocks no types",
)
