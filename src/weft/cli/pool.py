"""`weft pool ls|add|set|rm`."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.api import types as t
from weft.base.net import parse_network
from weft.cli.columns import Column, Table
from weft.cli.listing import listing
from weft.cli.options import NetworkName, example, group
from weft.cli.output import say
from weft.cli.session import Waiting, client
from weft.model import selector

app = group(
    "Prefixes out of which a network's nodes take their blocks of addresses (driver routed).",
    "weft pool ls prod",
    "weft pool add prod 10.8.0.0/16 --nodes rack=b",
    "weft pool set prod 10.8.0.0/16 --disable",
)

Prefix = Annotated[str, typer.Argument(metavar="CIDR", help="The pool: one of the network's subnets.")]
Nodes = Annotated[
    str | None,
    typer.Option("--nodes", metavar="SELECTOR", help='Only for nodes with these labels: rack=a,!spare; "" for all.'),
]
Masquerade = Annotated[
    bool | None,
    typer.Option(
        "--masquerade/--no-masquerade", help="To outside with the host's address, whatever the network's option says."
    ),
]
Disabled = Annotated[bool | None, typer.Option("--disable/--enable", help="Give nothing new from it, or do again.")]


POOLS: Table[t.PoolInfo] = Table(
    Column("POOL", lambda p: p.subnet, whole=True),
    Column("NODES", lambda p: p.nodes or "all"),
    Column("STATE", lambda p: "disabled" if p.disabled else "enabled"),
    Column("TO OUTSIDE", lambda p: "masqueraded" if p.masquerade else "as it is", spare=2),
    Column("BLOCK SIZE", lambda p: f"/{p.block_size}", spare=1),
    Column("BLOCKS HELD", lambda p: f"{p.blocks} of {p.total}"),
    Column("ADDRESSES", lambda p: p.addresses),
    name=lambda p: p.subnet,
    tells=("networks", "nodes", "endpoints"),
)


@listing(app, POOLS, "weft pool ls prod", "weft pool ls prod -o json")
def ls(ctx: typer.Context, network: NetworkName) -> tuple[t.PoolInfo, ...]:
    """List a network's pools: whom they are for, what of them is in use."""
    return client(ctx).pools(network)


@app.command("add", epilog=example("weft pool add prod 10.8.0.0/16", "weft pool add prod fd08::/64 --nodes rack=b"))
def add(
    ctx: typer.Context,
    network: NetworkName,
    prefix: Prefix,
    nodes: Nodes = None,
    disabled: Disabled = None,
    masquerade: Masquerade = None,
) -> None:
    """Add a pool, which becomes one more subnet of the network."""
    request = t.AddPool(
        subnet=parse_network(prefix),
        nodes=selector.check(nodes or ""),
        disabled=bool(disabled),
        masquerade=masquerade,
    )
    with Waiting(f"adding {prefix}"):
        client(ctx).add_pool(network, request)
    say(f"added pool {prefix} to network {network}")


@app.command(
    "set", epilog=example("weft pool set prod 10.8.0.0/16 --disable", "weft pool set prod 10.8.0.0/16 --nodes rack=b")
)
def change(
    ctx: typer.Context,
    network: NetworkName,
    prefix: Prefix,
    nodes: Nodes = None,
    disabled: Disabled = None,
    masquerade: Masquerade = None,
) -> None:
    """Change whom a pool is for, how it goes outside, or close it. What is in use stays."""
    if nodes is None and disabled is None and masquerade is None:
        raise typer.BadParameter(
            "nothing to change: give --nodes, --disable, --enable, --masquerade or --no-masquerade"
        )
    if nodes is not None:
        selector.check(nodes)
    request = t.SetPool(subnet=parse_network(prefix), nodes=nodes, disabled=disabled, masquerade=masquerade)
    with Waiting(f"changing {prefix}"):
        client(ctx).set_pool(network, request)
    say(f"changed pool {prefix} of network {network}")


@app.command("rm", epilog=example("weft pool rm prod 10.8.0.0/16"))
def rm(ctx: typer.Context, network: NetworkName, prefix: Prefix) -> None:
    """Remove a pool of which nothing is in use."""
    with Waiting(f"removing {prefix}"):
        client(ctx).remove_pool(network, str(parse_network(prefix)))
    say(f"removed pool {prefix} from network {network}")
