"""`weft endpoint ls|show|label|move|float|unfloat`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

import typer

from weft.api import types as t
from weft.base.net import parse_address
from weft.cli import complete
from weft.cli.attach import from_here
from weft.cli.columns import Column, Table
from weft.cli.listing import listing
from weft.cli.options import EndpointRef, EndpointRefs, OfNetwork, OfNode, example, group, pairs, set_or_gone
from weft.cli.output import Format, Output, listed, mapped, show, show_each
from weft.cli.session import Waiting, client
from weft.cli.table import Page
from weft.model.identity import DEFAULT_NAMESPACE, parse_port

app = group(
    "What is attached, on all nodes.",
    "weft endpoint ls --network blue",
    "weft endpoint show web",
    "weft endpoint label web tier=front old-",
    "weft endpoint move web web-2",
    "weft endpoint float web 203.0.113.7",
)

_CONTAINER_ID = re.compile("[0-9a-f]{64}")


ENDPOINTS: Table[t.EndpointInfo] = Table(
    Column("ENDPOINT", lambda e: e.name),
    Column("ID", lambda e: e.id, whole=True, spare=2),
    Column("NETWORK", lambda e: e.network),
    Column("NODE", lambda e: e.node),
    Column("ADDRESSES", lambda e: listed(e.addresses), whole=True),
    Column("CONTAINER", lambda e: short(e.container), spare=1),
    Column("PUBLISHED", lambda e: listed(e.ports), shown=lambda found: any(e.ports for e in found), spare=4),
    Column("FLOATING", lambda e: listed(e.floating), shown=lambda found: any(e.floating for e in found), spare=5),
    Column("NAMESPACE", lambda e: e.policy_namespace, shown=lambda found: any(map(_elsewhere, found)), spare=3),
    Column("LABELS", lambda e: mapped(e.labels), shown=False),
    Column("ALIASES", lambda e: listed(e.aliases), shown=False),
    Column("MAC", lambda e: e.mac, shown=False, whole=True),
    Column("INTERFACE", lambda e: e.interface, shown=False),
    Column("HOST INTERFACE", lambda e: e.host_interface, shown=False),
    Column("GATEWAYS", lambda e: listed(e.gateways), shown=False, whole=True),
    Column("MTU", lambda e: e.mtu or "", shown=False),
    Column("BANDWIDTH", lambda e: str(e.bandwidth or ""), shown=False),
    name=lambda e: e.id,
    labels=lambda e: e.labels,
    tells=("endpoints",),
)


def _elsewhere(e: t.EndpointInfo) -> bool:
    return e.policy_namespace != DEFAULT_NAMESPACE


@listing(
    app,
    ENDPOINTS,
    "weft endpoint ls",
    "weft endpoint ls --network blue --node node-2 -o json",
    "weft endpoint ls -l tier=front,!old --columns endpoint,node,labels",
    "weft endpoint ls --namespace shop --selector \"tier in {'front', 'back'}\"",
)
def ls(
    ctx: typer.Context,
    network: OfNetwork = "",
    node: OfNode = "",
    namespace: Annotated[
        str, typer.Option(metavar="NS", help="Only in this one.", autocompletion=complete.policy_namespaces)
    ] = "",
    selector: Annotated[
        str,
        typer.Option("--selector", metavar="SELECTOR", help="Only with such labels, as policies select them."),
    ] = "",
) -> tuple[t.EndpointInfo, ...]:
    """List the endpoints of all nodes."""
    return client(ctx).endpoints(network, node, selector=selector, policy_namespace=namespace)


@app.command("show", epilog=example("weft endpoint show web", "weft endpoint show 10.1.3.2"))
def one(ctx: typer.Context, endpoint: EndpointRefs, output: Output = Format.TABLE) -> None:
    """Show endpoints, by their names, ids or addresses."""
    with Waiting("asking for the endpoint"):
        found = [client(ctx).endpoint(each) for each in endpoint]
    show_each(found, output, _details)


@app.command(
    "label",
    epilog=example(
        "weft endpoint label web tier=front old-",
        "weft endpoint label web --namespace shop",
        "weft endpoint label web --port-name http=8080 --port-name metrics-",
        "weft endpoint label web --alias www --alias old-",
    ),
)
def label(
    ctx: typer.Context,
    endpoint: EndpointRef,
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE|KEY-...", help="Labels to set, and to take away.")
    ] = None,
    namespace: Annotated[
        str, typer.Option(metavar="NS", help="For policy, from now on.", autocompletion=complete.policy_namespaces)
    ] = "",
    port_name: Annotated[
        list[str] | None,
        typer.Option("--port-name", metavar="NAME=PORT[/PROTO]|NAME-", help="What policy may call a port. Repeatable."),
    ] = None,
    alias: Annotated[
        list[str] | None,
        typer.Option(
            "--alias", metavar="NAME|NAME-", help="A further name, for containers of its network. Repeatable."
        ),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Change labels, namespace, aliases and names of ports of an endpoint of any node, while it runs. All follow at once."""
    fresh, gone = set_or_gone(changes)
    ports, closed = set_or_gone(port_name)
    called, dropped = set_or_gone(alias)
    request = t.Label(
        labels=pairs("KEY=VALUE", fresh),
        remove=gone,
        policy_namespace=namespace,
        named_ports=tuple(parse_port(text) for text in ports),
        remove_ports=closed,
        aliases=called,
        remove_aliases=dropped,
    )
    if request == t.Label():
        raise typer.BadParameter("nothing is to be changed: give KEY=VALUE, KEY-, --namespace, --port-name or --alias")
    with Waiting(f"changing {endpoint}"):
        found = client(ctx).label(endpoint, request)
    show(found, output, _labelled)


