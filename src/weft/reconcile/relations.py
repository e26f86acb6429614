"""What stands on what, and the order that follows from it. Pure.

A device takes along what stands on it when it goes: its addresses, neighbours, FDB entries and routes, its own sysctls,
the other end of a veth, a VXLAN device whose underlay it is. An nftables set takes its elements along.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set

import msgspec

from weft.hoststate import (
    KINDS,
    Bridge,
    IptablesChain,
    Key,
    Link,
    NftChain,
    NftElement,
    Object,
    Route,
    Sysctl,
    Veth,
    Vxlan,
)

HOSTS = ("link", "nft-set")
"""The kinds that other objects stand on."""

_DEVICE_SYSCTL = re.compile(r"net/(?:ipv4|ipv6|mpls)/(?:conf|neigh)/(?!(?:all|default)/)([^/]+)/.+")
_JUMP = re.compile(r"(?:\b(?:jump|goto)|-[jg]) ([^\s,;}]+)")
_SET = re.compile(r"@([^\s,;}]+)")


def host_of(obj: Object) -> Key | None:
    """The object that takes `obj` along when it is removed; None for what stands by itself."""
    match obj:
        case Route(dev=dev):
            return ("link", obj.ns, dev) if dev else None
        case NftElement():
            return ("nft-set", obj.ns, obj.set)
        case Link(type=Veth(peer=peer, peer_ns=ns)):
            return ("link", ns, peer)
        case Link(type=Vxlan(dev=dev)):
            return ("link", obj.ns, dev)
        case Sysctl():
            device = _DEVICE_SYSCTL.fullmatch(obj.name)
            return ("link", obj.ns, device[1]) if device else None
        case Link() | NftChain() | IptablesChain():
            return None
    kind, ns, *rest = obj.key
    return ("link", ns, rest[0]) if kind in ("address", "neighbour", "fdb") else None


def needs(obj: Object) -> list[Key]:
    """What has to exist before `obj` can be made: its host (not for the veth end that makes both), its bridge."""
    host = None if isinstance(obj, Link) and isinstance(obj.type, Veth) and obj.type.primary else host_of(obj)
    master = ("link", obj.ns, obj.master) if isinstance(obj, Link) and obj.master else None
    return [key for key in (host, master) if key]


def jumps(chain: NftChain | IptablesChain) -> set[Key]:
    """The chains its rules lead to (and, for iptables, keys of targets such as ACCEPT, which name no chain of ours)."""
    return {(*chain.key[:-1], name) for rule in chain.rules for name in _JUMP.findall(rule)}


def sets(chain: NftChain) -> set[Key]:
    """The sets its rules look up."""
    return {("nft-set", chain.ns, name) for rule in chain.rules for name in _SET.findall(rule)}


def fall(hosts: Set[Key], objects: Mapping[Key, Object]) -> set[Key]:
    """`hosts` and those of `objects` that vanish with them."""
    fallen = set(hosts)
    links = [(key, host_of(obj)) for key, obj in objects.items() if key[0] == "link"]
    while more := {key for key, host in links if host in fallen and key not in fallen}:
        fallen |= more
    fallen.update(key for key, obj in objects.items() if key[0] != "link" and host_of(obj) in fallen)
    return fallen


def fits(found: Object, wanted: Object) -> bool:
    """Whether `found` is as wanted: a device's MTU or MAC of None is left as it is, and which end of a veth was the
    one that made both is nothing that can be seen."""
    if found == wanted:
        return True
    if not (isinstance(found, Link) and isinstance(wanted, Link)):
        return False
    return same_type(found, wanted) and wanted == msgspec.structs.replace(
        found,
        type=wanted.type,
        mtu=found.mtu if wanted.mtu is not None else None,
        mac=found.mac if wanted.mac is not None else None,
    )


def same_type(found: Link, wanted: Link) -> bool:
    """Whether one can be turned into the other in place; kind, VNI, port, local, underlay and peer are for life."""
    if isinstance(found.type, Veth) and isinstance(wanted.type, Veth):
        return (found.type.peer, found.type.peer_ns) == (wanted.type.peer, wanted.type.peer_ns)
    return found.type == wanted.type


_LINKS: dict[type, int] = {Bridge: 0, Vxlan: 1, Veth: 2}
_PHASE = {kind: 10 * place for place, kind in enumerate(KINDS)}


def in_order(objects: Iterable[Object]) -> list[Object]:
    """In the order of making. By kind; then bridges before VXLAN before veth (the end that makes both first), a
    device's sysctls after the devices, a chain after those it jumps to, routes over a next hop after those to it."""
    whole = list(objects)
    depth = _depths({obj.key: obj for obj in whole if isinstance(obj, NftChain | IptablesChain)})

    def place(obj: Object) -> tuple[int, int, Key]:
        key = obj.key
        phase, within = _PHASE[key[0]], 0
        match obj:
            case Link(type=Veth(primary=False)):
                within = 3
            case Link():
                within = _LINKS[type(obj.type)]
            case Route():
                within = 1 if obj.via else 0
            case NftChain() | IptablesChain():
                within = depth[key]
            case Sysctl() if host_of(obj):
                phase = _PHASE["link"] + 1
        return phase, within, key

    return sorted(whole, key=place)


def _depths(chains: Mapping[Key, NftChain | IptablesChain]) -> dict[Key, int]:
    """How many jumps may follow at most; base chains, which nothing jumps to, thus come last."""
    depths: dict[Key, int] = {}

    def depth(key: Key, above: frozenset[Key]) -> int:
        if key not in depths:
            onward = [to for to in jumps(chains[key]) if to in chains and to not in above]
            depths[key] = max((1 + depth(to, above | {key}) for to in onward), default=0)
        return depths[key]

    for key in chains:
        depth(key, frozenset({key}))
    return depths
