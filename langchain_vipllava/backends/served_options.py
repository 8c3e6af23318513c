"""`ServedOptions`: which servers answer, and how they are asked."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from numbers import Real

from langchain_vipllava.backends.server_address import ServerAddress
from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.protocol.sampling import is_number

DEFAULT_RETRIES = 2
"""Further tries of a request. Chosen: as the clients of OpenAI and Anthropic."""


@dataclass(frozen=True)
class ServerTimeouts:
    """How long a server may take, in seconds, besides the `timeout` of the whole answer.

    Attributes:
        connect: to connect. Chosen: a server that is down in a network answers sooner or not at all.
        first: from there to the first token; waiting in the server's queue counts. Chosen: a queue of a minute is a
            full server, and five a dead one.
        between: from one token to the next. Chosen: a decoding step takes less than one, and vLLM may preempt a
            request meanwhile.
        pause: before the first retry; twice as long before each further one, at most 8 seconds. Chosen: as OpenAI's
            client.
    """

    connect: float = 5.0
    first: float = 300.0
    between: float = 60.0
    pause: float = 0.5

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if (
                not is_number(value, Real)
                or not (value > 0 or (each.name == "pause" and value == 0))
                or math.isinf(value)
            ):
                raise GenerationError(f"{each.name}={shorten(value)}; expected seconds, more than 0.")


@dataclass(frozen=True)
class ServedOptions:
    """Arguments of a `ServedBackend`; equal options share connections.

    Attributes:
        addresses: where the servers are.
        model: the name under which they serve; None for their only model.
        tokenizer: folder or hub id of the checkpoint whose tokenizer it is; None to look for `model`.
        api_key: sent as a bearer token.
        max_retries: further tries of a request.
        timeouts: how long a server may take.
    """

    addresses: tuple[ServerAddress, ...]
    model: str | None = None
    tokenizer: str | None = None
    api_key: str | None = field(default=None, repr=False)
    max_retries: int = DEFAULT_RETRIES
    timeouts: ServerTimeouts = ServerTimeouts()

    def __post_init__(self) -> None:
        if not is_number(self.max_retries, int) or not 0 <= self.max_retries <= 100:
            raise GenerationError(f"max_retries={shorten(self.max_retries)}; expected a whole number, 0 to 100.")
        key = self.api_key
        if key is not None and not (key.isascii() and key.isprintable() and key.strip()):
            raise GenerationError("api_key is empty, or has characters that no HTTP header can hold.")
