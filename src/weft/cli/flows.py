"""`weft flows`."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from weft.api import flows as f
from weft.base.errors import WeftError
from weft.cli import complete
from weft.cli.flows_shown import line, listed, logged, refused
from weft.cli.options import OfNetwork, example, single
from weft.cli.output import Format, Output, blocks, complain, counted, json_line, say, show
from weft.cli.session import Waiting, client
from weft.cli.table import Page
from weft.model import to_builtins

if TYPE_CHECKING:
    from weft.client import Client

app = single()
PATIENCE, REFUSED_PATIENCE = 20, 2
"""Seconds that one request waits for something to happen; where counters are looked at too."""
AFAR = 30
"""Seconds for another node's answer, which may itself wait."""
WAITING = 16
"""Pages that wait to be written: where nobody reads, nodes are not asked for more."""

_Endpoint = Annotated[
    str,
    typer.Option(
        "--endpoint", metavar="ENDPOINT", help="Only of this one, or of a node or address.",
        autocompletion=complete.endpoints,
    ),
]  # fmt: skip
_Node = Annotated[
    str, typer.Option("--node", metavar="NODE", help="As that node has them.", autocompletion=complete.nodes)
]


@app.command(epilog=example("weft flows", "weft flows --endpoint web", "weft flows -f --dropped", "weft flows --all"))
def flows(
    ctx: typer.Context,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Tell of connections that begin and end, until interrupted.")
    ] = False,
    network: OfNetwork = "",
    endpoint: _Endpoint = "",
    node: _Node = "",
    all: Annotated[bool, typer.Option("--all", help="As each node has them: one between two is told by both.")] = False,
    dropped: Annotated[bool, typer.Option("--dropped", help="And what rules refused, with the reason.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=5000, help="So many of each node, the largest.")] = 100,
    output: Output = Format.TABLE,
) -> None:
    """Show connections of containers, out of conntrack, with names instead of addresses.

    Those of this host, the ones with most octets first. With -f and -o json each event is one line.
    """
    if node and all:
        raise typer.BadParameter("either one node, or --all", param_hint="--node")

    def ask(agent: Client, after: str = "", wait: str = "") -> f.FlowPage:
        return agent.flows(
            network=network, endpoint=endpoint, dropped=dropped, limit=str(limit), after=after, wait=wait
        )

    agents = _agents(client(ctx), node, all)
    if follow:
        wait = REFUSED_PATIENCE if dropped else PATIENCE
        _follow([(name, Following(agent, ask, wait)) for name, agent in agents], output)
        return
    with Waiting("reading connections"):
        pages = list(_pages(agents, ask))
    for page in pages:
        for problem in page.problems:
            complain(f"{page.node}: {problem}")
    show(tuple(pages), output, lambda page, found: _lists(page, found, dropped))
    if not pages:
        raise typer.Exit(1)


def _agents(agent: Client, node: str, all: bool) -> list[tuple[str, Client]]:
    """By name; "" where it is this host's."""
    if all:
        return [
            (n.name, agent if n.this else agent.at(n.name, AFAR)) for n in agent.nodes() if n.alive and not n.foreign
        ]
    return [(node, agent.at(node, AFAR) if node else agent)]


def _pages(agents: list[tuple[str, Client]], ask: Callable[[Client], f.FlowPage]) -> Iterator[f.FlowPage]:
    """A node that does not answer costs its own part, where others are asked too."""
    for name, agent in agents:
        try:
            yield ask(agent)
        except WeftError as error:
            if len(agents) == 1:
                raise
            complain(f"{name}: {error}")


def _lists(page: Page, pages: tuple[f.FlowPage, ...], dropped: bool) -> Iterator[str]:
    parts: list[Iterable[str]] = [listed(page, pages)]
    if dropped:
        parts.append(refused(page, pages))
    return blocks(*parts)


# -- following ---------------------------------------------------------------------------------------------------------


class Following:
    """One node's events, page after page."""

    def __init__(self, agent: Client, ask: Callable[[Client, str, str], f.FlowPage], wait: int) -> None:
        self._agent, self._ask, self._wait = agent, ask, str(wait)
        self._last, self._overruns = "now", 0
        self._refused: dict[tuple[str, ...], f.Dropped] = {}
        self._begun = False

    def next(self) -> f.FlowPage:
        """Raises WeftError."""
        found = self._ask(self._agent, self._last, self._wait if self._begun else "")
        self._last = found.last
        rises = tuple(self._rises(found.dropped))
        overruns, self._overruns = found.overruns - self._overruns if self._begun else 0, found.overruns
        self._begun = True
        return msgspec.structs.replace(found, dropped=rises, overruns=max(overruns, 0))

    def _rises(self, dropped: tuple[f.Dropped, ...]) -> Iterator[f.Dropped]:
        """By what counters have risen since the page before. One that was made anew began at 0."""
        for now in dropped:
            key = now.reason, now.where, now.what, now.direction
            before = self._refused.get(key)
            self._refused[key] = now
            if not self._begun or (before is not None and before.packets == now.packets):
                continue
            if before is None or before.packets > now.packets:
                yield now
                continue
            packets, octets = now.packets - before.packets, now.octets - before.octets
            yield msgspec.structs.replace(now, packets=packets, octets=max(octets, 0))


def _follow(some: list[tuple[str, Following]], output: Format) -> None:
    """For ever; or until nobody reads, or the only node fails."""
    if len(some) == 1:
        while True:
            if not _told(some[0][1].next(), output, several=False):
                return
    pages: queue.Queue[f.FlowPage | None] = queue.Queue(WAITING)
    for name, following in some:
        threading.Thread(target=_pump, args=(name, following, pages), daemon=True).start()
    left = len(some)
    while left:
        page = pages.get()
        if page is None:
            left -= 1
        elif not _told(page, output, several=True):
            return
    raise typer.Exit(1)


def _pump(name: str, following: Following, pages: queue.Queue[f.FlowPage | None]) -> None:
    """What one node says, until it cannot be asked any more."""
    try:
        while True:
            pages.put(following.next())
    except WeftError as error:
        complain(f"{name}: {error}")
        pages.put(None)


def _told(found: f.FlowPage, output: Format, *, several: bool) -> bool:
    """Whether somebody still reads."""
    where = f"{found.node}: " if several else ""
    if found.missed:
        complain(f"{where}{counted(found.missed, 'event')} came meanwhile, more than are kept")
    if found.overruns:
        complain(f"{where}connections begin and end faster than can be told: some are left out")
    for problem in found.problems:
        complain(where + problem)
    if output is Format.TABLE:
        page = Page.of_stdout()
        lines = [line(page, flow, several) for flow in found.flows]
        lines += [logged(page, entry, found.node if several else "") for entry in found.logged]
        lines += [_rise(page, each, found.node if several else "") for each in found.dropped]
    else:  # which is YAML, too
        lines = [json_line(flow) for flow in found.flows]
        lines += [_object("denied", found.node, entry) for entry in found.logged]
        lines += [_object("dropped", found.node, each) for each in found.dropped]
    return say(*lines)


def _object(event: str, node: str, about: object) -> str:
    fields: dict[str, Any] = to_builtins(about)
    return json_line({"event": event, "node": node, **fields})


def _rise(page: Page, each: f.Dropped, node: str) -> str:
    moment = time.strftime("%H:%M:%S")
    text = f"{counted(each.packets, 'packet')} by {each.reason}: {each.what}{f' in {each.where}' if each.where else ''}"
    return f"{moment}      {page.paint('dropped', 'bad')}  {f'{node}  ' if node else ''}{text}"
