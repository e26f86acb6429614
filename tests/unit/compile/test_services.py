"""How much work a change of services is: counted, not timed."""

from __future__ import annotations

from collections.abc import Set
from ipaddress import ip_address

import pytest

from support import lab
from weft.cluster.changes import Changed
from weft.cluster.view import View
from weft.compile import services
from weft.compile.compiler import Compiler
from weft.datapaths.driver import Host
from weft.hoststate import Key, NftElement, Union
from weft.hoststate.union import Source
from weft.model import Location, encode, keys, records
from weft.services.model import Service, ServicePort
from weft.services.record import CONDITIONS, SERVICE
from weft.store.protocol import Change

SERVICES, MEMBERS = 200, 5


class Cluster:
    """What one host wants, as the store's changes come."""

    def __init__(self) -> None:
        here, other, network = lab.node("node-1"), lab.node("node-2"), lab.network("vxlan")
        self.view, self._changed, self._revision = View(here.name), Changed(), 0
        self.view.subscribe("the test", lambda changed: self._changed.update(changed))
        for record in (records.LOCATIONS, CONDITIONS):
            self.view.open(record, network.name)
        self.dead: set[str] = set()
        self.compiler, self.union = Compiler(self.view, self.dead), Union()
        self.compiler.host = Host(node=here)
        self.tell((keys.network(network.name), encode(network)))
        for node in (here, other):
            self.tell((keys.node(node.name), encode(node)))
            self.tell((keys.lease(network.name, node.name), encode(lab.lease(network, node))))

    def tell(self, *items: tuple[str, bytes | None]) -> None:
        self._revision += 1
        self.view.apply([Change(key, value, self._revision) for key, value in items])

    def settle(self) -> tuple[Set[Source], Set[Key]]:
        """The sources that had to be compiled again, and the objects that differ."""
        changed, self._changed = self._changed, Changed()
        touched, differing = self.compiler.touched(changed), set[Key]()
        for source in touched:
            differing |= self.union.set(source, self.compiler.contribution(source))
        return {source for source in touched if source.contributor == services.NAME}, differing


def location(number: int, app: str) -> tuple[str, bytes]:
    there = Location(
        node="node-2",
        mac="02:42:0a:01:00:02",
        addresses=(ip_address("40.15.26.2") + number % 200,),
        name=f"c{number}",
        labels={"app": app},
    )
    return keys.location("blue", f"{number:016x}"), encode(there)


def service(number: int, port: int = 80) -> tuple[str, bytes]:
    found = Service(
        name=f"s{number}",
        network="blue",
        select=f"app=a{number}",
        ports=(ServicePort(port=port, target=8080),),
        addresses=(ip_address("40.15.250.0") + number,),
    )
    return SERVICE.key("blue", found.name), encode(found)


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    found = Cluster()
    found.tell(*(service(n) for n in range(SERVICES)))
    found.tell(*(location(n, f"a{n // MEMBERS}") for n in range(SERVICES * MEMBERS)))
    touched, _ = found.settle()
    assert len(touched) == SERVICES
    return found


def own(number: int) -> set[Source]:
    return {Source(services.NAME, "blue", f"s{number}")}


def about(differing: Set[Key], number: int) -> bool:
    """Whether all that differs is of one service."""
    address = f"40.15.250.{number}"
    return all(any(part.startswith((address, "40.15.26.")) for part in key) for key in differing)


def test_a_member_costs_its_own_service(cluster: Cluster) -> None:
    key, there = location(7, "a1")
    cluster.tell((key, None))
    touched, differing = cluster.settle()
    assert touched == own(1)
    assert 0 < len(differing) < 3 * MEMBERS and about(differing, 1)
    cluster.tell((key, there))
    assert cluster.settle()[0] == own(1)


def test_a_member_that_changes_its_label_costs_two(cluster: Cluster) -> None:
    cluster.tell(location(7, "a2"))
    assert cluster.settle()[0] == own(1) | own(2)
    cluster.tell(location(7, "a1"))
    assert cluster.settle()[0] == own(1) | own(2)


def test_what_is_no_member_costs_no_service(cluster: Cluster) -> None:
    cluster.tell(location(9999, "else"))
    assert cluster.settle()[0] == set()


def test_a_service_costs_itself(cluster: Cluster) -> None:
    cluster.tell(service(3, port=81))
    touched, differing = cluster.settle()
    assert touched == own(3) and about(differing, 3)
    assert len(differing) < 8 * MEMBERS
    cluster.tell((service(3)[0], None))
    assert cluster.settle()[0] == own(3)
    cluster.tell(service(3))
    cluster.settle()


def test_members_on_a_dead_node_are_none(cluster: Cluster) -> None:
    """Until it is back; what has no member is refused by its address alone."""

    def elements() -> set[str]:
        return {o.set for o in cluster.union.desired.values() if isinstance(o, NftElement)}

    def heard() -> int:
        touched = cluster.compiler.of_nodes({"node-2"})
        for source in touched:
            cluster.union.set(source, cluster.compiler.contribution(source))
        return len({source for source in touched if source.contributor == services.NAME})

    assert {"services4", "members-tcp4", "held4", "virtual4"} <= elements()
    cluster.dead.add("node-2")
    assert heard() == SERVICES
    assert not {"services4", "members-tcp4", "held4"} & elements() and "virtual4" in elements()
    cluster.dead.clear()
    assert heard() == SERVICES
    assert {"services4", "members-tcp4", "held4"} <= elements()
