"""`weft lab`: many hosts on this machine."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from weft.base.errors import Invalid, NotFound
from weft.cli.columns import Column, Table
from weft.cli.listing import listing
from weft.cli.options import example, group
from weft.cli.output import Format, Output, complain, say, show
from weft.cli.session import Waiting
from weft.cli.table import Cell, Page, Styled
from weft.lab import DEFAULT, Lab, Topology, flat, load, matrix, reference, state, take_down
from weft.lab.matrix import Ping

WIDEST_MATRIX = 8
"""Containers in a table that fits 100 columns; above that only what failed is listed."""

app = group("Many hosts on this machine, made of namespaces of their own.", "weft lab up", "weft lab matrix")
store_app = group("The lab's etcd, for trying what happens without it.", "weft lab store stop")
app.add_typer(store_app, name="store")


class StoreKind(StrEnum):
    sqlite = "sqlite"
    etcd = "etcd"
    mesh = "mesh"


class AgentAction(StrEnum):
    stop = "stop"
    start = "start"
    kill = "kill"
    logs = "logs"


class LinkState(StrEnum):
    up = "up"
    down = "down"


Name = Annotated[str, typer.Option("--name", envvar="WEFT_LAB_NAME", help="Which lab; several can be up.")]
HostArgument = Annotated[str, typer.Argument(metavar="HOST", help="As `weft lab ls` lists them.")]


@app.command(epilog=example("weft lab up --store etcd"))
def up(
    topology: Annotated[Path | None, typer.Option("--topology", help="A TOML file; see docs/lab.md.")] = None,
    hosts: Annotated[int | None, typer.Option("--hosts", help="Instead: this many nodes on one segment.")] = None,
    store: Annotated[StoreKind, typer.Option("--store", help="What the agents share.")] = StoreKind.sqlite,
    name: Name = DEFAULT,
    agents: Annotated[bool, typer.Option("--agents/--no-agents", help="Start an agent on each node.")] = True,
) -> None:
    """Bring a lab up: the reference lab, unless told otherwise."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that it clears up first
    chosen = _topology(topology, hosts)
    with Waiting(f"bringing up lab {name}"):
        lab = Lab.up(chosen, name=name, store=store.value, agents=agents)
    say(f"lab {name} is up: {', '.join(lab.hosts)}. Try: weft lab exec {chosen.hosts[0].name} -- ip route")


def _topology(path: Path | None, hosts: int | None) -> Topology:
    if path and hosts is not None:
        raise Invalid("--topology and --hosts exclude each other: leave one of them out")
    if path:
        return load(path)
    return reference() if hosts is None else flat(hosts)


@app.command(epilog=example("weft lab down"))
def down(name: Name = DEFAULT) -> None:
    """Take a lab down, complete or half-made; nothing of it is left. Doing it again is harmless."""
    say(f"lab {name} is down" if take_down(name) else f"no lab {name} was up")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """`agent`: "running", "stopped", or None where none was ever started; `socket`: as seen from outside the host."""

    lab: str
    host: str
    segment: str
    addresses: list[str]
    agent: str | None
    agent_pid: int | None
    socket: str | None
    containers: list[str]


HOSTS: Table[Row] = Table(
    Column("LAB", lambda r: r.lab),
    Column("HOST", lambda r: r.host),
    Column("SEGMENT", lambda r: r.segment, spare=1),
    Column("ADDRESSES", lambda r: "\n".join(r.addresses), whole=True),
    Column("AGENT", lambda r: _agent_cell(r.agent)),
    Column("CONTAINERS", lambda r: " ".join(r.containers)),
    Column("PID", lambda r: r.agent_pid or "", shown=False),
    Column("SOCKET", lambda r: r.socket or "", shown=False),
    name=lambda r: r.host,
    none="no lab is up: `weft lab up` makes one",
)


@listing(app, HOSTS, "weft lab ls", "weft lab ls -o json", asking="looking at labs")
def list_(
    name: Annotated[str | None, typer.Option("--name", envvar="WEFT_LAB_NAME", help="Only this lab.")] = None,
) -> list[Row]:
    """List the hosts of all labs that are up."""
    return [row for lab in _labs(name) for row in _rows(lab)]


def _labs(name: str | None) -> Iterator[Lab]:
    if name:
        yield Lab.open(name)
        return
    for each in state.names():
        try:
            yield Lab.open(each)
        except NotFound:
            complain(f"lab '{each}' was not taken down properly: `weft lab down --name {each}`")


def _rows(lab: Lab) -> Iterator[Row]:
    nodes = {place.name for place in lab.topology.hosts}
    places = {place.name: place for place in lab.topology.places()}
    for host in lab.hosts.values():
        place = places.get(host.name)
        addresses = place.addresses if place else [a for on in lab.topology.router.values() for a in on]
        agent = lab.agent(host.name) if host.name in nodes else None
        process = agent.process() if agent else None
        yield Row(
            lab=lab.name,
            host=host.name,
            segment=place.segment if place else ", ".join(lab.topology.router),
            addresses=[str(a) for a in addresses],
            agent=None if agent is None or not agent.known() else "running" if process else "stopped",
            agent_pid=process.pid if process else None,
            socket=str(host.socket) if agent else None,
            containers=host.containers(),
        )


def _agent_cell(agent: str | None) -> Cell:
    return Styled(agent, "good" if agent == "running" else "bad") if agent else "-"


