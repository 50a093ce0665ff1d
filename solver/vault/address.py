"""Which addresses egress may connect to.

A provider is on the public internet, or, if its file says `private_network = true`, in
the operator's own network. Link-local, multicast and metadata addresses are never a
provider.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address

PRIVATE_V4: Final = tuple(
    IPv4Network(text)
    for text in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
PRIVATE_V6: Final = (IPv6Network("::1/128"), IPv6Network("fc00::/7"))

TRANSLATED: Final = tuple(
    IPv6Network(text)
    for text in (
        "::/96",  # IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # local NAT64
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "fec0::/10",  # site-local
    )
)
"""Networks that carry other addresses inside, or that no provider has."""

METADATA: Final = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",
        "169.254.170.2",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
    )
)
"""Where clouds hand out credentials; two of these are ordinary public addresses."""


def parse_address(text: str) -> Address | None:
    """The address that `text` is the plain form of; None for names, scopes, old forms."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_permitted(address: Address, *, private_network: bool) -> bool:
    """Whether egress may connect there."""
    if address in METADATA or address.is_multicast or address.is_unspecified:
        return False
    if _is_private(address):
        return private_network
    if isinstance(address, IPv6Address):
        carried = any(address in network for network in TRANSLATED)
        return address.scope_id is None and not carried and address.is_global
    return address.is_global


def _is_private(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return any(address in network for network in PRIVATE_V4)
    return address.scope_id is None and any(address in network for network in PRIVATE_V6)
