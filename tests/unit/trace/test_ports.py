"""What a namespace and a bridge's ports do not let through, one thing at a time."""

from __future__ import annotations

import msgspec
import pytest

from support import dumps as d
from support import lab
from weft.api.dump import BridgeDump, ConfDump, PortDump, ProgramDump, RouteDump, VlanDump
from weft.trace import Flow, Path, walk
from weft.trace.path import ECHO

NODES = {str(a.ip): name for name in d.NODES for a in lab.node(name).addresses}
OWN = VlanDump(vid=1, pvid=True, untagged=True)


@pytest.fixture(scope="module")
def vxlan() -> d.Dumps:
    return d.reference("vxlan")


def go(dumps: d.Dumps, flow: Flow = ECHO) -> Path:
    return walk(dumps, d.start("node-1"), d.address("node-2"), NODES, flow=flow)


def port(dumps: d.Dumps, host: str) -> str:
    """The container's, in the bridge of its network."""
    space = dumps[host].namespace("")
    assert space is not None
    return next(link.name for link in space.links if link.master == "weft-blue")


def ended(path: Path) -> tuple[str, str, str]:
    return path.outcome.ending, path.outcome.fault, path.outcome.host


@pytest.mark.parametrize("host", ["node-1", "node-2"])
def test_a_blocking_port(vxlan: d.Dumps, host: str) -> None:
    name = port(vxlan, host)
    blocked = go(d.with_link(vxlan, host, "", name, port=PortDump(state="blocking")))
    assert ended(blocked) == ("port", "stp-blocking", host)
    assert blocked.outcome.fix == f"bridge link set dev {name} state 3"
    assert go(d.with_link(vxlan, host, "", name, port=PortDump(isolated=True))).outcome.arrived


def filtering(dumps: d.Dumps, ports: tuple[VlanDump, ...], own: tuple[VlanDump, ...]) -> d.Dumps:
    changed = d.with_link(dumps, "node-2", "", "weft-blue", bridge=BridgeDump(filtering=True, vlans=own))
    return d.with_link(changed, "node-2", "", port(dumps, "node-2"), port=PortDump(vlans=ports))


def test_vlans_of_a_bridge(vxlan: d.Dumps) -> None:
    assert go(filtering(vxlan, (OWN,), (OWN,))).outcome.arrived
    other = go(filtering(vxlan, (VlanDump(vid=2, pvid=True, untagged=True),), (OWN,)))
    assert ended(other) == ("port", "vlan-filtered", "node-2")
    assert other.outcome.fix == f"bridge vlan add dev {port(vxlan, 'node-2')} vid 1 pvid untagged"
    assert ended(go(filtering(vxlan, (OWN,), ())))[1] == "vlan-filtered"


def test_a_source_that_would_be_answered_elsewhere(vxlan: d.Dumps) -> None:
    route = RouteDump(prefix="192.168.1.68/32", dev="weft-blue")
    away = d.with_entry(vxlan, "node-2", "", "routes", route)
    for mode, arrives in ((0, True), (1, False), (2, True)):
        path = go(d.with_link(away, "node-2", "", "eth0", conf=ConfDump(rp_filter=mode)))
        assert path.outcome.arrived is arrives
        if not arrives:
            assert ended(path) == ("source", "rp-filter", "node-2")
            assert path.outcome.fix == "sysctl -w net.ipv4.conf.eth0.rp_filter=2"


def test_an_address_of_one_s_own_comes_from_nobody_else(vxlan: d.Dumps) -> None:
    space = vxlan["node-2"].namespace("")
    assert space is not None
    taken = RouteDump(prefix="192.168.1.68/32", table=255, type="local", dev="eth0", proto=2)
    doubled = d.change(vxlan, "node-2", "", routes=(taken, *space.routes))
    assert ended(go(doubled)) == ("source", "source-refused", "node-2")
    assert (
        go(d.with_link(doubled, "node-2", "", "eth0", conf=ConfDump(accept_local=True))).outcome.fault
        != "source-refused"
    )


def test_sizes(vxlan: d.Dumps) -> None:
    full, more = (msgspec.structs.replace(ECHO, size=size) for size in (1450, 1451))
    assert go(vxlan, full).outcome.arrived
    assert ended(go(vxlan, more))[:2] == ("too-large", "port-mtu")
    small = d.with_link(vxlan, "node-2", "", port(vxlan, "node-2"), mtu=1400)
    dropped = go(small, full)
    assert ended(dropped) == ("too-large", "port-mtu", "node-2")
    assert "without a word" in dropped.outcome.text
    assert go(small).outcome.arrived
    narrow = d.with_link(vxlan, "node-1", "", "weft.1", mtu=1300)
    assert ended(go(narrow, full))[:2] == ("too-large", "packet-too-big")


@pytest.mark.parametrize(
    ("judged", "ending"),
    [("", "depends"), ("drop", "filtered"), ("accept", "delivered")],
    ids=["unknown", "drop", "accept"],
)
def test_programs_at_devices(vxlan: d.Dumps, judged: str, ending: str) -> None:
    program = ProgramDump(at="xdp", name="shield", judged=judged)
    path = go(d.with_link(vxlan, "node-2", "", "eth0", programs=(program,)))
    assert path.outcome.ending == ending
    assert ("shield" in path.outcome.text) is (ending != "delivered")
