"""Hosts that cannot reach the store attach and detach in a network of driver mesh, and it is told afterwards."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from support.cluster import PATIENCE, Cluster, cluster
from support.waiting import note, until
from weft.api import types as t
from weft.base.errors import Unavailable
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


def reject(weft: Cluster, host: str) -> None:
    """As `block`, but the host is told at once."""
    weft.unblock(host)
    rule = "add rule inet blocked output tcp dport 2379 reject with tcp reset"
    weft.sh(
        host,
        "nft 'add table inet blocked; add chain inet blocked output { type filter hook output priority 0; }; "
        + rule
        + "'",
    )


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
    for host in (ALONE, "node-2"):
        reject(weft, host)
    until(
        lambda: all(weft.status(h).store.state == "lost" for h in (ALONE, "node-2")), PATIENCE, "the store to be lost"
    )
    first = weft.container("node-2", "first", "office").addresses[0].ip  # of this host in the network
    more = weft.container(ALONE, "more", "office").addresses[0].ip
    weft.client(ALONE).detach("before", "office")
    other = weft.container("node-3", "other", "office").addresses[0].ip
    assert len({new.ip, more, other, first}) == 4

    weft.sh(ALONE, "ip netns add late")
    outside = str(other)
    said = refused(weft, "attach", "late", "--network", "office", "--ip", outside)
    assert f"{outside} is in no block of this host ({mine}) while the store is away (" in said
    assert said.strip().endswith("leave the address to Weft, or wait until it is back")
    with pytest.raises(Unavailable, match=r"network unheard-of is not known to this host, and the store is away \("):
        weft.client(ALONE).attach(t.Attach(target="late", network="unheard-of"))
    with pytest.raises(Unavailable, match=r"192\.168\.1\.1:2379"):
        weft.client(ALONE).create_network(Network(name="more", driver="mesh", subnets=(ip_network("172.111.99.0/24"),)))
    assert any("(2 attached, 1 detached)" in p.text for p in weft.status(ALONE).problems)

    weft.end(ALONE, signal.SIGKILL)
    weft.start(ALONE)
    assert pings(weft, f"{ALONE}/new", more)
    assert "eth" not in weft.inside(f"{ALONE}/before").run(["ip", "-o", "link"]).stdout
    with pytest.raises(Unavailable, match=r"the store is away|has not heard from the store"):
        weft.client(ALONE).attach(t.Attach(target="late", network="office"))

    for host in (ALONE, "node-2"):
        weft.unblock(host)
    told = until(lambda: {"new", "more", "first"} <= known(weft).keys(), PATIENCE, "the store to be told")
    found = known(weft)
    assert (found["new"], found["more"]) == (str(new.ip), str(more)) and "before" not in found
    reached = until(
        lambda: pings(weft, "node-3/far", new.ip) and pings(weft, f"{ALONE}/new", first), PATIENCE, "all to reach all"
    )
    weft.settled()
    status, said = weft.weft("node-2", "ipam", "check")
    assert status == 0, said
    weft.client(ALONE).attach(t.Attach(target="late", network="office"))
    note(
        f"attached without the store: told {told:.1f} s after it was back, reached from another host {reached:.1f} s later"
    )
