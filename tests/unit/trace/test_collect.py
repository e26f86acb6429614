from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_interface

import msgspec
import pytest

from support import dumps as d
from support import lab
from weft.api import services as s
from weft.api import types as t
from weft.api.dump import ALONE, HostDump
from weft.base.errors import Denied, Invalid, NotFound, Unavailable, WeftError
from weft.trace.collect import Snapshot, gather, trace

Asked = list[tuple[str, str]]

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
    """The local one, and by `at` those of the others: each answers with its dump, or with why not. `asked`: host, and paths."""

    def __init__(self, answers: Mapping[str, HostDump | WeftError], node: str = "", asked: Asked | None = None) -> None:
        self.answers, self.node = answers, node
        self.asked: Asked = [] if asked is None else asked

    def at(self, node: str, patience: int = 0) -> Agent:
        return Agent(self.answers, node, self.asked)

    def kernel(self, namespaces: str = "", addresses: str = "") -> HostDump:
        assert addresses.count(",") == 3
        self.asked.append((self.node, namespaces))
        answer = self.answers[self.node]
        if isinstance(answer, WeftError):
            raise answer
        wanted = [path for path in namespaces.split(",") if path not in ("", ALONE)]
        there = {found.path: found for found in answer.namespaces}
        if gone := [path for path in wanted if path not in there]:
            raise NotFound(f"no endpoint here in namespace {gone[0]}")
        if not namespaces:
            return answer
        return msgspec.structs.replace(answer, namespaces=tuple(there[path] for path in ("", *wanted)))

    def endpoints(self) -> tuple[t.EndpointInfo, ...]:
        return ENDPOINTS

    def services(self) -> tuple[s.ServiceInfo, ...]:
        return ()

    def nodes(self) -> tuple[t.NodeInfo, ...]:
        return NODES


@pytest.fixture(scope="module")
def vxlan() -> d.Dumps:
    return d.reference("vxlan")


def snapshot(dumps: d.Dumps) -> Snapshot:
    return Snapshot(dumps=dict(dumps), endpoints=ENDPOINTS, nodes=NODES)


def test_only_hosts_on_the_way_are_asked(vxlan: d.Dumps) -> None:
    agent = Agent(vxlan)
    assert gather(agent, "c1", "c2") == trace(snapshot(vxlan), "c1", "c2")
    assert sorted(agent.asked) == [("node-1", "/run/netns/c1"), ("node-2", "/run/netns/c2")]
    agent.asked.clear()
    assert gather(agent, "node-3", "c4").arrived
    assert sorted(agent.asked) == [("node-3", "host"), ("node-4", "/run/netns/c4")]


def test_a_host_that_the_walk_comes_to_is_asked_then(vxlan: d.Dumps) -> None:
    """node-1 sends to the wrong VTEP: what becomes of the packet there, node-3 knows."""
    [right] = [f for f in vxlan["node-1"].namespaces[0].fdb if f.dst == "192.168.1.254"]
    stray = d.without(vxlan, "node-1", "", "fdb", lambda f: f == right)
    stray = d.with_entry(stray, "node-1", "", "fdb", msgspec.structs.replace(right, dst="192.168.1.245"))
    agent = Agent(stray)
    found = gather(agent, "c1", "c2")
    assert found.there == trace(snapshot(stray), "c1", "c2").there
    assert found.there.outcome.place == "node-3" and [host for host, _ in agent.asked][2:] == ["node-3"]


def test_a_container_that_has_gone_costs_its_own_way_only(vxlan: d.Dumps) -> None:
    rest = tuple(n for n in vxlan["node-2"].namespaces if n.path != "/run/netns/c2")
    agent = Agent({**vxlan, "node-2": msgspec.structs.replace(vxlan["node-2"], namespaces=rest)})
    found = gather(agent, "c1", "c2")
    assert not found.arrived and found.notes == ()
    assert ("node-2", "") in agent.asked


def test_there_and_back(vxlan: d.Dumps) -> None:
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
    agent = Agent({**vxlan, "node-2": Unavailable("node-2 cannot be asked: no agent runs there")})
    found = gather(agent, "c1", "c2")
    assert found.notes == ("node-2 is not seen: node-2 cannot be asked: no agent runs there",)
    assert "continues on node-2" in found.there.outcome.text and not found.arrived
    assert [host for host, _ in agent.asked].count("node-2") == 1
    assert gather(agent, "c1", "c3").arrived
    back = gather(agent, "c2", "c1")
    assert back.there.outcome.ending == "no-state" and back.there.outcome.host == "node-2"


def test_nobody_answers() -> None:
    class Nobody(Agent):
        def nodes(self) -> tuple[t.NodeInfo, ...]:
            raise Denied("use sudo")

    with pytest.raises(Denied, match="use sudo"):
        gather(Nobody({}), "c1", "c2")


def test_answers_come_from_hosts_too_but_what_outside_makes_of_a_container_is_not_known(vxlan: d.Dumps) -> None:
    found = snapshot(vxlan)
    assert trace(found, "node-1", "c2").back is not None
    assert trace(found, "c1", "node-2").back is not None
    there = trace(found, "c1", "203.0.113.10")
    assert there.arrived
    assert there.back is None


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


def test_a_node_that_shares_its_name_with_an_endpoint(vxlan: d.Dumps) -> None:
    twin = msgspec.structs.replace(ENDPOINTS[0], name="node-2", addresses=(ip_interface("40.15.43.2/24"),))
    found = snapshot(vxlan)
    both = msgspec.structs.replace(found, endpoints=(twin, *ENDPOINTS[1:]))
    with pytest.raises(Invalid, match=r"node-2 is more than one: endpoint node-1/node-2 in blue .*, node node-2"):
        trace(both, "c3", "node-2")
    assert trace(both, "c3", "node-1/node-2").arrived
