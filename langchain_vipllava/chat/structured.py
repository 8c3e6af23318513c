"""Structured output: a model bound to a schema, and a parser behind it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, get_args

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import (
    JsonOutputKeyToolsParser,
    JsonOutputParser,
    PydanticOutputParser,
    PydanticToolsParser,
)
from langchain_core.outputs import Generation
from langchain_core.runnables import AddableDict, Runnable, RunnableConfig, RunnableGenerator
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from langchain_vipllava.chat.output import read_output_spec
from langchain_vipllava.errors import GenerationError, describe_error, shorten

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.utils.pydantic import TBaseModel  # noqa: F401  # for the fields that pydantic's plugin copies

    from langchain_vipllava.protocol.output_spec import OutputSpec

StructuredMethod = Literal["json_schema", "function_calling", "json_mode"]


def structured(
    model: BaseChatModel,
    schema: Any,
    *,
    method: StructuredMethod,
    include_raw: bool,
    strict: bool | None,
    check: Callable[[OutputSpec], None],
) -> Runnable[Any, Any]:
    """Chain a model, a check that the answer is complete, and a parser. See `ChatVipLlava.with_structured_output`.

    Args:
        model: binds `response_format` and tools.
        schema: what answers have to fit.
        method: whether the answer is the JSON itself or the call of a tool.
        include_raw: whether to return the raw answer too.
        strict: recorded in the trace; no effect.
        check: raises where a form of answers cannot be enforced.
    """
    if method not in get_args(StructuredMethod):
        raise GenerationError(f"method={method!r}; expected one of {', '.join(get_args(StructuredMethod))}.")
    if schema is None and method != "json_mode":
        raise GenerationError("schema is None; expected a pydantic class, a TypedDict or a JSON schema.")
    ls_format = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
    if method == "function_calling":
        bound, parser = _bind_tool(model, schema, ls_format)
    else:
        response_format = _response_format(schema)
        check(read_output_spec({"response_format": response_format}))
        bound = model.bind(response_format=response_format, ls_structured_output_format=ls_format)
        parser = PydanticOutputParser(pydantic_object=schema) if _is_model(schema) else JsonOutputParser()
    parse: Runnable[Any, Any] = RunnableGenerator(_check_complete, _acheck_complete) | parser
    chain: Runnable[Any, Any] = bound | (_RawAndParsed(parse) if include_raw else parse)
    return chain


def _response_format(schema: Any) -> dict[str, Any]:
    """Write a schema as OpenAI's `response_format`; None accepts any JSON object."""
    if schema is None:
        return {"type": "json_object"}
    json_schema = _json_schema(schema)
    return {"type": "json_schema", "json_schema": {"name": json_schema.get("title", "answer"), "schema": json_schema}}


def _bind_tool(model: BaseChatModel, schema: Any, ls_format: dict[str, Any]) -> tuple[Any, Any]:
    """Bind a tool whose arguments are the output."""
    name = convert_to_openai_tool(schema)["function"]["name"]
    bound = model.bind_tools([schema], tool_choice=name, ls_structured_output_format=ls_format)
    if _is_model(schema):
        return bound, _CallParser(tools=[schema], first_tool_only=True)
    return bound, JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)


class _CallParser(PydanticToolsParser):
    """LangChain's, with the errors of its parser for JSON: a validator may refuse what fits the schema."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        try:
            return super().parse_result(result, partial=partial)
        except ValueError as error:  # pydantic's ValidationError too
            if isinstance(error, OutputParserException):
                raise
            raise OutputParserException(f"the call does not fit its class: {describe_error(error)}") from error


class _RawAndParsed(Runnable[Any, dict[str, Any]]):
    """The answer, streamed piece by piece, and then what is parsed of it or why it cannot be parsed."""

    def __init__(self, parser: Runnable[Any, Any]) -> None:
        self._parser = parser

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:
        try:
            return {"raw": input, "parsed": self._parser.invoke(input, config, **kwargs), "parsing_error": None}
        except Exception as error:
            return {"raw": input, "parsed": None, "parsing_error": error}

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:
        try:
            return {"raw": input, "parsed": await self._parser.ainvoke(input, config, **kwargs), "parsing_error": None}
        except Exception as error:
            return {"raw": input, "parsed": None, "parsing_error": error}

    def transform(
        self, input: Iterator[Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[dict[str, Any]]:
        whole = None
        for chunk in input:
            whole = chunk if whole is None else whole + chunk
            yield AddableDict(raw=chunk)
        result = self.invoke(whole, config, **kwargs)
        yield AddableDict(parsed=result["parsed"], parsing_error=result["parsing_error"])

    async def atransform(
        self, input: AsyncIterator[Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[dict[str, Any]]:
        whole = None
        async for chunk in input:
            whole = chunk if whole is None else whole + chunk
            yield AddableDict(raw=chunk)
        result = await self.ainvoke(whole, config, **kwargs)
        yield AddableDict(parsed=result["parsed"], parsing_error=result["parsing_error"])


def _check_complete(chunks: Iterator[BaseMessage]) -> Iterator[BaseMessage]:
    """Pass an answer on, and raise at its end if it was cut off: LangChain's parsers would take the part for all."""
    whole: Any = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
        yield chunk
    _refuse_cut(whole)


async def _acheck_complete(chunks: AsyncIterator[BaseMessage]) -> AsyncIterator[BaseMessage]:
    whole: Any = None
    async for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
        yield chunk
    _refuse_cut(whole)


def _refuse_cut(message: Any) -> None:
    """Raise where an answer is not the whole JSON, or the whole call, that it should be."""
    if not isinstance(message, AIMessage):
        return
    if message.tool_calls and not message.invalid_tool_calls:
        return
    text = next((str(call["args"]) for call in message.invalid_tool_calls), message.text)
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OutputParserException(
            f"the answer ends before its JSON does: {shorten(text[-60:])}. Raise max_tokens, ask for less at once, or "
            "leave out what stops it.",
            llm_output=text,
        ) from error


def _is_model(schema: Any) -> bool:
    """Whether a schema is a pydantic class, of version 2 or 1."""
    return isinstance(schema, type) and is_basemodel_subclass(schema)


def _json_schema(schema: Any) -> dict[str, Any]:
    if _is_model(schema) and hasattr(schema, "model_json_schema"):
        full: dict[str, Any] = schema.model_json_schema()  # keeps its $defs, which LangChain inlines
        return full
    if isinstance(schema, dict) and not {"function", "parameters", "input_schema", "toolSpec"} & schema.keys():
        return schema  # not wrapped as a function of OpenAI, Anthropic or Bedrock: the schema itself
    return convert_to_json_schema(schema)
