from __future__ import annotations

from pathlib import Path

import pytest

from weft.base.errors import Invalid, NotFound
from weft.lab.topology import Topology, flat, load, reference
from weft.model import codec

SMALL = """
segments = ["a", "b"]
[[hosts]]
name = "one"
segment = "a"
addresses = ["10.0.0.2/24"]
[[hosts]]
name = "two"
segment = "b"
addresses = ["10.0.1.2/24"]
[router]
a = ["10.0.0.1/24"]
b = ["10.0.1.1/24"]
"""


def loaded(tmp_path: Path, text: str) -> Topology:
    path = tmp_path / "t.toml"
    path.write_text(text)
    return load(path)


def test_reference() -> None:
    found = reference()
    assert {p.name: (p.segment, str(p.addresses[0])) for p in found.hosts} == {
        "node-1": ("a", "192.168.1.68/24"),
        "node-2": ("a", "192.168.1.254/24"),
        "node-3": ("a", "192.168.1.245/24"),
        "node-4": ("b", "192.168.0.33/24"),
    }
    assert found.names() == ("node-1", "node-2", "node-3", "node-4", "outside", "router")


def test_default_routes_for_nodes_and_only_routes_to_the_segments_for_outside() -> None:
    found = reference()
    node, outside = found.place("node-4"), found.place("outside")
    assert [(prefix, str(hop)) for prefix, hop in found.routes(node)] == [
        (None, "192.168.0.1"),
        (None, "fd00:192:168::1"),
    ]
    assert sorted((str(prefix), str(hop)) for prefix, hop in found.routes(outside)) == [
        ("192.168.0.0/24", "203.0.113.1"),
        ("192.168.1.0/24", "203.0.113.1"),
        ("fd00:192:168:1::/64", "2001:db8:203::1"),
        ("fd00:192:168::/64", "2001:db8:203::1"),
    ]


def test_a_topology_survives_its_file() -> None:
    assert codec.decode(Topology, codec.encode(reference())) == reference()


def test_flat() -> None:
    found = flat(100)
    assert len(found.hosts) == 100
    assert [str(a) for a in found.place("node-100").addresses] == ["192.168.1.110/24", "fd00:192:168:1::110/64"]
    assert all(p.segment == "a" for p in found.hosts)
    with pytest.raises(Invalid, match="101 hosts: choose 1 to 100"):
        flat(101)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('name = "two"', 'name = "one"', "host one is given twice: each must be unique"),
        ('name = "two"', 'name = "router"', r"host router is given twice \(router and outside are taken\)"),
        ('name = "two"', 'name = "Two"', "'Two' is not a host name"),
        ('segment = "b"', 'segment = "c"', r"two is on segment 'c', which is not in segments \(a, b\)"),
        ("\nb =", "\nc =", r"router is on segment 'c', which is not in segments \(a, b\)"),
        ('["a", "b"]', '["a", "b", "a"]', "segment a is given twice"),
        ("10.0.1.2/24", "10.0.0.1/24", "address 10.0.0.1 is given twice"),
        ("10.0.1.2/24", "10.0.2.2/24", "two's 10.0.2.2/24 does not share a prefix with the router on segment b"),
        ("10.0.1.2/24", "10.0.1.300/24", "'10.0.1.300/24' is not an address with a prefix length"),
        ('addresses = ["10.0.1.2/24"]', "addresses = []", "host two: no address"),
        ('addresses = ["10.0.1.2/24"]', 'addresses = ["10.0.1.2/24"]\nmtu = 100', "MTU 100 is outside 1280 to 65535"),
        ('name = "two"', 'name = "two"\ncolour = "red"', "unknown field `colour`"),
        ("segments =", "segments", "not a topology: "),
    ],
)
def test_mistakes_are_named_with_the_file(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in SMALL
    loaded(tmp_path, SMALL)
    with pytest.raises(Invalid, match=complaint) as error:
        loaded(tmp_path, SMALL.replace(old, new))
    assert str(error.value).startswith(str(tmp_path / "t.toml"))


def test_no_hosts_or_no_file(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no hosts: add a"):
        loaded(tmp_path, "segments = []\nhosts = []")
    with pytest.raises(NotFound, match="no topology file"):
        load(tmp_path / "none.toml")
