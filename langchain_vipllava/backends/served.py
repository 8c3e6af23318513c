"""`ServedBackend`: a ViP-LLaVA that a server runs, or several servers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from langchain_vipllava.backends.answer_reader import AnswerReader
from langchain_vipllava.backends.answering import AnsweringBackend
from langchain_vipllava.backends.checkpoint_facts import CheckpointFacts
from langchain_vipllava.backends.io_loop import IO_LOOP, IoCall
from langchain_vipllava.backends.served_checkpoint import ServedCheckpoint, find_checkpoint
from langchain_vipllava.backends.served_client import ServedClient, ServerFacts
from langchain_vipllava.backends.served_images import SERVED_IMAGES
from langchain_vipllava.backends.served_options import DEFAULT_RETRIES, ServedOptions, ServerTimeouts
from langchain_vipllava.backends.served_request import ServedRequest, chat_messages
from langchain_vipllava.backends.server_address import read_addresses
from langchain_vipllava.engine.request_clock import RequestClock
from langchain_vipllava.errors import GenerationError, ServerError
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.view import VIEW_SIZE
from langchain_vipllava.protocol.admission import Admission, admission_of
from langchain_vipllava.protocol.answer import Answer
from langchain_vipllava.protocol.chat_request import ChatRequest
from langchain_vipllava.protocol.limits import RequestLimits
from langchain_vipllava.protocol.load_options import LoadOptions
from langchain_vipllava.protocol.logprobs import AnswerPiece


class ServedBackend(AnsweringBackend):
    """Answers with a model that servers run, by vLLM's HTTP API. Backends with equal arguments share connections.

    Prompts are encoded here, so that the model reads the very tokens that it reads in this process: the server gets
    token ids (`/inference/v1/generate`) where it offers that, else messages, which its chat template writes.

    Args:
        base_url: address of a server, such as "http://gpu-host:8000/v1", or several. A conversation keeps to one of
            them, whose prefix cache has its earlier turns, and moves on when that one is down.
        model: the name under which they serve; None for their only model.
        tokenizer: folder or hub id of the checkpoint that they serve; None to look for `model`, without asking the hub.
        api_key: sent as a bearer token.
        max_retries: further tries of a request that failed in a way that another may not.
        timeouts: how long a server may take.
        limits: bounds of one request, and of the requests in flight.

    Raises:
        GenerationError: an argument out of range.
        ServerError: at the first request, if no server can be reached.
    """

    def __init__(
        self,
        base_url: str | Sequence[str],
        model: str | None = None,
        *,
        tokenizer: str | None = None,
        api_key: str | None = None,
        max_retries: int = DEFAULT_RETRIES,
        timeouts: ServerTimeouts | None = None,
        limits: RequestLimits | None = None,
    ) -> None:
        self.options = ServedOptions(
            read_addresses(base_url),
            model or None,
            tokenizer,
            api_key,
            max_retries,
            ServerTimeouts() if timeouts is None else timeouts,
        )
        self.limits = RequestLimits() if limits is None else limits

    @property
    def name(self) -> str:
        """The name under which the servers serve; before it is known, the address of the first one."""
        if self.options.model is not None:
            return self.options.model
        facts = self.client.known_facts
        return str(self.options.addresses[0]) if facts is None else facts.model

    @property
    def cache_key(self) -> str:
        """What decides about answers: the servers, and their model."""
        options = self.options
        return repr((tuple(sorted(map(str, options.addresses))), options.model, options.tokenizer))

    @property
    def client(self) -> ServedClient:
        """What asks the servers; backends with equal options share it."""
        return _clients.get(self.options) or _clients.setdefault(self.options, ServedClient(self.options))

    @property
    def checkpoint(self) -> ServedCheckpoint | None:
        """Tokenizer and image size of the checkpoint; None where they are not here. May ask a server for its name.

        Raises:
            CheckpointError: `tokenizer` names no checkpoint.
            ServerError: no server can be reached.
        """
        options = self.options
        if options.tokenizer is not None:
            return find_checkpoint(options.tokenizer, fetch=True)
        return self._named(options.model or self._facts().model)

    def _named(self, name: str) -> ServedCheckpoint | None:
        """Find the checkpoint that the servers name."""
        is_here = self.options.model is not None or all(address.is_loopback for address in self.options.addresses)
        if not is_here and os.path.isdir(name):
            return None  # a folder of the server's machine; here, it would be any
        return find_checkpoint(name, fetch=False)

    def connect(self) -> None:
        """Ask a server what it serves, unless one has said so already.

        Raises:
            CheckpointError: it has no such model, or several where none is named.
            ServerError: no server can be reached.
        """
        self._facts()

    @property
    def view_size(self) -> int:
        """Side of the square that the model reads of an image, in pixels; asks no server."""
        options, facts = self.options, self.client.known_facts
        name = options.model or (None if facts is None else facts.model)
        if options.tokenizer is not None:
            checkpoint = find_checkpoint(options.tokenizer, fetch=False)
        else:
            checkpoint = None if name is None else self._named(name)
        return VIEW_SIZE if checkpoint is None else checkpoint.side

    @property
    def context_length(self) -> int:
        """Maximum number of tokens of prompt and answer together. Asks a server the first time.

        Raises:
            ServerError: no server can be reached, or it does not say.
        """
        length = self._facts().context_length
        if length is None:
            checkpoint = self.checkpoint
            length = None if checkpoint is None else checkpoint.context_length
        if length is None:
            raise ServerError(f"the server at {self.options.addresses[0]} does not say how long its context is.")
        return length

    @property
    def known_context_length(self) -> int | None:
        """The same, if a server said it already, or that of the checkpoint, if its config is here; else None."""
        facts = self.client.known_facts
        if facts is not None and facts.context_length is not None:
            return facts.context_length
        known = self.options.tokenizer or self.options.model
        return None if known is None else CheckpointFacts.of(LoadOptions(known)).context_length

    def _facts(self) -> ServerFacts:
        client = self.client
        return client.known_facts or IO_LOOP.run(client.facts())

    def count_tokens(self, request: ChatRequest) -> int:
        """Count the tokens of a request's prompt; asks a server only where its tokenizer is not here.

        Raises:
            PromptTooLongError: more text than the limits allow.
        """
        self.limits.check(request)
        checkpoint = self.checkpoint
        if checkpoint is not None:
            texts = checkpoint.texts
            return len(texts.expand(texts.encode(request.render(allow_partial=True))))
        images = (_placeholder(),) * len(request.conversation.images)
        said = IO_LOOP.run(self.client.post("/tokenize", chat_messages(request, images, allow_partial=True)))
        return len(_token_ids(said))

    def tokenize(self, text: str) -> list[int]:
        """Return the token ids of a text alone; asks a server only where its tokenizer is not here.

        Raises:
            PromptTooLongError: more text than the limits allow.
        """
        self.limits.check_texts([text])
        checkpoint = self.checkpoint
        if checkpoint is not None:
            return checkpoint.texts.token_ids(text)
        return _token_ids(IO_LOOP.run(self.client.post("/tokenize", {"prompt": text, "add_special_tokens": False})))

    def submission(
        self, request: ChatRequest, on_piece: Callable[[str | AnswerPiece], None] | None
    ) -> ServedSubmission:
        """Check a request and take its slot; nothing is encoded or sent yet."""
        return ServedSubmission(self, request, on_piece)

    @property
    def admission(self) -> Admission:
        """Counts the requests to these servers in flight, from all backends with equal arguments."""
        return admission_of(("served", self.cache_key))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ServedBackend):
            return NotImplemented
        return (self.options, self.limits) == (other.options, other.limits)

    def __hash__(self) -> int:
        return hash((self.options, self.limits))

    def __deepcopy__(self, memo: dict[int, Any]) -> ServedBackend:
        """Shared by copies of whatever holds it: it never changes."""
        return self

    def __repr__(self) -> str:
        return f"<ServedBackend {self.name!r} at {', '.join(map(str, self.options.addresses))}>"


class ServedSubmission:
    """A request on its way to a server. It holds a slot from the first moment to its answer.

    Attributes:
        future: the answer that it will have.
    """

    def __init__(
        self,
        backend: ServedBackend,
        request: ChatRequest,
        on_piece: Callable[[str | AnswerPiece], None] | None,
    ) -> None:
        self._clock = RequestClock()  # here: what follows may wait for a thread to run in
        backend.limits.check(request)
        self._backend, self._request, self._on_piece = backend, request, on_piece
        self._slot = slot = backend.admission.enter(backend.limits.max_in_flight)
        self._call, self._started = IoCall(), False
        self.future = self._call.future
        self.future.add_done_callback(lambda _: slot.release())

    def run(self) -> None:
        """Encode the request and send it."""
        self._started = True
        if self._call.cancelled:
            self._slot.release()
            return
        clock = self._clock
        try:
            checkpoint = self._backend.checkpoint
            request = ServedRequest.encode(self._request, checkpoint, clock)
            with clock.building_grammar():
                reader = self._reader(request, checkpoint, clock)
            client = self._backend.client

            async def answer() -> Answer:
                return await client.answer(request, reader, clock)

            self._call.start(answer)
        except (MemoryError, RecursionError) as error:
            self._slot.release()
            raise GenerationError(f"the request cannot be prepared: {type(error).__name__}; send less.") from error
        except BaseException:
            self._slot.release()
            raise

    def _reader(self, request: ServedRequest, checkpoint: ServedCheckpoint | None, clock: RequestClock) -> AnswerReader:
        asked, tokens = self._request, request.prompt_tokens
        if checkpoint is not None and asked.top_logprobs is not None:
            checkpoint.token_texts.prepare()
        max_tokens, length = asked.max_tokens, self._backend.known_context_length
        if checkpoint is not None and tokens is not None and length is not None:
            checkpoint.texts.check_length(tokens, length)
            max_tokens = min(max_tokens, length - tokens)
        return AnswerReader(
            checkpoint=checkpoint,
            max_tokens=max_tokens,
            stop=asked.all_stop_texts,
            grammar=request.grammar,
            top_logprobs=asked.top_logprobs,
            clock=clock,
            emit=self._on_piece,
        )

    def cancel(self) -> None:
        """Hang up, which stops the server's work."""
        self._call.cancel()
        if not self._started:  # a thread that starts now sees that it is cancelled
            self._slot.release()


def _placeholder() -> str:
    """An image of one pixel: a server counts the tokens of an image, whatever it shows."""
    return SERVED_IMAGES.uri(EncodedImage.from_pixels(Image.new("RGB", (1, 1))), "pad", None, None)


def _token_ids(said: dict[str, Any]) -> list[int]:
    ids = said.get("tokens")
    if not isinstance(ids, list) or not all(isinstance(token, int) for token in ids):
        raise ServerError("the server's /tokenize sent no token ids; expected vLLM. Pass tokenizer=.")
    return ids


_clients: dict[ServedOptions, ServedClient] = {}
"""What asks servers, by its options. In a forked process empty: connections are the parent's."""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_clients.clear)
