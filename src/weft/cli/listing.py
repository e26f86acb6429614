"""Commands that list things: what they have in common is said here, once.

    @listing(app, NETWORKS, "weft network ls")
    def ls(ctx: typer.Context) -> tuple[t.NetworkInfo, ...]:
        \"""List the networks.\"""
        return client(ctx).networks()

The function only finds the things; the command around it also has -o, -w, -q, -l (where things have labels), --columns, --sort
and --no-headers.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from weft.cli.columns import Table
from weft.cli.options import example
from weft.cli.output import Format, Output
from weft.cli.session import Waiting, client
from weft.cli.view import Listed, More, View, listed

T = TypeVar("T")
P = ParamSpec("P")


def listing(
    app: typer.Typer,
    table: Table[T],
    *examples: str,
    name: str | None = "ls",
    things: str = "",
    more: More | None = None,
    asking: str = "asking the agent",
) -> Callable[[Callable[P, Any]], Callable[P, Any]]:
    """Makes a command of a function that finds things. `things`, `more`: as `listed` and `Listed` have it. Such a function may
    take `view`, and raise typer.Exit where it has shown something else by itself."""

    def declare(find: Callable[P, Any]) -> Callable[P, Any]:
        signature = _signature(find)
        wishes = [p for p in _WISHES if p.name != "label" or table.labels is not None]
        own = [p for p in signature.parameters.values() if p.name not in ("view", "ctx")]

        @functools.wraps(find)
        def command(ctx: typer.Context, **given: Any) -> None:
            view = View(**{p.name: given.pop(p.name) for p in wishes})
            view.check(table)
            given |= {"ctx": ctx} if "ctx" in signature.parameters else {}
            given |= {"view": view} if "view" in signature.parameters else {}

            def now() -> Listed[T]:
                return listed(table, find(**given), view, things, more)  # type: ignore[call-arg] # as its signature has it

            if view.watch:
                from weft.cli.watching import watch

                watch(table, now, client(ctx))
                return
            with Waiting(asking):
                found = now()
            found.tell()

        command.__signature__ = inspect.Signature([_CTX, *own, *wishes])  # type: ignore[attr-defined] # what typer reads
        app.command(name, epilog=example(*examples))(command)
        return find

    return declare


def _signature(find: Callable[..., Any]) -> inspect.Signature:
    """What it returns is of types that may be loaded later."""
    find.__annotations__.pop("return", None)
    return inspect.signature(find, eval_str=True)


def _keyword(name: str, default: object, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_CTX = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
_WISHES = (
    _keyword(
        "label", "", Annotated[str, typer.Option("--label", "-l", metavar="K=V,K,!K", help="Only with such labels.")]
    ),
    _keyword(
        "watch", False, Annotated[bool, typer.Option("--watch", "-w", help="Go on, and show it again as it changes.")]
    ),
    _keyword("quiet", False, Annotated[bool, typer.Option("--quiet", "-q", help="Only the names, one a line.")]),
    _keyword(
        "columns", "", Annotated[str, typer.Option("--columns", metavar="[+]A,B,…", help="Only these; +: these, too.")]
    ),
    _keyword(
        "sort", "", Annotated[str, typer.Option("--sort", metavar="[-]COLUMN", help="By this one; -: descending.")]
    ),
    _keyword("no_headers", False, Annotated[bool, typer.Option("--no-headers", help="The rows alone.")]),
    _keyword("output", Format.TABLE, Output),
)
