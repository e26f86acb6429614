"""Small worlds with policies, of few names, so that much of it meets."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_interface, ip_network
from itertools import product

from hypothesis import strategies as st

from weft.model import Node
from weft.policy.model import (
    Identity,
    NamedPort,
    Namespace,
    NetworkSet,
    Peer,
    Policy,
    PortRange,
    Rule,
    Tier,
    Traffic,
    Who,
)
from weft.policy.verdict import End, Packet
from weft.policy.world import World

NODES = ("n1", "n2")
ADDRESSES_OF_NODES = {"n1": ("192.0.2.1", "2001:db8::1"), "n2": ("192.0.2.2", "2001:db8::2")}
LABELS = {"n1": {"rack": "a"}, "n2": {"rack": "b"}}
NAMED = (NamedPort("web", "tcp", 80), NamedPort("dns", "udp", 53))


def node(name: str) -> Node:
    addresses = tuple(ip_interface(f"{a}/{24 if ip_address(a).version == 4 else 64}") for a in ADDRESSES_OF_NODES[name])
    return Node(name=name, addresses=addresses, uplink="eth0", mtu=1500, labels=LABELS[name], instance=name)


def identity(
    namespace: str, pod: str, number: int, network: str = "blue", *, ports: Sequence[NamedPort] = ()
) -> Identity:
    return Identity(
        id=f"{namespace}{pod}",
        name=f"{namespace}-{pod}",
        network=network,
        node=NODES[number % 2],
        addresses=(ip_address(f"10.1.0.{number}"), ip_address(f"fd00:1::{number}")),
        namespace=namespace,
        labels={"pod": pod},
        ports=tuple(ports),
    )


IDENTITIES = tuple(
    identity(ns, pod, n, "red" if ns == "y" else "blue", ports=NAMED if pod == "a" else ())
    for n, (ns, pod) in enumerate(product("xy", "ab"), 1)
)
NAMESPACES = {ns: Namespace(name=ns, labels={"ns": ns}) for ns in "xy"}
NETWORK_SETS = (
    NetworkSet(name="near", labels={"set": "near"}, cidrs=(ip_network("198.51.100.0/24"), ip_network("fd00:9::/64"))),
    NetworkSet(name="all", labels={"set": "far"}, cidrs=(ip_network("0.0.0.0/0"),)),
)
OUTSIDE = ("198.51.100.7", "203.0.113.9", "fd00:9::7")


def world(*policies: Policy, tiers: Sequence[Tier] = ()) -> World:
    return World(
        policies, tiers=tiers, namespaces=NAMESPACES, network_sets=NETWORK_SETS, nodes={n: node(n) for n in NODES}
    )


def ends(family: int) -> list[End]:
    found = [End(address=a, identity=i) for i in IDENTITIES for a in i.addresses]
    found += [End(address=ip_address(a), node=n) for n in NODES for a in ADDRESSES_OF_NODES[n]]
    found += [End(address=ip_address(a)) for a in OUTSIDE]
    return [end for end in found if end.address.version == family]


PACKETS = (
    *(Packet(protocol=protocol, port=port) for protocol in ("tcp", "udp") for port in (53, 80, 8080, None)),
    Packet(protocol="icmp", icmp_type=8, icmp_code=0),
    Packet(protocol="icmpv6", icmp_type=128, icmp_code=0),
    Packet(protocol="gre"),
)


def packets(family: int) -> list[Packet]:
    """Those that there are in a family."""
    return [packet for packet in PACKETS if packet.protocol != ("icmpv6" if family == 4 else "icmp")]


_WHO = st.builds(
    Who,
    selector=st.sampled_from(["", "pod == 'a'", "pod != 'a'", "has(nothing)"]),
    namespaces=st.sampled_from([None, "ns == 'x'", "ns in {'x', 'y'}", "has(nothing)"]),
    networks=st.sampled_from([(), ("blue",), ("red", "blue")]),
)
_CIDRS = st.lists(
    st.sampled_from(["10.1.0.0/30", "10.1.0.3/32", "0.0.0.0/0", "fd00:1::/64", "203.0.113.0/24"]).map(ip_network),
    max_size=2,
    unique=True,
).map(tuple)
_PEERS = st.lists(
    st.builds(
        Peer,
        who=st.none() | _WHO,
        cidrs=_CIDRS,
        excepts=_CIDRS,
        nodes=st.sampled_from([None, None, "rack == 'b'"]),
        sets=st.sampled_from([None, None, "set == 'near'", "set == 'far'"]),
    ),
    max_size=2,
).map(tuple)
_PORTS = st.lists(
    st.sampled_from([PortRange(80, 80), PortRange(50, 100), PortRange(1, 65535), "web", "dns"]), max_size=2, unique=True
).map(tuple)
_TRAFFIC = st.lists(
    st.builds(Traffic, protocol=st.sampled_from(["", "tcp", "udp", "icmp", "47"]))
    | st.builds(Traffic, protocol=st.sampled_from(["tcp", "udp"]), ports=_PORTS)
    | st.sampled_from([Traffic(protocol="icmp", icmp_type=8), Traffic(protocol="icmpv6", icmp_type=128, icmp_code=1)]),
    max_size=2,
).map(tuple)
_NONE = st.just(())
RULES = st.builds(
    Rule,
    action=st.sampled_from(["allow", "deny", "pass", "log"]),
    peers=_NONE | _PEERS,
    no_peers=_NONE | _NONE | _PEERS.map(lambda peers: peers[:1]),
    traffic=_NONE | _TRAFFIC,
    no_traffic=_NONE | _TRAFFIC.map(lambda traffic: traffic[:1]),
)
"""Few of them say much, else none would fit anything."""
_RULES = st.none() | st.lists(RULES, max_size=3).map(tuple)
TIER = Tier(name="mine", order=500.0, default="deny")


def _policy(number: int, parts: tuple[Who | None, str, float | None, object, object]) -> Policy:
    subject, tier, order, ingress, egress = parts
    return Policy(
        id=f"policy//p{number}",
        kind="Policy",
        name=f"p{number}",
        tier=tier,
        order=order,
        subject=subject,
        ingress=ingress,  # type: ignore[arg-type]
        egress=egress,  # type: ignore[arg-type]
    )


POLICIES = st.lists(
    st.tuples(
        st.just(Who()) | _WHO | st.none(),
        st.sampled_from(["mine", "admin", "default", "baseline", "unknown"]),
        st.none() | st.sampled_from([1.0, 2.0]),
        _RULES,
        _RULES,
    ),
    max_size=4,
).map(lambda found: tuple(_policy(n, parts) for n, parts in enumerate(found)))
