"""A trace without an agent: between what processes hold on this host, and with a file of another host's."""

from __future__ import annotations

import gzip
import platform
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from support.inspected import held_by_process
from support.namespaces import Home
from weft.base.errors import Invalid, NotFound, Unavailable
from weft.inspect.dumping import Hosts
from weft.inspect.export import Export, exported, read, write
from weft.trace import collect
from weft.trace.path import Trace


@pytest.fixture
def pair(netns: Home) -> Iterator[tuple[str, str]]:
    """Two containers on a bridge of this host's, as pids: 10.88.0.2 and 10.88.0.3."""
    netns.sh("ip link add br0 type bridge")
    netns.sh("ip addr add 10.88.0.1/24 dev br0")
    netns.sh("ip link set br0 up")
    places = [netns.new(), netns.new()]
    for number, place in enumerate(places, 2):
        netns.sh(f"ip link add v{number} type veth peer name eth0 netns {place.path}")
        netns.sh(f"ip link set v{number} master br0 up")
        place.sh(f"ip addr add 10.88.0.{number}/24 dev eth0")
        place.sh("ip link set eth0 up")
        place.sh("ip route add default via 10.88.0.1")
    with held_by_process(places[0]) as one, held_by_process(places[1]) as two:
        yield str(one), str(two)


def _traced(*ends: str, files: tuple[Export, ...] = ()) -> Trace:
    return collect.gather(Hosts(ends, files), *ends)


def test_between_two_processes_by_pid_and_by_address(pair: tuple[str, str]) -> None:
    here = platform.node()
    for ends in (pair, (pair[0], "10.88.0.3"), ("10.88.0.2", pair[1]), (f"{here}/{pair[0]}", f"{here}/{pair[1]}")):
        found = _traced(*ends)
        assert found.arrived, found
        assert [hop.step for hop in found.there.hops] == ["route", "neighbour", "veth", "bridge", "veth", "deliver"]


def test_what_stops_it_is_named(pair: tuple[str, str], netns: Home) -> None:
    netns.sh("ip link set v3 down")
    assert _traced(*pair).there.outcome.fault == "link-down"


def test_a_name_that_nobody_has(pair: tuple[str, str]) -> None:
    with pytest.raises(NotFound, match="nobody"):
        _traced(pair[0], "nobody")


def test_only_asked_namespaces_are_dumped(pair: tuple[str, str], netns: Home) -> None:
    other = netns.new()
    with held_by_process(other):
        hosts = Hosts(pair)
        paths = [endpoint.namespace for endpoint in hosts.endpoints()]
        dump = hosts.at(hosts.here.name).kernel(paths[0])
    assert [ns.path for ns in dump.namespaces] == ["", paths[0]]


def test_a_file_is_what_was_written(pair: tuple[str, str], tmp_path: Path) -> None:
    whole = exported(())
    for name in ("host.json", "host.json.gz"):
        write(whole, str(tmp_path / name))
        assert read(str(tmp_path / name)) == whole
    assert gzip.decompress((tmp_path / "host.json.gz").read_bytes()) == (tmp_path / "host.json").read_bytes()
    assert {f"pid-{pid}" for pid in pair} <= {each.name for each in whole.endpoints}


def test_a_file_can_be_of_some_only(pair: tuple[str, str]) -> None:
    found = exported((pair[0],))
    assert [each.container for each in found.endpoints] == [pair[0]]
    with pytest.raises(NotFound, match="no container here is called nobody"):
        exported(("nobody",))


def test_another_host_is_known_by_its_file(pair: tuple[str, str]) -> None:
    """Both ends are there, so nothing of this host is asked for."""
    whole = exported(())
    there = msgspec.structs.replace(whole.host, node="elsewhere")
    endpoints = tuple(
        msgspec.structs.replace(each, node="elsewhere", name=f"c{n}", container="", id=f"c{n}")
        for n, each in enumerate(whole.endpoints)
    )
    file = msgspec.structs.replace(
        whole, host=there, endpoints=endpoints, info=msgspec.structs.replace(whole.info, name="elsewhere")
    )
    names = {str(each.addresses[0].ip): each.name for each in endpoints}
    found = _traced(names["10.88.0.2"], names["10.88.0.3"], files=(file,))
    assert found.arrived
    assert found.origin == f"elsewhere/{names['10.88.0.2']}"


def test_of_a_host_without_a_file_the_way_out_is_told() -> None:
    with pytest.raises(Unavailable, match="weft trace export -o FILE"):
        Hosts(()).at("elsewhere")


@pytest.mark.parametrize("content", [b"", b"{}", b"\x1f\x8bnonsense", b'{"kind": "other"}', b"[" * 100_000])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(Invalid, match="is not what `weft trace export` writes"):
        read(str(tmp_path / "f"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no file"):
        read(str(tmp_path / "none"))
