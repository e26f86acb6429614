"""A trace, and what becomes of the packet: flows between the namespaces of `support.routed_three`, followed through dumps,
sent for real, and compared."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from random import Random
from typing import Any

import msgspec

from support import random_rules
from support.routed_three import HOST, LEFT, NOBODY, RIGHT, Sight, Three
from weft.api.dump import HostDump, NamespaceDump
from weft.filters.model import Tuple
from weft.kernel.host.dump import dump
from weft.trace.path import SYN_ACK, Flow, Path, Start
from weft.trace.walk import both_ways
from weft.trace.world import World

PORTED = (6, 17)
PROTOCOLS = {4: (6, 17, 1), 6: (6, 17, 58)}


def seeds(states: int) -> list[int]:
    """Those that the environment asks for, or so many."""
    return [int(seed) for seed in os.environ.get("SEEDS", "").split(",") if seed] or list(range(states))


def agree(three: Three, flows: list[tuple[str, Tuple]], tally: Counter[str]) -> list[str]:
    """What does not, as text. `tally`: how the ways of all flows ended."""
    world = World({"host": dumped(three)}, {})
    told = {what: predicted(world, three, where, what) for where, what in flows}
    tally["states"] += 1
    for there, back in told.values():
        tally[there.outcome.ending] += 1
        tally["translated"] += any(hop.step == "nat" for hop in there.hops)
        tally["answered"] += back is not None and back.outcome.arrived
    return [text for text in compared(three, flows, told) if text]


def chosen(random: Random, number: int, nobody: tuple[str, ...] = NOBODY) -> tuple[str, Tuple]:
    """Who sends, and what. The source's port, or identifier, tells it from all others. `nobody`: addresses that
    nobody has."""
    six = random.random() < 0.4
    where = random.choice(("left", "left", "left", "host"))
    mine = LEFT if where == "left" else HOST
    src = random.choice([a for a in mine if (":" in a) is six])
    dst = random.choice([a for a in (*RIGHT, *RIGHT, *nobody, *(HOST if where == "left" else ())) if (":" in a) is six])
    protocol = random.choice(PROTOCOLS[6 if six else 4])
    port = 40000 + number
    ports = (port, random.choice(random_rules.PORTS)) if protocol in (6, 17) else (port, port)
    return where, Tuple(protocol, ip_address(src), ip_address(dst), *ports)


# -- what is said ------------------------------------------------------------------------------------------------------


def dumped(three: Three) -> HostDump:
    """Nobody listens to anything: whether there is a program is not asked here."""
    containers = {three.spaces[name].path: name for name in ("left", "right")}
    found = dump("host", containers, None)
    return msgspec.structs.replace(found, namespaces=tuple(map(_untouched, found.namespaces)))


def _untouched(one: NamespaceDump) -> NamespaceDump:
    """Without the witness, which throws away what it has written down."""
    tables = tuple(table for table in one.filters.nft if table.name != "witness")
    return msgspec.structs.replace(one, sockets=None, filters=msgspec.structs.replace(one.filters, nft=tables))


def predicted(world: World, three: Three, where: str, what: Tuple) -> tuple[Path, Path | None]:
    ns = "" if where == "host" else three.spaces[where].path
    flow = Flow(protocol=what.protocol, sport=what.sport, dport=what.dport, free=False)
    return both_ways(world, Start(host="host", ns=ns, source=what.src), what.dst, flow=flow)


# -- what becomes of it ------------------------------------------------------------------------------------------------


def compared(three: Three, flows: list[tuple[str, Tuple]], told: dict[Tuple, Any]) -> Iterator[str]:
    """The packets, and of those that come to the other container the answers."""
    names = {"": "host", **{space.path: name for name, space in three.spaces.items() if name != "host"}}
    came = sent(three, flows)
    returned = answered(three, {what: sight for what, sight in came.items() if sight.where == "right"})
    for where, what in flows:
        there, back = told[what]
        sight = came.get(what)
        yield differing(where, what, there, expected(names, what, there, back), sight)
        if sight is not None and sight.where == "right" and there.outcome.arrived and back is not None:
            yield differing(where, what, back, where if back.outcome.arrived else "", returned.get(what))


def expected(names: dict[str, str], what: Tuple, there: Path, back: Path | None) -> Sight | None:
    if not there.outcome.arrived:
        return None
    assert back is not None, f"{what}: it arrives, and has no answer: {there.outcome}"
    ports = (back.flow.dport, back.flow.sport) if what.protocol in PORTED else (0, 0)
    return Sight(names[there.outcome.ns], what.protocol, str(back.target), str(back.source), *ports)


def differing(where: str, what: Tuple, path: Path, said: Any, sight: Sight | None) -> str:
    """ "" where it came as it was said to."""
    if said == (sight if isinstance(said, Sight) or said is None else sight.where if sight else ""):
        return ""
    hops = "\n".join(f"    {hop.place} {hop.step} {hop.entry} -> {hop.result}" for hop in path.hops)
    return f"{where} {what}\n  said {said}: {path.outcome.ending} {path.outcome.text}\n  came {sight}\n{hops}"


def sent(three: Three, flows: list[tuple[str, Tuple]]) -> dict[Tuple, Sight]:
    """By what was sent. ICMP has no ports by which it could be told, so of that one is sent at a time."""
    found: dict[Tuple, Sight] = {}
    ported = {(what.protocol, what.sport): what for _, what in flows if what.protocol in PORTED}
    for where, what in flows:
        if what.protocol in PORTED:
            three.send(where, what)
    found |= {ported[sight.protocol, sight.sport]: sight for sight in three.seen()}
    for where, what in flows:
        if what.protocol not in PORTED:
            three.send(where, what)
            for sight in three.seen():
                found[what] = sight
    return found


def answered(three: Three, came: dict[Tuple, Sight]) -> dict[Tuple, Sight]:
    """By what was sent at first: what comes of an answer to what came in. It has to come from who was asked."""
    found: dict[Tuple, Sight] = {}
    ported = {(what.protocol, what.sport): what for what in came if what.protocol in PORTED}
    for what, sight in came.items():
        if what.protocol in PORTED:
            back = Tuple(sight.protocol, ip_address(sight.dst), ip_address(sight.src), sight.dport, sight.sport)
            three.send(sight.where, back, flags=SYN_ACK)
    for sight in three.seen():
        what = ported[sight.protocol, sight.dport]
        assert (sight.src, sight.sport, sight.dst) == (str(what.dst), what.dport, str(what.src)), f"{what} {sight}"
        found[what] = sight
    for what, sight in came.items():
        if what.protocol not in PORTED:
            back = Tuple(sight.protocol, ip_address(sight.dst), ip_address(sight.src), what.sport, what.sport)
            three.send(sight.where, back, answer=True)
            for returned in three.seen():
                found[what] = returned
    return found
