from __future__ import annotations

import pytest

from weft.base.errors import Invalid
from weft.base.names import check_ifname, check_name, device, stable_id, stable_mac, sysctl_name
from weft.base.net import parse_mac


@pytest.mark.parametrize("name", ["", "Blue", "-blue", "blue-", "a/b", "a b", "x" * 64, "blau\n"])
def test_bad_name(name: str) -> None:
    with pytest.raises(Invalid, match="is not a network name: use 1 to 63 of a-z, 0-9"):
        check_name("network", name)


@pytest.mark.parametrize("name", ["a", "node-1", "web.shop_2", "x" * 63])
def test_good_name(name: str) -> None:
    assert check_name("network", name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a b", "a/b", "a:b", "x" * 16, "eth%d", "all", "default", "a\x1b[2J", "é", "eth١", "a\xa0"]
)
def test_bad_interface_name(name: str) -> None:
    with pytest.raises(Invalid, match="is not an interface name: use 1 to 15 characters"):
        check_ifname(name)


def test_device_names_fit_and_stay_apart() -> None:
    assert device("weft-", "blue") == "weft-blue"
    long = [device("weft-", f"a-rather-long-name-{n}") for n in range(200)]
    assert {len(name) for name in long} == {15}
    assert len(set(long)) == 200


def test_stable_mac_is_local_unicast_and_the_same_for_ever() -> None:
    assert stable_mac("vtep", "node-1", "blue") == stable_mac("vtep", "node-1", "blue")
    macs = {stable_mac("vtep", f"node-{n}", "blue") for n in range(500)}
    assert len(macs) == 500
    assert all(parse_mac(mac) == mac and int(mac[:2], 16) & 3 == 2 for mac in macs)
    assert stable_mac("a", "bc") != stable_mac("ab", "c")


def test_stable_id_is_what_etcd_takes_for_a_lease() -> None:
    assert all(0 < stable_id(f"node-{n}") < 1 << 63 for n in range(500))


def test_a_dot_in_a_device_s_name_is_no_separator_for_sysctl() -> None:
    assert sysctl_name("net/ipv4/conf/eth0/rp_filter") == "net.ipv4.conf.eth0.rp_filter"
    assert sysctl_name("net/ipv4/conf/weft.1/rp_filter") == "net.ipv4.conf.weft/1.rp_filter"
