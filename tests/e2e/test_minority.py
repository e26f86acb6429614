"""A host that cannot reach the store attaches and detaches in a network of driver mesh, and the store is told afterwards."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from support.cluster import PATIENCE, Cluster, cluster
from support.waiting import note, until
from weft.model import Network

OFFICE = Network(name="office", driver="mesh", subnets=(ip_network("172.111.222.0/24"),))
ALONE, OTHERS = "node-1", ("node-2", "node-3", "node-4")


@pytest.fixture(scope="module")
def weft(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Every host has a block in hand; two have a container."""
    with cluster(tmp_path_factory.mktemp("minority")) as made:
        made.client(ALONE).create_network(OFFICE)
        until(lambda: len(blocks(made)) == 4, PATIENCE, "each host to have a block")
        made.container(ALONE, "before", "office")
        made.container("node-3", "far", "office")
        yield made


def blocks(weft: Cluster) -> dict[str, object]:
    [found] = weft.client("node-4").ipam("office")
    return {block.node: block.block for block in found.blocks}


def pings(weft: Cluster, source: str, address: object) -> bool:
    return weft.inside(source).run(["ping", "-c1", "-W2", str(address)]).returncode == 0


def refused(weft: Cluster, *words: str) -> str:
    status, said = weft.weft(ALONE, *words)
    assert status == 1 and said.startswith("weft: ") and len(said.strip().splitlines()) == 1, said
    return said


def known(weft: Cluster) -> dict[str, str]:
    """Container → its address, as the store tells another host."""
    return {e.container: str(e.addresses[0].ip) for e in weft.client("node-4").endpoints(network="office")}


def test_a_host_goes_on_without_the_store(weft: Cluster) -> None:
    mine = blocks(weft)[ALONE]
    weft.block(ALONE)
    new = weft.container(ALONE, "new", "office").addresses[0]  # before anybody knows that the store is away
    assert new.ip in ip_network(str(mine)) and new.network == OFFICE.subnets[0]
    assert pings(weft, f"{ALONE}/before", new.ip) and "new" not in known(weft)
    until(lambda: weft.status(ALONE).store.state == "lost", PATIENCE, "the store to be known to be away")
    more = weft.container(ALONE, "more", "office").addresses[0].ip
    assert weft.weft(ALONE, "detach", "before", "--network", "office")[0] == 0
    other = weft.container("node-3", "other", "office").addresses[0].ip
    assert len({new.ip, more, other}) == 3

    weft.sh(ALONE, "ip netns add late")
    outside = str(other)
    said = refused(weft, "attach", "late", "--network", "office", "--ip", outside)
    assert f"{outside} is in no block of this host ({mine}) while the store is away (" in said
    assert said.strip().endswith("leave the address to Weft, or wait until it is back")
    said = refused(weft, "attach", "late", "--network", "unheard-of")
    assert "network unheard-of is not known to this host, and the store is away (" in said
    said = refused(weft, "network", "create", "another", "--driver", "mesh", "--subnet", "172.111.99.0/24")
    assert "192.168.1.1:2379" in said
    assert any("(2 attached, 1 detached)" in p.text for p in weft.status(ALONE).problems)

    weft.end(ALONE, signal.SIGKILL)
    weft.start(ALONE)
    assert pings(weft, f"{ALONE}/new", more) and not weft.inside(f"{ALONE}/before").run(
        ["ip", "-o", "-4", "addr"]
    ).stdout.count("eth")
    said = refused(weft, "attach", "late", "--network", "office")
    assert "the store is away" in said or "has not heard from the store" in said

    weft.unblock(ALONE)
    told = until(lambda: {"new", "more"} <= known(weft).keys(), PATIENCE, "the store to be told")
    found = known(weft)
    assert (found["new"], found["more"]) == (str(new.ip), str(more)) and "before" not in found
    reached = until(lambda: pings(weft, "node-3/far", new.ip), PATIENCE, "others to reach what is new")
    weft.settled()
    status, said = weft.weft("node-2", "ipam", "check")
    assert status == 0, said
    assert weft.weft(ALONE, "attach", "late", "--network", "office")[0] == 0
    note(
        f"attached without the store: told {told:.1f} s after it was back, reached from another host {reached:.1f} s later"
    )
