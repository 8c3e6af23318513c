"""URLs of the web: read once, by the parser whose result the connection uses; shown without their secrets."""

from __future__ import annotations

import re

import httpx

from langchain_vipllava.errors import ImageError
from langchain_vipllava.images.hosts import is_host_name

MAX_LENGTH = 8192
"""Characters of a URL. Chosen: common servers refuse longer request lines (nginx and Apache at 8 KB)."""

# spaces, control characters and backslashes: parsers disagree about what they end (GHSA-v359-jj2v-j536 of vLLM)
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")


def parse_url(text: str, shown: str) -> httpx.URL:
    """Read a URL of the web.

    Args:
        text: the URL, at most `MAX_LENGTH` characters.
        shown: what errors call it.

    Returns:
        The URL; its host is ASCII, without a dot at the end.

    Raises:
        ImageError: another scheme, credentials, an impossible host or port.
    """
    if len(text) > MAX_LENGTH:
        raise ImageError(f"cannot fetch {shown}: the URL has {len(text)} characters; at most {MAX_LENGTH} are sent.")
    try:
        url = None if _AMBIGUOUS.search(text) else httpx.URL(text)
        if url is not None and url.scheme in ("http", "https") and url.raw_host and not url.userinfo:
            host = url.raw_host.decode("ascii")
            if host.endswith("."):
                host = host[:-1]
                url = url.copy_with(host=host)
            if _is_host(host) and (url.port is None or 0 < url.port < 65536):
                return url
        if url is not None and url.userinfo:
            raise ImageError(
                f"cannot fetch {shown}: the URL holds a user name or password, which are never sent. Download it first."
            )
    except (httpx.InvalidURL, ValueError):  # ValueError: lone surrogates
        pass
    raise ImageError(f"cannot fetch {shown}: it is not an http(s) URL; expected http(s)://host/path.")


def _is_host(host: str) -> bool:
    return is_host_name(host) or (":" in host and "%" not in host)  # no zones: they name links of this machine
