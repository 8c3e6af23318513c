"""`RequestLimits`: how much one request may hold, and how many may be in flight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, fields
from numbers import Integral
from typing import TYPE_CHECKING, Any

from langchain_vipllava.errors import GenerationError, PromptTooLongError
from langchain_vipllava.protocol.sampling import expect, is_number

if TYPE_CHECKING:
    from langchain_vipllava.protocol.chat_request import ChatRequest
    from langchain_vipllava.protocol.output_spec import OutputSpec


@dataclass(frozen=True)
class RequestLimits:
    """Bounds of one request and of the requests in flight. Checked at once, before anything is opened or tokenized.

    A prompt has to fit into the model's context too; these bounds keep what cannot fit from costing time or memory.

    Attributes:
        max_text_bytes: UTF-8 bytes of all texts of a request: messages, system text and descriptions of tools. Chosen:
            1 MiB. The 7B's context of 4,096 tokens holds at most 64 KiB of letters (its longest token has 16); the rest
            is room for `trim_turns`, which counts long conversations.
        max_images: images of a request. Chosen: the 7B's context holds 7, but with `multi_image="restart"` a
            conversation keeps its old ones.
        max_stop_texts: stop texts of a request. Chosen: OpenAI allows 4; the text is searched for each at each token.
        max_stop_bytes: UTF-8 bytes of these together. Chosen, for the same reason.
        max_tools: tools of a request. Chosen: as many as OpenAI allows.
        max_schema_bytes: bytes of the JSON schemas of a request, those of its tools included. Chosen: the slowest
            schema of this size that we know, a single text of 60 kB, takes 0.06 seconds of the model's thread per
            token.
        max_schema_depth: nested objects and lists of a schema. Chosen: llguidance refuses deeper ones, and every level
            of a JSON value takes three (`properties`, its name, `items`).
        max_in_flight: requests of one model that are prepared, wait or run; then `BusyError`. Chosen: a request that
            waits for the 7B holds up to 1.3 MiB of pixels per image and 0.3 MiB of token ids, so that this many hold
            1.6 GiB.

    Raises:
        GenerationError: a bound that is not a whole number of at least 0, or `max_in_flight` below 1.

    Example:
        >>> from langchain_vipllava import ChatVipLlava, RequestLimits
        >>> ChatVipLlava(model="bundled", limits=RequestLimits(max_in_flight=16)).limits.max_in_flight
        16
    """

    max_text_bytes: int = 2**20
    max_images: int = 256
    max_stop_texts: int = 64
    max_stop_bytes: int = 4096
    max_tools: int = 128
    max_schema_bytes: int = 64 * 1024
    max_schema_depth: int = 64
    max_in_flight: int = 1024

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 1 if field.name == "max_in_flight" else 0
            expect(is_number(value, Integral) and value >= least, field.name, value, f"a whole number, {least} or more")

    def checked(self, request: ChatRequest) -> ChatRequest:
        """Check a request, and return it.

        Raises:
            GenerationError: as in `check`.
        """
        self.check(request)
        return request

    def check(self, request: ChatRequest) -> None:
        """Check a whole request.

        Raises:
            PromptTooLongError: too much text.
            GenerationError: too much of anything else.
        """
        self.check_stop(request.stop)
        self.check_output(request.output)
        conversation = request.conversation
        self.check_images(conversation.images)
        turns = (text for turn in conversation.turns for text in (turn.question, turn.answer or ""))
        self.check_texts(
            [
                *(conversation.system or "", *turns, request.output.instructions, request.output.question_suffix),
                request.output.text or "",
            ]
        )

    def check_texts(self, texts: Iterable[str]) -> None:
        """Check the texts of a request.

        Raises:
            PromptTooLongError: too many bytes.
        """
        size = utf8_bytes(texts, self.max_text_bytes)
        if size > self.max_text_bytes:
            raise PromptTooLongError(
                f"the request has {size:,} or more bytes of text; expected at most "
                f"max_text_bytes={self.max_text_bytes:,}. Drop old turns or ask a shorter question; "
                "RequestLimits(max_text_bytes=...) allows more."
            )

    def check_images(self, images: Sized) -> None:
        """Check how many images a request has.

        Raises:
            GenerationError: too many.
        """
        self._check_count(images, "images", "max_images")

    def check_stop(self, stop: Sequence[str]) -> None:
        """Check stop texts.

        Raises:
            GenerationError: too many, or too long.
        """
        self._check_count(stop, "stop texts", "max_stop_texts")
        size = utf8_bytes((text for text in stop if isinstance(text, str)), self.max_stop_bytes)
        if size > self.max_stop_bytes:
            raise GenerationError(
                f"the stop texts have {size:,} or more bytes; expected at most max_stop_bytes={self.max_stop_bytes:,}."
            )

    def check_tools(self, tools: Sized) -> None:
        """Check how many tools a request has.

        Raises:
            GenerationError: too many.
        """
        self._check_count(tools, "tools", "max_tools")

    def check_output(self, output: OutputSpec) -> None:
        """Check tools and schemas.

        Raises:
            GenerationError: too many tools; schemas that are too large, or nested too deep.
        """
        self.check_tools(output.tools)
        self.check_schemas([*output.tools, output.schema])

    def check_schemas(self, schemas: Iterable[Any]) -> None:
        """Check the size and the depth of schemas and of tools, plain data in any form.

        Raises:
            GenerationError: too large together, or nested too deep.
        """
        size = 0
        for schema in schemas:
            for depth, part_size in _walk(schema, self.max_schema_depth + 1):
                size += part_size
                if depth > self.max_schema_depth:
                    raise GenerationError(
                        f"a schema is nested more than {self.max_schema_depth} deep (max_schema_depth); expected a "
                        "flatter JSON schema, such as one with $defs."
                    )
                if size > self.max_schema_bytes:
                    raise GenerationError(
                        f"the schemas and tools have more than {self.max_schema_bytes:,} bytes (max_schema_bytes); "
                        "bind fewer tools, or shorten their descriptions and enums."
                    )

    def _check_count(self, things: Sized, name: str, limit: str) -> None:
        bound = getattr(self, limit)
        if len(things) > bound:
            raise GenerationError(f"the request has {len(things):,} {name}; expected at most {limit}={bound:,}.")


def utf8_bytes(texts: Iterable[str], enough: int) -> int:
    """Count the UTF-8 bytes of texts. May stop once there are more than `enough`."""
    size = 0
    for text in texts:
        # a character has at least one byte: what is far too long is not encoded
        size += len(text) if size + len(text) > enough else len(text.encode("utf-8", "surrogatepass"))
        if size > enough:
            break
    return size


def _walk(value: Any, max_depth: int) -> Iterable[tuple[int, int]]:
    """Yield depth and bytes of each part of plain data, without recursion; parts below `max_depth` are not entered.

    A part that several others share counts for each, as it is written for each.
    """
    parts: list[Iterable[Any]] = [iter([value])]
    while parts:
        part = next(parts[-1], _END)  # type: ignore[call-overload]  # each is an iterator
        if part is _END:
            parts.pop()
            continue
        yield len(parts) - 1, _own_bytes(part)
        if len(parts) <= max_depth:
            if isinstance(part, Mapping):
                parts.append(inner for pair in part.items() for inner in pair)
            elif isinstance(part, (list, tuple)):
                parts.append(iter(part))


_END = object()


def _own_bytes(part: Any) -> int:
    """Bytes of a part in JSON, without those of its own parts; about, as escapes are not counted."""
    if isinstance(part, str):
        return 2 + len(part) * (1 if part.isascii() else 4)
    return part.bit_length() // 3 if isinstance(part, int) else 2
