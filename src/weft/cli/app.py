"""The root command. A verb's module is imported when that verb is used, so `weft --help` and completion stay quick."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from weft import __version__
from weft.cli.options import HELP, example
from weft.cli.session import Session

VERBS: dict[str, tuple[str, str]] = {
    "status": ("weft.cli.status", "This node: store, networks, peers, what is amiss"),
    "doctor": ("weft.cli.doctor", "Check this host, with what to do about each finding"),
    "plan": ("weft.cli.plan", "What the agent would do now, as commands"),
    "network": ("weft.cli.network", "Create, list, show, remove networks"),
    "pool": ("weft.cli.pool", "Prefixes out of which nodes take blocks of addresses"),
    "ipam": ("weft.cli.ipam", "Who holds which addresses, and whether that is right"),
    "attach": ("weft.cli.attach", "Connect a container on this node to a network"),
    "detach": ("weft.cli.detach", "Disconnect a container on this node"),
    "expose": ("weft.cli.expose", "Give this host an address in a network"),
    "hide": ("weft.cli.hide", "Take this host's address in a network away"),
    "endpoint": ("weft.cli.endpoint", "List, show and move what is attached, on all nodes"),
    "service": ("weft.cli.service", "A name and an address for several containers, ports of all hosts"),
    "policy": ("weft.cli.policy", "Who may talk to whom"),
    "apply": ("weft.cli.apply", "Make the cluster what documents say"),
    "export": ("weft.cli.export", "Write what is declared in the cluster as documents"),
    "bgp": ("weft.cli.bgp", "BGP sessions and routes of this node; routers to peer with"),
    "node": ("weft.cli.node", "List, show, remove nodes"),
    "store": ("weft.cli.store", "The cluster's store, and whether it is the right one"),
    "mesh": ("weft.cli.mesh", "Hosts that find each other, and the store that they keep together"),
    "netns": ("weft.cli.netns", "List all network namespaces of this host; run a command in one"),
    "links": ("weft.cli.links", "List all links of all namespaces; find one, its other end and its way out"),
    "check": ("weft.cli.check", "Test who reaches whom in the cluster, with probes of its own"),
    "flows": ("weft.cli.flows", "Connections of containers, with names; those that begin and end; what was dropped"),
    "trace": ("weft.cli.trace", "Follow a packet and name what stops it"),
    "support": ("weft.cli.support", "One archive for whoever is to help, without secrets"),
    "ui": ("weft.cli.ui", "The cluster in a browser, live"),
    "agent": ("weft.cli.agent", "Run the node agent; remove all that it made"),
    "cni": ("weft.cli.cni", "Install the CNI plugin"),
    "docker": ("weft.cli.docker", "Docker's containers in Weft's networks"),
    "lab": ("weft.cli.lab", "Many hosts on this machine, to try things out"),
}
"""Command, module with its `app`, one line for the list."""
NESTED = {("trace", "export"): "weft.cli.trace_export"}
"""Words that make another command of one that else takes them as its argument."""


class Root(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (_module, summary) in VERBS.items():
            self.add_command(TyperCommand(name, help=summary, rich_markup_mode=None))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The one command that is used is replaced by the real one."""
        name, command, rest = super().resolve_command(ctx, args)
        if (module := NESTED.get((name or "", rest[0] if rest else ""))) is not None:
            return f"{name} {rest[0]}", _loaded(module, f"{name} {rest[0]}"), rest[1:]
        return name, load(name) if name in VERBS else command, rest


def load(name: str) -> Any:
    """The command (of click) in a verb's module."""
    return _loaded(VERBS[name][0], name)


def _loaded(module: str, name: str) -> Any:
    app: typer.Typer = import_module(module).app
    app.rich_markup_mode = None  # plain help everywhere, whatever the verb's own taste
    command = typer.main.get_command(app)
    command.name = name
    return command


def root() -> Any:
    return typer.main.get_command(_app)


_app = typer.Typer(
    cls=Root,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings=HELP,
    epilog=example(
        "weft network create blue --driver vxlan --subnet 10.1.0.0/16",
        "weft attach web --network blue",
        "weft status",
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"weft {__version__}")
        raise typer.Exit


@_app.callback()
def weft(
    ctx: typer.Context,
    socket: Annotated[
        str, typer.Option(metavar="PATH", envvar="WEFT_SOCKET", help="Else /run/weft/weft.sock.", show_envvar=True)
    ] = "",
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Networks for containers on several hosts."""
    ctx.obj = Session(socket)
