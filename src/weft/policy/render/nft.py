"""Policy by nftables: verdict maps lead the packets of each address to its chain, whatever the number of endpoints.

What belongs to a connection that was allowed passes after one comparison; only its first packet is asked for the sender's
egress, then for the receiver's ingress. Both chains return where they allow it.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from weft.base.net import FAMILIES, Family, IPAddress, family
from weft.hoststate import HOST, Key, NftChain, NftElement, NftSet, Object
from weft.hoststate.firewall import FILTER, INET, Hook
from weft.hoststate.rules import Rule, rule
from weft.hoststate.rules.actions import ACCEPT, COUNTER, DROP, RETURN, Dispatch, Jump, Reject
from weft.hoststate.rules.matches import CT_STATE, CT_STATUS, DADDR, L4PROTO, SADDR, TH_DPORT, field
from weft.policy.model import Direction
from weft.policy.program import Chain, Lookup, SetSpec, Use
from weft.policy.render.marks import CUT, NEIGHBOURS

_CT_MARK = field("ct mark")
_IS_CUT, _IS_NOT = _CT_MARK.is_(f"{CUT:#x}/{CUT:#x}"), _CT_MARK.is_(f"0x0/{CUT:#x}")
_TO: dict[Direction, str] = {"ingress": "policy-to", "egress": "policy-from"}

_PORT = L4PROTO + TH_DPORT
_COUNTED = (rule(COUNTER, RETURN),)

_FIRST = (
    rule(CT_STATE.is_("established", "related"), _IS_NOT, ACCEPT),
    rule(_IS_CUT, Jump("policies-cut", back=False)),
    rule(field("meta nfproto").is_("ipv6"), Jump("policies6", back=False)),
)
_CUT = (rule(L4PROTO.is_("tcp"), COUNTER, Reject("tcp-reset")), rule(COUNTER, DROP))


def _ask(fam: Family) -> tuple[Rule, ...]:
    """What comes back to its sender was translated on its way."""
    itself = (SADDR[fam] + DADDR[fam]).among(f"policy-self{fam}")
    return (
        rule(CT_STATUS.is_("dnat"), itself, ACCEPT),
        rule(Dispatch(SADDR[fam], f"policy-from{fam}")),
        rule(Dispatch(DADDR[fam], f"policy-to{fam}")),
    )


_BASE = (
    NftChain(name="policies-cut", rules=_CUT),
    NftChain(name="policies6", rules=(rule(field("icmpv6 type").is_(*NEIGHBOURS), ACCEPT), *_ask(6))),
    NftChain(
        name="policies",
        hook=Hook(type="filter", hook="forward", priority=FILTER),
        rules=(*_FIRST, *_ask(4)),
    ),
)
_BALANCED = NftChain(
    name="policies-balanced",
    hook=Hook(type="filter", hook="output", priority=FILTER),
    rules=(*_FIRST, *_ask(4)),
)
"""IPVS sends on to a member what it took itself (`weft.datapaths._ipvs`). In a namespace of ours nobody else sends."""


def base(ns: str) -> Iterator[Object]:
    for fam in FAMILIES:
        kind = f"ipv{fam}_addr"
        yield NftSet(name=f"policy-self{fam}", type=(kind, kind), ns=ns)
        for name in sorted(_TO.values()):
            yield NftSet(name=f"{name}{fam}", type=(kind,), to=("verdict",), ns=ns)
    yield from (msgspec.structs.replace(found, ns=ns) for found in (*_BASE, *([_BALANCED] if ns != HOST else [])))


def chain(found: Chain, ns: str) -> Iterator[Object]:
    """Lines that can be looked up become an element each of a map, which leads to a chain that counts and allows."""
    yield NftChain(name=found.name, rules=tuple(said for _, said in _rules(found)), ns=ns)
    for lookup in found.lookups:
        for fam in FAMILIES:
            kind = f"ipv{fam}_addr", "inet_proto", "inet_service"
            yield NftSet(name=lookup.name(fam), type=kind, to=("verdict",), ns=ns)
        yield from (NftChain(name=found.counting(n), rules=_COUNTED, ns=ns) for n in lookup.counting)


def counted(found: Chain) -> Iterator[tuple[str, int, int]]:
    """Where each line is counted: (chain, rule in it, line); of those that are looked up, the first of a policy's rule."""
    for place, (n, _) in enumerate(_rules(found)):
        if n is not None:
            yield found.name, place, n
    yield from ((found.counting(n), 0, n) for lookup in found.lookups for n in lookup.counting)


def _rules(found: Chain) -> Iterator[tuple[int | None, Rule]]:
    """Each with the line that it is, where it is one."""
    looked_up = {n for lookup in found.lookups for n in lookup.lines}
    first = {lookup.lines[0]: lookup for lookup in found.lookups}
    end = SADDR if found.name.startswith("pi-") else DADDR
    for n, line in enumerate(found.lines):
        if (lookup := first.get(n)) is not None:
            yield from ((None, rule(Dispatch(end[fam] + _PORT, lookup.name(fam)))) for fam in FAMILIES)
        if n not in looked_up:
            yield n, line.rule


def looked_up(found: Chain, lookup: Lookup, use: Use, address: IPAddress, ns: str) -> Iterator[Object]:
    """An element of its map."""
    value = f"{address} . {use.protocol} . {use.port}"
    yield NftElement(set=lookup.name(family(address)), value=value, to=f"goto {found.counting(use.line)}", ns=ns)


def table_set(spec: SetSpec, ns: str) -> Iterator[Object]:
    for fam in FAMILIES:
        flags = ("interval",) if spec.kind == "prefixes" else ()
        more = ("inet_proto", "inet_service") if spec.kind == "named-ports" else ()
        yield NftSet(name=spec.name(fam), type=(f"ipv{fam}_addr", *more), flags=flags, ns=ns)


def element(spec: SetSpec, fam: Family, value: str, ns: str) -> Iterator[Object]:
    """`value`: an address, a prefix, or ADDRESS . PROTOCOL . PORT."""
    yield NftElement(set=spec.name(fam), value=value, ns=ns)


def dispatch(address: IPAddress, direction: Direction, to: Chain, ns: str) -> Iterator[Object]:
    yield NftElement(set=f"{_TO[direction]}{family(address)}", value=str(address), to=f"jump {to.name}", ns=ns)


def itself(address: IPAddress, ns: str) -> Iterator[Object]:
    """What an endpoint sends to itself by another address, such as its host's, is nobody's matter."""
    yield NftElement(set=f"policy-self{family(address)}", value=f"{address} . {address}", ns=ns)


def keys(address: IPAddress, direction: Direction, ns: str) -> Iterator[Key]:
    """Of what closes an endpoint."""
    yield ("nft-chain", ns, str(INET), _BASE[-1].name)
    yield ("nft-element", ns, str(INET), f"{_TO[direction]}{family(address)}", str(address))
