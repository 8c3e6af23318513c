"""Images from the web: with a timeout, a size limit, and no way into a private network."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from langchain_vipllava.errors import ImageError

if TYPE_CHECKING:
    import httpx

_MAX_REDIRECTS = 5
_HEADERS = {"User-Agent": "langchain-vipllava", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class FetchPolicy:
    """How images are fetched from http(s) URLs.

    Attributes:
        timeout: seconds for the whole download.
        max_bytes: size limit of the download.
        private_hosts: whether addresses that are not public (loopback, 10.0.0.0/8, link-local, ...) may be asked.
            True for URLs that the program writes itself; the agent tools set it to False, because there an LLM
            chooses the URL.
        enabled: whether URLs are fetched at all.
    """

    timeout: float = 20.0
    max_bytes: int = 50 * 2**20
    private_hosts: bool = True
    enabled: bool = True


def fetch(url: str, policy: FetchPolicy) -> bytes:
    """Download a URL within a policy.

    Raises:
        ImageError: refused by the policy, unreachable, an HTTP error, too slow, too large.
    """
    if not policy.enabled:
        raise ImageError(f"{url!r} is not fetched: images from the web are switched off. Pass a path or bytes.")
    # an event loop in a thread: only asyncio.timeout limits a slow server, and the caller may be inside a loop already
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, _fetch(url, policy)).result()


async def _fetch(url: str, policy: FetchPolicy) -> bytes:
    import httpx  # noqa: PLC0415  # only images from the web need it

    try:
        async with (
            asyncio.timeout(policy.timeout),
            httpx.AsyncClient(timeout=None, follow_redirects=False, trust_env=policy.private_hosts) as client,  # noqa: S113
        ):
            for _ in range(_MAX_REDIRECTS + 1):
                await _check_host(url, policy)
                async with client.stream("GET", url, headers=_HEADERS) as response:
                    if not policy.private_hosts:  # the name may resolve to another address now than at the check
                        stream = response.extensions["network_stream"]
                        _check_address(stream.get_extra_info("server_addr")[0], url)
                    if response.has_redirect_location:
                        url = urljoin(url, response.headers["location"])
                        continue
                    response.raise_for_status()
                    return await _read_body(response, url, policy)
    except TimeoutError as error:
        raise ImageError(f"{url!r} took longer than {policy.timeout} s; raise timeout or download it first.") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise ImageError(f"cannot fetch {url!r}: {error or type(error).__name__}.") from error
    raise ImageError(f"cannot fetch {url!r}: more than {_MAX_REDIRECTS} redirects.")


async def _read_body(response: httpx.Response, url: str, policy: FetchPolicy) -> bytes:
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":  # a few compressed bytes can expand to gigabytes
        raise ImageError(f"{url!r} came with Content-Encoding {encoding!r}, unasked; download it first.")
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > policy.max_bytes:
            raise ImageError(f"{url!r} is larger than {policy.max_bytes} bytes; shrink it or raise max_bytes.")
    return bytes(body)


async def _check_host(url: str, policy: FetchPolicy) -> None:
    """Refuse schemes other than http(s), invalid ports, and hosts that resolve to private addresses."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ImageError(f"{url!r} is not an http(s) URL.")
    port = parts.port or parts.scheme
    if policy.private_hosts:
        return
    loop = asyncio.get_running_loop()
    for family, _, _, _, address in await loop.getaddrinfo(parts.hostname, port):
        if family in (socket.AF_INET, socket.AF_INET6):
            _check_address(str(address[0]), url)


def _check_address(address: str, url: str) -> None:
    if not ipaddress.ip_address(address).is_global:
        raise ImageError(
            f"{url!r} points into a private network ({address}); expected a public address. "
            "The program can allow it with FetchPolicy(private_hosts=True)."
        )
