"""Networks with the same subnets."""

from __future__ import annotations

from ipaddress import ip_network

from weft.model import Network
from weft.policy.implicit import implicit
from weft.policy.model import Peer, Policy, Who

POOL = (ip_network("10.5.0.0/16"),)
OTHER = (ip_network("10.6.0.0/16"),)


def network(name: str, reach: str | None, share: str = "", subnets: tuple = POOL) -> Network:  # type: ignore[type-arg]
    options = {} if reach is None else {"reach": reach}
    return Network(name=name, driver="routed", subnets=subnets, share=share, options=options)


def policies(*networks: Network) -> dict[str, Policy]:
    found = {p.name: p for p in implicit({n.name: n for n in networks})}
    assert all(p.ingress == p.egress and p.tier == "isolation" for p in found.values())
    assert all(p.subject == Who(networks=(p.name,)) for p in found.values())
    return found


def denied(policy: Policy) -> list[tuple[tuple, tuple]]:  # type: ignore[type-arg]
    """(subnets, the networks whose containers are excepted) of each rule."""
    assert policy.ingress is not None
    return [
        (rule.peers[0].cidrs, tuple(name for peer in rule.no_peers if peer.who for name in peer.who.networks))
        for rule in policy.ingress
        if rule.action == "deny"
    ]


def test_networks_with_subnets_of_their_own_need_none() -> None:
    assert policies(network("red", "self"), network("blue", "self", subnets=OTHER)) == {}


def test_a_group_that_is_open_as_it_was_needs_none() -> None:
    assert policies(network("red", None), network("blue", None, "red")) == {}


def test_each_of_a_group_reaches_its_own_containers_only() -> None:
    found = policies(network("red", "self"), network("blue", "self", "red"))
    assert {name: denied(policy) for name, policy in found.items()} == {
        "red": [(POOL, ("red",))],
        "blue": [(POOL, ("blue",))],
    }
    assert found["red"].ingress and found["red"].ingress[0].peers == (Peer(cidrs=POOL),)


def test_two_of_a_group_that_name_each_other_are_open_to_each_other() -> None:
    found = policies(network("a", "b"), network("b", "a", "a"), network("c", "b", "a"))
    assert {name: denied(policy)[0][1] for name, policy in found.items()} == {
        "a": ("a", "b"),
        "b": ("a", "b"),
        "c": ("c",),
    }


def test_a_new_one_beside_an_old_one_is_closed_on_both_sides() -> None:
    found = policies(network("old", None), network("new", "self", "old"))
    assert {name: denied(policy)[0][1] for name, policy in found.items()} == {"old": ("old",), "new": ("new",)}


def test_what_one_of_a_group_reaches_outside_is_not_for_the_others() -> None:
    far = network("far", "red", subnets=OTHER)
    found = policies(network("red", "far"), network("blue", "self", "red"), far)
    assert denied(found["red"]) == [(POOL, ("red",))]
    assert denied(found["blue"]) == [(POOL, ("blue",)), (OTHER, ())]
