"""Whether this host has in force what policies say of a packet at one of its endpoints: its rules decide as the model does, and
the kernel has them as they were compiled."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from weft.agent.parts import Parts
from weft.base.net import Family, contains, family, parse_address, parse_network
from weft.compile.policy import MEMBER, POLICY, SET, gates, policies, renderer_of
from weft.hoststate.union import Source
from weft.policy.index import Index, named
from weft.policy.model import Identity
from weft.policy.program import Program, SetSpec
from weft.policy.verdict import End, Packet, Side
from weft.policy.walk import Stop, walk


class Force(msgspec.Struct, frozen=True):
    """`rules`: which of them decides. `faults`: why it is not in force, a line each; () where it is."""

    rules: str
    faults: tuple[str, ...] = ()


async def force(parts: Parts, side: Side, source: End, target: End, packet: Packet) -> Force:
    """`side`: what the model says of an endpoint of this host."""
    own, other = (source, target) if side.direction == "egress" else (target, source)
    assert own.identity is not None
    if not side.asked:
        return Force("no rule is asked")
    index = policies(parts.view)
    program = index.program((own.identity.network, own.identity.id), side.direction)
    if not program.asks:
        return Force("no rule is asked", () if side.allowed else ("this host has no rules for it yet",))
    stop = walk(program, source, target, packet, lambda spec, key: _is_member(index, spec, key))
    faults = [*_disagreements(parts, own.identity, other.identity, stop, side)]
    faults.extend(await parts.loop.faults(_sources(program, own.identity, other.identity)))
    return Force(_rules(parts, program, stop, family(source.address)), tuple(faults))


def _disagreements(parts: Parts, own: Identity, other: Identity | None, stop: Stop | None, side: Side) -> Iterator[str]:
    endpoint = parts.view.endpoints.get(own.id)
    if endpoint is None or not gates(parts.view, endpoint):
        yield f"no rules of policy are asked about packets of network {own.network}"
    if parts.loop.contribution(Source(POLICY, own.network, own.id)) is None:
        yield "its rules are not compiled yet"
    if (stop is None or stop.allowed) != side.allowed:
        known = other is None or policies(parts.view).identities.get((other.network, other.id)) == other
        why = "" if known or other is None else f": it has not heard all about {other.name} yet"
        yield f"this host's rules {'allow' if side.allowed is False else 'deny'} it{why}"


def _sources(program: Program, own: Identity, other: Identity | None) -> Iterator[Source]:
    """Of all that the packet is asked for."""
    yield Source(POLICY, own.network, own.id)
    if other is not None:
        yield Source(MEMBER, other.network, other.id)
    yield from (Source(SET, "", spec.label) for spec in program.sets if spec.who is None)


def _rules(parts: Parts, program: Program, stop: Stop | None, fam: Family) -> str:
    """Which of the kernel's rules it is; of those that are looked up at once, the one that counts for them."""
    ask = renderer_of(parts.compiler.host)
    if stop is None or stop.line is None or ask is None:
        return "no rule decides"
    (chain,) = (chain for chain in program.chains if chain.name == stop.chain)
    places = [(name, place, n) for name, place, n in ask.counted(chain) if chain.lines[n].origin == stop.line.origin]
    exact = [it for it in places if it[2] == stop.place] or places
    for name, place, _ in exact:
        table, _, of = name.partition("/")
        if of in ("", str(fam)):
            return f"rule {place + 1} of chain {table}"
    return f"line {stop.place + 1} of chain {stop.chain}"


def _is_member(index: Index, spec: SetSpec, key: tuple[str, ...]) -> bool:
    address = parse_address(key[0])
    if spec.who is None:
        return any(contains(parse_network(prefix), address) for prefix in index.prefixes(spec))
    for identity in index.at(address):
        if spec in index.entered((identity.network, identity.id)):
            ports = [*named(spec, identity)] if spec.kind == "named-ports" else None
            if ports is None or (key[1] == spec.protocol and int(key[2]) in ports):
                return True
    return False
