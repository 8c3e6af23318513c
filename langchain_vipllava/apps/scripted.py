"""`ScriptedAgentModel`: follows a script in place of an agent's LLM, for demos and tests without a paid model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

_REGION_ID = re.compile(r"^(r\d+):", re.MULTILINE)


class ScriptedAgentModel(BaseChatModel):
    """Calls the region tools in a fixed order: open, detect, mark, ask, ask again.

    Stands in for the tool-calling LLM of an agent. It decides nothing: it marks the first regions that the detector
    returns, and asks a fixed list of questions.

    Attributes:
        source: path or URL of the image to open.
        questions: questions about the marked image, in order.
        kind: marker kind.
        max_regions: maximum number of regions to mark.
    """

    source: str
    questions: Sequence[str]
    kind: str = "rectangle"
    max_regions: int = 2

    def bind_tools(self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **kwargs: Any) -> Any:
        """Return this model unchanged: the script names its tools itself."""
        del tools, kwargs
        bound: Runnable[Any, Any] = self
        return bound

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del stop, run_manager, kwargs
        return ChatResult(generations=[ChatGeneration(message=self._next(messages))])

    def _next(self, messages: list[BaseMessage]) -> AIMessage:
        last_human = max(index for index, message in enumerate(messages) if isinstance(message, HumanMessage))
        results = [message for message in messages[last_human:] if isinstance(message, ToolMessage)]
        if results and results[-1].status == "error":
            return AIMessage(f"Stopped: {results[-1].text}")
        answers = [_artifact(result)["answer"] for result in results if result.name == "ask_regions"]
        if len(answers) == len(self.questions):
            pairs = zip(self.questions, answers, strict=True)
            return AIMessage("\n".join(f"{question} - {answer}" for question, answer in pairs))
        step = len(results)
        if step == 0:
            return self._call(step, "open_image", source=self.source)
        ids = [_artifact(result)["image_id"] for result in results]
        if step == 1:
            return self._call(step, "detect_regions", image_id=ids[0])
        if step == 2:
            regions = _REGION_ID.findall(results[1].text)[: self.max_regions]
            if not regions:
                return AIMessage("The detector found nothing to ask about.")
            return self._call(step, "mark_regions", image_id=ids[0], regions=regions, kind=self.kind)
        return self._call(step, "ask_regions", image_id=ids[2], question=self.questions[len(answers)])

    def _call(self, step: int, name: str, **arguments: Any) -> AIMessage:
        return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"step-{step + 1}"}])

    @property
    def _llm_type(self) -> str:
        return "scripted"


def _artifact(result: ToolMessage) -> dict[str, Any]:
    """Return the artifact of a tool; langchain-mcp-adapters wraps that of an MCP server."""
    artifact: dict[str, Any] = result.artifact
    unwrapped: dict[str, Any] = artifact.get("structured_content", artifact)
    return unwrapped
