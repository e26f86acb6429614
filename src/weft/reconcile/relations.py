"""What stands on what, and the order that follows from it. Pure.

A device takes along what stands on it when it goes: its addresses, neighbours, FDB entries and routes, its own sysctls,
the other end of a veth, a VXLAN device whose underlay it is. An nftables set takes its elements along, and a namespace
of ours all that is in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set

import msgspec

from weft.hoststate import (
    HOST,
    KINDS,
    Bridge,
    FdbEntry,
    Ifb,
    Ipip,
    IptablesChain,
    Key,
    Link,
    Netns,
    NftChain,
    NftElement,
    Object,
    Redirect,
    Route,
    Sysctl,
    TargetObject,
    Veth,
    Vxlan,
)

HOSTS = ("netns", "link", "nft-set")
"""The kinds that other objects stand on."""

_DEVICE_SYSCTL = re.compile(r"net/(?:ipv4|ipv6|mpls)/(?:conf|neigh)/(?!(?:all|default)/)([^/]+)/.+")
_JUMP = re.compile(r"(?:\b(?:jump|goto)|-[jg]) ([^\s,;}]+)")
_SET = re.compile(r"@(?!(?:ll|nh|th|ih),\d)([^\s,;}]+)")
"""A set's name; what is excluded are places in a packet, such as `@th,96,24`."""


def hosts_of(obj: Object) -> tuple[Key, ...]:
    """The objects that take `obj` along, each of them, when they are removed. That a namespace is one of ours is not said
    by its being among them: containers' are, too."""
    found = carriers_of(obj)
    return (*found, ("link", obj.ns, obj.to)) if isinstance(obj, Redirect) else found


def carriers_of(obj: Object) -> tuple[Key, ...]:
    """Those with which `obj` need not be removed. A redirection is worth nothing without the device that it leads to, but
    its filter stays in the kernel, and then drops everything."""
    if isinstance(obj, TargetObject):
        return ()
    found: list[Key] = [("netns", HOST, obj.ns)] if obj.ns != HOST else []
    if (device := device_of(obj)) is not None:
        found.append(device)
    if isinstance(obj, FdbEntry) and obj.bridge:
        found.append(("link", obj.ns, obj.bridge))
    return tuple(found)


def peer_of(obj: Object | None) -> Key | None:
    """The other end of a veth."""
    match obj:
        case Link(type=Veth(peer=peer, peer_ns=ns)):
            return ("link", ns, peer)
    return None


def device_of(obj: Object) -> Key | None:
    """The device (or set) that `obj` stands on; None for what stands by itself."""
    match obj:
        case Route(dev=dev):
            return ("link", obj.ns, dev) if dev else None
        case NftElement():
            return ("nft-set", obj.ns, obj.set)
        case Link(type=Veth()):
            return peer_of(obj)
        case Link(type=Vxlan(dev=dev)):
            return ("link", outside(obj), dev) if dev else None
        case Sysctl():
            device = _DEVICE_SYSCTL.fullmatch(obj.name)
            return ("link", obj.ns, device[1]) if device else None
        case Netns() | Link() | NftChain() | IptablesChain():
            return None
    kind, ns, *rest = obj.key
    return ("link", ns, rest[0]) if kind in ("qdisc", "redirect", "address", "neighbour", "fdb") else None


def outside(link: Link) -> str:
    """The namespace whose addresses and routes a tunnel device's own packets take."""
    elsewhere = link.type.outside if isinstance(link.type, Vxlan) else None
    return link.ns if elsewhere is None else elsewhere


def needs(obj: Object) -> list[Key]:
    """What has to exist before `obj` can be made: its hosts (for the veth end that makes both, the other end's namespace
    instead of the other end), its bridge."""
    if isinstance(obj, TargetObject):
        return list(obj.needs())
    found = list(hosts_of(obj))
    if isinstance(obj, Link):
        if isinstance(obj.type, Veth) and obj.type.primary:
            found[-1:] = [("netns", HOST, obj.type.peer_ns)] if obj.type.peer_ns != HOST else []
        if obj.master:
            found.append(("link", obj.ns, obj.master))
    return found


