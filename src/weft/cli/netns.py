"""`weft netns [ls|NAME [-- CMD…]]`. It asks no agent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.columns import Column, Table
from weft.cli.listing import listing
from weft.cli.options import single
from weft.cli.output import complain
from weft.cli.view import View

if TYPE_CHECKING:
    from weft.inspect.model import Namespace

app = single()
LIST = "ls"
_SHOWN = 3
"""So many pids are shown."""
_NOT_FOUND, _NOT_RUN = 127, 126
"""Exit statuses of a command that is not there, or cannot be run: as a shell has them (POSIX, 2.8.2)."""

_Name = Annotated[
    str,
    typer.Argument(
        metavar="[ls|NAME]",
        help="A container's name or id (or its beginning), a pid, a namespace's name or path.",
        show_default=False,
    ),
]
_Command = Annotated[list[str] | None, typer.Argument(metavar="[-- CMD…]", help="What to run there; else a shell.")]


NAMESPACES: Table[Namespace] = Table(
    Column("NAMESPACE", lambda n: f"{n.name} *" if n.this else n.name, whole=True),
    Column("ENGINE", lambda n: n.engine),
    Column("CONTAINERS", lambda n: _containers(n)),
    Column("PROCESSES", lambda n: _processes(n)),
    Column("LINKS", lambda n: "" if n.links is None else n.links, spare=3),
    Column("NSID", lambda n: "" if n.nsid is None else n.nsid, spare=2),
    Column("PATH", lambda n: n.paths[0] if n.paths else "", whole=True, spare=1),
    name=lambda n: n.name,
)
_EXAMPLES = ("weft netns", "weft netns web -- ip addr", "weft netns 3f2a -- ss -tn", "weft netns ls -o json")


@listing(app, NAMESPACES, *_EXAMPLES, name=None, asking="looking at namespaces")
def netns(view: View, name: _Name = LIST, command: _Command = None) -> tuple[Namespace, ...]:
    """List all network namespaces of this host, whoever made them; or run a command in one of them.

    The command's exit status is passed on. It sees the namespace's own /sys, and /etc/netns/NAME as ip-netns(8) has it. To see
    all namespaces takes root. "default" is the host's own namespace.
    """
    if name == LIST:
        if command:
            raise typer.BadParameter(f"'{command[0]}': there is nothing to run with ls", param_hint="'CMD'")
        from weft.inspect.survey import survey

        found = survey()
        for note in found.notes:
            complain(note)
        return found.listed()
    if view != View():
        raise typer.BadParameter(f"'{name}': how to show it is about lists, and a command writes what it likes")
    _run(name, command or [os.environ.get("SHELL") or "/bin/sh"])
    raise typer.Exit


def _run(name: str, command: list[str]) -> None:
    from weft.inspect import enter

    for note in enter.enter(enter.named(name)):
        complain(note)
    try:
        enter.become(command)
    except FileNotFoundError:
        complain(f"{command[0]}: there is no such command")
        raise typer.Exit(_NOT_FOUND) from None
    except (OSError, ValueError) as error:
        complain(f"{command[0]} cannot be run: {getattr(error, 'strerror', None) or error}")
        raise typer.Exit(_NOT_RUN) from None


def _containers(n: Namespace) -> str:
    return "\n".join(f"{c.name or '-'} ({c.id[:12]})" if c.name != c.id else c.name for c in n.containers)


def _processes(n: Namespace) -> str:
    """As `3: 101 nginx, 102, 103`."""
    if not n.pids:
        return "-"
    first, *rest = map(str, n.pids[:_SHOWN])
    words = [f"{first} {n.command}", *rest, *(["..."] if n.processes > _SHOWN else [])]
    return f"{n.processes}: {', '.join(words)}"
