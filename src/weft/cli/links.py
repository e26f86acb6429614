"""`weft links [IFINDEX|NAME] [--in NS] [--way]`. It asks no agent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.columns import Column, Table
from weft.cli.listing import listing
from weft.cli.options import single
from weft.cli.output import blocks, complain, show
from weft.cli.table import Page, Styled
from weft.cli.view import View

if TYPE_CHECKING:
    from weft.inspect.model import End, Found, Hop, Link

app = single()
_SHOWN = 6
"""So many of a bridge's other ports are named."""

_Wanted = Annotated[
    str | None,
    typer.Argument(metavar="[IFINDEX|NAME]", help="Of which link; else all are listed.", show_default=False),
]
_In = Annotated[
    str | None,
    typer.Option("--in", metavar="NS", help="Only of this namespace: its name, container, pid or path."),
]
_Way = Annotated[
    bool, typer.Option("--way", help="List what lies between the link and the wire, for each link that fits.")
]
_EXAMPLES = ("weft links", "weft links --in web", "weft links eth0 --in web", "weft links eth0 --way")


LINKS: Table[Link] = Table(
    Column("NAMESPACE", lambda link: link.namespace, whole=True),
    Column("IFINDEX", lambda link: link.ifindex, spare=2),
    Column("NAME", lambda link: link.name, whole=True),
    Column("KIND", lambda link: _kind(link.kind)),
    Column("STATE", lambda link: _state(link)),
    Column("MASTER", lambda link: link.master, spare=1),
    Column("LEADS TO", lambda link: _leads(link)),
    Column("MTU", lambda link: link.mtu, shown=False),
    Column("MAC", lambda link: link.mac, shown=False, whole=True),
    Column("ALIAS", lambda link: link.alias, shown=False),
    name=lambda link: link.name,
)


@listing(app, LINKS, *_EXAMPLES, name=None, asking="looking at namespaces")
def links(view: View, wanted: _Wanted = None, namespace: _In = None, way: _Way = False) -> tuple[Link, ...]:
    """List the links of all namespaces with their other ends; or find one, and show its way to the uplink.

    The other end of a veth is where the kernel says: by the number that its namespace has for the other one. The same ifindex,
    and the same name, are in several namespaces: then all that fit are listed, and --in says which is meant.
    """
    from weft.inspect.survey import survey

    if way and wanted is None and namespace is None:
        raise typer.BadParameter("say of which link, or --in NS for all of a namespace", param_hint="--way")
    seen = survey()
    ns = seen.key(namespace) if namespace is not None else None
    found = seen.find(wanted, ns, ways=way) if way or wanted is not None else ()
    for note in seen.notes:
        complain(note)
    if not found:
        return seen.links(ns)
    if view != View(output=view.output):
        raise typer.BadParameter(f"'{wanted}' is one link: how to show lists does not go with it")
    show(found, view.output, _ways if way else _found)
    raise typer.Exit


def _found(page: Page, found: tuple[Found, ...]) -> Iterator[str]:
    if len(found) > 1:
        return LINKS.lines(page, tuple(each.link for each in found))
    return _one(page, found[0])


def _one(page: Page, found: Found) -> Iterator[str]:
    link = found.link
    about = page.pairs(
        [
            ("link", f"{link.name}, ifindex {link.ifindex}, in {link.namespace}"),
            ("kind", ", ".join([_kind(link.kind), *_details(link)])),
            ("state", f"{'up' if link.up else 'down'}, {'carrier' if link.carrier else 'no carrier'}, MTU {link.mtu}"),
            ("MAC", link.mac),
            ("alias", link.alias),
            ("other end", _end(link.peer) if link.peer else ""),
            ("on", _end(link.lower) if link.lower else ""),
            ("sends in", link.outside if link.outside and not link.lower else ""),
            ("port of", link.master),
            ("ports", ", ".join(link.ports)),
        ]
    )
    return blocks(about, _way(page, found.way, 0) if found.way else ())


def _ways(page: Page, found: tuple[Found, ...]) -> Iterator[str]:
    """A table for each: one line a hop. Where a bridge has several ports that lead on, each one's hops follow, numbered from
    the bridge's on."""
    parts = ([_title(page, each), *_hops(page, each.way)] for each in found if each.way is not None)
    return blocks(*parts)


def _title(page: Page, found: Found) -> str:
    return page.paint(f"{found.link.name} in {found.link.namespace}", "head")


def _hops(page: Page, way: Hop) -> Iterator[str]:
    rows = [
        (
            str(number),
            hop.namespace or "?",
            hop.name or f"ifindex {hop.ifindex}",
            _kind(hop.kind) if hop.name else "?",
            str(hop.mtu or "-"),
            hop.master or "-",
            ", ".join([*(f"{key} {value}" for key, value in hop.details.items()), *([hop.ends] if hop.ends else [])]),
        )
        for number, hop in _numbered(way, 1)
    ]
    yield from page.table(
        ("HOP", "NAMESPACE", "LINK", "KIND", "MTU", "MASTER", "ABOUT"), rows, whole=["NAMESPACE", "LINK"]
    )


def _numbered(hop: Hop, number: int) -> Iterator[tuple[int, Hop]]:
    yield number, hop
    for next in hop.next:
        yield from _numbered(next, number + 1)


_HOW = {
    "start": "",
    "peer": "its other end ",
    "master": "a port of ",
    "port": "which has the port ",
    "lower": "on ",
    "route": "by a route ",
}


def _way(page: Page, hop: Hop, depth: int) -> Iterator[str]:
    """The way as a tree: a bridge may have several ports that lead on."""
    name = hop.name or f"ifindex {hop.ifindex}"
    where = f" in {hop.namespace}" if hop.namespace else ""
    told = ", ".join([_kind(hop.kind), *(f"{key} {value}" for key, value in hop.details.items())]) if hop.name else ""
    text = f"{_HOW[hop.how]}{name}{where}" + (f" ({told})" if told else "")
    yield from page.paragraph(text, "  " * depth)
    if hop.beside:
        others = ", ".join(hop.beside[:_SHOWN]) + (
            f" and {len(hop.beside) - _SHOWN} more" if len(hop.beside) > _SHOWN else ""
        )
        yield from page.paragraph(f"beside: {others}", "  " * depth + "  ", "dim")
    if hop.ends:
        yield from page.paragraph(hop.ends, "  " * depth + "  ", "dim")
    for next in hop.next:
        yield from _way(page, next, depth + 1)


def _kind(kind: str) -> str:
    return kind or "hardware"


def _state(link: Link) -> Styled:
    if link.up:
        return Styled("up", "good") if link.carrier else Styled("up, no carrier", "warn")
    return Styled("down", "bad")


def _details(link: Link) -> list[str]:
    return [f"{key} {value}" for key, value in link.details.items()]


def _leads(link: Link) -> str:
    parts = [*([_end(link.peer)] if link.peer else []), *([f"on {_end(link.lower)}"] if link.lower else [])]
    if link.outside and not link.lower:
        parts.append(f"sends in {link.outside}")
    return ", ".join([*parts, *_details(link)])


def _end(end: End) -> str:
    """Where the namespace cannot be seen, the ifindex alone."""
    if not end.namespace:
        return f"ifindex {end.ifindex} in a namespace that cannot be seen"
    return f"{end.name or f'ifindex {end.ifindex}'} in {end.namespace}"
