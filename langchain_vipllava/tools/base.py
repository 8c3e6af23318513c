"""`WorkspaceTool`: what the tools share: the workspace, the session of the agent's thread, errors as messages."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException
from pydantic import ConfigDict, Field, ValidationError

from langchain_vipllava.errors import VipLlavaError
from langchain_vipllava.tools.thread import session_of
from langchain_vipllava.workspace.session_id import ProgramSession, SessionKey
from langchain_vipllava.workspace.workspace import Workspace

Reply = tuple[str, dict[str, Any]]
"""What a tool returns: text for the LLM, and an artifact of ids and boxes for the program."""


def describe_bad_arguments(error: ValidationError) -> str:
    """Tell an LLM which of its arguments do not fit the tool's schema."""
    wrong = [f"{'.'.join(map(str, detail['loc'])) or 'arguments'}: {detail['msg']}" for detail in error.errors()]
    return f"These arguments do not fit: {'; '.join(wrong)}. Call the tool again with arguments that fit its schema."


class WorkspaceTool(BaseTool):
    """A tool over a workspace, in the session of the agent's thread. Made by `VipLlavaToolkit`.

    A file of this folder that defines one is enough: `tool_classes` finds it.

    Attributes:
        position: place among the tools, in the order in which an agent uses them.
        needs_detector: whether there is no such tool without a detector.
        workspace: what all tools of a toolkit stand on.
        default_session: the session of calls without a thread id; None takes that of the agent's run.
    """

    position: ClassVar[int]
    needs_detector: ClassVar[bool] = False

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    workspace: Workspace = Field(exclude=True, repr=False)
    default_session: ProgramSession | None = Field(default=None, exclude=True, repr=False)
    response_format: str = "content_and_artifact"  # type: ignore[assignment]  # LangChain's Literal, narrowed
    handle_tool_error: Any = True
    handle_validation_error: Any = Field(default_factory=lambda: describe_bad_arguments)

    def session(self, config: RunnableConfig | None) -> SessionKey:
        """Return the session of a call.

        Raises:
            SessionError: it has none. For the program, not for the LLM: no other arguments would help.
        """
        return session_of(config, self.default_session)


def tool_classes() -> list[type[WorkspaceTool]]:
    """Return every tool of this folder, in the order of their positions."""
    found: list[type[WorkspaceTool]] = []
    for info in pkgutil.iter_modules([str(Path(__file__).parent)], f"{__package__}."):
        for value in vars(import_module(info.name)).values():
            if isinstance(value, type) and issubclass(value, WorkspaceTool) and value.__module__ == info.name:
                found.append(value)
    return sorted((tool for tool in found if tool is not WorkspaceTool), key=lambda tool: tool.position)


@contextmanager
def errors_for_llm() -> Iterator[None]:
    """Turn our errors, which say what to do, into messages to the LLM."""
    try:
        yield
    except VipLlavaError as error:
        raise ToolException(f"{type(error).__name__}: {error}") from error
