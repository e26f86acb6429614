"""Ten thousand blocks announced at once: how soon BIRD has them in the kernel, as Weft configures it and by itself.

Both have a session with the same neighbour, which announces its blocks when told to; one of them runs at a time, in
turns. The neighbour's own part, finding and sending ten thousand routes, is in both figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic

import msgspec

from bench import birds, labs
from bench.figures import Figure, Named, paired
from bench.routes import Times
from weft.base.errors import Failed
from weft.lab import Host, Lab

PEER, WEFT, BARE = 0, 1, 2
_UP_SECONDS = 60.0
Progress = Callable[[str], None]


class Round(msgspec.Struct, frozen=True):
    """Seconds from the word to announce until the last route was in the kernel, and from that to withdraw until it was gone.
    MB, of a BIRD without and with the routes."""

    learnt: float
    withdrawn: float
    empty: float
    full: float


def figures(routes: int, rounds: int, progress: Progress) -> list[Figure]:
    took: dict[int, list[Round]] = {WEFT: [], BARE: []}
    with (
        labs.up(birds.topology(PEER, WEFT, BARE)) as lab,
        birds.running(lab.host(birds.name(PEER)), "peer", _peer(lab, routes)) as peer,
    ):
        for number in range(rounds):
            progress(f"bgp: {routes:,} routes, round {number + 1} of {rounds}")
            for which in (WEFT, BARE) if number % 2 else (BARE, WEFT):
                took[which].append(_round(lab, peer, which, routes))
    group = f"{routes:,} routes learnt by BGP"

    def both(name: str, unit: str, of: Callable[[Round], float]) -> Figure:
        named = Named(group, name, unit, "bare BIRD")
        return paired(named, [of(r) for r in took[WEFT]], [of(r) for r in took[BARE]])

    return [
        both("announced → all in the kernel", "s", lambda r: r.learnt),
        both("withdrawn → all gone", "s", lambda r: r.withdrawn),
        both("memory, BIRD", "MB", lambda r: r.full),
        both("of it, without the routes", "MB", lambda r: r.empty),
    ]


def _round(lab: Lab, peer: birds.Daemon, which: int, routes: int) -> Round:
    host = lab.host(birds.name(which))
    text = _weft(host, routes) if which == WEFT else _bare(host)
    with birds.running(host, "bird", text) as daemon:
        daemon.until_up(1, _UP_SECONDS)
        empty = daemon.memory()
        learnt = _told(host, peer, "enable blocks", "new", routes)
        there = in_kernel(host)
        if there != routes:
            raise Failed(f"{host.name}: {there} of {routes} routes are in the kernel")
        full = daemon.memory()
        withdrawn = _told(host, peer, "disable blocks", "del", routes)
        if left := in_kernel(host):
            raise Failed(f"{host.name}: {left} routes are still in the kernel")
    return Round(learnt, withdrawn, empty, full)


def _told(host: Host, peer: birds.Daemon, command: str, kind: str, routes: int) -> float:
    with labs.started(host, labs.module("routes", kind, str(routes))) as watch:
        began = monotonic()
        peer.ask(command)
        return labs.result(watch, Times).last - began


def in_kernel(host: Host) -> int:
    """Routes of BIRD's by way of another host."""
    shown = host.must("routes", ["ip", "-4", "route", "show", "proto", "bird"])
    return sum(" via " in line for line in shown.splitlines())


# Configurations.


def _weft(host: Host, routes: int) -> str:
    """Of a node whose neighbour has all blocks but none of its own."""
    nodes = [birds.node(PEER), birds.node(WEFT)]
    model = birds.cluster(nodes, routes)
    mine = msgspec.structs.replace(model.leases[birds.NETWORK.name][birds.name(WEFT)], subnets=())
    leases = {birds.NETWORK.name: {**model.leases[birds.NETWORK.name], birds.name(WEFT): mine}}
    return birds.rendered(host, "bird", WEFT, msgspec.structs.replace(model, leases=leases))


def _bare(host: Host) -> str:
    """The least that does it."""
    return "\n".join(
        [
            *birds.head(host, "bird"),
            "protocol kernel { ipv4 { export all; }; }",
            *_session("peer", BARE, PEER, "import all; export none;"),
        ]
    )


def _peer(lab: Lab, routes: int) -> str:
    channel = "import none; export all; next hop self;"
    lines = [*birds.head(lab.host(birds.name(PEER)), "peer"), "protocol static blocks {", "  disabled;", "  ipv4;"]
    lines += [f"  route {block} blackhole;" for block in birds.held(PEER, routes)]
    lines.append("}")
    for number in (WEFT, BARE):
        lines += _session(f"to{number}", PEER, number, channel, "passive;")
    return "\n".join(lines)


def _session(name: str, own: int, other: int, channel: str, more: str = "") -> Iterator[str]:
    yield f"protocol bgp {name} {{ direct; {more}"
    yield f"  local {birds.address(own).ip} as {birds.AS}; neighbor {birds.address(other).ip} as {birds.AS};"
    yield f"  connect delay time 1; ipv4 {{ {channel} }};"
    yield "}"
