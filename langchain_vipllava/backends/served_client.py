"""`ServedClient`: asks the servers of one model; again when one fails, and the next one when it is down."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from langchain_vipllava.backends.answer_chunks import AnswerChunk
from langchain_vipllava.backends.answer_reader import AnswerReader
from langchain_vipllava.backends.http_transport import HttpTransport
from langchain_vipllava.backends.served_checkpoint import ServedCheckpoint
from langchain_vipllava.backends.served_options import ServedOptions
from langchain_vipllava.backends.served_request import ServedRequest
from langchain_vipllava.backends.server_address import ServerAddress, preferred
from langchain_vipllava.backends.server_failures import BrokenAnswerError, NoSuchRouteError, TransientError
from langchain_vipllava.engine.request_clock import RequestClock
from langchain_vipllava.errors import CheckpointError, ServerError, shorten
from langchain_vipllava.protocol.answer import Answer

GENERATE, CHAT = "/inference/v1/generate", "/v1/chat/completions"

_LONGEST_PAUSE = 8.0
"""Seconds between two tries, at most. Chosen: as OpenAI's client."""

_DOWN_SECONDS = 10.0
"""How long a server that could not be reached is asked only if no other is left. Chosen: a restarted vLLM takes 30."""

_MAX_NAME = 1024
"""Characters of a model's name. Chosen: a path has at most 4,096 bytes, and usually a tenth of that."""

_PROBE = "\nUSER: What is within the red rectangle?\nASSISTANT: It's a star, 3 of 4."
"""A text whose token ids are compared with the server's. Behind a line break, as all versions of transformers agree on
what comes there."""


@dataclass(frozen=True)
class ServerFacts:
    """What a server says of itself.

    Attributes:
        model: the name under which it serves.
        context_length: maximum number of tokens of prompt and answer; None where it does not say.
    """

    model: str
    context_length: int | None


