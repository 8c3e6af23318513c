"""Which IP addresses are public: an own list, because `ipaddress.is_global` differs from Python to Python."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address

# IANA's special-purpose registries, and what they leave out; a test compares them with Python's and LangChain's lists
_NOT_PUBLIC_IPV4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network, RFC 791; Linux connects 0.0.0.0 to itself
            "10.0.0.0/8",  # private, RFC 1918
            "100.64.0.0/10",  # behind a carrier's NAT, RFC 6598
            "127.0.0.0/8",  # loopback, RFC 1122
            "169.254.0.0/16",  # link-local, RFC 3927
            "172.16.0.0/12",  # private, RFC 1918
            "192.0.0.0/24",  # protocol assignments, RFC 6890; `is_global` is True for two of them
            "192.0.2.0/24",  # documentation, RFC 5737
            "192.31.196.0/24",  # AS112, RFC 7535
            "192.52.193.0/24",  # multicast tunnels, RFC 7450
            "192.88.99.0/24",  # 6to4 relays, RFC 7526
            "192.168.0.0/16",  # private, RFC 1918
            "192.175.48.0/24",  # AS112, RFC 7534
            "198.18.0.0/15",  # benchmarks, RFC 2544
            "198.51.100.0/24",  # documentation, RFC 5737
            "203.0.113.0/24",  # documentation, RFC 5737
            "224.0.0.0/4",  # multicast, RFC 5771
            "240.0.0.0/4",  # reserved, RFC 1112, and broadcast
        ),
    )
)

_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""The one block of IPv6 from which hosts get public addresses (RFC 4291); loopback, fc00::/7, fe80::/10, fec0::/10,
5f00::/16, 100::/64 and multicast lie outside."""

_NOT_PUBLIC_IPV6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, RFC 2928: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation, RFC 3849
            "2002::/16",  # 6to4, RFC 7526
            "2620:4f:8000::/48",  # AS112, RFC 7534
            "3ffe::/16",  # 6bone, RFC 3701
            "3fff::/20",  # documentation, RFC 9637
        ),
    )
)

_METADATA = (
    IPv4Network("169.254.0.0/16"),  # AWS, Google, Azure, DigitalOcean, Oracle, ...: several addresses each
    IPv4Network("100.100.100.200/32"),  # Alibaba
    IPv4Network("168.63.129.16/32"),  # Azure, a public address
    IPv4Network("192.0.0.192/32"),  # Oracle Cloud Classic
    IPv6Network("fd00:ec2::/32"),  # AWS
    IPv6Network("fd00:c1::a9fe:a9fe/128"),  # Oracle
    IPv6Network("fd00:42::42/128"),  # Scaleway
    IPv6Network("fd20:ce::254/128"),  # Google
    IPv6Network("fe80::a9fe:a9fe/128"),  # OpenStack
)

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")  # RFC 8215
_MAPPED = IPv6Network("::ffff:0:0/96")  # RFC 4291; the kernel speaks IPv4
_LAST_32_BITS = (
    _NAT64,
    _MAPPED,
    IPv6Network("::/96"),  # IPv4-compatible, RFC 4291
    IPv6Network("::ffff:0:0:0/96"),  # translated, RFC 2765
)
_LOCAL_NAT64_BYTES = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))
"""Where an IPv4 address stands behind a prefix of 48, 56, 64 and 96 bits (RFC 6052, 2.2); byte 8 is left out."""
_TEREDO = IPv6Network("2001::/32")  # RFC 4380
_6TO4 = IPv6Network("2002::/16")  # RFC 3056
_ISATAP = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")  # RFC 5214


def is_public(address: IPAddress) -> bool:
    """Whether an address belongs to a host on the internet, and so does each IPv4 address inside of it.

    Example:
        >>> [is_public(IPv6Address(text)) for text in ("64:ff9b::8.8.8.8", "64:ff9b::127.0.0.1", "2001:4860::8888")]
        [True, False, True]
    """
    if is_metadata(address):
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_IPV4)
    embedded = embedded_ipv4(address)
    if not all(is_public(inner) for inner in embedded):
        return False
    if any(address in network for network in (_NAT64, _LOCAL_NAT64, _MAPPED)):
        return bool(embedded)  # IPv6-only networks reach public IPv4 hosts in this form
    return address in _GLOBAL_UNICAST and not any(address in network for network in _NOT_PUBLIC_IPV6)


def is_metadata(address: IPAddress) -> bool:
    """Whether an address, or an IPv4 address inside of it, belongs to a cloud's metadata service."""
    embedded = embedded_ipv4(address) if isinstance(address, IPv6Address) else ()
    return any(inner in network for inner in (address, *embedded) for network in _METADATA)


def embedded_ipv4(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses to which a translator or a tunnel may send packets for an IPv6 address.

    Example:
        >>> embedded_ipv4(IPv6Address("2002:7f00:1::"))
        (IPv4Address('127.0.0.1'),)
    """
    packed = address.packed
    last = IPv4Address(packed[12:])
    found = []
    if any(address in network for network in _LAST_32_BITS) or packed[8:12] in _ISATAP:
        found.append(last)
    if address in _LOCAL_NAT64:  # its operator chose the length of the prefix; 0.x.y.z is what the others show
        possible = (IPv4Address(bytes(packed[index] for index in places)) for places in _LOCAL_NAT64_BYTES)
        found += [inner for inner in possible if inner not in _NOT_PUBLIC_IPV4[0]]
    if address in _6TO4:
        found.append(IPv4Address(packed[2:6]))
    if address in _TEREDO:  # the server, and the client with all bits inverted
        found += [IPv4Address(packed[4:8]), IPv4Address(int(last) ^ 0xFFFFFFFF)]
    return tuple(found)
