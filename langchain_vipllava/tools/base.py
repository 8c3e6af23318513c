"""`WorkspaceTool`: what the tools share: the workspace, the session of the agent's thread, errors as messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException
from pydantic import ConfigDict, Field, ValidationError

from langchain_vipllava.errors import VipLlavaError
from langchain_vipllava.workspace.workspace import Workspace

Reply = tuple[str, dict[str, Any]]
"""What a tool returns: text for the LLM, and an artifact of ids and boxes for the program."""


def describe_bad_arguments(error: ValidationError) -> str:
    """Tell an LLM which of its arguments do not fit the tool's schema."""
    wrong = [f"{'.'.join(map(str, detail['loc'])) or 'arguments'}: {detail['msg']}" for detail in error.errors()]
    return f"These arguments do not fit: {'; '.join(wrong)}. Call the tool again with arguments that fit its schema."


class WorkspaceTool(BaseTool):
    """A tool over a workspace, in the session of the agent's thread. Made by `VipLlavaToolkit`."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    workspace: Workspace = Field(exclude=True, repr=False)
    response_format: str = "content_and_artifact"  # type: ignore[assignment]  # LangChain's Literal, narrowed
    handle_tool_error: Any = True
    handle_validation_error: Any = Field(default_factory=lambda: describe_bad_arguments)


def session_of(config: RunnableConfig | None) -> str | None:
    """Return the LangGraph thread id of a call, which names its session."""
    thread_id = ((config or {}).get("configurable") or {}).get("thread_id")
    return None if thread_id is None else str(thread_id)


@contextmanager
def errors_for_llm() -> Iterator[None]:
    """Turn our errors, which say what to do, into messages to the LLM."""
    try:
        yield
    except VipLlavaError as error:
        raise ToolException(f"{type(error).__name__}: {error}") from error
