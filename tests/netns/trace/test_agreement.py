"""What `weft trace` says of a packet is what becomes of a real one: random rules of both firewalls with NAT, routes that are
missing or refuse, and flows of all kinds, each sent as a real packet through the kernel, and answered where it arrives.

One case is a state of the host and some flows; the seed of one that fails is in its name, and `SEEDS=7 pytest …` runs it
alone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from random import Random
from typing import Any

import msgspec
import pytest

from support import random_rules
from support.namespaces import home
from support.routed_three import HOST, LEFT, NOBODY, RIGHT, Sight, Three, one_processor
from weft.api.dump import HostDump, NamespaceDump
from weft.filters.model import Tuple
from weft.kernel.host.dump import dump
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Netlink, open_socket
from weft.kernel.plumbing.nfnl import NFGENMSG
from weft.trace.path import SYN_ACK, Flow, Path, Start
from weft.trace.walk import both_ways
from weft.trace.world import World

STATES = 32
FLOWS = 16
"""Of each state: over five hundred in all."""
SEEDS = [int(seed) for seed in os.environ.get("SEEDS", "").split(",") if seed] or list(range(STATES))
PORTED = (6, 17)
PROTOCOLS = {4: (6, 17, 1), 6: (6, 17, 58)}
DELETE = 2
"""IPCTNL_MSG_CT_DELETE: of everything, where nothing is named."""


@pytest.fixture(scope="module")
def three() -> Iterator[Three]:
    with home() as host, one_processor():
        found = Three(host)
        yield found
        found.close()


@pytest.fixture(scope="module")
def tally() -> Counter[str]:
    """How the ways of all flows ended."""
    return Counter()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_trace_agrees_with_the_kernel(three: Three, tally: Counter[str], seed: int) -> None:
    random = Random(seed)
    said = prepare(three, random)
    flows = [chosen(random, number) for number in range(FLOWS)]
    world = World({"host": dumped(three)}, {})
    told = {what: predicted(world, three, where, what) for where, what in flows}
    tally["states"] += 1
    for there, back in told.values():
        tally[there.outcome.ending] += 1
        tally["translated"] += any(hop.step == "nat" for hop in there.hops)
        tally["answered"] += back is not None and back.outcome.arrived
    disagreed = [text for text in compared(three, flows, told) if text]
    assert not disagreed, f"seed {seed}\n" + "\n".join(disagreed) + f"\n\n{said}"


def test_the_flows_came_to_all_kinds_of_ends(tally: Counter[str]) -> None:
    states = tally["states"]
    if states < STATES // 3:
        pytest.skip("too few states were tried here")
    assert tally["delivered"] > states * FLOWS // 5, tally
    assert tally["filtered"] > states * FLOWS // 10, tally
    assert (
        min(tally[end] for end in ("translated", "answered", "blackhole", "unreachable", "prohibit")) > states // 2
    ), tally


# -- the state ---------------------------------------------------------------------------------------------------------


def prepare(three: Three, random: Random) -> str:
    """The host in a random state, told as text."""
    host = three.host
    for program in ("iptables-legacy", "ip6tables-legacy"):
        for table in ("raw", "mangle", "nat", "filter"):
            host.run(program, "-t", table, "-F", check=False)
    host.sh("nft flush ruleset")
    for program in ("iptables-legacy", "ip6tables-legacy"):
        for chain in ("INPUT", "FORWARD", "OUTPUT"):
            host.run(program, "-P", chain, "ACCEPT", check=False)
    three.witness("host")
    said = ""
    if random.random() < 0.8:
        said = random_rules.nft(random)
        host.run("nft", "-f", "-", stdin=said)
    if random.random() < 0.5:
        back_end = random.choice(("nft", "nft", "legacy"))
        for six in (False, True):
            text = random_rules.iptables(random, six=six)
            host.run(f"ip{'6' if six else ''}tables-{back_end}-restore", stdin=text)
            said += f"{back_end}\n{text}"
    said += routes(three, random)
    forget(three)
    return said


def routes(three: Three, random: Random) -> str:
    """Some are missing, some refuse, some packets go by another table for their mark; at times nothing is routed on, or only
    what comes from where its answer would go."""
    host, said = three.host, list[str]()
    switches = {f"net.ipv4.conf.{dev}.rp_filter": random.choice((0, 0, 1, 2)) for dev in ("all", "to-left", "to-right")}
    switches |= {f"net.ipv{name}": int(random.random() < 0.9) for name in ("4.ip_forward", "6.conf.all.forwarding")}
    said.append("sysctl -w " + " ".join(f"{name}={value}" for name, value in switches.items()))
    host.sh(said[-1].replace("-w", "-qw"))
    for family in ("-4", "-6"):
        six = family == "-6"
        host.run("ip", family, "route", "flush", "proto", "186", check=False)
        host.run("ip", family, "route", "flush", "table", "100", check=False)
        host.run("ip", family, "rule", "del", "priority", "50", check=False)
        commands = [
            f"route add {kind} {address} proto 186"
            for address in (a for a in (*RIGHT, *NOBODY) if (":" in a) is six)
            if (kind := random.choice(("", "", "", "blackhole", "unreachable", "prohibit")))
        ]
        if random.random() < 0.3:
            near = "fd02::2" if six else "10.2.0.3"
            commands += [f"rule add priority 50 fwmark {random.randint(1, 3)}/0xf lookup 100"]
            commands += [f"route add {random.choice(('prohibit', 'throw', 'blackhole'))} {near} table 100"]
        for command in commands:
            said.append(f"ip {family} {command}")
            host.sh(said[-1])
    return "\n".join(said)


def forget(three: Three) -> None:
    """Connections of the states before."""
    with three.host.entered():
        netlink = Netlink(open_socket(u.NETLINK_NETFILTER))
    try:
        netlink.request(u.NFNL_SUBSYS_CTNETLINK << 8 | DELETE, 0, NFGENMSG.pack(u.AF_UNSPEC, 0, 0))
    finally:
        netlink.close()


def chosen(random: Random, number: int) -> tuple[str, Tuple]:
    """Who sends, and what. The source's port, or identifier, tells it from all others."""
    six = random.random() < 0.4
    where = random.choice(("left", "left", "left", "host"))
    mine = LEFT if where == "left" else HOST
    src = random.choice([a for a in mine if (":" in a) is six])
    dst = random.choice([a for a in (*RIGHT, *RIGHT, *NOBODY, *(HOST if where == "left" else ())) if (":" in a) is six])
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
