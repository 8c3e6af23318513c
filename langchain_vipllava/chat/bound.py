"""Answers in a form: `bind_tools` and `with_structured_output`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_vipllava.chat.answer_form import AnswerForm
from langchain_vipllava.chat.structured import structured
from langchain_vipllava.errors import GenerationError


class BoundAnswers(BaseChatModel):
    """A chat model whose answers can be held to a form."""

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let answers be calls of tools, whose arguments always fit their schemas.

        ViP-LLaVA was not trained to call tools: that a call is well-formed is certain, that it is sensible is not.
        For an agent, let another LLM decide, and give this model to `VipLlavaToolkit(chat_model=...)`.

        Args:
            tools: tools, functions, pydantic classes or OpenAI's dictionaries.
            tool_choice: "auto" lets the model choose between words and calls, "any" makes it call, a name makes it
                call that tool, "none" forbids calls.
            strict: taken as other models take it; arguments always fit.
            kwargs: further settings: `parallel_tool_calls=True` for several calls in one answer, `response_format`.

        Raises:
            GenerationError: an unknown choice, or a schema that cannot be enforced.
        """
        bound: dict[str, Any] = {"tools": [convert_to_openai_tool(tool, strict=strict) for tool in tools], **kwargs}
        if tool_choice is not None:
            bound["tool_choice"] = tool_choice
        _ = AnswerForm.of(bound).grammar
        return self.bind(**bound)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: Literal["json_schema", "function_calling", "json_mode"] = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Make every answer fit a schema: the model can write nothing else.

        Args:
            schema: a pydantic class, a TypedDict, or a JSON schema with a title; None with "json_mode" for any
                JSON object.
            method: "json_schema" and "json_mode" answer with the JSON, "function_calling" with the call of a tool.
            include_raw: give `{"raw", "parsed", "parsing_error"}` instead of raising.
            strict: taken as other models take it; answers always fit.
            kwargs: none are known.

        Raises:
            GenerationError: a schema that cannot be enforced, an unknown method or argument.

        Example:
            >>> from pydantic import BaseModel
            >>> class Thing(BaseModel):
            ...     is_round: bool
            >>> from langchain_vipllava import ChatVipLlava
            >>> type(ChatVipLlava(model="bundled").with_structured_output(Thing).invoke("What is it?")).__name__
            'Thing'
        """
        if kwargs:
            raise GenerationError(
                f"unknown arguments {', '.join(sorted(kwargs))}; expected method, include_raw, strict."
            )
        return structured(self, schema, method=method, include_raw=include_raw, strict=strict)
