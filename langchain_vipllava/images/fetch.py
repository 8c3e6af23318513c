"""Images from the web: within a time, within a size, and only from hosts that the program admits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from langchain_vipllava.errors import ImageError, shorten
from langchain_vipllava.images.hosts import (
    HostNotListedError,
    HostRefusedError,
    HostRules,
    literal_address,
    read_pattern,
)
from langchain_vipllava.images.shown_url import show_url

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

_HEADERS = {"User-Agent": "langchain-vipllava", "Accept": "image/*,*/*;q=0.8", "Accept-Encoding": "identity"}

_GRACE = 1.0
"""Seconds beyond the timeout for which the caller waits for the thread. Chosen: closing a connection takes
milliseconds, and a thread that is stuck must not hold its caller."""


@dataclass(frozen=True)
class FetchPolicy:
    """How images are fetched from http(s) URLs, whoever writes them: the program, messages or an agent's LLM.

    A host is looked up once, all its addresses are checked, and the connection goes to one of those; each redirect is
    checked like the first URL. Proxies and credentials of the environment are not used.

    Attributes:
        timeout: seconds for everything: looking the name up, connecting, all redirects, the download.
        max_bytes: size limit of the download.
        private_hosts: whether hosts that are not on the public internet (loopback, 10.0.0.0/8, link-local,
            `nas.local`, ...) may be asked. Metadata services of clouds stay closed unless `hosts` has their address.
        enabled: whether URLs are fetched at all.
        hosts: the only hosts that may be asked: names, addresses, `*.example.org` for all names below example.org,
            ".example.org" for these and itself; None for any. An entry that is itself private, such as "10.0.0.7" or
            "localhost", admits that one host.
        max_redirects: redirects that are followed. From https to http none is.

    Raises:
        ImageError: a limit that is not a positive number, a host that is not one.

    Example:
        >>> FetchPolicy(timeout=5, hosts=["images.example.org", "10.0.0.7"]).hosts
        ('images.example.org', '10.0.0.7')
    """

    timeout: float = 20.0
    max_bytes: int = 50 * 2**20
    private_hosts: bool = False
    enabled: bool = True
    hosts: Sequence[str] | str | None = None
    max_redirects: int = 5

    def __post_init__(self) -> None:
        if not (_is_number(self.timeout) and 0 < self.timeout <= threading.TIMEOUT_MAX):
            raise ImageError(f"timeout={shorten(self.timeout)}; expected a number of seconds above 0.")
        for name, lowest in (("max_bytes", 1), ("max_redirects", 0)):
            value = getattr(self, name)
            if not _is_number(value) or value < lowest:
                raise ImageError(f"{name}={shorten(value)}; expected a number of at least {lowest}.")
        if self.hosts is None:
            return
        hosts = [self.hosts] if isinstance(self.hosts, str) else self.hosts
        if not isinstance(hosts, Sequence):
            raise ImageError(f"hosts={shorten(hosts)}; expected a list of names and addresses.")
        object.__setattr__(self, "hosts", tuple(read_pattern(host) for host in hosts))

    @property
    def _rules(self) -> HostRules:
        return HostRules(None if self.hosts is None else tuple(self.hosts), self.private_hosts)


def fetch(url: str, policy: FetchPolicy) -> bytes:
    """Download a URL within a policy.

    Raises:
        ImageError: refused by the policy, unreachable, an HTTP error, too slow, too large. The text is the same for a
            host that is refused, one that does not exist and one that does not answer: it must not tell which
            addresses of a network are in use.
    """
    if not policy.enabled:
        raise ImageError(f"{show_url(url)} is not fetched: images from the web are switched off. Pass a path or bytes.")
    import langchain_vipllava.images.connect  # noqa: F401, PLC0415  # loaded here, outside of the time limit

    download = _Download(url, policy)
    # an event loop in a thread: only asyncio.timeout limits a slow server, and the caller may be inside a loop already.
    # A daemon: neither Ctrl-C nor the end of the interpreter waits for it
    thread = threading.Thread(target=download.run, name="vipllava-fetch", daemon=True)
    try:
        thread.start()
        return download.result.result(min(policy.timeout + _GRACE, threading.TIMEOUT_MAX))
    except TimeoutError:
        raise download.too_slow() from None
    except RuntimeError as error:  # of `start`: no more threads
        raise ImageError(f"cannot fetch {show_url(url)}: {error}. Try again later.") from None
    finally:
        download.stop()


def is_refused(url: str, policy: FetchPolicy) -> bool:
    """Whether a policy refuses a URL by what it says, so that `fetch` raises without asking anybody."""
    from langchain_vipllava.images.web_url import parse_url  # noqa: PLC0415  # only here is httpx needed

    try:
        host = parse_url(url.strip(), "the URL").raw_host.decode("ascii")
        policy._rules.check_name(host)
        if (address := literal_address(host)) is not None:
            policy._rules.check_addresses(host, [address])
    except (ImageError, HostRefusedError):
        return True
    return not policy.enabled


class _Download:
    """One download, in an event loop of its own."""

    def __init__(self, url: str, policy: FetchPolicy) -> None:
        self.result: Future[bytes] = Future()
        self._url = url
        self._shown = show_url(url)  # the one that the caller knows, also after redirects
        self._policy = policy
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[bytes]] | None = None
        self._stopped = False

    def run(self) -> None:
        """Download, and set `result`."""
        try:
            data = asyncio.run(self._run())
        except ImageError as error:
            self.result.set_exception(error)
        except BaseException as error:  # also CancelledError: whoever waits must not wait on
            logger.debug("fetching failed", exc_info=True)
            self.result.set_exception(self._error(f"{type(error).__name__}"))
        else:
            self.result.set_result(data)

    def stop(self) -> None:
        """End a download that nobody waits for any more; without effect on one that is over."""
        self._stopped = True
        if self._running is not None and not self.result.done():
            loop, task = self._running
            with contextlib.suppress(RuntimeError):  # the loop has just closed
                loop.call_soon_threadsafe(task.cancel)

    def too_slow(self) -> ImageError:
        """Make the error for a download that took too long."""
        return ImageError(
            f"{self._shown} took longer than {self._policy.timeout} s; raise timeout or download it first."
        )

    async def _run(self) -> bytes:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # this is its coroutine
        self._running = asyncio.get_running_loop(), task
        if self._stopped:
            raise asyncio.CancelledError
        try:
            async with asyncio.timeout(self._policy.timeout):
                return await self._follow()
        except TimeoutError:
            raise self.too_slow() from None

    async def _follow(self) -> bytes:
        from langchain_vipllava.images.web_url import parse_url  # noqa: PLC0415  # only here is httpx needed

        url = parse_url(self._url, self._shown)
        for _ in range(self._policy.max_redirects + 1):
            found = await self._ask(url)
            if isinstance(found, bytes):
                return found
            try:
                target = parse_url(urljoin(str(url), found), f"{self._shown}, the target of a redirect")
            except ValueError:
                raise self._error("it redirects to something that is not an http(s) URL") from None
            if url.scheme == "https" and target.scheme == "http":
                raise self._error("it redirects from https to http, which anyone on the way can change")
            url = target
        raise self._error(f"more than {self._policy.max_redirects} redirects")

    async def _ask(self, url: httpx.URL) -> bytes | str:
        """Return the body, or the target of a redirect. Error texts of libraries are left out: some hold addresses."""
        import httpx  # noqa: PLC0415  # only images from the web need it

        from langchain_vipllava.images.connect import PinnedTransport  # noqa: PLC0415

        # each address of a host gets a part of `connect`; everything together is limited by `_run`
        limits = {"timeout": {"connect": self._policy.timeout}}
        request = httpx.Request("GET", url, headers=_HEADERS, extensions=limits)
        try:
            # no httpx client: it would keep cookies from one host for the next, and log URLs with their tokens
            async with PinnedTransport(self._policy._rules, secure=url.scheme == "https") as transport:
                response = await transport.handle_async_request(request)
                try:
                    return await self._read(response)
                finally:
                    await response.aclose()
        except HostNotListedError:
            raise self._error("its host is not among those that the program allows (FetchPolicy.hosts)") from None
        except httpx.TimeoutException:
            raise TimeoutError from None
        except (HostRefusedError, httpx.ConnectError, OSError) as error:
            if _is_tls_error(error):
                raise self._error("no TLS connection: its certificate or its version of TLS is not accepted") from None
            raise self._error(self._unreachable()) from None
        except httpx.ProtocolError:
            raise self._error("its answer is not valid HTTP") from None
        except httpx.HTTPError as error:
            raise self._error(f"the connection broke ({type(error).__name__})") from None

    async def _read(self, response: httpx.Response) -> bytes | str:
        if response.has_redirect_location:
            return response.headers["location"]
        if not response.is_success:
            raise self._error(f"the server answered with status {response.status_code}")
        encoding = response.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":  # a few compressed bytes can expand to gigabytes
            raise ImageError(
                f"{self._shown} came with Content-Encoding {shorten(encoding)}, unasked; download it first."
            )
        limit = self._policy.max_bytes
        announced = response.headers.get("content-length", "")
        body = bytearray()
        if not (announced.isdecimal() and len(announced) < 20 and int(announced) > limit):
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > limit:
                    break
            else:
                return bytes(body)
        raise ImageError(f"{self._shown} is larger than {limit} bytes; shrink it or raise max_bytes.")

    def _error(self, reason: str) -> ImageError:
        return ImageError(f"cannot fetch {self._shown}: {reason}.")

    def _unreachable(self) -> str:
        if self._policy.private_hosts:
            return "its host cannot be reached"
        return (
            "its host cannot be reached, or lies in a private network; expected a public address. The program can "
            "allow a private host with FetchPolicy(hosts=...) or FetchPolicy(private_hosts=True)"
        )


def _is_tls_error(error: BaseException | None) -> bool:
    import ssl  # noqa: PLC0415  # loaded with httpx

    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error is not None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
