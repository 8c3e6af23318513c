"""The hands of an agent's LLM: calling the tools one by one, as a tool-calling model does."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import ToolMessage

from langchain_vipllava import VipLlavaToolkit

FOUND = [
    {"score": 0.9, "label": "face", "box": {"xmin": 174, "ymin": 65, "xmax": 273, "ymax": 164}},
    {"score": 0.7, "label": "rocket", "box": {"xmin": 330, "ymin": 20, "xmax": 480, "ymax": 250}},
]
"""What a detector finds in the fixture `photo`, as a transformers pipeline writes it."""


class Hands:
    """Calls the tools of a toolkit in one thread of the agent."""

    def __init__(self, toolkit: VipLlavaToolkit, thread: str = "t") -> None:
        self._tools = {tool.name: tool for tool in toolkit.get_tools()}
        self._config = {"configurable": {"thread_id": thread}}

    def __call__(self, name: str, **arguments: Any) -> ToolMessage:
        call = {"type": "tool_call", "id": "call-1", "name": name, "args": arguments}
        return self._tools[name].invoke(call, self._config)

    def right(self, name: str, **arguments: Any) -> ToolMessage:
        message = self(name, **arguments)
        assert message.status == "success", message.content
        return message

    def wrong(self, name: str, **arguments: Any) -> str:
        message = self(name, **arguments)
        assert message.status == "error", message.content
        assert message.artifact is None
        return message.content
