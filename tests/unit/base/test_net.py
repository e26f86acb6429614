from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from weft.base.errors import Invalid
from weft.base.net import (
    contains,
    covers,
    family,
    host_prefix,
    parse_address,
    parse_interface,
    parse_mac,
    parse_network,
)


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_address, "10.1.0.256", "'10.1.0.256' is not an IP address: write it like 10.1.0.5 or fd00::5"),
        (parse_address, "10.1.0.5/24", "'10.1.0.5/24' is not an IP address: write it like 10.1.0.5 or fd00::5"),
        (parse_network, "10.1.0.5/16", "'10.1.0.5/16' has host bits set: did you mean 10.1.0.0/16?"),
        (parse_network, "fd00::1/64", "'fd00::1/64' has host bits set: did you mean fd00::/64?"),
        (parse_network, "10.1/16", "'10.1/16' is not a prefix: write it like 10.1.0.0/16 or fd00:1::/48"),
        (parse_network, "10.1.0.0/33", "'10.1.0.0/33' is not a prefix: write it like 10.1.0.0/16 or fd00:1::/48"),
        (parse_interface, "eth0", "'eth0' is not an address with a prefix length: write it like 10.1.0.5/24"),
        (parse_mac, "02:42:0a:01:00", "'02:42:0a:01:00' is not a MAC address: write it like 02:42:0a:01:00:05"),
        (
            parse_mac,
            "03:42:0a:01:00:05",
            "'03:42:0a:01:00:05' is a multicast MAC address: the first octet must be even",
        ),
    ],
)
def test_bad_text_is_refused_with_the_way_out(parse: object, text: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(text)  # type: ignore[operator]
    assert str(caught.value) == message


def test_text_becomes_the_standard_librarys_types() -> None:
    assert parse_address("fd00::5") == ip_address("fd00::5")
    assert parse_network("10.1.0.0/16") == ip_network("10.1.0.0/16")
    assert parse_interface("192.168.1.68/24") == ip_interface("192.168.1.68/24")
    assert parse_mac("02-42-0A-01-00-05") == "02:42:0a:01:00:05"


def test_host_prefix_is_as_long_as_the_address() -> None:
    assert host_prefix(ip_address("10.1.0.0")) == "10.1.0.0/32"
    assert host_prefix(ip_address("fd00::")) == "fd00::/128"


def test_families_never_contain_each_other() -> None:
    v4, v6 = ip_network("0.0.0.0/0"), ip_network("::/0")
    assert (family(v4), family(v6)) == (4, 6)
    assert not contains(v6, ip_address("10.1.0.1"))
    assert not covers(v6, v4)
    assert not covers(v4, v6)


@pytest.mark.parametrize(
    ("inner", "expected"),
    [("10.1.0.0/16", True), ("10.1.255.0/24", True), ("10.0.0.0/15", False), ("10.2.0.0/24", False)],
)
def test_covers(inner: str, expected: bool) -> None:
    assert covers(ip_network("10.1.0.0/16"), ip_network(inner)) is expected
