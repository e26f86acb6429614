"""Histories of a model for tests: what a store might tell one agent, commit by commit, by hypothesis."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from hypothesis import strategies as st

from support import service_models
from support.policy_models import LABELS, POLICY, SPACES
from weft.datapaths._tunnel import VTEP_MAC
from weft.datapaths.driver import Host
from weft.model import Endpoint, Lease, Location, Namespace, Network, Node, encode, keys
from weft.policy.model import Namespace as Namespaced
from weft.policy.record import NAMESPACE, policy_key
from weft.services.model import Service
from weft.services.record import CONDITION, SERVICE
from weft.store.protocol import Change, Item

ME = "node-1"
NODES = (ME, "node-2", "node-3", "node-4")
NETWORKS = ("apple", "berry", "cherry")
PATHS = ("/run/netns/c1", "/run/netns/c2")


@st.composite
def nodes(draw: st.DrawFn, name: str) -> Node:
    n = NODES.index(name) + 1
    site = draw(st.sampled_from([1, 1, 2]))
    v4, v6 = ip_interface(f"192.168.{site}.{n}/24"), ip_interface(f"fd00:192:{site}::{n}/64")
    addresses = draw(st.sampled_from([(v4, v6), (v4, v6), (v4,), (v6,)]))
    segment, number = draw(st.sampled_from(["", "", "rack"])), draw(st.sampled_from([0, n, n]))
    return Node(name=name, addresses=addresses, uplink="eth0", segment=segment, number=number)


@st.composite
def hosts(draw: st.DrawFn) -> Host:
    return Host(node=draw(nodes(ME)), advertised=draw(st.sampled_from([frozenset(), frozenset({"eth0"})])))


@st.composite
def networks(draw: st.DrawFn, name: str) -> Network:
    n = NETWORKS.index(name) + 1
    driver = draw(st.sampled_from(["bridge", "vxlan", "vxlan", "host-gw", "overlay", "overlay", "from-the-future"]))
    options: dict[str, str | int | bool] = draw(st.sampled_from([{}, {"reserve": f"10.{n}.9.0/28"}, {"novel": "1"}]))
    if driver == "vxlan":
        more: dict[str, str | int | bool] = {
            "vni": n,
            "underlay": draw(st.sampled_from(["ipv4", "ipv4", "ipv6"])),
            "direct-routing": draw(st.booleans()),
        }
        options = options | more
    if driver == "overlay":
        options = options | {"vni": 255 + n, "flood": draw(st.booleans())}
    prefixes = (ip_network(f"10.{n}.0.0/16"), ip_network(f"fd00:{n}::/48"))
    return Network(
        name=name,
        driver=driver,
        subnets=prefixes if "reserve" not in options and draw(st.booleans()) else prefixes[:1],
        options=options,
        internal=draw(st.booleans()),
        mtu=draw(st.sampled_from([None, None, 1400])),
    )


@st.composite
def leases(draw: st.DrawFn, network: str, node: str) -> Lease:
    n, m = NETWORKS.index(network) + 1, NODES.index(node) + 1
    subnets = (ip_network(f"10.{n}.{m}.0/24"), ip_network(f"fd00:{n}:0:{m}::/64"))
    told = draw(st.sampled_from([True, True, True, False]))
    return Lease(
        network=network,
        node=node,
        subnets=subnets[: draw(st.sampled_from([1, 2]))],
        data={VTEP_MAC: f"02:00:00:00:0{n}:0{m}"} if told else {},
    )


@st.composite
def locations(draw: st.DrawFn, network: str, number: int) -> Location:
    """Of a container on any node, this one's included; at times one that has moved, or got another address."""
    n, octet = NETWORKS.index(network) + 1, 20 + number + draw(st.sampled_from([0, 0, 10]))
    addresses = (ip_address(f"10.{n}.7.{octet}"), ip_address(f"fd00:{n}::7:{octet}"))
    return Location(
        node=draw(st.sampled_from(NODES)),
        mac=f"02:42:0a:0{n}:07:{octet}",
        addresses=addresses[: draw(st.sampled_from([1, 2]))],
        labels=draw(LABELS),
        namespace=draw(SPACES),
    )


def services(network: str, number: int) -> st.SearchStrategy[Service]:
    ids = _id(network, 0), _id(network, 1)
    return service_models.services(network, number, NETWORKS.index(network) + 1, ids)


def _id(network: str, number: int) -> str:
    return f"{NETWORKS.index(network) + 1}{number}" + "0" * 14


