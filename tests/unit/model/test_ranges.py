from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from weft.base.errors import Invalid
from weft.model import AddressRange, decode


def test_without_ends_it_is_the_whole_subnet() -> None:
    whole = AddressRange(subnet=ip_network("10.1.0.0/24"))
    assert whole.ends == (ip_address("10.1.0.0"), ip_address("10.1.0.255"))
    assert str(whole) == "10.1.0.0/24"
    assert ip_address("10.1.0.255") in whole and ip_address("10.1.1.0") not in whole
    assert ip_address("::a01:5") not in whole


def test_with_one_end() -> None:
    upper = decode(AddressRange, b'{"subnet": "fd00::/64", "first": "fd00::8"}')
    assert ip_address("fd00::7") not in upper and ip_address("fd00::8") in upper
    assert str(upper) == "fd00::8-fd00::ffff:ffff:ffff:ffff"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"first": "10.2.0.1"}, "10.2.0.1 is outside 10.1.0.0/24"),
        ({"last": "fd00::1"}, "fd00::1 is outside"),
        ({"gateway": "10.1.1.1"}, "10.1.1.1 is outside"),
        ({"first": "10.1.0.9", "last": "10.1.0.8"}, "runs backwards"),
    ],
)
def test_what_is_none(more: dict[str, Any], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        AddressRange(subnet=ip_network("10.1.0.0/24"), **{key: ip_address(text) for key, text in more.items()})
