"""Driver `neutron` in the real kernel, with a switch in user space whose bridge does what it does without anybody's flows."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from support.namespaces import Home
from support.plugged import Scene, links, scene_of
from weft.kernel.host.dump import dump
from weft.trace import Start, walk


@pytest.fixture(params=["ovs", "hybrid"])
def scene(request: pytest.FixtureRequest, netns: Home, tmp_path: Path) -> Iterator[Scene]:
    with scene_of(netns, request.param, tmp_path, "netdev") as found:
        yield found


def test_containers_reach_each_other_through_the_switch_and_nothing_is_left(scene: Scene) -> None:
    scene.comes_and_goes()


def test_the_host_is_not_on_their_network(scene: Scene) -> None:
    """Its kernel sees the frames, and by default answers ARP for any address of its own on any device."""
    scene.ns.sh("ip address add 10.30.0.99/32 dev lo")
    scene.converge()
    c1 = scene.containers["c1"]
    assert not scene.pings("c1", "10.30.0.99")
    (entry,) = c1.json("ip", "-j", "neigh", "show", "10.30.0.99")
    assert "lladdr" not in entry
    tapped = {name for name in links(scene.ns) if name[:3] in ("tap", "qbr", "qvb", "qvo")}
    assert tapped and not [a for a in scene.ns.json("ip", "-j", "-6", "addr") if a.get("ifname") in tapped]


def test_a_switch_that_begins_anew_takes_them_up_again(scene: Scene) -> None:
    """Somebody removed the bridge with all its ports, and Neutron's agent made it again."""
    scene.converge()
    scene.ovs.vsctl("del-br", "br-int")
    report = scene.reconciler.resync()
    assert {failure.key[0] for failure in report.failures} == {"ovs-port"} and report.ops == ()
    scene.ovs.bridge("br-int", "netdev")
    scene.start()
    assert {type(op).__name__ for op in scene.converge().ops} == {"Create"}
    assert scene.pings("c1", "10.30.0.3")


@pytest.mark.parametrize("target", ["10.30.0.3", "fd30::3"])
def test_a_trace_leads_to_the_switch(scene: Scene, target: str) -> None:
    """What its flows do from there, its own tool says. The same before anybody was asked, and when it is known who it is."""
    scene.converge()
    c1 = scene.containers["c1"]
    source = "10.30.0.2" if "." in target else "fd30::2"
    start = Start(host="node-1", ns=c1.path, source=ip_address(source))
    for known in (False, True):
        assert not known or scene.pings("c1", target)
        found = walk({"node-1": dump("node-1", {c1.path: "c1"})}, start, ip_address(target))
        assert found.outcome.arrived and found.outcome.text.startswith("br-int of Open vSwitch on node-1 has it")
        last = found.hops[-1]
        assert (
            last.entry.endswith(" is a port of br-int (Open vSwitch)")
            and "ofproto/trace br-int in_port=" in last.result
        )
        assert ("dl_dst=fa:16:3e:00:00:03" in last.result) is known