@st.composite
def endpoints(draw: st.DrawFn, network: str, number: int) -> Endpoint:
    n = NETWORKS.index(network) + 1
    return Endpoint(
        id=_id(network, number),
        name=f"c{number}",
        network=network,
        node=ME,
        container=f"c{number}",
        namespace=Namespace(path=PATHS[number], cookie=number + 1),
        interface=f"eth{n}",
        mac=f"02:42:0a:0{n}:01:0{number}",
        addresses=(ip_interface(f"10.{n}.1.{draw(st.sampled_from([5, 6]))}/24"),),
        labels=draw(LABELS),
        policy_namespace=draw(SPACES),
    )


@st.composite
def commits(draw: st.DrawFn, revision: int) -> tuple[Change, ...]:
    """What one transaction changes."""
    network, node = draw(st.sampled_from(NETWORKS)), draw(st.sampled_from(NODES))
    number = draw(st.integers(0, 1))
    wish: st.SearchStrategy[Any]
    match draw(
        st.sampled_from(
            [
                "network",
                "network",
                "node",
                "presence",
                "lease",
                "lease",
                "lease",
                "endpoint",
                "location",
                "policy",
                "space",
                "service",
                "condition",
            ]
        )
    ):
        case "network":
            key, wish = keys.network(network), networks(network)
        case "node":
            key, wish = keys.node(node), nodes(node)
        case "presence":
            there = draw(st.booleans())
            return (Change(keys.presence(node), b"i" if there else None, revision),)
        case "lease":
            key, wish = keys.lease(network, node), leases(network, node)
        case "policy":
            found = draw(POLICY)
            key, wish = policy_key(found), st.just(found)
        case "space":
            name = draw(SPACES)
            key, wish = NAMESPACE.key(name), st.builds(Namespaced, name=st.just(name), labels=LABELS)
        case "service":
            key, wish = SERVICE.key(network, service_models.NAMES[number]), services(network, number)
        case "condition":
            name, id = draw(st.sampled_from(service_models.NAMES)), _id(network, number)
            key, wish = CONDITION.key(network, name, id), service_models.CONDITION
        case "location":
            key, wish = keys.location(network, _id(network, number)), locations(network, number)
        case _:
            made = endpoints(network, number)
            key, wish = keys.endpoint(ME, network, draw(made).id), made
    if draw(st.sampled_from([True, True, False])):
        return (Change(key, encode(draw(wish)), revision),)
    if key.startswith(keys.NETWORKS):  # as remove_network does
        leased = [Change(keys.lease(network, name), None, revision) for name in NODES]
        inside = [Change(keys.endpoint(ME, network, _id(network, i)), None, revision) for i in (0, 1)]
        located = [Change(keys.location(network, _id(network, i)), None, revision) for i in (0, 1)]
        served = [Change(SERVICE.key(network, name), None, revision) for name in service_models.NAMES]
        return (Change(key, None, revision), *leased, *inside, *located, *served)
    return (Change(key, None, revision),)


@st.composite
def histories(draw: st.DrawFn, longest: int = 12) -> list[tuple[Change, ...]]:
    """Most begin with all nodes, networks and leases there, so that there is something to lose."""
    start: list[tuple[str, object]] = []
    if draw(st.sampled_from([True, True, True, False])):
        start += [(keys.node(n), draw(nodes(n))) for n in NODES]
        start += [(keys.network(n), draw(networks(n))) for n in NETWORKS]
        start += [(keys.lease(n, m), draw(leases(n, m))) for n in NETWORKS for m in NODES]
        inside = [draw(endpoints(n, i)) for n in NETWORKS[:2] for i in (0, 1)]
        start += [(keys.endpoint(ME, e.network, e.id), e) for e in inside]
        start += [(keys.location(n, _id(n, i)), draw(locations(n, i))) for n in NETWORKS for i in (0, 1)]
        start += [(SERVICE.key(n, s.name), s) for n in NETWORKS for s in [draw(services(n, 0))]]
        start += [(policy_key(found), found) for found in draw(st.lists(POLICY, max_size=2, unique_by=policy_key))]
    first = [Change(key, encode(value), 1) for key, value in start]
    first += [Change(keys.presence(n), b"i", 1) for n in NODES[:3]]
    count = draw(st.integers(0, longest))
    return [tuple(first), *(draw(commits(revision)) for revision in range(2, count + 2))]


def state(history: Iterable[tuple[Change, ...]], revision: int | None = None) -> list[Item]:
    """What the store holds after `revision`; None: after all."""
    found: dict[str, Item] = {}
    for commit in history:
        for change in commit:
            if revision is not None and change.revision > revision:
                return list(found.values())
            if change.value is None:
                found.pop(change.key, None)
            else:
                found[change.key] = Item(change.key, change.value, change.revision)
    return list(found.values())
