"""Ports of every host that lead to a service: how a packet to one is translated.

The first packet of a connection to a local address of the host is looked up by protocol and port (before that, with the
address that it was sent to) in the map `entries4`, which says by which chain it is translated:

    enter-tcp-N       to one of N places, by chance, each as likely as the others
    enter-tcp-sticky  to the one that a hash of the client's address leads to

A place is a member on this host, or the mesh address of another host (`_routing_mesh`), the port unchanged. Each member counts
once, wherever it is. What comes by the mesh has this host's mesh address as its target, at which the same port leads to
members of this host only: so a packet is never handed on twice.

A packet to a published port that was not translated has no member to go to, and is refused. `held-entries4` is looked up
by no rule: where an element goes, the connections that it says are ended (`weft.kernel.host.flows`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from weft.base.net import FAMILIES, Family
from weft.datapaths import _ports, _routing_mesh, _rules, _services
from weft.datapaths._virtual import STREAMS
from weft.datapaths.driver import Reached
from weft.hoststate import NftChain, NftElement, NftSet, Object
from weft.hoststate.firewall import DRAWN, DSTNAT, FILTER, HELD, PORTS
from weft.hoststate.rules import Rule, rule
from weft.hoststate.rules.actions import COUNTER, Dispatch, Nat, Reject
from weft.hoststate.rules.matches import (
    CT_STATE,
    DADDR,
    DPORT,
    L4PROTO,
    TH_DPORT,
    Match,
    Selector,
    drawn,
    field,
    hashed,
)
from weft.model import PublishedPort
from weft.model.ports import Protocol

REFUSED = "entries-input"
"""The chain whose rules count what is refused."""

_PORT = L4PROTO + TH_DPORT
_OF: dict[Family, Match] = {fam: field("meta nfproto").is_(f"ipv{fam}") for fam in FAMILIES}


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a member is. `id`: the member's. `takes`: new connections. On this host: `reached`, how it reaches the member, and
    `ports`, the member's by the service's; on another: its `number`, and the families of the member's addresses."""

    id: str
    takes: bool
    reached: Reached | None = None
    ports: Mapping[tuple[Protocol, int], int] = {}
    number: int = 0
    families: tuple[Family, ...] = ()


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A service's published ports, as they are on this host. `number`: this node's. `sticky`: a client keeps its member.
    `near`: members on this host come first."""

    published: tuple[PublishedPort, ...]
    places: tuple[Place, ...]
    number: int
    sticky: bool = False
    near: bool = True


class _Door(msgspec.Struct, frozen=True, kw_only=True):
    """One port. `at`: the address; "" for all. `inner`: the service's port."""

    family: Family
    at: str
    protocol: Protocol
    port: int
    inner: int

    @property
    def key(self) -> str:
        return f"{self.at}{' . ' if self.at else ''}{self.protocol} . {self.port}"

    @property
    def place(self) -> str:
        """The key without the protocol."""
        return f"{self.at}{' . ' if self.at else ''}{self.port}"

    @property
    def suffix(self) -> str:
        return f"{'-at' if self.at else ''}{self.family}"


def entries(entry: Entry) -> Iterator[Object]:
    """What it takes on this host."""
    yield from _ports.tables()
    yield from _tables()
    for place in entry.places:
        if place.reached is not None:
            yield from _ports.answered(place.reached)
    for port in entry.published:
        for fam in port.families:
            for outer, inner in port.pairs:
                at = "" if port.only_at is None else str(port.only_at)
                yield from _of(entry, _Door(family=fam, at=at, protocol=port.protocol, port=outer, inner=inner))


# -- rules, the same for all services ----------------------------------------------------------------------------------


def _key(fam: Family, at: str) -> Selector:
    return DADDR[fam] + _PORT if at else _PORT


def _tables() -> Iterator[Object]:
    for fam in FAMILIES:
        for at, first in (("-at", (_rules.address(fam),)), ("", ())):
            key = (*first, "inet_proto", "inet_service")
            yield NftSet(name=f"entries{at}{fam}", type=key, to=("verdict",))
            yield NftSet(name=f"entry-ports{at}{fam}", type=key)
            for protocol, port in PORTS.items():
                to = _rules.address(fam), port
                yield NftSet(name=f"entered-{protocol}{at}{fam}", type=(*first, port, DRAWN), to=to)
        to = _rules.address(fam), "inet_service"
        yield NftSet(name=f"{HELD}-entries{fam}", type=("inet_proto", "inet_service", *to))
    yield _CHOICE
    yield from _ports.entrances("entries", _CHOICE.name, DSTNAT + 1)  # a container's own port of this host comes first
    yield _rules.base_chain(REFUSED, "filter", "input", FILTER, *_REFUSED)


