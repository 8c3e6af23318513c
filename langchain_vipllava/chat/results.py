"""A backend's answers as LangChain messages, whole and in chunks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import ToolCallChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_vipllava.chat.confidence import CONFIDENCE
from langchain_vipllava.chat.messages import TOKEN_IDS
from langchain_vipllava.chat.output import may_be_calls, split_answer
from langchain_vipllava.errors import GenerationError
from langchain_vipllava.protocol.answer import Answer, Timings
from langchain_vipllava.protocol.confidence import confidences
from langchain_vipllava.protocol.logprobs import AnswerPiece, Choice, TokenLogprob
from langchain_vipllava.protocol.output_spec import OutputSpec

PROVIDER = "vipllava"


def chat_result(answer: Answer, output: OutputSpec, model_name: str) -> ChatResult:
    """Make LangChain's result of a whole answer.

    Raises:
        GenerationError: the backend was stopped before the answer was complete.
    """
    _refuse_cancelled(answer)
    text, calls, invalid_calls = split_answer(output, answer.text)
    message = AIMessage(
        content=text,
        tool_calls=calls,
        invalid_tool_calls=invalid_calls,
        usage_metadata=_usage(answer),
        response_metadata={**_metadata(answer, output, model_name), **_logprobs(answer.logprobs)},
    )
    generation = ChatGeneration(message=message, generation_info={"finish_reason": answer.finish_reason})
    return ChatResult(generations=[generation], llm_output={"model_name": model_name})


class AnswerChunks:
    """Makes LangChain's chunks of a streamed answer; tool calls are held back until they are complete.

    Args:
        output: what the answer may be.
        model_name: for the last chunk's metadata.
    """

    def __init__(self, output: OutputSpec, model_name: str) -> None:
        self._output, self._model_name = output, model_name
        self._held: str = ""  # blank so far: nobody can tell yet whether calls follow
        self._holding_back: bool | None = None
        self._waiting: list[TokenLogprob] = []  # tokens of what is held back
        self._sent = 0  # tokens whose log-probabilities went out

    def of(self, piece: str | AnswerPiece | Answer) -> Iterator[ChatGenerationChunk]:
        """Yield the chunks of a piece of text, or of the answer that comes last."""
        if not isinstance(piece, Answer):
            yield from self._of_piece(text_of(piece), piece.logprobs if isinstance(piece, AnswerPiece) else ())
            return
        _refuse_cancelled(piece)
        text, calls, invalid_calls = split_answer(self._output, piece.text)
        parts: list[tuple[str | None, str, str | None]]
        parts = [(call["name"], json.dumps(call["args"], ensure_ascii=False), call["id"]) for call in calls]
        parts += [(call["name"], call["args"] or "", call["id"]) for call in invalid_calls]
        message = AIMessageChunk(
            content=text if self._holding_back else "",  # held back, and not a call after all
            tool_call_chunks=[
                ToolCallChunk(type="tool_call_chunk", name=name, args=args, id=call_id, index=index)
                for index, (name, args, call_id) in enumerate(parts)
            ],
            usage_metadata=_usage(piece),
            response_metadata={
                **_metadata(piece, self._output, self._model_name),
                **_logprobs(None if piece.logprobs is None else piece.logprobs[self._sent :]),
            },
            chunk_position="last",
        )
        yield ChatGenerationChunk(message=message, generation_info={"finish_reason": piece.finish_reason})

    def _of_piece(self, text: str, logprobs: tuple[TokenLogprob, ...]) -> Iterator[ChatGenerationChunk]:
        self._waiting += logprobs
        if self._holding_back is None:
            text, self._held = self._held + text, ""
            if self._output.tools and not text.strip():
                self._held = text
                return
            self._holding_back = may_be_calls(self._output, text)
        if not self._holding_back:
            self._sent += len(self._waiting)
            metadata = _logprobs(self._waiting or None)
            self._waiting = []
            yield ChatGenerationChunk(message=AIMessageChunk(content=text, response_metadata=metadata))


def text_of(piece: str | AnswerPiece) -> str:
    """The text of a piece of an answer."""
    return piece.text if isinstance(piece, AnswerPiece) else piece


def _refuse_cancelled(answer: Answer) -> None:
    if answer.finish_reason == "cancelled":  # the caller did not cancel: it is still waiting
        raise GenerationError("the answer was cut off because the engine was stopped; ask again.")


def _metadata(answer: Answer, output: OutputSpec, model_name: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "model_name": model_name,
        "model_provider": PROVIDER,
        "finish_reason": answer.finish_reason,
    }
    if answer.token_ids is not None:
        metadata[TOKEN_IDS] = list(answer.token_ids)
    if answer.timings is not None:
        metadata["timings"] = _whole(answer.timings)
    if answer.logprobs is not None and all(place.admitted is not None for place in answer.logprobs):
        found = confidences(answer, output)
        metadata[CONFIDENCE] = [{"path": path, "confidence": value} for path, value in found.items()]
    return metadata


def _logprobs(places: Sequence[TokenLogprob] | None) -> dict[str, Any]:
    """Write log-probabilities as OpenAI does; LangChain joins the lists of an answer's chunks."""
    if places is None:
        return {}
    content = [{**_choice(place), "top_logprobs": [_choice(choice) for choice in place.top]} for place in places]
    return {"logprobs": {"content": content}}


def _choice(choice: Choice) -> dict[str, Any]:
    data = choice.data
    return {"token": choice.token, "logprob": choice.logprob, "bytes": None if data is None else list(data)}


def _whole(timings: Timings) -> dict[str, int]:
    """Return timings in whole microseconds: LangChain cannot add the floats of two answers' chunks."""
    seconds = asdict(timings)
    reused = seconds.pop("reused_tokens")
    return {**{f"{name}_us": round(value * 1e6) for name, value in seconds.items()}, "reused_tokens": reused}


def _usage(answer: Answer) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        total_tokens=answer.input_tokens + answer.output_tokens,
    )
