"""One route reflector in front of hundreds of nodes, as Weft configures it.

The reflector and one of its clients are what Weft makes of them. The other clients are BIRDs too, one each, with an address of
their own on one host: BIRD has but one session with a neighbour's address, so that a single one cannot play them all.
They keep what they are told, but write it to no kernel. They share this machine's CPUs with the reflector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from select import select
from statistics import median
from time import monotonic, perf_counter

import msgspec

from bench import birds, labs, learn
from bench.figures import Figure, Named, single
from bench.routes import Times
from weft.base.errors import Failed
from weft.bgp import config, replies
from weft.bgp.plan import Model
from weft.daemons.bird import ask
from weft.lab import Lab
from weft.lab.inside import InsideProcess
from weft.model import Node

REFLECTOR, CLIENT, FIRST = 0, 1, 2
"""Numbers of nodes; from the last on they are simulated."""
_OTHERS = 60_000
"""Number of the host that the simulated ones are on."""
_SECONDS = 300.0
_RENDERS = 11
Progress = Callable[[str], None]


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from the start of the reflector's BIRD until all sessions were up, until all routes were in the client's kernel,
    and until every client had been told everything; of the next node's coming: until its configuration was checked, live,
    and its blocks in the client's kernel. MB and seconds of CPU: the reflector's BIRD."""

    up: float
    client: float
    all_told: float
    memory: float
    client_memory: float
    cpu: float
    others_cpu: float
    checked: float
    reloaded: float
    known: float


def figures(nodes: int, blocks: int, rounds: int, progress: Progress) -> list[Figure]:
    """`nodes`: the reflector among them."""
    took = []
    for number in range(rounds):
        progress(f"bgp: a reflector and {nodes - 1} nodes, round {number + 1} of {rounds}")
        with labs.up(birds.topology(REFLECTOR, CLIENT, _OTHERS)) as lab:
            took.append(_round(lab, nodes, blocks))
    return [*_reflected(nodes, blocks, took), *_own_share(nodes, blocks)]


def _reflected(nodes: int, blocks: int, took: list[Round]) -> list[Figure]:
    group = f"a reflector and {nodes - 1} clients, {blocks} blocks each"

    def one(name: str, unit: str, of: Callable[[Round], float]) -> Figure:
        samples = [of(r) for r in took]
        return single(Named(group, name, unit), median(samples), samples)

    return [
        one("started → all sessions up", "s", lambda r: r.up),
        one(f"started → {nodes * blocks:,} blocks in a client's kernel", "s", lambda r: r.client),
        one("started → every client told everything", "s", lambda r: r.all_told),
        one("CPU of the reflector's BIRD until then", "s", lambda r: r.cpu),
        one("CPU of the simulated clients until then", "s", lambda r: r.others_cpu),
        one("memory, reflector's BIRD", "MB", lambda r: r.memory),
        one("memory, client's BIRD", "MB", lambda r: r.client_memory),
        one("one more node: rendered and checked by BIRD", "ms", lambda r: r.checked * 1000),
        one("one more node: reloaded, all sessions kept", "ms", lambda r: r.reloaded * 1000),
        one("one more node: its blocks in a client's kernel", "s", lambda r: r.known),
    ]


def _round(lab: Lab, nodes: int, blocks: int) -> Round:
    reflector, client = lab.host(birds.name(REFLECTOR)), lab.host(birds.name(CLIENT))
    others = lab.host(birds.name(_OTHERS))
    last = nodes  # one more than the reflector is told of at first
    addresses = "\n".join(f"addr add {birds.address(n)} dev eth0" for n in range(FIRST, last + 1))
    others.must("addresses", ["ip", "-batch", "-"], input=addresses)
    before, after = (birds.cluster(_nodes(count), blocks) for count in (nodes, nodes + 1))
    many = birds.directory(others, "many")
    for number in range(FIRST, last + 1):
        text = "\n".join([*birds.head(others, "many"), *_simulated(number, blocks, later=number == last)])
        (many / f"{number}.conf").write_text(text)
    # All of the client's routes but its own, in both cases: what is told to it, and of whom.
    watch = labs.module("routes", "new", str((nodes - 1) * blocks))
    with (
        labs.started(others, labs.module("flock", str(many))) as flock,
        birds.running(client, "bird", birds.rendered(client, "bird", CLIENT, before)) as one,
        labs.started(client, watch) as watching,
    ):
        began = monotonic()
        with birds.running(reflector, "bird", birds.rendered(reflector, "bird", REFLECTOR, before)) as daemon:
            cpu = _cpu(flock)
            up = daemon.until_up(nodes - 1, _SECONDS)
            client_has = labs.result(watching, Times).last
            told = _all_told(many, range(FIRST, nodes), (nodes - 1) * blocks)
            used, others_used = daemon.cpu(), _cpu(flock) - cpu
            if (there := learn.in_kernel(client)) != (nodes - 1) * blocks:
                raise Failed(f"{client.name}: {there} of {(nodes - 1) * blocks} routes are in the kernel")
            memory, client_memory = daemon.memory(), one.memory()
            checked, reloaded, known = _one_more(lab, (daemon, one), many, after, last, blocks)
    return Round(
        up=up - began,
        client=client_has - began,
        all_told=told - began,
        memory=memory,
        client_memory=client_memory,
        cpu=used,
        others_cpu=others_used,
        checked=checked,
        reloaded=reloaded,
        known=known,
    )


