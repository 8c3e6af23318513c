"""The host's answers as LangChain messages, whole and in chunks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import ToolCallChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_vipllava.chat.answer_form import AnswerForm
from langchain_vipllava.chat.messages import TOKEN_IDS
from langchain_vipllava.errors import GenerationError

if TYPE_CHECKING:
    from langchain_vipllava.engine.request import GenerationResult

PROVIDER = "vipllava"


def chat_result(result: GenerationResult, form: AnswerForm, model_name: str) -> ChatResult:
    """A whole answer.

    Raises:
        GenerationError: the host was stopped before the answer was whole.
    """
    _refuse_cancelled(result)
    text, calls, invalid = form.read(result.text)
    message = AIMessage(
        content=text,
        tool_calls=calls,
        invalid_tool_calls=invalid,
        usage_metadata=_usage(result),
        response_metadata=_metadata(result, model_name),
    )
    generation = ChatGeneration(message=message, generation_info={"finish_reason": result.finish_reason})
    return ChatResult(generations=[generation], llm_output={"model_name": model_name})


def _refuse_cancelled(result: GenerationResult) -> None:
    if result.finish_reason == "cancelled":  # by nobody who waits for it
        raise GenerationError("the answer was cut off, as its host was stopped; ask again.")


class AnswerChunks:
    """Makes chunks of an answer as it comes; calls of tools are held back until they are whole.

    Args:
        form: what the answer may be.
        model_name: for the last chunk's metadata.
    """

    def __init__(self, form: AnswerForm, model_name: str) -> None:
        self._form, self._model_name = form, model_name
        self._calling: bool | None = None

    def of(self, piece: str | GenerationResult) -> Iterator[ChatGenerationChunk]:
        """The chunks of a piece of text, or of the result that comes last."""
        if isinstance(piece, str):
            if self._calling is None:
                self._calling = self._form.may_be_calls(piece)
            if not self._calling:
                yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
            return
        _refuse_cancelled(piece)
        text, calls, invalid = self._form.read(piece.text)
        parts: list[tuple[str | None, str, str | None]]
        parts = [(call["name"], json.dumps(call["args"], ensure_ascii=False), call["id"]) for call in calls]
        parts += [(call["name"], call["args"] or "", call["id"]) for call in invalid]
        message = AIMessageChunk(
            content=text if self._calling else "",  # what was held back, and is no call
            tool_call_chunks=[
                ToolCallChunk(type="tool_call_chunk", name=name, args=args, id=identity, index=index)
                for index, (name, args, identity) in enumerate(parts)
            ],
            usage_metadata=_usage(piece),
            response_metadata=_metadata(piece, self._model_name),
            chunk_position="last",
        )
        yield ChatGenerationChunk(message=message, generation_info={"finish_reason": piece.finish_reason})


def _metadata(result: GenerationResult, model_name: str) -> dict[str, Any]:
    return {
        "model_name": model_name,
        "model_provider": PROVIDER,
        "finish_reason": result.finish_reason,
        TOKEN_IDS: list(result.ids),
        "timings": asdict(result.timings),
    }


def _usage(result: GenerationResult) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=result.input_tokens,
        output_tokens=result.output_tokens,
        total_tokens=result.input_tokens + result.output_tokens,
    )
