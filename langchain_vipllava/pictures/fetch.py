"""Pictures from the web: with a timeout, a size limit, and no way into a private network."""

from __future__ import annotations

import ipaddress
import socket
import time
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from langchain_vipllava.errors import PictureError

_REDIRECTS = 5
_HEADERS = {"User-Agent": "langchain-vipllava"}


@dataclass(frozen=True)
class FetchPolicy:
    """How pictures are fetched from http(s) URLs.

    Attributes:
        timeout: seconds for the whole download.
        max_bytes: size limit of the download.
        private_hosts: whether addresses that are not public (loopback, 10.0.0.0/8, link-local,
            ...) may be asked. True for URLs that the program writes itself; the agent tools
            set it to False, for there an LLM chooses the URL.
        enabled: whether URLs are fetched at all.
    """

    timeout: float = 20.0
    max_bytes: int = 50 * 2**20
    private_hosts: bool = True
    enabled: bool = True


def fetch(url: str, policy: FetchPolicy) -> bytes:
    """Download a URL within a policy.

    Raises:
        PictureError: refused by the policy, unreachable, an HTTP error, too slow, too large.
    """
    import httpx  # noqa: PLC0415  # only pictures from the web need it

    if not policy.enabled:
        raise PictureError(f"{url!r} is not fetched: pictures from the web are switched off. Give a path or bytes.")
    deadline = time.monotonic() + policy.timeout
    try:
        with httpx.Client(timeout=policy.timeout, follow_redirects=False, trust_env=policy.private_hosts) as client:
            for _ in range(_REDIRECTS + 1):
                _check_host(url, policy)
                left = _time_left(url, policy, deadline)
                with client.stream("GET", url, headers=_HEADERS, timeout=left) as response:
                    # a name may mean one address when it is checked, and another when it is asked
                    address, _ = response.extensions["network_stream"].get_extra_info("server_addr")[:2]
                    _check_address(address, url, policy)
                    if response.has_redirect_location:
                        url = urljoin(url, response.headers["location"])
                        continue
                    response.raise_for_status()
                    return _read_body(response, url, policy, deadline)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise PictureError(f"cannot fetch {url!r}: {error or type(error).__name__}.") from error
    raise PictureError(f"cannot fetch {url!r}: more than {_REDIRECTS} redirects.")


def _read_body(response: object, url: str, policy: FetchPolicy, deadline: float) -> bytes:
    body = bytearray()
    for chunk in response.iter_bytes():  # type: ignore[attr-defined]
        body += chunk
        if len(body) > policy.max_bytes:
            raise PictureError(f"{url!r} is larger than {policy.max_bytes} bytes; shrink it or raise max_bytes.")
        _time_left(url, policy, deadline)
    return bytes(body)


def _time_left(url: str, policy: FetchPolicy, deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise PictureError(f"{url!r} took longer than {policy.timeout} s; raise timeout or download it first.")
    return left


def _check_host(url: str, policy: FetchPolicy) -> None:
    """Refuse schemes other than http(s), and hosts that resolve to private addresses."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PictureError(f"{url!r} is not an http(s) URL.")
    if policy.private_hosts:
        return
    for family, _, _, _, address in socket.getaddrinfo(parts.hostname, parts.port or parts.scheme):
        if family in (socket.AF_INET, socket.AF_INET6):
            _check_address(str(address[0]), url, policy)


def _check_address(address: str, url: str, policy: FetchPolicy) -> None:
    if not policy.private_hosts and not ipaddress.ip_address(address).is_global:
        raise PictureError(
            f"{url!r} points into a private network ({address}); expected a public address. "
            "The program can allow it with FetchPolicy(private_hosts=True)."
        )