@app.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=example("weft lab exec node-1/c1 -- ping -c1 10.32.1.2"),
)
def exec_(
    target: Annotated[str, typer.Argument(metavar="HOST[/CONTAINER]", help="Where.")],
    command: Annotated[list[str] | None, typer.Argument(metavar="-- CMD…", help="What; a shell if not given.")] = None,
    name: Name = DEFAULT,
) -> None:
    """Run a command in a host or a container; its streams and exit status are the command's own."""
    words = command[1:] if command and command[0] == "--" else command
    Lab.open(name).inside(target).as_foreground(words or ["bash"])


@app.command(epilog=example("weft lab run node-1 c1 --network web"))
def run(
    host: HostArgument,
    container: Annotated[str, typer.Argument(metavar="NAME", help="The new container's name.")],
    network: Annotated[str, typer.Option("--network", help="What to attach it to.")],
    ip: Annotated[list[str] | None, typer.Option("--ip", help="A wished-for address; may be repeated.")] = None,
    name: Name = DEFAULT,
) -> None:
    """Make a container in a host and attach it to a network; all or nothing."""
    Lab.open(name).run(host, container, network=network, ip=ip or ())


@app.command(epilog=example("weft lab rm node-1 c1"))
def rm(
    host: HostArgument,
    container: Annotated[str, typer.Argument(metavar="NAME", help="The container.")],
    name: Name = DEFAULT,
) -> None:
    """Detach a container and remove it with its processes."""
    Lab.open(name).rm(host, container)


@app.command(epilog=example("weft lab agent node-2 kill"))
def agent(host: HostArgument, action: AgentAction, name: Name = DEFAULT) -> None:
    """Stop, start or kill (SIGKILL) a host's agent, or show what it has logged."""
    daemon = Lab.open(name).agent(host)
    if action is AgentAction.logs:
        if daemon.log.exists():
            sys.stdout.write(daemon.log.read_text(errors="replace"))
    elif action is AgentAction.start:
        daemon.start()
        daemon.wait_ready()
    else:
        _end(daemon.end(signal.SIGKILL if action is AgentAction.kill else signal.SIGTERM), f"the agent of {host}")


@app.command(epilog=example("weft lab link node-3 down --cable"))
def link(
    host: HostArgument,
    to: Annotated[LinkState, typer.Argument(metavar="up|down")],
    cable: Annotated[bool, typer.Option("--cable", help="Down by loss of carrier: addresses and routes stay.")] = False,
    name: Name = DEFAULT,
) -> None:
    """Take a host's uplink down, or bring it up with its addresses and routes."""
    Lab.open(name).link(host, to is LinkState.up, cable=cable)


@store_app.command("stop", epilog=example("weft lab store stop"))
def store_stop(name: Name = DEFAULT) -> None:
    """Stop etcd."""
    _end(Lab.open(name).need_etcd().end(signal.SIGTERM), "etcd")


@store_app.command("start", epilog=example("weft lab store start"))
def store_start(name: Name = DEFAULT) -> None:
    """Start etcd again, with the data it had."""
    etcd = Lab.open(name).need_etcd()
    etcd.start()
    etcd.wait_ready()


def _end(was_running: bool, who: str) -> None:
    if not was_running:
        say(f"{who} was not running")


@app.command("matrix", epilog=example("weft lab matrix --network web -o json"))
def matrix_(
    network: Annotated[str | None, typer.Option("--network", help="Only its containers.")] = None,
    name: Name = DEFAULT,
    output: Output = Format.TABLE,
) -> None:
    """Ping from every container to every other, in all families: round-trip times in milliseconds.

    Exit status 1 if two containers of one network do not reach each other.
    """
    lab = Lab.open(name)
    with Waiting("pinging"):
        chosen = matrix.containers(lab, network)
        pings = matrix.measure(chosen)
    show(pings, output, lambda page, found: _render_matrix(page, [container.name for container in chosen], found))
    if any(ping.expected and not ping.ok for ping in pings):
        raise typer.Exit(1)


def _render_matrix(page: Page, names: list[str], pings: list[Ping]) -> Iterator[str]:
    if len(names) <= WIDEST_MATRIX:
        by_pair: dict[tuple[str, str], list[Ping]] = {}
        for ping in pings:
            by_pair.setdefault((ping.source, ping.target), []).append(ping)
        heads = ["FROM / TO, ms", *(name.replace("/", "\n") for name in names)]
        yield from page.table(heads, [[a, *(_cell(by_pair.get((a, b), [])) for b in names)] for a in names])
    for ping in pings:
        if ping.expected and not ping.ok:
            yield page.paint(f"no answer: {ping.source} to {ping.target} ({ping.address})", "bad")
    wanted = [ping for ping in pings if ping.expected]
    yield f"{sum(ping.ok for ping in wanted)} of {len(wanted)} pings answered, {len(names)} containers"


def _cell(pings: list[Ping]) -> Cell:
    """The slowest answer; or which families failed; `-` where no answer is due."""
    failed = [ping for ping in pings if not ping.ok]
    if failed and failed[0].expected:
        return Styled("no " + " ".join(f"v{family}" for family in sorted({ping.family for ping in failed})), "bad")
    if failed or not pings:
        return Styled("-", "dim")
    return Styled(f"{max(ping.rtt_ms or 0 for ping in pings):.2f}", "good")
