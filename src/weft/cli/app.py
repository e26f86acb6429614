"""The root command. A verb's module is imported when that verb is used, so `weft --help` and completion stay quick."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from itertools import zip_longest
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from weft import __version__
from weft.cli.groups import Group
from weft.cli.options import HELP, example
from weft.cli.session import Session


class Verb(NamedTuple):
    """`summary`: a line of `weft --help`, at most 52 characters. "": said beside the verb before, as is the section."""

    module: str
    section: str = ""
    summary: str = ""


VERBS: dict[str, Verb] = {
    "network": Verb("weft.cli.network", "networks", "Create, list, show and remove networks"),
    "pool": Verb("weft.cli.pool", "networks", "Prefixes out of which nodes take blocks of addresses"),
    "ipam": Verb("weft.cli.ipam", "networks", "Who holds which addresses, and whether all is right"),
    "apply": Verb("weft.cli.apply", "networks", "Make the cluster what documents say; write it down"),
    "export": Verb("weft.cli.export"),
    "attach": Verb("weft.cli.attach", "containers", "Connect and disconnect a container on this host"),
    "detach": Verb("weft.cli.detach"),
    "endpoint": Verb("weft.cli.endpoint", "containers", "What is attached on all nodes: list, label, move"),
    "expose": Verb("weft.cli.expose", "containers", "Give this host an address in a network; take it away"),
    "hide": Verb("weft.cli.hide"),
    "policy": Verb("weft.cli.policy", "policy", "Who may talk to whom"),
    "service": Verb("weft.cli.service", "services", "One name and address for several containers"),
    "status": Verb("weft.cli.status", "looking", "This node: store, networks, peers, what is amiss"),
    "doctor": Verb("weft.cli.doctor", "looking", "Check this host, or all, and say what to do"),
    "check": Verb("weft.cli.check", "looking", "Test who reaches whom in the cluster, with probes"),
    "trace": Verb("weft.cli.trace", "looking", "Follow a packet and name what stops it"),
    "flows": Verb("weft.cli.flows", "looking", "Connections of containers, and what was dropped"),
    "plan": Verb("weft.cli.plan", "looking", "What the agent would do now, as commands"),
    "netns": Verb("weft.cli.netns", "looking", "All network namespaces here; a command in one"),
    "links": Verb("weft.cli.links", "looking", "All links here; the other end of one, its way out"),
    "ui": Verb("weft.cli.ui", "looking", "The cluster in a browser, live"),
    "support": Verb("weft.cli.support", "looking", "One archive for whoever is to help, without secrets"),
    "node": Verb("weft.cli.node", "hosts", "List, show and remove nodes"),
    "mesh": Verb("weft.cli.mesh", "hosts", "Hosts that find each other and keep the store"),
    "store": Verb("weft.cli.store", "hosts", "The cluster's store, and whether it is the right one"),
    "bgp": Verb("weft.cli.bgp", "hosts", "BGP sessions and routes; routers to peer with"),
    "init": Verb("weft.cli.init", "set-up", "From an installed package to a running agent"),
    "agent": Verb("weft.cli.agent", "set-up", "Run the node agent; remove all that it made"),
    "cni": Verb("weft.cli.cni", "set-up", "What container engines call: set it up"),
    "docker": Verb("weft.cli.docker"),
    "completion": Verb("weft.cli.completion", "set-up", "Completion for bash, zsh or fish"),
    "lab": Verb("weft.cli.lab", "set-up", "Many hosts on this machine, to try things out"),
    "help": Verb("weft.cli.help", "set-up", "Help about a command; the version"),
    "version": Verb("weft.cli.version"),
}
"""Commands, in the order of the list."""
NESTED = {("trace", "export"): "weft.cli.trace_export"}
"""Words that make another command of one that else takes them as its argument."""


class Root(Group):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, verb in VERBS.items():
            self.add_command(TyperCommand(name, help=verb.summary, rich_markup_mode=None))

    def whole(self, name: str) -> Any:
        """The real command, or None."""
        return load(name) if name in VERBS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The one command that is used is replaced by the real one."""
        name, command, rest = super().resolve_command(ctx, args)
        if (module := NESTED.get((name or "", rest[0] if rest else ""))) is not None:
            return f"{name} {rest[0]}", _loaded(module, f"{name} {rest[0]}"), rest[1:]
        return name, load(name) if name in VERBS else command, rest

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """The list below says it, and all shall be seen on one screen."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """By what they are for."""
        formatter.write("\n")
        before = ""
        for names, section, summary in _rows():
            formatter.write(f"{'' if section == before else section:<12}{names:<16}{summary}\n")
            before = section


def _rows() -> Iterator[tuple[str, str, str]]:
    """Names of commands that share a line, its section and summary."""
    names: list[str] = []
    for name, following in zip_longest(VERBS, list(VERBS)[1:]):
        names.append(name)
        if following is None or VERBS[following].summary:
            yield ", ".join(names), VERBS[names[0]].section, VERBS[names[0]].summary
            names = []


def load(name: str) -> Any:
    """The command (of click) in a verb's module."""
    return _loaded(VERBS[name].module, name)


def _loaded(module: str, name: str) -> Any:
    app: typer.Typer = import_module(module).app
    app.rich_markup_mode = None  # plain help everywhere, whatever the verb's own taste
    command = typer.main.get_command(app)
    command.name = name
    return command


def root() -> Any:
    command = typer.main.get_command(_app)
    for param in command.params:  # typer's own, which write into the user's files; `weft completion` prints
        if param.name in ("install_completion", "show_completion"):
            param.__dict__["hidden"] = True
    return command


_app = typer.Typer(
    cls=Root,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings=HELP,
    epilog=example("weft network create blue --driver vxlan --subnet 10.20.0.0/16"),
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