_WAYS = tuple((fam, at) for at in ("-at", "") for fam in FAMILIES)
_CHOICE = NftChain(
    name="enter",
    rules=tuple(rule(_OF[fam], Dispatch(by=_key(fam, at), map=f"entries{at}{fam}")) for fam, at in _WAYS),
)


def _refused(fam: Family, at: str) -> Iterator[Rule]:
    asked = _OF[fam], CT_STATE.is_("new"), _key(fam, at).among(f"entry-ports{at}{fam}")
    yield rule(*asked, L4PROTO.is_("tcp"), COUNTER, Reject("tcp-reset"))
    yield rule(*asked, COUNTER, Reject())


_REFUSED = tuple(rule for fam, at in _WAYS for rule in _refused(fam, at))


def _enter(protocol: str, count: int, at: str) -> NftChain:
    """To one of so many places; 0: by the client's address. In the moment in which places become fewer, the number that was
    drawn may have none any more: there is a first one."""
    numbers: list[dict[Family, Selector]]
    if count:
        numbers = [dict.fromkeys(FAMILIES, drawn(most)) for most in dict.fromkeys((count, 1))]
    else:
        numbers = [{fam: hashed(fam, _services.SLOTS, _services.SEED) for fam in FAMILIES}]
    port = DPORT[protocol]
    rules = (
        rule(Nat("dnat", fam, by=(DADDR[fam] + port if at else port) + number[fam], map=f"entered-{protocol}{at}{fam}"))
        for number in numbers
        for fam in FAMILIES
    )
    return NftChain(name=f"enter-{protocol}-{count or 'sticky'}{at}", rules=tuple(rules))


# -- elements, one service's -------------------------------------------------------------------------------------------


def _of(entry: Entry, door: _Door) -> Iterator[Object]:
    here = {p.id: to for p in entry.places if p.reached is not None and (to := _to(p, door))}
    everywhere = {p.id: to for p in entry.places if (to := _to(p, door))}
    takers = {p.id for p in entry.places if p.takes}
    near, all_of_them = ({id: to for id, to in some.items() if id in takers} for some in (here, everywhere))
    yield NftElement(set=f"entry-ports{door.suffix}", value=door.key)
    yield from _choice(door, near if near and entry.near else all_of_them, entry.sticky)
    arrived = (
        msgspec.structs.replace(door, at=str(_routing_mesh.address(entry.number, door.family)))
        if entry.number
        else None
    )
    if arrived:
        yield from _choice(arrived, near, entry.sticky)
    for place in entry.places:
        if place.id in everywhere and (place.takes or door.protocol in STREAMS):
            yield NftElement(
                set=f"{HELD}-entries{door.family}",
                value=f"{door.protocol} . {door.port} . {everywhere[place.id]}",
            )


def _to(place: Place, door: _Door) -> str:
    """Address and port; "" where this port does not lead there."""
    if place.reached is None:
        fits = door.family in place.families and place.number
        return f"{_routing_mesh.address(place.number, door.family)} . {door.port}" if fits else ""
    port = place.ports.get((door.protocol, door.inner))
    own = next((address for address in place.reached.targets if address.version == door.family), None)
    return f"{own} . {port}" if own is not None and port else ""


def _choice(door: _Door, to: Mapping[str, str], sticky: bool) -> Iterator[Object]:
    """`to`: where each member that takes connections is, by its id."""
    if not to:
        return
    chosen = [to[id] for id in _services.shared(tuple(to))] if sticky else _fewest(to.values())
    chain = _enter(door.protocol, 0 if sticky else len(chosen), at="-at" if door.at else "")
    yield chain
    yield NftElement(set=f"entries{door.suffix}", value=door.key, to=f"goto {chain.name}")
    for number, target in enumerate(chosen):
        yield NftElement(set=f"entered-{door.protocol}{door.suffix}", value=f"{door.place} . {number}", to=target)


def _fewest(to: Iterable[str]) -> list[str]:
    """The same shares with fewest places."""
    counts = Counter(to)
    common = math.gcd(*counts.values())
    return [target for target, count in counts.items() for _ in range(count // common)]