def guards_of(obj: Object) -> tuple[Key, ...]:
    """The rules without which `obj` is not made."""
    return obj.guards if isinstance(obj, Link) else ()


def jumps(chain: NftChain | IptablesChain) -> set[Key]:
    """The chains its rules lead to (and, for iptables, keys of targets such as ACCEPT, which name no chain of ours)."""
    return {(*chain.key[:-1], name) for rule in chain.rules for name in _JUMP.findall(rule)}


def sets(chain: NftChain) -> set[Key]:
    """The sets its rules look up."""
    return {("nft-set", chain.ns, name) for rule in chain.rules for name in _SET.findall(rule)}


def fall(hosts: Set[Key], objects: Mapping[Key, Object]) -> set[Key]:
    """`hosts` and those of `objects` that vanish with them."""
    if not hosts:
        return set()
    fallen = set(hosts)
    links = [(key, hosts_of(obj)) for key, obj in objects.items() if key[0] == "link"]
    while more := {key for key, on in links if key not in fallen and not fallen.isdisjoint(on)}:
        fallen |= more
    fallen.update(key for key, obj in objects.items() if key[0] != "link" and not fallen.isdisjoint(hosts_of(obj)))
    return fallen


def fits(found: Object, wanted: Object) -> bool:
    """Whether `found` is as wanted: a device's MTU or MAC of None is left as it is, so is what a device that is lent may
    become, and which end of a veth was the one that made both is nothing that can be seen."""
    if found == wanted:
        return True
    if isinstance(wanted, Sysctl):
        return wanted.initial
    if not (isinstance(found, Link) and isinstance(wanted, Link)):
        return False
    return same_type(found, wanted) and wanted == msgspec.structs.replace(
        found,
        type=wanted.type,
        mtu=found.mtu if wanted.mtu is not None and not wanted.lent else wanted.mtu,
        mac=found.mac if wanted.mac is not None and not wanted.lent else wanted.mac,
        master=wanted.master if wanted.lent else found.master,
        guards=wanted.guards,
        lent=wanted.lent,
    )


def stands(known: Object, wanted: Object) -> bool:
    """Whether nothing is to be done, where `known` is what was wanted last or what was found to be otherwise."""
    if isinstance(wanted, Link) and wanted.lent:
        return known == wanted
    return fits(known, wanted)


def same_type(found: Link, wanted: Link) -> bool:
    """Whether one can be turned into the other in place; kind, VNI, port, local, underlay and peer are for life."""
    if isinstance(found.type, Veth) and isinstance(wanted.type, Veth):
        return (found.type.peer, found.type.peer_ns) == (wanted.type.peer, wanted.type.peer_ns)
    return found.type == wanted.type


_LINKS: dict[type, int] = {Bridge: 0, Ifb: 0, Vxlan: 1, Ipip: 1, Veth: 2}
_PHASE = {kind: 10 * place for place, kind in enumerate(KINDS)}


def in_order(objects: Iterable[Object]) -> list[Object]:
    """In the order of making. By kind; then bridges before VXLAN before veth (the end that makes both first), a
    device's sysctls after the device, yet before the other end of a veth, which lets packets through; a chain after those
    it jumps to, routes over a next hop after those to it. Sysctls of devices that are there already come before those of
    the whole host: IPv6 forwarding takes away the routes of devices whose accept_ra is not 2."""
    whole = list(objects)
    made = {obj.key for obj in whole if isinstance(obj, Link)}
    depth = _depths({obj.key: obj for obj in whole if isinstance(obj, NftChain | IptablesChain)})

    def place(obj: Object) -> tuple[int, int, Key]:
        key = obj.key
        if isinstance(obj, TargetObject):
            return obj.order, 0, key
        phase, within = _PHASE[key[0]], 0
        match obj:
            case Link(type=Veth(primary=False)):
                within = 4
            case Link():
                within = _LINKS[type(obj.type)]
            case Route():
                within = 1 if obj.via else 0
            case NftChain() | IptablesChain():
                within = depth[key]
            case Sysctl() if device_of(obj) in made:
                phase, within = _PHASE["link"], 3
            case Sysctl():
                within = 0 if device_of(obj) else 1
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
