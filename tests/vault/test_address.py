"""Egress connects to public addresses, or to the operator's own network if told so."""

import pytest

from solver.vault.address import is_permitted, parse_address

PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111"]
PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fc00::1",
    "fd12:3456::1",
]
NEVER = [
    "0.0.0.0",  # noqa: S104 (nothing is bound)
    "0.1.2.3",
    "169.254.169.254",
    "169.254.1.1",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:1.1.1.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:7f00:1::",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "fd00:ec2::254",
    "fd00::1%eth0",
]


@pytest.mark.parametrize("private_network", [False, True])
@pytest.mark.parametrize("text", [*PUBLIC, *PRIVATE, *NEVER])
def test_where_egress_may_connect(text: str, *, private_network: bool) -> None:
    """Public always but metadata; private if told so; everything else never."""
    address = parse_address(text)
    assert address is not None
    expected = (text in PUBLIC) or (text in PRIVATE and private_network)
    assert is_permitted(address, private_network=private_network) is expected


@pytest.mark.parametrize(
    "text", ["localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "①②⑦.0.0.1", ""]
)
def test_what_only_old_resolvers_read_is_no_address(text: str) -> None:
    """There is one way to write an address."""
    assert parse_address(text) is None
