"""`WorkspaceTool`: what the tools share: the workspace, the session of the agent's thread, errors as messages."""

from __future__ import annotations

import logging
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException
from pydantic import ConfigDict, Field, ValidationError

from langchain_vipllava.chat.guard import is_from_callback
from langchain_vipllava.errors import MAX_MESSAGE, VipLlavaError
from langchain_vipllava.text import cut, printable
from langchain_vipllava.tools.advice import advise
from langchain_vipllava.tools.thread import session_of
from langchain_vipllava.workspace.session_id import ProgramSession, SessionKey
from langchain_vipllava.workspace.workspace import Workspace

logger = logging.getLogger(__name__)

Reply = tuple[str | list[dict[str, Any]], dict[str, Any]]
"""What a tool returns: text or content blocks for the LLM, and an artifact of ids and boxes for the program."""


_MAX_DETAILS = 10
"""Wrong arguments that an LLM is told of. Chosen: more than any tool has."""


def describe_bad_arguments(error: ValidationError) -> str:
    """Tell an LLM which of its arguments do not fit the tool's schema, in at most `MAX_MESSAGE` characters."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    wrong = [
        f"{cut('.'.join(map(str, detail['loc'])), 80) or 'arguments'}: {cut(detail['msg'], 200)}"
        for detail in details[:_MAX_DETAILS]
    ]
    rest = [f"and {len(details) - _MAX_DETAILS} more"] if len(details) > _MAX_DETAILS else []
    listed = "; ".join(wrong + rest)
    return _one_line(f"These arguments do not fit: {listed}. Call the tool again with arguments that fit its schema.")


class WorkspaceTool(BaseTool):
    """A tool over a workspace, in the session of the agent's thread. Made by `VipLlavaToolkit`.

    A file of this folder that defines one is enough: `tool_classes` finds it.

    Attributes:
        position: place among the tools, in the order in which an agent uses them.
        needs_detector, needs_segmenter: whether there is no such tool without one.
        workspace: what all tools of a toolkit stand on.
        default_session: the session of calls without a thread id; None takes that of the agent's run.
        show_images: whether the LLM sees marked images.
    """

    position: ClassVar[int]
    needs_detector: ClassVar[bool] = False
    needs_segmenter: ClassVar[bool] = False

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    workspace: Workspace = Field(exclude=True, repr=False)
    default_session: ProgramSession | None = Field(default=None, exclude=True, repr=False)
    show_images: bool = Field(default=False, exclude=True)
    response_format: str = "content_and_artifact"  # type: ignore[assignment]  # LangChain's Literal, narrowed
    handle_tool_error: Any = True
    handle_validation_error: Any = Field(default_factory=lambda: describe_bad_arguments)

    @classmethod
    def fits(cls, workspace: Workspace) -> bool:
        """Whether a workspace can do what the tool does."""
        return (workspace.can_detect or not cls.needs_detector) and (workspace.can_segment or not cls.needs_segmenter)

    def session(self, config: RunnableConfig | None) -> SessionKey:
        """Return the session of a call.

        Raises:
            SessionError: it has none. For the program, not for the LLM: no other arguments would help.
        """
        return session_of(config, self.default_session)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As LangChain's; whatever the input is, an error comes back as a message."""
        try:
            return super().invoke(input, config, **kwargs)
        except Exception as error:
            return self._failure(error, input.get("id") if isinstance(input, dict) else None)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As LangChain's; whatever the input is, an error comes back as a message."""
        try:
            return await super().ainvoke(input, config, **kwargs)
        except Exception as error:
            return self._failure(error, input.get("id") if isinstance(input, dict) else None)

    def run(self, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        """As LangChain's; arguments that cannot even be shown to its callbacks are an error message."""
        try:
            return super().run(tool_input, *args, **kwargs)
        except Exception as error:
            return self._failure(error, kwargs.get("tool_call_id"))

    async def arun(self, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        """As LangChain's; arguments that cannot even be shown to its callbacks are an error message."""
        try:
            return await super().arun(tool_input, *args, **kwargs)
        except Exception as error:
            return self._failure(error, kwargs.get("tool_call_id"))

    def _parse_input(self, tool_input: Any, tool_call_id: str | None) -> Any:
        with errors_for_llm(self.name):
            return super()._parse_input(tool_input, tool_call_id)

    def _failure(self, error: Exception, call_id: object) -> ToolMessage | str:
        """Return the message for an exception, or raise it: the program wants it, or its own callback raised it."""
        if isinstance(error, (VipLlavaError, ToolException, ValidationError)) or is_from_callback(error):
            raise error
        logger.error("%s failed", self.name, exc_info=error)
        message = _describe_failure(error)
        if not self.handle_tool_error:
            raise ToolException(message) from error
        if call_id is None:
            return message
        return ToolMessage(message, tool_call_id=str(call_id), name=self.name, status="error")


def tool_classes() -> list[type[WorkspaceTool]]:
    """Return every tool of this folder, in the order of their positions."""
    found: list[type[WorkspaceTool]] = []
    for info in pkgutil.iter_modules([str(Path(__file__).parent)], f"{__package__}."):
        for value in vars(import_module(info.name)).values():
            if isinstance(value, type) and issubclass(value, WorkspaceTool) and value.__module__ == info.name:
                found.append(value)
    return sorted((tool for tool in found if tool is not WorkspaceTool), key=lambda tool: tool.position)


@contextmanager
def errors_for_llm(tool: str) -> Iterator[None]:
    """Turn everything that an LLM's arguments can cause into a message to the LLM, one line of bounded length.

    It says which tool to call next. An exception that is not ours may be a bug: it is logged with its traceback.
    """
    try:
        yield
    except (ToolException, ValidationError):
        raise
    except VipLlavaError as error:
        raise ToolException(_one_line(f"Error: {advise(error, tool)}")) from error
    except Exception as error:
        logger.exception("a tool failed")
        raise ToolException(_describe_failure(error)) from error


def _describe_failure(error: Exception) -> str:
    reason = ": nested too deep" if isinstance(error, RecursionError) else ""
    return (
        f"Error: the tool could not work with these arguments{reason}. Call it again with arguments that fit its "
        "schema; write numbers of a few digits, and lists of a few levels."
    )


def _one_line(text: str) -> str:
    return cut(printable(text, keep=""), MAX_MESSAGE)