def _one_more(
    lab: Lab, told: tuple[birds.Daemon, birds.Daemon], many: Path, model: Model, number: int, blocks: int
) -> tuple[float, float, float]:
    """Seconds; the first two of the reflector. `told`: it and the client, each by its own agent: a node believes what is in the
    model as it knows it. Raises Failed where a session does not outlive it."""
    reflector, client = told
    up = {name: protocol.since for name, protocol in reflector.sessions().items()}
    words = labs.module("routes", "new", str(blocks))
    with labs.started(lab.host(birds.name(CLIENT)), words) as watching:
        began = monotonic()
        reflector.bird.check(birds.rendered(reflector.host, "bird", REFLECTOR, model))
        checked = monotonic()
        reflector.ask(f'configure "{birds.directory(reflector.host, "bird") / "bird.conf.new"}"')
        reloaded = monotonic()
        client.bird.check(birds.rendered(client.host, "bird", CLIENT, model))
        client.ask(f'configure "{birds.directory(client.host, "bird") / "bird.conf.new"}"')
        ask(many / f"{number}.ctl", "enable reflector")
        known = labs.result(watching, Times).last
    now = {name: protocol.since for name, protocol in reflector.sessions().items()}
    if lost := [name for name, since in up.items() if now.get(name) != since]:
        raise Failed(f"{len(lost)} sessions did not outlive the new configuration, {lost[0]} among them")
    return checked - began, reloaded - checked, known - began


def _cpu(flock: InsideProcess) -> float:
    """Seconds, of all simulated clients."""
    assert flock.stdin
    flock.stdin.write("\n")
    flock.stdin.flush()
    return labs.result(flock, float)


def _all_told(many: Path, numbers: range, routes: int) -> float:
    """When the last of these clients had so many routes. Raises Failed."""
    deadline = monotonic() + _SECONDS
    for number in numbers:
        while True:
            answer = ask(many / f"{number}.ctl", "show protocols all reflector")
            has = replies.protocols(answer)["reflector"].received
            if has >= routes:
                break
            if monotonic() > deadline:
                raise Failed(f"{birds.name(number)} has {has} of {routes} routes after {_SECONDS:.0f} s")
            select([], [], [], 0.1)
    return monotonic()


def _nodes(count: int) -> Iterator[Node]:
    return (birds.node(number, reflects=number == REFLECTOR) for number in range(count))


def _simulated(number: int, blocks: int, *, later: bool) -> Iterator[str]:
    """A node. `later`: not before its session is enabled. Its times are those that Weft's configuration has."""
    yield f"router id {birds.address(number).ip};"
    routes = " ".join(f"route {block} blackhole;" for block in birds.held(number, blocks))
    yield f"protocol static {{ ipv4; {routes} }}"
    yield f"protocol bgp reflector {{ multihop; passive; {'disabled;' if later else ''}"
    yield f"  local {birds.address(number).ip} as {birds.AS}; strict bind yes;"
    yield f"  neighbor {birds.address(REFLECTOR).ip} as {birds.AS};"
    yield "  connect delay time 1; connect retry time 5; error wait time 1, 10;"
    yield "  ipv4 { import all; export where source = RTS_STATIC; next hop self; };"
    yield "}"


# Weft's own share.


def _own_share(nodes: int, blocks: int) -> list[Figure]:
    group = f"configuration for a cluster of {nodes} nodes"
    reflected = birds.cluster(_nodes(nodes), blocks)
    mesh = birds.cluster((birds.node(number) for number in range(nodes)), blocks)
    found = []
    for name, number, model in (
        ("reflector's", REFLECTOR, reflected),
        ("client's", CLIENT, reflected),
        ("node's in a mesh", CLIENT, mesh),
    ):
        took = [_timed(number, model) for _ in range(_RENDERS)]
        size = len(config.render(birds.planned(number, model), "/run/weft/bird.log").encode())
        found.append(single(Named(group, f"{name}: planned and rendered", "ms"), median(took), took))
        found.append(single(Named(group, f"{name}: size", "kB"), size / 1000, [size / 1000]))
    return found


def _timed(number: int, model: Model) -> float:
    """Milliseconds."""
    start = perf_counter()
    config.render(birds.planned(number, model), "/run/weft/bird.log")
    return (perf_counter() - start) * 1000
