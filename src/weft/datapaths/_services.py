"""Virtual addresses of services: packets to one go on to a member of the service.

Where packets of a network's containers pass (`Driver.balancer`), the first packet of a connection is looked up by address,
protocol and port in the map `services4`, which says by which chain it is translated:

    spread-tcp-N   to one of N members, by chance, each as likely as the others
    sticky-tcp     to the one that a hash of the client's address leads to, the same on all hosts

Both find the member in one map, `members-tcp4`, by address, port and that number. So a change of members is a change
of elements. Conntrack remembers the choice, and translates answers back. Nobody's source address is changed, so that a
member sees its client, and rules see both; only who reaches itself by the virtual address comes from the host.

What was not translated has no member, and is refused at once. What conntrack cannot make sense of is dropped, be it to a
virtual address or an answer of a member: untranslated, it would end a connection that it is not of.

`held4` is looked up by no rule. It says which connections may go on: where an element goes, those are ended
(`weft.kernel.host.flows`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from weft.base.net import FAMILIES, Family, IPAddress, family
from weft.datapaths import _rules, _virtual
from weft.datapaths._virtual import STREAMS, Face, Virtual
from weft.datapaths.driver import Balancer
from weft.hoststate import NftChain, NftElement, NftSet, Object
from weft.hoststate.firewall import DRAWN, DSTNAT, FILTER, HELD, PORTS
from weft.hoststate.rules import Rule, rule
from weft.hoststate.rules.actions import COUNTER, DROP, Dispatch, Jump, Nat, Reject
from weft.hoststate.rules.matches import (
    CT_STATE,
    CT_STATUS,
    DADDR,
    DPORT,
    L4PROTO,
    SADDR,
    TH_SPORT,
    Selector,
    drawn,
    hashed,
)

REFUSED = "services-refused"
"""The chain whose rules count what is refused."""
SLOTS = 60
"""Of a service with affinity, which its members share as evenly as they can: among up to 6, all have the same."""
SEED = 0x57656674
_SPREADS = 8
"""So many chains `spread-tcp-N` are there from the beginning, so that a member more or less makes no rule."""
_PING: dict[Family, str] = {4: "1", 6: "58"}
"""ICMP and ICMPv6 (protocol numbers of IANA)."""


def common(at: Balancer) -> Iterator[Object]:
    """For all services."""
    return _virtual.inside(at, _TABLES)


def translated(at: Balancer, virtual: Virtual) -> Iterator[Object]:
    """What a service takes on this host, beside the way there (`_virtual.way`)."""
    return _virtual.inside(at, (*_many(virtual), *_elements(virtual)))


# -- rules, the same for all services ----------------------------------------------------------------------------------


def _tables() -> Iterator[NftSet | NftChain]:
    yield from _virtual.tables(CT_STATUS.is_("dnat"))
    for fam in FAMILIES:
        address = _rules.address(fam)
        key, to = (address, "inet_proto", "inet_service"), (address, "inet_service")
        for protocol, port in PORTS.items():
            yield NftSet(name=f"members-{protocol}{fam}", type=(address, port, DRAWN), to=(address, port))
        yield NftSet(name=f"pinged{fam}", type=(address, "inet_proto"), to=(address,))
        yield NftSet(name=f"{HELD}{fam}", type=(*key, *to))
        yield NftSet(name=f"answers{fam}", type=key)
    for protocol in PORTS:
        yield from (_spread(protocol, count) for count in range(1, _SPREADS + 1))
        sticky = (_to_member(protocol, fam, hashed(fam, SLOTS, SEED)) for fam in FAMILIES)
        yield NftChain(name=f"sticky-{protocol}", rules=tuple(sticky))
    yield from _base_chains()


def _to_member(protocol: str, fam: Family, number: Selector) -> Rule:
    """By a map for each protocol: nft takes the port that a map leads to for one of the protocol that its type says."""
    return rule(Nat("dnat", fam, by=DADDR[fam] + DPORT[protocol] + number, map=f"members-{protocol}{fam}"))


def _spread(protocol: str, count: int) -> NftChain:
    """In the moment in which members become fewer, the number that was drawn may have none any more: there is a first one."""
    rules = (_to_member(protocol, fam, drawn(most)) for most in dict.fromkeys((count, 1)) for fam in FAMILIES)
    return NftChain(name=f"spread-{protocol}-{count}", rules=tuple(rules))


def _many(virtual: Virtual) -> Iterator[NftChain]:
    """Chains that are there only where a service has so many members."""
    counts = {(face.protocol, len(_takers(face, fam))) for face in virtual.faces for fam in FAMILIES}
    return (_spread(protocol, count) for protocol, count in sorted(counts) if count > _SPREADS)


def _base_chains() -> Iterator[NftChain]:
    yield NftChain(name="services", rules=tuple(_chosen()))
    yield NftChain(name=REFUSED, rules=tuple(_refused()))
    to_virtual = (rule(DADDR[f].among(f"virtual{f}"), Jump(REFUSED, back=False)) for f in FAMILIES)
    yield NftChain(name="services-begun", rules=tuple(to_virtual))
    begun = rule(CT_STATE.is_("new", "invalid"), Jump("services-begun"))
    for hook in ("prerouting", "output"):
        yield _rules.base_chain(f"services-{hook}", "nat", hook, DSTNAT, rule(Jump("services")))
        yield _rules.base_chain(f"services-refused-{hook}", "filter", hook, DSTNAT + 5, begun)
    yield _rules.base_chain("services-forward", "filter", "forward", FILTER - 1, *map(_lost, FAMILIES))


def _chosen() -> Iterator[Rule]:
    for fam in FAMILIES:
        yield rule(Dispatch(by=_virtual.place(fam), map=f"services{fam}"))
    for fam in FAMILIES:
        yield rule(Nat("dnat", fam, by=DADDR[fam] + L4PROTO, map=f"pinged{fam}"))


def _refused() -> Iterator[Rule]:
    """What was not translated. Packets of connections that there are do not come here: those are nearly all of the place's."""
    yield rule(CT_STATE.is_("invalid"), DROP)
    yield rule(L4PROTO.is_("tcp"), COUNTER, Reject("tcp-reset"))
    yield rule(COUNTER, Reject())


