"""`ServerAddress`: where a server is, and in which order a conversation asks several."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.protocol.chat_request import ChatRequest

EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104  # recognized, not listened on
"""Hosts that stand for all addresses of a machine."""

_MAX_ADDRESSES = 256
"""Addresses of one model. Chosen: more stand behind a gateway, which has one."""


@dataclass(frozen=True)
class ServerAddress:
    """Where a server is.

    Attributes:
        root: URL without `/v1`, such as `http://gpu-host:8000`.
    """

    root: str

    @classmethod
    def read(cls, url: object) -> ServerAddress:
        """Read a base URL, with or without `/v1`.

        Raises:
            GenerationError: no HTTP URL, or one with a password, a query or a fragment.
        """
        expected = "expected the address of a server, such as 'http://gpu-host:8000/v1'"
        if not isinstance(url, str):
            raise GenerationError(f"base_url={shorten(url)}; {expected}, or a list of them.")
        try:
            parts = urlsplit(url.strip())
            _ = parts.port
        except ValueError as error:
            raise GenerationError(f"base_url={shorten(url)}; {expected}.") from error
        if "@" in parts.netloc:
            raise GenerationError(f"base_url holds a user or a password; {expected}. Pass the key as api_key=.")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise GenerationError(f"base_url={shorten(url)}; {expected}.")
        path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
        return cls(f"{parts.scheme}://{parts.netloc}{path}")

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine, by its name."""
        return is_loopback(urlsplit(self.root).hostname or "")

    def __str__(self) -> str:
        return self.root


def is_loopback(host: str) -> bool:
    """Whether a host name or an IP address is that of this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_addresses(base_url: object) -> tuple[ServerAddress, ...]:
    """Read one base URL or several.

    Raises:
        GenerationError: none, too many, or something else.
    """
    urls = [base_url] if isinstance(base_url, str) else base_url
    if not isinstance(urls, Sequence) or not 1 <= len(urls) <= _MAX_ADDRESSES:
        raise GenerationError(
            f"base_url={shorten(base_url)}; expected the address of a server, such as 'http://gpu-host:8000/v1', or a "
            f"list of 1 to {_MAX_ADDRESSES} of them."
        )
    return tuple(dict.fromkeys(map(ServerAddress.read, urls)))


def conversation_key(request: ChatRequest) -> bytes:
    """Return what all turns of a conversation have in common: a hash of its first question and image."""
    conversation = request.conversation
    digest = hashlib.sha256((conversation.system or "").encode("utf-8", "replace"))
    for turn in conversation.turns[:1]:
        digest.update(b"\0" + turn.question.encode("utf-8", "replace"))
        for image in turn.images:
            digest.update(image.sha256.encode())
    return digest.digest()


def preferred(addresses: Iterable[ServerAddress], key: bytes) -> list[ServerAddress]:
    """Return addresses in the order in which a conversation asks them.

    By rendezvous hashing: when an address is added or removed, only its own conversations move.
    """
    return sorted(addresses, key=lambda address: hashlib.sha256(key + address.root.encode()).digest())
