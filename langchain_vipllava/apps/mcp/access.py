"""`HttpAccess`: where the server listens, under which names it may be called, and whose tokens it takes."""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_vipllava.apps.mcp import sdk
from langchain_vipllava.backends.server_address import EVERY_ADDRESS, is_loopback
from langchain_vipllava.errors import VipLlavaError, shorten

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_MIN_TOKEN = 16
"""Characters of a token. Chosen: 16 random ones cannot be guessed over a network."""

_MAX_PORT = 2**16 - 1
_NAME = re.compile(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]")
_ISSUER = "http://localhost/"  # required by the SDK; it is never called and never shown: the tokens are the operator's


@dataclass(frozen=True)
class HttpAccess:
    """Where the server listens, and who may call it. Host and Origin are checked wherever it listens.

    Attributes:
        host: address or name; beyond loopback, `tokens` are required.
        port: 0 takes a free one.
        names: further names of this server in the URLs of its clients, without ports: a proxy's, a machine's.
        tokens: of each client, by the client's name. Calls with one client's token share a session.

    Raises:
        VipLlavaError: a bind beyond loopback without tokens, or to all addresses without names; a short token.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    names: tuple[str, ...] = ()
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= _MAX_PORT:
            raise VipLlavaError(f"port {self.port}; expected 0 to {_MAX_PORT}.")
        for name in self.names:
            if not _NAME.fullmatch(name):
                raise VipLlavaError(
                    f"{shorten(name)} is not the name of a host; expected one or an address without scheme and port, "
                    "such as vision.example.org; an IPv6 address in brackets."
                )
        for client, token in self.tokens.items():
            if len(token) < _MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
                raise VipLlavaError(
                    f"the token of {shorten(client)} is too short or has spaces; expected at least {_MIN_TOKEN} "
                    "characters, such as those of `openssl rand -hex 32`."
                )
        if len(set(self.tokens.values())) < len(self.tokens):
            raise VipLlavaError("two clients have one token; expected a token of its own for each.")
        if not self.is_loopback and not self.tokens:
            raise VipLlavaError(
                f"{shorten(self.host)} can be reached from other machines, and there is no token; expected one in "
                "VIPLLAVA_MCP_TOKEN, or several in a file: --tokens FILE."
            )
        if self.host in EVERY_ADDRESS and not self.names:
            raise VipLlavaError(
                f"{self.host} listens on every address; expected also the names that clients call: --allow-host NAME."
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    def security(self) -> Any:
        """Return the SDK's settings for the Host and Origin headers."""
        own = () if self.host in EVERY_ADDRESS else (f"[{self.host}]" if ":" in self.host else self.host,)
        names = dict.fromkeys((*_LOOPBACK, *own, *self.names))
        hosts = [host for name in names for host in (name, f"{name}:*")]
        origins = [f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts]
        return sdk.TransportSecuritySettings(
            enable_dns_rebinding_protection=True, allowed_hosts=hosts, allowed_origins=origins
        )

    def authentication(self) -> dict[str, Any]:
        """Return the SDK's arguments for the tokens; none without tokens."""
        if not self.tokens:
            return {}
        settings = sdk.AuthSettings(issuer_url=_ISSUER, resource_server_url=None)
        return {"auth": settings, "token_verifier": _Tokens(self.tokens)}

    def listen(self) -> socket.socket:
        """Return a socket that listens.

        Raises:
            VipLlavaError: the port is taken, or the address is not of this machine.
        """
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = socket.socket(family, kind, protocol)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except (OSError, OverflowError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise VipLlavaError(f"cannot listen on {self.host} port {self.port}: {reason}.") from error
        return listener


class _Tokens:
    """Finds the client of a token. Only hashes are compared: their times say nothing about a token."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._clients = {hashlib.sha256(token.encode()).digest(): client for client, token in tokens.items()}

    async def verify_token(self, token: str) -> Any | None:
        client = self._clients.get(hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest())
        return None if client is None else sdk.AccessToken(token=token, client_id=client, scopes=[])