class ServedClient:
    """Asks the servers of one model. Only the I/O loop may call its coroutines.

    Args:
        options: which servers, and how.
    """

    def __init__(self, options: ServedOptions) -> None:
        self._options = options
        self._transport = HttpTransport(options)
        self._facts: dict[ServerAddress, ServerFacts] = {}
        self._without_generate: set[ServerAddress] = set()
        self._compared: set[tuple[ServerAddress, int]] = set()
        self._down: dict[ServerAddress, float] = {}

    @property
    def known_facts(self) -> ServerFacts | None:
        """What the first server that was asked says; None before."""
        return next(iter(list(self._facts.values())), None)

    async def facts(self) -> ServerFacts:
        """Return what one of the servers says of itself.

        Raises:
            ServerError: none can be reached.
        """
        error: TransientError | None = None
        for address in self._order(b""):
            try:
                return await self._facts_of(address)
            except TransientError as failure:
                error, failed = failure, address
        assert error is not None  # noqa: S101  # there is at least one address
        raise error.explained(failed, 1) from error

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request that is no question to one of the servers, with its model's name.

        Raises:
            ServerError: none can be reached, or it offers no such route.
        """
        address = self._order(b"")[0]
        try:
            facts = await self._facts_of(address)
            return await self._transport.post(address, path, {"model": facts.model, **body})
        except NoSuchRouteError as error:
            raise ServerError(f"the server at {address} has no {path}; expected vLLM. Pass tokenizer=.") from error
        except TransientError as error:
            raise error.explained(address, 1) from error

    async def answer(self, request: ServedRequest, reader: AnswerReader, clock: RequestClock) -> Answer:
        """Answer a request, with as many tries as it may have.

        Raises:
            GenerationError: no server answers it.
        """
        tries, failed = 0, set[ServerAddress]()
        while True:
            address = next(each for each in self._order(request.key) if each not in failed)
            tries += 1
            try:
                return await self._ask(address, request, reader, clock)
            except TransientError as error:
                failed.add(address)
                is_last = len(failed) == len(self._options.addresses)
                if is_last:
                    failed.clear()
                if error.unreachable or isinstance(error, BrokenAnswerError):
                    self._mark_down(address)
                if error.unreachable and not is_last:
                    tries -= 1  # nothing was sent: the next server is no further try
                    continue
                if tries > self._options.max_retries:
                    raise error.explained(address, tries) from error
                if is_last:  # another server may be asked at once
                    await self._pause(tries, error)

    async def _ask(
        self, address: ServerAddress, request: ServedRequest, reader: AnswerReader, clock: RequestClock
    ) -> Answer:
        facts = await self._facts_of(address)
        if request.checkpoint is not None:
            await self._compare_tokenizer(address, facts, request.checkpoint)
        max_tokens = min(self._max_tokens(request, facts), reader.max_tokens)
        clock.stamp("prefill")
        if request.ids is not None and address not in self._without_generate:
            try:
                return await self._ask_by_ids(address, request, reader, facts.model, max_tokens)
            except NoSuchRouteError:
                self._without_generate.add(address)
        reader.begin(goes_on=False)
        body = request.by_messages(facts.model, max_tokens)
        try:
            await self._read(address, CHAT, body, request, reader)
        except NoSuchRouteError as error:
            raise ServerError(
                f"the server at {address} has neither {GENERATE} nor {CHAT}; expected vLLM, as `langchain-vipllava "
                "serve` starts it."
            ) from error
        if not reader.has_ended:  # JSON that is cut
            reader.end("length")
        return reader.answer(request.prompt_tokens)

    async def _ask_by_ids(
        self, address: ServerAddress, request: ServedRequest, reader: AnswerReader, model: str, max_tokens: int
    ) -> Answer:
        """Ask by token ids: for the answer, and for the end of one that has to match a grammar and gets too long.

        A server knows the form of an answer only from its beginning. Where that leaves too few tokens, it is asked for
        single tokens, among those that bring the answer to its end.
        """
        goes_on = request.may_go_on or reader.is_cut
        answered = list(reader.ids) if goes_on else []
        reader.begin(goes_on=bool(answered))
        if not reader.is_cut:
            free = min(reader.free_tokens, max_tokens) - len(answered)
            body = request.by_ids(model, free, answered)
            await self._read(address, GENERATE, body, request, reader, answered=len(answered))
        while not reader.has_ended and reader.is_cut and len(reader.ids) < max_tokens:
            await self._close(address, request, reader, model, max_tokens)
        if not reader.has_ended:
            reader.end("length")
        if reader.needs_scores and request.prompt_tokens is not None:
            body = request.for_scores(model, list(reader.ids))
            reader.add_scores(await self._transport.post(address, GENERATE, body), request.prompt_tokens)
        return reader.answer(request.prompt_tokens)

    async def _close(
        self, address: ServerAddress, request: ServedRequest, reader: AnswerReader, model: str, max_tokens: int
    ) -> None:
        """Bring an answer one token closer to its end; one that has become text goes on as text."""
        constraint, answered = reader.constraint, list(reader.ids)
        if constraint is None or constraint.is_free_text:
            reader.constraint = None
            body = request.by_ids(model, max_tokens - len(answered), answered)
            await self._read(address, GENERATE, body, request, reader, answered=len(answered))
            return
        allowed = [int(token) for token in constraint.allowed().nonzero()[0]]
        assert request.checkpoint is not None  # noqa: S101  # or there is no constraint
        if allowed == [request.checkpoint.texts.end_id]:
            reader.end("stop")
        elif len(allowed) == 1:
            reader.add_forced(allowed[0])
        else:
            body = request.by_ids(model, 1, answered, allowed)
            await self._read(address, GENERATE, body, request, reader, answered=len(answered))

    async def _read(
        self,
        address: ServerAddress,
        path: str,
        body: dict[str, Any],
        request: ServedRequest,
        reader: AnswerReader,
        *,
        answered: int = 0,
    ) -> None:
        """Ask by one route, and read what comes; some tokens of the answer may be there already."""
        before, expected = len(reader.ids), request.prompt_tokens
        async with aclosing(self._transport.stream(address, path, body, max_tokens=request.asked.max_tokens)) as events:
            async for event in events:
                chunk = AnswerChunk.read(event)
                self._check_prompt(chunk, request)
                reader.add(chunk)
                if reader.is_over:
                    break
        self._down.pop(address, None)
        if expected is not None:
            reader.expect_prompt(expected + answered)
        if not reader.has_ended and not (reader.is_cut and (len(reader.ids) > before or not answered)):
            raise BrokenAnswerError("ended its stream in the middle of an answer")

    def _check_prompt(self, chunk: AnswerChunk, request: ServedRequest) -> None:
        """Compare the prompt that the template of the chat route made with the one that was meant."""
        if chunk.prompt_ids is None or request.ids is None or request.checkpoint is None:
            return
        if chunk.prompt_ids != request.checkpoint.texts.expand(request.ids):
            raise CheckpointError(
                "the server's chat template makes another prompt of this conversation; serve a folder that "
                "`langchain-vipllava export` wrote, or start the server with --enable-scale-out."
            )

    def _max_tokens(self, request: ServedRequest, facts: ServerFacts) -> int:
        """Tokens that the answer may have in the context.

        Raises:
            PromptTooLongError: none.
        """
        tokens, length, checkpoint = request.prompt_tokens, facts.context_length, request.checkpoint
        if length is None and checkpoint is not None:
            length = checkpoint.context_length
        if tokens is None or length is None or checkpoint is None:
            return request.asked.max_tokens
        checkpoint.texts.check_length(tokens, length)
        return min(request.asked.max_tokens, length - tokens)

    async def _facts_of(self, address: ServerAddress) -> ServerFacts:
        facts = self._facts.get(address)
        if facts is None:
            try:
                listed = await self._transport.get(address, "/v1/models")
            except NoSuchRouteError as error:
                raise ServerError(f"the server at {address} has no /v1/models; expected vLLM.") from error
            facts = self._facts[address] = _read_facts(listed, address, self._options.model)
        return facts

    async def _compare_tokenizer(
        self, address: ServerAddress, facts: ServerFacts, checkpoint: ServedCheckpoint
    ) -> None:
        """Check once that the server's tokenizer is the one that encodes its prompts here.

        Raises:
            CheckpointError: it is another.
        """
        if (address, id(checkpoint)) in self._compared:
            return
        body = {"model": facts.model, "prompt": _PROBE, "add_special_tokens": False}
        try:
            said = await self._transport.post(address, "/tokenize", body)
        except (NoSuchRouteError, ServerError):  # a gateway may not pass it on; the count of prompt tokens has to do
            said = {}
        ids = said.get("tokens")
        if ids is not None and ids != checkpoint.texts.token_ids(_PROBE):
            raise CheckpointError(
                f"the server at {address} has another tokenizer than is used here; pass tokenizer= the folder or hub "
                "id of the checkpoint that it serves."
            )
        self._compared.add((address, id(checkpoint)))

    def _order(self, key: bytes) -> list[ServerAddress]:
        """Addresses in the order of a conversation; those that are down last, the one that is back first foremost."""
        now = time.monotonic()
        down = {address: until for address, until in self._down.items() if until > now}
        order = preferred(self._options.addresses, key)
        up = [address for address in order if address not in down]
        return up + sorted(down, key=lambda address: down[address])

    def _mark_down(self, address: ServerAddress) -> None:
        self._down[address] = time.monotonic() + _DOWN_SECONDS
        self._facts.pop(address, None)  # it may come back as another
        self._without_generate.discard(address)

    async def _pause(self, tries: int, error: TransientError) -> None:
        """Wait before the next try: longer each time, and by chance, so that callers do not come back together."""
        share = random.uniform(0.5, 1)  # noqa: S311  # no secret
        pause = share * min(self._options.timeouts.pause * 2 ** (tries - 1), _LONGEST_PAUSE)
        await asyncio.sleep(pause if error.wait is None else max(error.wait, pause))


def _read_facts(listed: dict[str, Any], address: ServerAddress, wanted: str | None) -> ServerFacts:
    """Read the answer of `/v1/models`.

    Raises:
        BrokenAnswerError: it is none.
        CheckpointError: there is no such model, or several where one has to be chosen.
    """
    entries = listed.get("data")
    if not isinstance(entries, list):
        entries = [None]
    ids = [entry.get("id") if isinstance(entry, dict) else None for entry in entries]
    if not all(isinstance(name, str) and len(name) <= _MAX_NAME for name in ids):
        raise BrokenAnswerError("lists its models in a way that is not OpenAI's")
    names = [entry["id"] for entry in entries]
    if wanted is None and len(names) != 1:
        raise CheckpointError(
            f"the server at {address} has {len(names)} models: {shorten(names, 200)}; pass the name of one as model=."
        )
    if wanted is not None and wanted not in names:
        raise CheckpointError(
            f"the server at {address} has no model {shorten(wanted)}; it has {shorten(names, 200)}. Pass the name "
            "under which it serves as model=, and where the tokenizer is as tokenizer=."
        )
    entry = next(entry for entry in entries if wanted in (None, entry["id"]))
    length = entry.get("max_model_len")
    return ServerFacts(entry["id"], length if isinstance(length, int) and 0 < length < 2**31 else None)
