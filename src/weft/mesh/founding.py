"""Who begins a cluster of voters, and who joins one: decided by each host alone, from what it sees (pure).

Hosts that all begin by themselves must not make two clusters. So the beginning is etcd's own consensus: the hosts named in the
store's URL are sorted, the first one, three or five of them found the cluster, and each of these starts its voter with the same
list. Voters of the same list are one cluster, and only a majority of it can choose a leader and write. However few of the
others a host sees, what it starts can therefore be no other cluster than the one that they start.

What a host waits for keeps a cluster that is there already from being begun again, by hosts that lost their disks: it sees a
majority of the named hosts, and of those that found, and none of all hosts that it sees tells of a cluster. Once these are
there it waits a moment more, so that in most cases all found together; who comes later is taken in by the voters
(`weft.mesh.voting`), in the way of every other host. One who has founded once never does so again: its old vote may have
counted.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from ipaddress import IPv4Address, IPv6Address

import msgspec

from weft.mesh.voters import Cluster

Address = IPv4Address | IPv6Address

SIZES = (5, 3, 1)
"""How many found; the largest of these that there are named hosts for."""
GRACE = 3.0
"""Seconds to wait for the rest, when a majority is there."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """`named`: all hosts of the URL. `unresolved`: those of them whose names have no address now. `seen`: the hosts that are
    alive and can run a voter. `unable`: alive, but cannot. `told`: what any host, seen or not, says to be its cluster. `known`:
    what this host had written down. `before`: it has founded once. `waited`: seconds since a majority is seen."""

    me: Address
    named: frozenset[Address]
    unresolved: tuple[str, ...] = ()
    seen: Set[Address] = frozenset()
    unable: Set[Address] = frozenset()
    told: Set[Cluster] = frozenset()
    known: Cluster | None = None
    before: bool = False
    waited: float = 0.0


class Found(msgspec.Struct, frozen=True):
    """Start now, with this list."""

    founders: tuple[Address, ...]


class Join(msgspec.Struct, frozen=True):
    """Be a client of that cluster, and its voter when asked to be."""

    cluster: Cluster


class Wait(msgspec.Struct, frozen=True):
    why: str


Decision = Found | Join | Wait


def founders(named: Set[Address]) -> tuple[Address, ...]:
    """The same on all hosts that name the same ones."""
    size = next(size for size in SIZES if size <= max(1, len(named)))
    return tuple(sorted(named, key=lambda address: (address.version, int(address)))[:size])


def decide(view: View) -> Decision:
    heard = newest(view.told if view.known is None else {view.known, *_heirs(view.known, view.told)})
    if heard is not None:
        return Join(heard) if isinstance(heard, Cluster) else Wait(heard)
    return _found(view)


def enough(view: View) -> bool:
    """Whether a majority is there."""
    return not view.unresolved and _missing(view) <= 0


def newest(told: Set[Cluster]) -> Cluster | str | None:
    """Of one cluster, its last generation. Where there are several, why there is no choosing."""
    last = [one for one in sorted(told) if not any(other.replaces(one) for other in told)]
    if len(last) > 1:
        return f"hosts here belong to different clusters ({', '.join(map(str, last))}): run those apart from each other"
    return last[0] if last else None


def _heirs(known: Cluster, told: Set[Cluster]) -> set[Cluster]:
    return {cluster for cluster in told if cluster.replaces(known)}


def _found(view: View) -> Decision:
    first = founders(view.named)
    if view.unresolved:
        return Wait(f"waiting for an address of {_listed(view.unresolved)}")
    if view.me not in view.named:
        return Wait(f"waiting to hear of a cluster: {_listed(sorted(map(str, view.named)))} found it")
    if view.named == {view.me}:
        return _once(view, first)
    if not enough(view):
        return Wait(_waiting(view))
    if view.me not in first:
        return Wait(f"waiting for {_listed(map(str, first))}, who found the cluster")
    if view.named <= view.seen or view.waited >= GRACE:
        return _once(view, first)
    return Wait(f"about to found the cluster with {_listed(map(str, first))}")


def _once(view: View, first: tuple[Address, ...]) -> Decision:
    if view.before:
        return Wait(
            "this host has lost the data of the cluster that it founded: waiting to hear of that from another host; to begin "
            "anew, without what was stored, remove the folder voter in the state directory of every host"
        )
    return Found(first) if view.me in view.seen else Wait("etcd is not installed on this host: apt install etcd-server")


def _missing(view: View) -> int:
    """How many more have to be seen; this host has to be among those that are."""
    first = frozenset(founders(view.named))
    return max(len(group) // 2 + 1 - len(group & view.seen) for group in (view.named, first))


def _waiting(view: View) -> str:
    absent = sorted(view.named - view.seen, key=lambda address: (address.version, int(address)))
    unable = [str(address) for address in absent if address in view.unable]
    hint = f" (on {_listed(unable)} etcd is not installed: apt install etcd-server)" if unable else ""
    return f"waiting for {_missing(view)} more of {_listed(map(str, absent))} to found the cluster{hint}"


def _listed(texts: Sequence[str] | map[str]) -> str:
    return ", ".join(texts)
