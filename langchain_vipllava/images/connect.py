"""The connection of a fetch: a host is looked up once, checked, and connected to at the address that was checked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import httpcore
import httpx

from langchain_vipllava.images.hosts import HostRules, literal_address
from langchain_vipllava.images.networks import IPAddress

MAX_LOOKUPS = 32
"""Name look-ups at once in this process. Nothing interrupts one, so those of a dead name server pile up.
Chosen: as many as the threads of Python's own default pool."""

MAX_ADDRESSES = 4
"""Addresses of a host that are tried. Chosen: two of each family; large sites publish up to a dozen."""

_RETRY_SECONDS = 0.05
_slots = threading.BoundedSemaphore(MAX_LOOKUPS)


def _renew_slots() -> None:
    global _slots  # noqa: PLW0603  # the threads that hold slots do not exist in a forked child
    _slots = threading.BoundedSemaphore(MAX_LOOKUPS)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_slots)


class PinnedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport without proxies, over connections that `HostRules` admit.

    The name of the host stays what TLS verifies and what the Host header says: httpcore takes both from the URL, and
    asks the network backend for nothing but a stream of bytes.

    Args:
        rules: which hosts are admitted.
        secure: whether https will be asked; reading the certificates takes some 20 ms. `SSL_CERT_FILE` and
            `SSL_CERT_DIR` name others than certifi's.
    """

    def __init__(self, rules: HostRules, *, secure: bool) -> None:
        # httpx has no argument for a backend. Its own constructor is not called: should `_pool` have another name one
        # day, then every request fails, and none goes through an unchecked connection
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context() if secure else None,
            max_connections=1,
            network_backend=_PinnedBackend(rules),
        )


class _PinnedBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, rules: HostRules) -> None:
        self._rules = rules
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that answers, once all of them are admitted.

        Raises:
            HostRefusedError: the rules do not admit the host.
            httpcore.ConnectError: unknown, or no address answers.
        """
        self._rules.check_name(host)
        literal = literal_address(host)
        addresses = await _look_up(host, port) if literal is None else [literal]
        self._rules.check_addresses(host, addresses)
        # IPv4 first: without a route it fails at once, whereas a broken IPv6 route swallows packets
        addresses = sorted(dict.fromkeys(addresses), key=lambda address: address.version)[:MAX_ADDRESSES]
        # one that swallows packets leaves time for the others
        share = None if timeout is None else timeout / len(addresses)
        for address in addresses:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._inner.connect_tcp(str(address), port, share, local_address, socket_options)
        raise httpcore.ConnectError

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


async def _look_up(host: str, port: int) -> list[IPAddress]:
    """Look a name up in a thread of its own: asyncio's pool would be waited for when the loop closes."""
    while not _slots.acquire(blocking=False):
        await asyncio.sleep(_RETRY_SECONDS)
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[IPAddress]] = loop.create_future()
    slots = _slots

    def answer(addresses: list[IPAddress]) -> None:
        if not found.done():  # cancelled by the time limit
            found.set_result(addresses)

    def run() -> None:
        addresses: list[IPAddress] = []
        try:
            for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                if family in (socket.AF_INET, socket.AF_INET6):
                    addresses.append(ip_address(str(address[0])))
        except (OSError, ValueError):  # unknown, or impossible as a name: the same to whoever asks
            addresses = []
        finally:
            slots.release()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(answer, addresses)

    try:
        threading.Thread(target=run, name="vipllava-look-up", daemon=True).start()
    except RuntimeError as error:  # no more threads
        slots.release()
        raise httpcore.ConnectError from error
    return await found
