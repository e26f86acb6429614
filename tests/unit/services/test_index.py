"""The index of members says after any order of changes what a look at everything would say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.base.net import parse_address
from weft.model import Location
from weft.model.identity import NamedPort
from weft.services import index as index_module
from weft.services.index import Index
from weft.services.model import Condition, Draining, Health, Service, ServicePort
from weft.services.record import At

WEB = At("blue", "web")
SELECTS = ("app=web", "app", "app!=db", "app=web,zone=a", "!old", "!old,app=web")


def container(name: str, labels: dict[str, str], *, node: str = "node-1") -> Location:
    return Location(
        node=node, mac="02:42:0a:01:00:02", addresses=(parse_address("10.1.0.2"),), name=name, labels=labels
    )


def ids(index: Index, at: At = WEB) -> list[str]:
    return [member.id for member in index.members(at)]


labels = st.dictionaries(st.sampled_from(["app", "zone", "old"]), st.sampled_from(["web", "db", "a"]))
changes = st.lists(
    st.one_of(
        st.tuples(st.just("service"), st.sampled_from("xyz"), st.none() | st.sampled_from(SELECTS)),
        st.tuples(st.just("names"), st.sampled_from("xyz"), st.lists(st.sampled_from(["c1", "c2", "c3"]))),
        st.tuples(st.just("location"), st.sampled_from(["c1", "c2", "c3"]), st.none() | labels),
    ),
    max_size=30,
)


@given(changes)
@settings(max_examples=200, deadline=None)
def test_members_are_those_that_a_look_at_everything_finds(some: list[tuple[str, str, object]]) -> None:
    index, services, containers = Index(), dict[str, Service](), dict[str, Location]()
    for kind, name, value in some:
        if kind == "location":
            location = container(name, value) if isinstance(value, dict) else None
            index.put_location("blue", name, location)
            containers.pop(name, None)
            if location:
                containers[name] = location
        else:
            chosen = {"select": value} if isinstance(value, str) else {"members": tuple(value or ())}  # type: ignore[arg-type]
            service = Service(name=name, network="blue", **chosen) if value is not None else None  # type: ignore[arg-type]
            index.put_service(At("blue", name), service)
            services.pop(name, None)
            if service:
                services[name] = service
    for name in "xyz":
        wanted = services.get(name)
        found = {id for id, c in containers.items() if wanted and wanted.chooses(c.name, c.namespace, c.labels)}
        assert ids(index, At("blue", name)) == sorted(found)
        for id in containers:
            assert (At("blue", name) in index.of("blue", id)) == (id in found)


def test_only_services_that_a_change_concerns_are_touched() -> None:
    index = Index()
    index.put_service(WEB, Service(name="web", network="blue", select="app=web"))
    index.put_service(At("blue", "db"), Service(name="db", network="blue", select="app=db"))
    index.put_service(At("red", "web"), Service(name="web", network="red", select="app=web"))
    index.taken()
    index.put_location("blue", "c1", container("c1", {"app": "web"}))
    assert index.taken() == {WEB}
    index.put_location("blue", "c1", container("c1", {"app": "db"}))
    assert index.taken() == {WEB, At("blue", "db")}
    index.put_location("blue", "c2", container("c2", {"app": "cache"}))
    assert index.taken() == set()


def test_a_change_tries_the_services_and_containers_that_it_concerns(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many others there are, and whichever were there first."""
    tried, chooses = list[str](), index_module._chooses

    def counted(service: Service, there: Location) -> bool:
        tried.append(service.name)
        return chooses(service, there)

    monkeypatch.setattr(index_module, "_chooses", counted)
    index = Index()
    for n in range(1000):
        index.put_location("blue", f"c{n:03}", container(f"c{n:03}", {"app": f"a{n // 5}", "zone": str(n % 3)}))
    for n in range(200):
        index.put_service(At("blue", f"s{n}"), Service(name=f"s{n}", network="blue", select=f"app=a{n},zone"))
    assert len(tried) == 1000, "each service has tried its own five containers"
    index.put_service(At("blue", "names"), Service(name="names", network="blue", members=("c001", "c999")))
    assert len(tried) == 1002 and ids(index, At("blue", "names")) == ["c001", "c999"]
    index.put_location("blue", "c000", None)
    index.put_location("blue", "new", container("new", {"app": "a7"}))
    assert len(tried) == 1003, (
        "one that goes is tried on nothing, one that comes on the service that asks for its label"
    )
    for n in range(1000):
        index.put_location("blue", f"c{n:03}", None)
    index.put_location("blue", "new", None)
    assert not index._having, "nothing is left of those that went"


def test_a_member_is_ready_when_its_own_host_says_so() -> None:
    index = Index()
    index.put_service(WEB, Service(name="web", network="blue", select="app=web", health=Health(kind="tcp")))
    index.put_location("blue", "c1", container("c1", {"app": "web"}))
    [member] = index.members(WEB)
    assert (member.state, member.reason) == ("unready", "not checked yet")
    index.put_condition(WEB, "c1", Condition(node="node-2", ready=True, since=1.0))
    assert [m.state for m in index.members(WEB)] == ["unready"]  # said by a host that it has left
    index.put_condition(WEB, "c1", Condition(node="node-1", ready=True, since=1.0))
    assert [m.takes for m in index.members(WEB)] == [True]
    index.put_condition(WEB, "c1", Condition(node="node-1", ready=False, since=2.0, reason="refused"))
    assert [(m.state, m.reason) for m in index.members(WEB)] == [("unready", "refused")]


def test_one_that_is_drained_has_its_time() -> None:
    index = Index()
    draining = (Draining(member="c1", until=100.0),)
    index.put_service(WEB, Service(name="web", network="blue", select="app", draining=draining))
    index.put_location("blue", "c1", container("c1", {"app": "web"}))
    assert [m.state for m in index.members(WEB, now=99.0)] == ["draining"]
    assert [m.state for m in index.members(WEB, now=100.0)] == ["out"]


def test_a_port_by_name_is_what_each_member_calls_so() -> None:
    port = ServicePort(port=80, target="http")
    assert port.of((NamedPort("http", "tcp", 8080), NamedPort("http", "udp", 9090))) == 8080
    assert port.of(()) is None
    assert ServicePort(port=80).of(()) == 80
