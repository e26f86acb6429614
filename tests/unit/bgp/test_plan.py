"""Who connects to whom, how that is protected, and what is believed."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from weft.bgp.plan import Model, PlannedSession, Speaker, speaker
from weft.model import BgpSettings, Lease, Network, Node

NETWORK = Network(name="prod", driver="routed", subnets=(ip_network("197.19.0.0/16"),))
NAMES = tuple(f"node-{number}" for number in range(6))


def passive(reflectors: tuple[str, ...]) -> dict[tuple[str, str], bool]:
    """By (node, the other): whether it waits for the other to connect."""
    nodes = {
        name: Node(
            name=name,
            addresses=(ip_interface(f"192.168.1.{number + 1}/24"),),
            uplink="eth0",
            labels={"route-reflector": "224.0.0.1"} if name in reflectors else {},
        )
        for number, name in enumerate(NAMES)
    }
    leases = {name: Lease(network="prod", node=name, subnets=()) for name in NAMES}
    model = Model(
        nodes=nodes,
        networks={"prod": NETWORK},
        leases={"prod": leases},
        endpoints=(),
        settings=BgpSettings(),
        peers={},
    )
    found = {name: speaker(node, model) for name, node in nodes.items()}
    return {(name, s.with_): s.passive for name, one in found.items() if one for s in one.sessions}


@pytest.mark.parametrize("reflectors", [(), ("node-0",), ("node-5", "node-2")])
def test_of_two_one_connects(reflectors: tuple[str, ...]) -> None:
    waits = passive(reflectors)
    assert waits and all(waits[b, a] is not there for (a, b), there in waits.items())


@pytest.mark.parametrize("reflector", NAMES)
def test_a_reflector_connects_to_its_clients_wherever_its_address_is(reflector: str) -> None:
    waits = passive((reflector,))
    assert [there for (name, _), there in waits.items() if name == reflector] == [False] * 5
    assert sum(waits.values()) == 5


BOTH = ("ttl", "password")
SECRET = "5e" * 32


def node(name: str, *addresses: str, guards: tuple[str, ...] = BOTH, **more: object) -> Node:
    values = {"name": name, "addresses": tuple(map(ip_interface, addresses)), "uplink": "eth0", "bgp_guards": guards}
    return Node(**{**values, **more})  # type: ignore[arg-type]


def spoken(me: str, *nodes: Node, blocks: dict[str, str] | None = None, **model: object) -> Speaker:
    """`blocks`: by node."""
    held = blocks or {}
    leases = {
        n.name: Lease(network="prod", node=n.name, subnets=tuple(map(ip_network, held.get(n.name, "").split())))
        for n in nodes
    }
    values = {
        "nodes": {n.name: n for n in nodes},
        "networks": {"prod": NETWORK},
        "leases": {"prod": leases},
        "endpoints": (),
        "settings": BgpSettings(),
        "peers": {},
        "secret": SECRET,
    }
    found = speaker(next(n for n in nodes if n.name == me), Model(**{**values, **model}))  # type: ignore[arg-type]
    assert found is not None
    return found


def between(me: str, other: str, *nodes: Node, **model: object) -> PlannedSession:
    (found,) = [s for s in spoken(me, *nodes, **model).sessions if s.with_ == other]
    return found


def ends(one: Node, other: Node, **model: object) -> tuple[PlannedSession, PlannedSession]:
    return between(one.name, other.name, one, other, **model), between(other.name, one.name, one, other, **model)


def test_both_ends_have_one_password_and_no_other_session_has_it() -> None:
    a, b, c = (node(f"n{i}", f"10.0.0.{i}/24") for i in (1, 2, 3))
    one, other = ends(a, b)
    assert one.password == other.password != "" and len(one.password) <= 80
    assert len({between("n1", "n2", a, b, c).password, between("n1", "n3", a, b, c).password}) == 2
    assert ends(a, b, secret="00" * 32)[0].password != one.password
    assert one.ttl_security and other.ttl_security


@pytest.mark.parametrize("guards", [(), ("ttl",), ("password",)])
def test_a_session_has_what_both_ends_can_do(guards: tuple[str, ...]) -> None:
    for session in ends(node("n1", "10.0.0.1/24"), node("n2", "10.0.0.2/24", guards=guards)):
        assert bool(session.password) is ("password" in guards) and session.ttl_security is ("ttl" in guards)
    (told,) = spoken("n1", node("n1", "10.0.0.1/24"), node("n2", "10.0.0.2/24", guards=())).problems
    assert told.startswith("BGP sessions have no password with n2: an agent of an older version")
    (told,) = spoken("n2", node("n1", "10.0.0.1/24"), node("n2", "10.0.0.2/24", guards=())).problems
    assert told.startswith("the kernel of n2 has no TCP MD5")


@pytest.mark.parametrize(
    ("one", "other", "adjacent"),
    [
        (node("n1", "10.0.0.1/24"), node("n2", "10.0.0.2/24"), True),
        (node("n1", "10.0.0.1/24"), node("n2", "10.0.1.2/24"), False),
        (node("n1", "10.0.0.1/24"), node("n2", "10.0.1.2/16"), False),  # only n2 thinks so
        (node("n1", "10.0.0.1/24", segment="a"), node("n2", "10.0.0.2/24", segment="b"), False),
        (node("n1", "10.0.0.1/24", segment="a"), node("n2", "10.0.1.2/24", segment="a"), False),  # but no prefix
        (node("n1", "10.0.0.1/24", segment="a"), node("n2", "10.0.0.2/24", segment="a"), True),
    ],
)
def test_ttl_security_is_where_both_ends_see_no_router_between(one: Node, other: Node, adjacent: bool) -> None:
    assert [s.ttl_security for s in ends(one, other)] == [adjacent] * 2
    assert all(s.password for s in ends(one, other))


def test_of_a_node_its_own_is_believed_and_of_a_reflector_what_is_each_nodes() -> None:
    reflector = node("n3", "10.0.0.3/24", labels={"route-reflector": "224.0.0.1"})
    nodes = node("n1", "10.0.0.1/24"), node("n2", "10.0.0.2/24"), reflector
    held = {"n1": "197.19.1.0/26", "n2": "197.19.2.0/26 197.19.3.0/26"}
    floating = [(ip_address("203.0.113.7"), "n2"), (ip_address("203.0.113.8"), "gone")]
    direct = between("n3", "n2", *nodes, blocks=held, floating=floating)
    assert list(map(str, direct.announces)) == ["197.19.2.0/26", "197.19.3.0/26", "203.0.113.7/32"]
    assert not direct.reflects and between("n1", "n3", *nodes, blocks=held).reflects
    client = spoken("n1", *nodes, blocks=held, floating=floating)
    assert {str(o.next_hop): list(map(str, o.prefixes)) for o in client.origins} == {
        "10.0.0.2": ["197.19.2.0/26", "197.19.3.0/26", "203.0.113.7/32"]
    }


OLD, NEW = node("old", "10.0.0.2/24", asn=65001), node("new", "10.0.0.2/24", asn=65002)
ME = node("n1", "10.0.0.1/24")


@pytest.mark.parametrize("present", [{"new"}, {"new", "old"}, set()])
def test_a_host_reinstalled_under_another_name_is_spoken_to_by_its_new_one(present: set[str]) -> None:
    """The old name's record stays for a day; while neither agent lives, the later one is right all the same."""
    registered = {"old": 5, "new": 9}
    found = spoken("n1", ME, OLD, NEW, present=present, registered=registered)
    assert [(s.with_, s.asn) for s in found.sessions] == [("new", 65002)]
    assert bool(found.problems) is ("old" in present)
    back = spoken("n1", ME, OLD, NEW, present={"old"}, registered=registered)
    assert [(s.with_, s.asn) for s in back.sessions] == [("old", 65001)]


def test_a_host_does_not_speak_to_its_own_former_self() -> None:
    found = spoken("new", ME, OLD, NEW, present={"new", "n1"})
    assert [s.with_ for s in found.sessions] == ["n1"] and not found.problems
