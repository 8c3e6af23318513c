"""Which hosts may be asked: their names, and the addresses that the names stand for."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from langchain_vipllava.errors import ImageError, shorten
from langchain_vipllava.images.networks import IPAddress, is_metadata, is_public

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\Z")
_NUMBER = re.compile(r"[0-9]+\Z|0x[0-9a-f]*\Z")

# special-use names (RFC 6761, 6762, 8375, ICANN's .internal), and those that RFC 6762 G calls common in private
# networks; `svc` and `cluster.local` are Kubernetes'
_LOCAL_SUFFIXES = (
    "localhost", "localdomain", "local", "internal", "intranet", "private", "corp", "home", "lan", "home.arpa", "svc",
)  # fmt: skip

_METADATA_NAMES = frozenset(
    {
        "instance-data",
        "instance-data.ec2.internal",
        "metadata",
        "metadata.amazonaws.com",
        "metadata.azure.com",
        "metadata.azure.internal",
        "metadata.goog",
        "metadata.google.internal",
        "metadata.internal",
        "metadata.packet.net",
        "metadata.platformequinix.com",
        "metadata.tencentyun.com",
        "rancher-metadata",
    }
)


class HostRefusedError(Exception):
    """A host that a policy does not admit; `fetch` words the error, and names no address."""


class HostNotListedError(HostRefusedError):
    """A host outside of the list that a program has set; no secret, and nothing is looked up."""


@dataclass(frozen=True)
class HostRules:
    """Which hosts a policy admits.

    Attributes:
        allowed: patterns from `read_pattern`; None for any host.
        private: whether private hosts are admitted.
    """

    allowed: tuple[str, ...] | None
    private: bool

    def check_name(self, host: str) -> None:
        """Refuse a host by its name, before it is looked up.

        Raises:
            HostNotListedError: not on the list.
            HostRefusedError: the name of a metadata service, or of a private network.
        """
        if not self._lists(host):
            raise HostNotListedError
        if self._names(host):
            return
        if host in _METADATA_NAMES or (not self.private and is_local_name(host)):
            raise HostRefusedError

    def check_addresses(self, host: str, addresses: Sequence[IPAddress]) -> None:
        """Refuse a host when one of its addresses is not admitted, whichever would be used.

        Raises:
            HostRefusedError: an address that is not public, or a metadata service's; no address.
        """
        if not addresses:
            raise HostRefusedError
        # a name in public DNS is in the hands of whoever runs its zone: being listed does not make it private
        if self._names(host) and is_local_name(host):
            return
        if any(is_metadata(address) or not (self.private or is_public(address)) for address in addresses):
            raise HostRefusedError

    def _lists(self, host: str) -> bool:
        """Whether the list of hosts, if there is one, has a host or a domain above it."""
        if self.allowed is None:
            return True
        return self._names(host) or any(
            (pattern.startswith("*.") and host.endswith(pattern[1:]))
            or (pattern.startswith(".") and (host == pattern[1:] or host.endswith(pattern)))
            for pattern in self.allowed
        )

    def _names(self, host: str) -> bool:
        """Whether the program has written this very host."""
        return self.allowed is not None and canonical_host(host) in self.allowed


def is_local_name(host: str) -> bool:
    """Whether a host is an address that is not public, or a name that only a private network knows.

    Names without a dot are among them: a resolver would complete them from its search list.
    """
    address = literal_address(host)
    if address is not None:
        return not is_public(address)
    return "." not in host or host.endswith(tuple(f".{suffix}" for suffix in _LOCAL_SUFFIXES))


def literal_address(host: str) -> IPAddress | None:
    """Return the address that a host is written as, or None for a name.

    IPv4 in all forms that resolvers read: 127.1, 2130706433, 0x7f.1, 017700000001.

    Raises:
        HostRefusedError: a number that is not an address, such as 1.2.3.4.5.
    """
    try:
        if ":" in host:
            return IPv6Address(host)
        if _NUMBER.match(host.rpartition(".")[2]):
            return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError) as error:
        raise HostRefusedError from error
    return None


def canonical_host(host: str) -> str:
    """Return the one spelling of a host; addresses have many."""
    address = literal_address(host)
    return host if address is None else str(address)


def is_host_name(host: str) -> bool:
    """Whether a text is a host's name or an IPv4 address in lower-case ASCII."""
    return _NAME.match(host) is not None


def read_pattern(pattern: object) -> str:
    """Read one entry of a list of hosts.

    Args:
        pattern: a host's name or address; "*.example.org" for the names below example.org; ".example.org" for these
            and itself.

    Raises:
        ImageError: anything else, such as a URL.
    """
    text = pattern.strip().lower().rstrip(".") if isinstance(pattern, str) else ""
    prefix = next((prefix for prefix in ("*.", ".") if text.startswith(prefix)), "")
    name = text[len(prefix) :]
    try:
        if not name.isascii():
            import idna  # noqa: PLC0415  # few programs list such names; httpx reads URLs with it

            name = idna.encode(name).decode("ascii")
        if name.startswith("[") and name.endswith("]"):
            name = name[1:-1]
        if is_host_name(name) or literal_address(name) is not None:
            address = literal_address(name)
            if not (prefix and address):
                return prefix + (name if address is None else str(address))
    except (HostRefusedError, UnicodeError):
        pass
    raise ImageError(
        f"hosts has {shorten(pattern)}; expected names or addresses without scheme and port, such as "
        "'images.example.org', '*.example.org' or '10.0.0.7'."
    )
