"""Structured output: a model bound to a schema, and a parser behind it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Literal, get_args

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import JsonOutputKeyToolsParser, JsonOutputParser
from langchain_core.output_parsers.transform import BaseCumulativeTransformOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import AddableDict, Runnable, RunnableConfig, RunnableGenerator
from langchain_core.utils.pydantic import is_basemodel_subclass
from typing_extensions import is_typeddict

from langchain_vipllava.chat.output import read_output_spec
from langchain_vipllava.chat.schema import AnswerSchema
from langchain_vipllava.errors import GenerationError, describe_error, shorten
from langchain_vipllava.schemas.json_schema import rebuilt

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.utils.pydantic import TBaseModel  # noqa: F401  # for the fields that pydantic's plugin copies

    from langchain_vipllava.protocol.output_spec import OutputSpec

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
"""A whole text of JSON."""

StructuredMethod = Literal["json_schema", "function_calling", "json_mode"]


def structured(
    model: BaseChatModel,
    schema: Any,
    *,
    method: StructuredMethod,
    include_raw: bool,
    strict: bool | None,
    check: Callable[[OutputSpec], None],
    settings: Mapping[str, Any],
) -> Runnable[Any, Any]:
    """Chain a model, a check that the answer is complete, and a parser. See `ChatVipLlava.with_structured_output`.

    Args:
        model: binds `response_format` and tools.
        schema: what answers have to fit.
        method: whether the answer is the JSON itself or the call of a tool.
        include_raw: whether to return the raw answer too.
        strict: recorded in the trace; no effect.
        check: raises where a form of answers cannot be enforced.
        settings: what else is bound.
    """
    if method not in get_args(StructuredMethod):
        raise GenerationError(f"method={method!r}; expected one of {', '.join(get_args(StructuredMethod))}.")
    if schema is None and method != "json_mode":
        raise GenerationError("schema is None; expected a pydantic class, a type, a TypedDict or a JSON schema.")
    answer = None if schema is None else AnswerSchema.read(schema)
    ls_format = {"kwargs": {"method": method, "strict": strict}, "schema": _traced(schema, answer)}
    bound: Runnable[Any, Any]
    parser: Runnable[Any, Any]
    if answer is not None and method == "function_calling":
        tool = answer.as_tool()
        name = tool["function"]["name"]
        bound = model.bind_tools([tool], tool_choice=name, ls_structured_output_format=ls_format, **settings)
        parser = _CallParser(key_name=name, first_tool_only=True, answer=answer)
    else:
        response_format = _response_format(answer)
        check(read_output_spec({"response_format": response_format}))
        bound = model.bind(response_format=response_format, ls_structured_output_format=ls_format, **settings)
        parser = _AnswerParser(answer=answer)
    parse: Runnable[Any, Any] = RunnableGenerator(_check_complete, _acheck_complete) | parser
    chain: Runnable[Any, Any] = bound | (_RawAndParsed(parse) if include_raw else parse)
    return chain


def _traced(schema: Any, answer: AnswerSchema | None) -> Any:
    """Return what LangChain traces: the class itself, or for a type that it cannot convert its JSON schema.

    The schema is wrapped as a function: LangChain takes a mapping with a "type" for a tool, and fails on a list there.
    """
    if answer is None or (isinstance(schema, type) and is_basemodel_subclass(schema)):
        return schema
    said = {"description": answer.json["description"]} if "description" in answer.json else {}
    written = dict(answer.json)
    if is_typeddict(schema):  # as LangChain's converter of these does
        written = rebuilt(written, lambda part: part.pop("title", None))
    return {"name": answer.name, **said, "parameters": written}


def _response_format(answer: AnswerSchema | None) -> dict[str, Any]:
    """Write a schema as OpenAI's `response_format`; None accepts any JSON object."""
    if answer is None:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": answer.name, "schema": answer.json}}


_NOTHING: Any = object()


class _CompleteAtTheEnd(BaseCumulativeTransformOutputParser[Any]):
    """Ends a stream with the result of the whole answer: LangChain's parsers yield no None, and check no part."""

    def _transform(self, input: Iterator[Any]) -> Iterator[Any]:
        chunks: list[Any] = []
        shown = _NOTHING
        for shown in super()._transform(_noted(input, chunks)):
            yield shown
        yield from self._last(chunks, shown)

    async def _atransform(self, input: AsyncIterator[Any]) -> AsyncIterator[Any]:
        chunks: list[Any] = []
        shown = _NOTHING
        async for shown in super()._atransform(_anoted(input, chunks)):
            yield shown
        for result in self._last(chunks, shown):
            yield result

    def _last(self, chunks: list[Any], shown: Any) -> Iterator[Any]:
        if chunks:
            result = self.parse_result([ChatGeneration(message=reduce(add, chunks))])
            if type(result) is not type(shown) or result != shown:
                yield result


def _noted(chunks: Iterator[Any], seen: list[Any]) -> Iterator[Any]:
    for chunk in chunks:
        seen.append(chunk)
        yield chunk


async def _anoted(chunks: AsyncIterator[Any], seen: list[Any]) -> AsyncIterator[Any]:
    async for chunk in chunks:
        seen.append(chunk)
        yield chunk


def _ends_inside_a_value(text: str) -> bool:
    """Whether JSON ends inside a text, a number or a word: what follows may make it another value."""
    rest = _STRING.sub("", text).rstrip()
    return '"' in rest or rest[-1:].isalnum() or rest[-1:] in ("-", "+", ".")


class _AnswerParser(_CompleteAtTheEnd, JsonOutputParser):
    """Reads the JSON of an answer, piece by piece where it is streamed, and checks it at its end."""

    answer: AnswerSchema | None = None

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        if self.answer is None or self.answer.validate is None:
            return super().parse_result(result, partial=partial)
        text = result[0].text
        if partial and _ends_inside_a_value(text):
            return None
        try:
            return self.answer.validate(json.dumps(super().parse_result(result, partial=True)) if partial else text)
        except Exception as error:  # a validator of the user's may raise any, and of a part others than of the whole
            if partial:
                return None
            raise _does_not_fit(error, text) from error


class _CallParser(_CompleteAtTheEnd, JsonOutputKeyToolsParser):
    """Reads the arguments of a call."""

    answer: AnswerSchema

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        arguments = super().parse_result(result, partial=partial)
        if arguments is None:
            return None
        try:
            return self.answer.result_of(arguments)
        except Exception as error:
            if partial:
                return None
            raise _does_not_fit(error, json.dumps(arguments)) from error


def _does_not_fit(error: Exception, text: str) -> OutputParserException:
    """What a validator of the user's refuses fits the schema all the same."""
    return OutputParserException(
        f"the answer does not fit its type: {describe_error(error)}. The answer: {shorten(text[:200])}", llm_output=text
    )


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
