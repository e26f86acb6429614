"""`weft endpoint ls|show|label|move|float|unfloat`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Annotated

import typer

from weft.api import types as t
from weft.base.net import parse_address
from weft.cli import complete
from weft.cli.attach import from_here
from weft.cli.options import EndpointRef, OfNetwork, OfNode, example, group, pairs
from weft.cli.output import Format, Output, listed, mapped, show
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


@app.command(
    "ls",
    epilog=example(
        "weft endpoint ls",
        "weft endpoint ls --network blue --node node-2 -o json",
        "weft endpoint ls --namespace shop --selector \"tier == 'front' && !has(old)\"",
    ),
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
        typer.Option("--selector", "-l", metavar="SELECTOR", help="Only with such labels, as policies select them."),
    ] = "",
    labels: Annotated[bool, typer.Option("--labels", help="Show labels, too; --selector does so.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """List the endpoints of all nodes."""
    with Waiting("asking for the endpoints"):
        endpoints = client(ctx).endpoints(network, node, selector=selector, policy_namespace=namespace)
    show(endpoints, output, partial(_table, labels=labels or bool(selector)))


@app.command("show", epilog=example("weft endpoint show web", "weft endpoint show 10.1.3.2"))
def one(ctx: typer.Context, endpoint: EndpointRef, output: Output = Format.TABLE) -> None:
    """Show one endpoint, by its name, id or address."""
    with Waiting("asking for the endpoint"):
        found = client(ctx).endpoint(endpoint)
    show(found, output, _details)


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
    fresh, gone = _changes(changes)
    ports, closed = _changes(port_name)
    called, dropped = _changes(alias)
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


def _changes(texts: list[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is to be set, and the names of what is to go."""
    gone = tuple(text for text in texts or () if "=" not in text and text.endswith("-"))
    return tuple(text for text in texts or () if text not in gone), tuple(text[:-1] for text in gone)


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


def _table(page: Page, endpoints: tuple[t.EndpointInfo, ...], *, labels: bool) -> Iterator[str]:
    heads = ["ENDPOINT", "ID", "NETWORK", "NODE", "ADDRESSES", "CONTAINER"]
    rows = [[e.name, e.id, e.network, e.node, listed(e.addresses) or "-", short(e.container)] for e in endpoints]
    if any(e.ports for e in endpoints):
        heads.append("PUBLISHED")
        rows = [[*row, listed(e.ports)] for row, e in zip(rows, endpoints, strict=True)]
    if any(e.floating for e in endpoints):
        heads.append("FLOATING")
        rows = [[*row, listed(e.floating)] for row, e in zip(rows, endpoints, strict=True)]
    if any(e.policy_namespace != DEFAULT_NAMESPACE for e in endpoints):
        heads.append("NAMESPACE")
        rows = [[*row, e.policy_namespace] for row, e in zip(rows, endpoints, strict=True)]
    if labels:
        heads.append("LABELS")
        rows = [[*row, mapped(e.labels)] for row, e in zip(rows, endpoints, strict=True)]
    return page.table(heads, rows, whole=["ID", "ADDRESSES"])


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
            ("interface", f"{e.interface}, in the host {e.host_interface}"),
            ("MAC", e.mac),
            ("addresses", listed(e.addresses)),
            ("gateways", listed(e.gateways) or "none"),
            ("MTU", str(e.mtu) if e.mtu else ""),
            ("published", listed(e.ports)),
            ("floating", listed(e.floating)),
            ("bandwidth", str(e.bandwidth or "")),
            ("policy namespace", e.policy_namespace),
            ("spoofing", e.spoofing),
            ("labels", mapped(e.labels)),
            ("named ports", listed(e.named_ports)),
            ("aliases", listed(e.aliases)),
        ]
    )
