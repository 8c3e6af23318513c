"""Structured output: a model bound to a schema, and a parser behind it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import (
    JsonOutputKeyToolsParser,
    JsonOutputParser,
    PydanticOutputParser,
    PydanticToolsParser,
)
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import AddableDict, Runnable, RunnableConfig
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from langchain_vipllava.chat.answer_form import AnswerForm
from langchain_vipllava.errors import GenerationError, shorten

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.utils.pydantic import TBaseModel  # noqa: F401  # for the fields that pydantic's plugin copies

_METHODS = ("json_schema", "function_calling", "json_mode")


def structured(
    model: BaseChatModel, schema: Any, *, method: str, include_raw: bool, strict: bool | None
) -> Runnable[Any, Any]:
    """A chain of a model and a parser; see `ChatVipLlava.with_structured_output`."""
    if method not in _METHODS:
        raise GenerationError(f"method={method!r}; expected one of {', '.join(_METHODS)}.")
    if schema is None and method != "json_mode":
        raise GenerationError("schema is None; expected a pydantic class, a TypedDict or a JSON schema.")
    asked_for = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
    make = _by_call if method == "function_calling" else _by_schema
    bound, parser = make(model, schema, asked_for)
    chain: Runnable[Any, Any] = bound | (_RawAndParsed(parser) if include_raw else parser)
    return chain


def _by_schema(model: BaseChatModel, schema: Any, asked_for: dict[str, Any]) -> tuple[Any, Any]:
    """The answer is the JSON itself."""
    if schema is None:
        response_format: dict[str, Any] = {"type": "json_object"}
    else:
        wanted = _json_schema(schema)
        named = {"name": wanted.get("title", "answer"), "schema": wanted}
        response_format = {"type": "json_schema", "json_schema": named}
    settings = {"response_format": response_format}
    _ = AnswerForm.of(settings).grammar  # a schema that cannot be enforced is refused here
    parser: Any = _Objects(pydantic_object=schema) if _is_model(schema) else _Json()
    return model.bind(**settings, ls_structured_output_format=asked_for), parser


def _by_call(model: BaseChatModel, schema: Any, asked_for: dict[str, Any]) -> tuple[Any, Any]:
    """The answer is the call of a tool whose arguments are wanted."""
    name = convert_to_openai_tool(schema)["function"]["name"]
    bound = model.bind_tools([schema], tool_choice=name, ls_structured_output_format=asked_for)
    if _is_model(schema):
        return bound, _ObjectsOfCalls(tools=[schema], first_tool_only=True)
    return bound, _JsonOfCalls(key_name=name, first_tool_only=True)


class _RawAndParsed(Runnable[Any, dict[str, Any]]):
    """An answer, piece by piece where it comes so, and then what is parsed of it or why it cannot be."""

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
        found = self.invoke(whole, config, **kwargs)
        yield AddableDict(parsed=found["parsed"], parsing_error=found["parsing_error"])

    async def atransform(
        self, input: AsyncIterator[Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[dict[str, Any]]:
        whole = None
        async for chunk in input:
            whole = chunk if whole is None else whole + chunk
            yield AddableDict(raw=chunk)
        found = await self.ainvoke(whole, config, **kwargs)
        yield AddableDict(parsed=found["parsed"], parsing_error=found["parsing_error"])


class _Whole:
    """Makes LangChain's parsers refuse an answer that was cut: by themselves, they take what there is of it for all."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        if not partial:
            _refuse_cut(result[0])
        return super().parse_result(result, partial=partial)  # type: ignore[misc]

    def _transform(self, input: Iterator[Any]) -> Iterator[Any]:
        whole: list[Any] = []
        yield from super()._transform(_noting(input, whole))  # type: ignore[misc]
        _refuse_cut_chunks(whole)

    async def _atransform(self, input: AsyncIterator[Any]) -> AsyncIterator[Any]:
        whole: list[Any] = []

        async def note() -> AsyncIterator[Any]:
            async for chunk in input:
                whole.append(chunk)
                yield chunk

        async for parsed in super()._atransform(note()):  # type: ignore[misc]
            yield parsed
        _refuse_cut_chunks(whole)


class _Json(_Whole, JsonOutputParser):
    pass


class _Objects(_Whole, PydanticOutputParser[Any]):
    pass


class _JsonOfCalls(_Whole, JsonOutputKeyToolsParser):
    pass


class _ObjectsOfCalls(_Whole, PydanticToolsParser):
    pass


def _noting(chunks: Iterator[Any], noted: list[Any]) -> Iterator[Any]:
    for chunk in chunks:
        noted.append(chunk)
        yield chunk


def _refuse_cut_chunks(chunks: list[Any]) -> None:
    if chunks and all(isinstance(chunk, BaseMessage) for chunk in chunks):
        whole = chunks[0]
        for chunk in chunks[1:]:
            whole += chunk
        _refuse_cut(ChatGeneration(message=whole))


def _refuse_cut(answer: Generation) -> None:
    """Raise where an answer is not the whole JSON, or the whole call, that it is to be."""
    message = answer.message if isinstance(answer, ChatGeneration) else None
    text = answer.text
    if isinstance(message, AIMessage):
        if message.tool_calls and not message.invalid_tool_calls:
            return
        text = next((str(call["args"]) for call in message.invalid_tool_calls), text)
    try:
        json.loads(text)
    except ValueError as error:
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
        full: dict[str, Any] = schema.model_json_schema()  # with its $defs, which LangChain writes out
        return full
    if isinstance(schema, dict) and not {"function", "parameters", "input_schema", "toolSpec"} & schema.keys():
        return schema  # not wrapped as a function of OpenAI, Anthropic or Bedrock: it is the schema itself
    return convert_to_json_schema(schema)