@app.command("move", epilog=example("weft endpoint move web web-2", "weft endpoint move 10.8.0.5 /run/netns/web"))
def move(
    ctx: typer.Context,
    endpoint: EndpointRef,
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A pid, a namespace's path or name, a container's id or name; here.")
    ],
    interface: Annotated[str, typer.Option(metavar="IF", help="Its name in the container; else the next free.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Bring an endpoint of any node to a container on this one, with its addresses, MAC, labels, ports and floating
    addresses (driver routed)."""
    with Waiting(f"moving {endpoint}"):
        moved = client(ctx).move(endpoint, t.Move(target=from_here(target), interface=interface))
    show(moved, output, _moved)


Floating = Annotated[list[str], typer.Argument(metavar="ADDRESS...", help="External ones, outside of Weft's networks.")]


@app.command("float", epilog=example("weft endpoint float web 203.0.113.7", "weft endpoint float web 2001:db8:f::7"))
def add_floating(ctx: typer.Context, endpoint: EndpointRef, addresses: Floating, output: Output = Format.TABLE) -> None:
    """Let external addresses lead to an endpoint of any node, announced by BGP from its host (driver routed). Its own
    connections to outside come from the first of a family."""
    request = t.Float(addresses=tuple(parse_address(text) for text in addresses))
    with Waiting(f"floating {endpoint}"):
        found = client(ctx).add_floating(endpoint, request)
    show(found, output, _floats)


@app.command("unfloat", epilog=example("weft endpoint unfloat web 203.0.113.7"))
def remove_floating(
    ctx: typer.Context, endpoint: EndpointRef, addresses: Floating, output: Output = Format.TABLE
) -> None:
    """Take external addresses from an endpoint."""
    wanted = ",".join(str(parse_address(text)) for text in addresses)
    with Waiting(f"changing {endpoint}"):
        found = client(ctx).remove_floating(endpoint, wanted)
    show(found, output, _floats)


def _labelled(_page: Page, e: t.EndpointInfo) -> Iterator[str]:
    ports = f", named ports {listed(e.named_ports)}" if e.named_ports else ""
    called = f", aliases {listed(e.aliases)}" if e.aliases else ""
    labels = mapped(e.labels) or "none"
    yield f"{e.name} of {e.network} on {e.node}: namespace {e.policy_namespace}, labels {labels}{ports}{called}"


def _floats(_page: Page, e: t.EndpointInfo) -> Iterator[str]:
    yield f"{e.name} of {e.network} on {e.node}: floating {listed(e.floating) or 'none'}"


def _moved(_page: Page, e: t.EndpointInfo) -> Iterator[str]:
    yield f"moved {e.name} of {e.network} to {e.container} on {e.node}: {listed(e.addresses)} on {e.interface}"


def short(container: str) -> str:
    """Container engines' ids are known by their first twelve digits; the rest is in `show` and in JSON."""
    return f"{container[:12]}..." if _CONTAINER_ID.fullmatch(container) else container


def _details(page: Page, e: t.EndpointInfo) -> Iterator[str]:
    return page.pairs(
        [
            ("endpoint", e.name),
            ("id", e.id),
            ("network", e.network),
            ("node", e.node),
            ("container", e.container),
            ("namespace", e.namespace),
            ("interface", f"{e.interface}, in the host {e.host_interface}" if e.interface else ""),
            ("MAC", e.mac),
            ("addresses", listed(e.addresses)),
            ("gateways", listed(e.gateways) or "none"),
            ("MTU", str(e.mtu) if e.mtu else ""),
            ("published", listed(e.ports)),
            ("floating", listed(e.floating)),
            ("bandwidth", str(e.bandwidth or "")),
            ("policy namespace", e.policy_namespace),
            ("spoofing", e.spoofing),
            ("offload", e.offload),
            ("labels", mapped(e.labels)),
            ("named ports", listed(e.named_ports)),
            ("aliases", listed(e.aliases)),
        ]
    )