def _lost(fam: Family) -> Rule:
    return rule(CT_STATE.is_("invalid"), (SADDR[fam] + L4PROTO + TH_SPORT).among(f"answers{fam}"), DROP)


_TABLES = tuple(_tables())


# -- elements, one service's -------------------------------------------------------------------------------------------


def _elements(virtual: Virtual) -> Iterator[NftElement]:
    yield from _virtual.elements(virtual)
    for address in virtual.addresses:
        yield from _of_address(address, virtual)


def _of_address(address: IPAddress, virtual: Virtual) -> Iterator[NftElement]:
    fam = family(address)
    pinged = [one for b in virtual.backends if b.takes and (one := b.address(fam))]
    if pinged:
        yield NftElement(set=f"pinged{fam}", value=f"{address} . {_PING[fam]}", to=pinged[0])
    for face in virtual.faces:
        yield from _of_face(address, fam, face, sticky=virtual.sticky)


def _of_face(address: IPAddress, fam: Family, face: Face, *, sticky: bool) -> Iterator[NftElement]:
    place = f"{address} . {face.protocol} . {face.port}"
    takers = _takers(face, fam)
    chosen = shared(takers) if sticky else takers
    for number, to in enumerate(chosen):
        yield NftElement(set=f"members-{face.protocol}{fam}", value=f"{address} . {face.port} . {number}", to=to)
    if takers:
        chain = f"sticky-{face.protocol}" if sticky else f"spread-{face.protocol}-{len(takers)}"
        yield NftElement(set=f"services{fam}", value=place, to=f"goto {chain}")
    for backend, port in face.backends:
        own = backend.address(fam)
        if own and (backend.takes or face.protocol in STREAMS):
            yield NftElement(set=f"{HELD}{fam}", value=f"{place} . {own} . {port}")
        if own and face.protocol in STREAMS:
            yield NftElement(set=f"answers{fam}", value=f"{own} . {face.protocol} . {port}")


def _takers(face: Face, fam: Family) -> list[str]:
    """Address and port of those that take connections."""
    return [f"{own} . {port}" for b, port in face.backends if b.takes and (own := b.address(fam))]


def shared(takers: Sequence[str]) -> list[str]:
    """Who has each slot: rendezvous hashing (Thaler and Ravishankar, 1998), in which nobody gets more than its share. So of a
    client's members hardly one changes but where its own is gone, and all hosts conclude the same without a word."""
    if not takers:
        return []
    share = -(-SLOTS // len(takers))
    free = dict.fromkeys(takers, share)
    slots = [""] * SLOTS
    for _, slot, taker in sorted((_score(slot, taker), slot, taker) for slot in range(SLOTS) for taker in free):
        if not slots[slot] and free[taker]:
            slots[slot] = taker
            free[taker] -= 1
    return slots


def _score(slot: int, taker: str) -> bytes:
    """By the member's address alone: a client has one member for all ports of a service."""
    return hashlib.blake2b(f"{slot} {taker.partition(' ')[0]}".encode(), digest_size=8).digest()
