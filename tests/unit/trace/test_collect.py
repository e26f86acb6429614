from __future__ import annotations

from ipaddress import ip_interface
from pathlib import Path

import msgspec
import pytest

from support import dumps as d
from support import lab
from weft.api import services as s
from weft.api import types as t
from weft.api.dump import HostDump
from weft.base.errors import Denied, Invalid, NotFound, Unavailable, WeftError
from weft.trace.collect import Snapshot, collect, sockets_of_lab, trace

NETWORK = lab.network("vxlan", (4, 6))


def info(name: str) -> t.NodeInfo:
    node = lab.node(name)
    return t.NodeInfo(name=name, addresses=node.addresses, uplink="eth0", mtu=1500, alive=True, this=name == "node-1")


def endpoint(name: str) -> t.EndpointInfo:
    found = d.endpoint(NETWORK, name)
    return t.EndpointInfo(
        id=found.id,
        name=found.name,
        network="blue",
        node=name,
        container=found.container,
        namespace=found.namespace.path,
        interface="eth0",
        host_interface=found.host_interface,
        mac=found.mac,
        addresses=found.addresses,
    )


NODES = tuple(map(info, d.NODES))
ENDPOINTS = tuple(map(endpoint, d.NODES))


class Agent:
    """Answers with this dump, or as if it were broken."""

    def __init__(self, answer: HostDump | WeftError) -> None:
        self.answer = answer

    def kernel(self) -> HostDump:
        if isinstance(self.answer, WeftError):
            raise self.answer
        return self.answer

    def endpoints(self) -> tuple[t.EndpointInfo, ...]:
        self.kernel()
        return ENDPOINTS

    def services(self) -> tuple[s.ServiceInfo, ...]:
        return ()

    def nodes(self) -> tuple[t.NodeInfo, ...]:
        self.kernel()
        return NODES


@pytest.fixture(scope="module")
def vxlan() -> d.Dumps:
    return d.reference("vxlan")


def snapshot(dumps: d.Dumps, **silent: WeftError) -> Snapshot:
    """`silent`: by host, with "_" for "-"."""
    refused = {host.replace("_", "-"): error for host, error in silent.items()}
    answers: dict[str, HostDump | WeftError] = {**dumps, **refused}
    return collect({host: f"/run/{host}.sock" for host in answers}, lambda path: Agent(answers[Path(path).stem]))


def test_all_hosts_of_a_lab(vxlan: d.Dumps) -> None:
    found = trace(snapshot(vxlan), "c1", "c2")
    assert (found.origin, found.target, found.arrived) == ("node-1/c1", "node-2/c2", True)
    assert found.there.outcome.text == "delivered to 40.15.26.2 on node-2/c2"
    assert found.back is not None
    assert found.back.outcome.text == "delivered to 40.15.43.2 on node-1/c1"
    assert found.notes == ()


def test_family(vxlan: d.Dumps) -> None:
    found = snapshot(vxlan)
    assert trace(found, "c1", "c2", 6).there.target == d.address("node-2", 6)
    assert trace(found, "c1", str(d.address("node-2", 6))).there.source == d.address("node-1", 6)
    with pytest.raises(Invalid, match="has no IPv6 address"):
        trace(found, "c1", "203.0.113.10", 6)


def test_only_this_host(vxlan: d.Dumps) -> None:
    found = trace(snapshot({"node-1": vxlan["node-1"]}), "c1", "c2")
    assert found.there.outcome.ending == "elsewhere"
    assert not found.arrived
    assert found.back is None


def test_a_host_whose_agent_is_silent_is_named(vxlan: d.Dumps) -> None:
    rest = {name: dump for name, dump in vxlan.items() if name != "node-2"}
    found = trace(snapshot(rest, node_2=Unavailable("no agent answers at X")), "c1", "c2")
    assert found.notes == ("node-2 is not seen: no agent answers at X",)
    assert "continues on node-2" in found.there.outcome.text
    assert trace(snapshot(rest, node_2=Unavailable("no")), "c1", "c3").arrived


def test_nobody_answers() -> None:
    with pytest.raises(Denied, match="use sudo"):
        snapshot({}, node_1=Denied("use sudo"), node_2=Denied("use sudo"))


def test_an_answer_of_a_masqueraded_packet_is_not_followed(vxlan: d.Dumps) -> None:
    found = snapshot(vxlan)
    for to in ("node-2", "203.0.113.10"):
        there = trace(found, "c1", to)
        assert there.arrived
        assert there.back is None
    assert trace(found, "node-1", "c2").back is not None


def test_a_broken_way_back_counts(vxlan: d.Dumps) -> None:
    broken = d.without(vxlan, "node-2", "", "routes", lambda r: r.prefix == "40.15.43.0/24")
    found = trace(snapshot(broken), "c1", "c2")
    assert found.there.outcome.arrived
    assert found.back is not None
    assert found.back.outcome.ending == "unreachable"
    assert not found.arrived


def test_an_address_that_its_host_has_lost(vxlan: d.Dumps) -> None:
    lost = d.without(vxlan, "node-2", "", "addresses", lambda a: a.address == "192.168.1.254/24")
    outcome = trace(snapshot(lost), "c1", "c2").there.outcome
    assert (outcome.ending, outcome.place) == ("no-address", "node-2")


def test_unknown_names(vxlan: d.Dumps) -> None:
    with pytest.raises(NotFound, match="c9 is no endpoint and no node"):
        trace(snapshot(vxlan), "c9", "c2")


def test_sockets_of_a_lab(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"is it up \(`weft lab ls`\)"):
        sockets_of_lab(str(tmp_path))
    for host in ("node-2", "node-1", "router"):
        (tmp_path / "hosts" / host / "run-weft").mkdir(parents=True)
    for host in ("node-2", "node-1"):
        (tmp_path / "hosts" / host / "run-weft/weft.sock").touch()
    assert list(sockets_of_lab(str(tmp_path))) == ["node-1", "node-2"]


def test_a_node_that_shares_its_name_with_an_endpoint(vxlan: d.Dumps) -> None:
    twin = msgspec.structs.replace(ENDPOINTS[0], name="node-2", addresses=(ip_interface("40.15.43.2/24"),))
    found = snapshot(vxlan)
    both = msgspec.structs.replace(found, endpoints=(twin, *ENDPOINTS[1:]))
    with pytest.raises(Invalid, match=r"node-2 is more than one: endpoint node-1/node-2 in blue .*, node node-2"):
        trace(both, "c3", "node-2")
    assert trace(both, "c3", "node-1/node-2").arrived
