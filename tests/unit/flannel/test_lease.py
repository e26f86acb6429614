"""Keys and values of flannel's leases."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.base.errors import Invalid
from weft.base.net import IPNetwork
from weft.flannel import lease
from weft.flannel.lease import Entry

SUBNETS4 = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(lambda n: IPv4Network(n, strict=False))
SUBNETS6 = st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128)).map(lambda n: IPv6Network(n, strict=False))
SUBNETS = st.one_of(SUBNETS4.map(lambda s: (s,)), st.tuples(SUBNETS4, SUBNETS6))
WORDS = st.dictionaries(st.text(max_size=8), st.one_of(st.integers(0, 2**24), st.text(max_size=20)), max_size=3)


@given(SUBNETS)
def test_a_key_is_read_as_it_was_written(subnets: tuple[IPNetwork, ...]) -> None:
    written = lease.key(subnets)
    assert written.startswith("subnets/") and written == written.lower() and written.count("/") == 1
    assert lease.parse_key(written) == subnets
    assert lease.parse_key(f"what/ever{written.removeprefix('subnets/')}") == subnets  # flannel looks at the end only


@given(
    SUBNETS,
    st.builds(IPv4Address, st.integers(1 << 24, (127 << 24) - 1)),
    st.sampled_from(["", "vxlan", "host-gw"]),
    WORDS,
)
def test_a_value_is_read_as_it_was_written(
    subnets: tuple[IPNetwork, ...], public: IPv4Address, kind: str, data: dict[str, str | int]
) -> None:
    entry = Entry(subnets=subnets, public=(public,), type=kind, data=data or None)
    assert lease.parse(lease.key(subnets), lease.value(entry)) == entry


@given(st.text(max_size=60), st.binary(max_size=60))
def test_whatever_else_there_is_is_refused_or_read(key: str, value: bytes) -> None:
    try:
        lease.parse(key, value)
    except Invalid as error:
        assert "\n" not in str(error)


def test_the_keys_that_flannel_writes() -> None:
    assert lease.key([ip_network("40.15.43.0/24")]) == "subnets/40.15.43.0-24"
    both = ip_network("10.5.1.0/24"), ip_network("fc00::/64")
    assert lease.key(both) == "subnets/10.5.1.0-24&fc00::-64"
    assert lease.parse_key("subnets/10.5.1.0-24&fc00::-64") == both


@pytest.mark.parametrize(
    "key",
    [
        "subnets/10.5.1.0",
        "subnets/10.5.1.0-",
        "subnets/10.5.1.0-33",
        "subnets/10.5.1.1-24",
        "subnets/10.5.1.300-24",
        "subnets/fc00::-64",
        "subnets/10.5.1.0-24&",
        "subnets/10.5.1.0-24&FC00::-64",
        "subnets/10.5.1.0-24x",
        "config",
    ],
)
def test_what_is_no_key(key: str) -> None:
    assert lease.parse_key(key) is None


def test_what_is_written_for_each_sort_of_host() -> None:
    subnets, public = (ip_network("10.5.1.0/24"),), (IPv4Address("192.168.64.3"),)
    vxlan = Entry(subnets=subnets, public=public, type="vxlan", data={"VNI": 1, "VtepMAC": "c6:00:00:00:00:01"})
    assert json.loads(lease.value(vxlan)) == {
        "PublicIP": "192.168.64.3",
        "PublicIPv6": None,
        "BackendType": "vxlan",
        "BackendData": {"VNI": 1, "VtepMAC": "c6:00:00:00:00:01"},
    }
    assert json.loads(lease.value(Entry(subnets=subnets, public=public))) == {
        "PublicIP": "192.168.64.3",
        "PublicIPv6": None,
    }
    dual = Entry(subnets=subnets, public=(*public, IPv6Address("fd00::3")), type="host-gw")
    assert json.loads(lease.value(dual)) == {
        "PublicIP": "192.168.64.3",
        "PublicIPv6": "fd00::3",
        "BackendType": "host-gw",
    }


@pytest.mark.parametrize(
    "value",
    [
        "{}",
        "[]",
        "",
        '{"PublicIP":7}',
        '{"PublicIP":"host"}',
        '{"PublicIP":"fd00::1"}',
        *(f'{{"PublicIP":"{a}"}}' for a in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255")),
        '{"PublicIP":"1.2.3.4","BackendData":[]}',
        pytest.param('{"PublicIP":"1.2.3.4","BackendData":' + '{"a":' * 5000, id="deep"),
    ],
)
def test_what_is_no_value(value: str) -> None:
    with pytest.raises(Invalid, match=r"'subnets/10\.5\.1\.0-24' in flannel's registry cannot be read"):
        lease.parse("subnets/10.5.1.0-24", value.encode())


def test_what_versions_before_wrote() -> None:
    """Without PublicIPv6 and VNI, and with what nobody knows."""
    old = b'{"PublicIP":"192.168.1.68","BackendType":"vxlan","BackendData":{"VtepMAC":"0e:08:23:57:14:9a"},"More":1}'
    assert lease.parse("subnets/40.15.43.0-24", old).data == {"VtepMAC": "0e:08:23:57:14:9a"}
