"""`ToolCaller`: calls the tools of a toolkit, as a tool-calling LLM does."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import ToolMessage

from langchain_vipllava import VipLlavaToolkit

DETECTIONS = [
    {"score": 0.9, "label": "face", "box": {"xmin": 174, "ymin": 65, "xmax": 273, "ymax": 164}},
    {"score": 0.7, "label": "rocket", "box": {"xmin": 330, "ymin": 20, "xmax": 480, "ymax": 250}},
]
"""Output of a detector for the fixture `photo`, in the format of a transformers pipeline."""


class ToolCaller:
    """Calls the tools of a toolkit in one thread of the agent."""

    def __init__(self, toolkit: VipLlavaToolkit, thread: str = "t") -> None:
        self._tools = {tool.name: tool for tool in toolkit.get_tools()}
        self._config = {"configurable": {"thread_id": thread}}

    def _invoke(self, name: str, **arguments: Any) -> ToolMessage:
        call = {"type": "tool_call", "id": "call-1", "name": name, "args": arguments}
        return self._tools[name].invoke(call, self._config)

    def call(self, name: str, **arguments: Any) -> ToolMessage:
        """Return the message of a call that succeeds."""
        message = self._invoke(name, **arguments)
        assert message.status == "success", message.content
        return message

    def call_expecting_error(self, name: str, **arguments: Any) -> str:
        """Return the error text of a call that fails."""
        message = self._invoke(name, **arguments)
        assert message.status == "error", message.content
        assert message.artifact is None
        return message.content
