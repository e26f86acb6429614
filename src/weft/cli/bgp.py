"""`weft bgp peers|routes|show|set`, `weft bgp peer add|ls|rm`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from weft.api import types as t
from weft.base.errors import Invalid
from weft.base.net import parse_address
from weft.cli.columns import Column, Table
from weft.cli.declared import show_documents
from weft.cli.listing import listing
from weft.cli.node import removed
from weft.cli.options import example, group
from weft.cli.output import Format, Output, ago, listed, plain, say, show
from weft.cli.session import Waiting, client
from weft.cli.table import Page, Styled
from weft.model import BgpPeer, BgpSettings
from weft.model.bgp import ALL

app = group(
    "How routes are spread: BGP sessions, routes, and routers to peer with.",
    "weft bgp peers",
    "weft bgp routes",
    "weft bgp peer add tor-a --address 192.168.1.1 --asn 65001 --nodes rack=a",
)
peer = group("Routers that nodes peer with.", "weft bgp peer ls", "weft bgp peer rm tor-a")
app.add_typer(peer, name="peer")

Asn = Annotated[int, typer.Option("--asn", metavar="N", help="Its autonomous system.")]


def _troubles(page: Page, found: tuple[t.BgpSession, ...]) -> Iterator[str]:
    for session in found:
        if session.reason:
            yield from page.paragraph(f"{session.name} ({session.address}): {session.reason}", style="bad")
            yield from page.paragraph(session.advice, "    ", "warn")


SESSIONS: Table[t.BgpSession] = Table(
    Column("PEER", lambda s: s.name),
    Column("KIND", lambda s: s.kind, spare=2),
    Column("ADDRESS", lambda s: s.address, whole=True),
    Column("AS", lambda s: s.asn, spare=3),
    Column("STATE", lambda s: Styled(s.state, "bad" if s.reason else "good")),
    Column("SINCE", lambda s: ago(s.since) if s.since else "", spare=1),
    Column("IN", lambda s: s.received),
    Column("OUT", lambda s: s.announced),
    name=lambda s: s.name,
    none="no sessions: BGP begins with a network of driver routed, or with `weft bgp peer add`",
    tells=("sessions",),
)


@listing(app, SESSIONS, "weft bgp peers", "weft bgp peers -w", "weft bgp peers -o json", name="peers", more=_troubles)
def peers(ctx: typer.Context) -> tuple[t.BgpSession, ...]:
    """This node's BGP sessions, and why one is not up."""
    return client(ctx).bgp_sessions()


ROUTES: Table[t.BgpRoute] = Table(
    Column("PREFIX", lambda r: r.prefix, whole=True),
    Column("BEST", lambda r: "*" if r.best else ""),
    Column("FROM", lambda r: r.source),
    Column("NEXT HOP", lambda r: _next_hop(r)),
    Column("AS PATH", lambda r: r.as_path, spare=2),
    Column("SINCE", lambda r: ago(r.since), spare=1),
    name=lambda r: r.prefix,
)


@listing(
    app,
    ROUTES,
    "weft bgp routes",
    "weft bgp routes 197.19.26.7",
    "weft bgp routes --sort prefix -o json",
    name="routes",
)
def routes(
    ctx: typer.Context,
    prefix: Annotated[str, typer.Argument(metavar="[PREFIX|ADDRESS]", help="Only the way to this one.")] = "",
) -> tuple[t.BgpRoute, ...]:
    """The routes that this node's BIRD knows; a star is at those in use."""
    return client(ctx).bgp_routes(prefix)


@app.command("show", epilog=example("weft bgp show"))
def settings(ctx: typer.Context, output: Output = Format.TABLE) -> None:
    """The cluster's settings. With -o yaml their document, for `weft apply`."""
    if output is Format.YAML:
        show_documents(ctx, "bgpsettings")
        return
    with Waiting("asking for the settings"):
        found = client(ctx).bgp_settings()
    show(found, output, _settings)


