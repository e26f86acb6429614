"""A node's lease of a network, and whether a new network has room beside what exists.

Pure: says which lease to write and which claims to create with it. Two nodes that decide at the same time from the same
listing may want one subnet; creating its claim (`weft.model.keys.subnet_claim`) in the same transaction lets one of
them through, and the other lists again and asks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from weft.alloc import subnets
from weft.alloc.subnets import SUFFIX, Plan
from weft.base.errors import Conflict
from weft.base.net import IPNetwork, covers, family
from weft.model import Lease, Network, Node, keys


class Acquired(msgspec.Struct, frozen=True, kw_only=True):
    """`claims`: keys to create together with the lease, each of which must not exist. `changed`: there is something to
    write; if not, lease and claims are in the store as they should be."""

    lease: Lease
    claims: tuple[str, ...]
    changed: bool


def acquire(
    plans: Iterable[Plan],
    node: str,
    leases: Mapping[str, Lease],
    claimed: Mapping[IPNetwork, str],
    data: dict[str, str],
) -> Acquired:
    """The lease of `node`: what it holds already stays, with `data` brought up to date. Raises Exhausted.

    `plans`: of one network, all its families. `leases`: the network's, by node. `claimed`: the network's claimed
    subnets and their holders: the claim decides. One of the node's own is taken up again where the lease
    was lost, and made again where the claim was lost.
    """
    shares = tuple(plans)
    network = shares[0].network
    old = leases.get(node)
    mine = [subnet for subnet in old.subnets if claimed.get(subnet, node) == node] if old else []
    mine += [subnet for subnet, holder in claimed.items() if holder == node]
    others = [subnet for lease in leases.values() if lease.node != node for subnet in lease.subnets]
    others += [subnet for subnet, holder in claimed.items() if holder != node]
    held = [_kept(plan, mine) or subnets.choose(plan, node, others) for plan in shares]
    lease = Lease(network=network, node=node, subnets=tuple(held), data=data)
    wanted = tuple(keys.subnet_claim(network, subnet) for subnet in held if claimed.get(subnet) != node)
    return Acquired(lease=lease, claims=wanted, changed=lease != old or bool(wanted))


def given(
    network: str, node: str, subnets: Iterable[IPNetwork], claimed: Mapping[IPNetwork, str], data: dict[str, str]
) -> Acquired:
    """The lease of subnets that were given to `node` by somebody else than us. Raises Conflict where one is another node's."""
    held = tuple(subnets)
    for subnet in held:
        if claimed.get(subnet, node) != node:
            raise Conflict(
                f"network {network}: {subnet}, which is given to {node}, is held by {claimed[subnet]}: give one of the two up"
            )
    lease = Lease(network=network, node=node, subnets=held, data=data)
    wanted = tuple(keys.subnet_claim(network, subnet) for subnet in held if subnet not in claimed)
    return Acquired(lease=lease, claims=wanted, changed=True)


def check_new(network: Network, others: Iterable[Network], nodes: Iterable[Node] = ()) -> None:
    """Raises Conflict if the network's name or addresses are in use, by another network or by the hosts themselves."""
    for other in others:
        if other.name == network.name:
            raise Conflict(f"network {network.name} exists: choose another name, or remove it with weft network rm")
        clash = None if other.home == network.home else network.overlap(other)
        if clash:
            mine, theirs = clash
            raise Conflict(
                f"network {network.name}: {mine} overlaps {theirs} of network {other.name}: choose another --subnet"
            )
    for node in nodes:
        _check_underlay(network, node)


def check_apart(network: Network, gateways: Iterable[IPNetwork]) -> None:
    """Raises Conflict where the network overlaps what this host gives to containers' second interface."""
    for subnet in gateways:
        mine = next((s for s in network.subnets if covers(s, subnet) or covers(subnet, s)), None)
        if mine is not None:
            raise Conflict(
                f"network {network.name}: {mine} overlaps this host's gateway-subnet{SUFFIX[family(subnet)]} {subnet}: "
                "choose another --subnet, or another gateway-subnet in weft.toml"
            )


def on_host(network: Network, attached: Iterable[tuple[str, IPNetwork]]) -> tuple[IPNetwork, IPNetwork, str] | None:
    """The first of the network's subnets that overlaps one that a host is on, with that and its device. `attached`: pairs of
    device and subnet."""
    pairs = ((mine, theirs, dev) for dev, theirs in sorted(attached, key=str) for mine in network.subnets)
    return next(((a, b, dev) for a, b, dev in pairs if covers(a, b) or covers(b, a)), None)


def check_host(network: Network, attached: Iterable[tuple[str, IPNetwork]]) -> None:
    """Raises Conflict where the network overlaps one that this host is on, an engine's bridge for example: one of the two
    would no longer be reached from here."""
    if found := on_host(network, attached):
        mine, theirs, dev = found
        raise Conflict(
            f"network {network.name}: {mine} overlaps {theirs}, which this host has on {dev}: choose another --subnet"
        )


def _check_underlay(network: Network, node: Node) -> None:
    for address in node.addresses:
        theirs = address.network
        mine = next((s for s in network.subnets if covers(s, theirs) or covers(theirs, s)), None)
        if mine is not None:
            raise Conflict(
                f"network {network.name}: {mine} overlaps {node.name}'s own network {theirs} on {node.uplink}: "
                "choose another --subnet"
            )


def _kept(plan: Plan, mine: Iterable[IPNetwork]) -> IPNetwork | None:
    """What the node holds of this prefix already, also if the options that shaped it have changed since."""
    return next((subnet for subnet in mine if covers(plan.whole, subnet)), None)
