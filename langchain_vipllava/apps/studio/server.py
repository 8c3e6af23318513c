"""Serving the page: on loopback, without sharing, to requests that name this host alone."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from langchain_vipllava.apps.studio.page import Studio, build_page
from langchain_vipllava.backends.server_address import EVERY_ADDRESS, is_loopback
from langchain_vipllava.errors import SessionError, shorten
from langchain_vipllava.images.limits import DEFAULT_LIMITS

PASSWORD = "VIPLLAVA_STUDIO_PASSWORD"  # noqa: S105  # the name of a variable
USER = "studio"
_MAX_PORT = 2**16 - 1
_NAME = re.compile(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]")
"""A host. Starlette takes "*" for any, and fails at a * within a name."""

_CSS = """
.quiet { color: var(--body-text-color); opacity: 0.8; font-size: 14px; }
.facts { border: 0 !important; border-collapse: collapse; font-size: 14px; width: 100%; }
.facts tr { border: 0 !important; } .facts thead th { white-space: nowrap; overflow-wrap: normal !important; }
.facts caption { text-align: left; font-weight: 600; }
.facts th, .facts td { text-align: left; padding: 3px 8px 3px 0; vertical-align: top; overflow-wrap: anywhere;
  border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important; }
.warnings { color: var(--error-text-color); font-size: 14px; list-style: disc; padding-left: 20px; }
#status { min-height: 24px; font-weight: 600; } #head h1 { margin: 0; font-size: 24px; }
figure { margin: 0 0 8px; } figcaption { font-size: 13px; opacity: 0.8; }
#view img { image-rendering: auto; max-width: 100%; height: auto; } #heat-view img { max-width: 100%; }
.download { text-decoration: underline; } footer { display: none !important; }
"""


@dataclass(frozen=True)
class Address:
    """Where the page is served.

    Attributes:
        host: address that is listened on.
        port: 0 for any that is free.
        names: further host names by which browsers may ask, such as that of a proxy.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    names: tuple[str, ...] = ()

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def allowed(self) -> list[str]:
        """Values of the Host header that are answered; any other one is an attack by DNS rebinding, or a mistake."""
        own = [] if self.host in EVERY_ADDRESS else [self.host]
        # Starlette compares an IPv6 address with its brackets, without them, or what is before its first colon
        bracketed = [form for host in own if ":" in host for form in (f"[{host}]", "[")]
        return ["127.0.0.1", "localhost", *own, *bracketed, *self.names]

    def check(self) -> None:
        """Check that the page can be served here, before a large model is loaded.

        Raises:
            SessionError: it would be open to others without a password, a name is none, or it cannot listen there.
        """
        if not self.is_loopback and not os.environ.get(PASSWORD):
            raise SessionError(
                f"--host {shorten(self.host)} is reachable from other machines; set a password in {PASSWORD} (the "
                f"user is {USER!r}), or leave out --host."
            )
        for name in self.names:
            if not _NAME.fullmatch(name):
                raise SessionError(
                    f"--host-name {shorten(name)} is not the name of a host; expected one without scheme and port, "
                    "such as studio.example.org."
                )
        if not 0 <= self.port <= _MAX_PORT:  # getaddrinfo takes it modulo 65536
            raise _not_listening(self, "there is no such port")
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a page that has just ended is no obstacle
                probe.bind(place)
        except (OSError, OverflowError, UnicodeError) as error:
            raise _not_listening(self, getattr(error, "strerror", None) or error) from error


def launch(studio: Studio, address: Address, *, block: bool = True) -> tuple[gr.Blocks, str]:
    """Serve the page.

    Args:
        studio: what all desks share.
        address: where; beyond loopback, `VIPLLAVA_STUDIO_PASSWORD` has to be set.
        block: whether to wait until it is interrupted.

    Returns:
        The page, which `close()` stops, and its URL.

    Raises:
        SessionError: as `Address.check`.
    """
    address.check()
    password = os.environ.get(PASSWORD)
    page = build_page(studio)
    page.queue(default_concurrency_limit=8, max_size=256)
    options: dict[str, Any] = {
        "server_name": f"[{address.host}]" if ":" in address.host else address.host,
        "server_port": address.port or None,
        "share": False,
        "quiet": True,
        "show_error": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "mcp_server": False,
        "pwa": False,
        "footer_links": [],
        "max_file_size": DEFAULT_LIMITS.max_bytes,
        "state_session_capacity": 64,  # as many sessions as the workspace keeps in memory
        "auth": (USER, password) if password else None,
        "app_kwargs": {"middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=address.allowed)]},
        "theme": gr.themes.Default(),
        "css": _CSS,
    }
    try:
        _, url, _ = page.launch(**options, prevent_thread_lock=not block)
    except OSError as error:
        raise _not_listening(address, "it is taken") from error
    return page, url


def _not_listening(address: Address, reason: object) -> SessionError:
    return SessionError(
        f"cannot listen on {shorten(address.host)} port {address.port}: {reason}. Choose another --port, 0 to 65535, "
        "or another --host."
    )