@app.command("set", epilog=example("weft bgp set --hold-time 9", "weft bgp set --asn 64999 --no-mesh"))
def change(
    ctx: typer.Context,
    asn: Annotated[int | None, typer.Option("--asn", metavar="N", help="Of nodes that have none of their own.")] = None,
    hold_time: Annotated[
        int | None, typer.Option("--hold-time", metavar="S", help="Until a silent neighbour is gone; 3 or more.")
    ] = None,
    graceful_restart: Annotated[
        int | None,
        typer.Option("--graceful-restart", metavar="S", help="How long routes outlive a speaker that ended; 0: not."),
    ] = None,
    mesh: Annotated[
        bool | None, typer.Option("--mesh/--no-mesh", help="All nodes peer with all, without a reflector.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Change the cluster's settings. Sessions that this concerns are made anew."""
    request = t.SetBgp(asn=asn, hold_time=hold_time, graceful_restart=graceful_restart, mesh=mesh)
    if request == t.SetBgp():
        raise typer.BadParameter("nothing to set: give --asn, --hold-time, --graceful-restart or --mesh")
    with Waiting("changing the settings"):
        found = client(ctx).set_bgp(request)
    show(found, output, _settings)


@peer.command(
    "add",
    epilog=example(
        "weft bgp peer add tor-a --address 192.168.1.1 --asn 65001 --nodes rack=a",
        "weft bgp peer add tor-b --address 192.168.0.1 --asn 65002 --password-file /root/tor.key",
        "weft bgp peer add exit --address 192.168.0.9 --asn 65003 --accept 0.0.0.0/0 --scope node",
    ),
)
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="1 to 63 of a-z, 0-9, '.', '_', '-'.")],
    address: Annotated[str, typer.Option("--address", metavar="A", help="Its own; IPv4 or IPv6 is then spoken of.")],
    asn: Asn,
    nodes: Annotated[
        str, typer.Option("--nodes", metavar="SELECTOR", help="Those that peer with it, such as rack=a; else all.")
    ] = "",
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="Its first line is the password (TCP MD5).")
    ] = None,
    ttl_security: Annotated[
        bool, typer.Option("--ttl-security", help="Nothing from further away than it is (RFC 5082).")
    ] = False,
    hold_time: Annotated[int, typer.Option("--hold-time", metavar="S", help="Else the cluster's.")] = 0,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            "--accept", metavar="PATTERN", help="Only this is taken: PREFIX, PREFIX+, PREFIX{LOW,HIGH}, none."
        ),
    ] = None,
    announce: Annotated[
        list[str] | None, typer.Option("--announce", metavar="PATTERN", help="Only this is told, of what is Weft's.")
    ] = None,
    scope: Annotated[
        str, typer.Option("--scope", metavar="node|cluster", help="Tell it of the node only, or of all.")
    ] = "cluster",
    community: Annotated[
        list[str] | None, typer.Option("--community", metavar="A:B[:C]", help="Put on what is told.")
    ] = None,
    med: Annotated[int, typer.Option("--med", metavar="N", help="Of what is on the node; 100 more of all else.")] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="The one there is.")] = False,
) -> None:
    """Add a router. Nodes that the selector names peer with it."""
    if scope not in ("node", "cluster"):
        raise typer.BadParameter(f"'{scope}' is neither node nor cluster", param_hint="'--scope'")
    wanted = BgpPeer(
        name=name,
        address=parse_address(address),
        asn=asn,
        nodes=nodes,
        password=password(password_file) if password_file else "",
        ttl_security=ttl_security,
        hold_time=hold_time,
        accept=tuple(accept or ALL),
        announce=tuple(announce or ALL),
        scope="node" if scope == "node" else "cluster",
        communities=tuple(community or ()),
        med=med,
    )
    with Waiting(f"adding {name}"):
        made = client(ctx).add_bgp_peer(wanted, replace=replace)
    say(f"added bgp peer {made.name}: {made.address}, AS {made.asn}, of {made.nodes or 'all nodes'}")


PEERS: Table[t.BgpPeerInfo] = Table(
    Column("PEER", lambda p: p.name),
    Column("ADDRESS", lambda p: p.address, whole=True),
    Column("AS", lambda p: p.asn),
    Column("NODES", lambda p: p.nodes or "all"),
    Column("PASSWORD", lambda p: "yes" if p.password else "no", spare=3),
    Column("TTL", lambda p: "strict" if p.ttl_security else "", spare=2),
    Column("ACCEPT", lambda p: listed(p.accept), spare=4),
    Column("ANNOUNCE", lambda p: listed(p.announce), spare=5),
    Column("SCOPE", lambda p: p.scope, spare=1),
    name=lambda p: p.name,
)


@listing(peer, PEERS, "weft bgp peer ls", "weft bgp peer ls -o yaml")
def ls(ctx: typer.Context) -> tuple[t.BgpPeerInfo, ...]:
    """List the routers. Of a password only that there is one."""
    return client(ctx).bgp_peers()


@peer.command("rm", epilog=example("weft bgp peer rm tor-a"))
def rm(ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]) -> None:
    """Remove a router: the sessions with it end."""
    with Waiting(f"removing {name}"):
        done = client(ctx).remove_bgp_peer(name)
    say(removed("bgp peer", name, done))


def password(file: Path) -> str:
    """Its first line. Raises Invalid."""
    try:
        return next(iter(file.read_text().splitlines()), "")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise Invalid(f"password file {file}: {reason}") from None


def _next_hop(r: t.BgpRoute) -> str:
    if r.tunnelled:
        return f"{r.bgp_next_hop} by tunnel"
    return listed(r.next_hops) or (f"{r.bgp_next_hop}, on no link" if r.bgp_next_hop else r.type)


def _settings(page: Page, found: BgpSettings) -> Iterator[str]:
    yield from page.pairs(
        [
            ("AS", str(found.asn)),
            ("hold time", f"{found.hold_time} s"),
            ("graceful restart", f"{found.graceful_restart} s" if found.graceful_restart else "off"),
            ("mesh", plain(found.mesh)),
        ]
    )
