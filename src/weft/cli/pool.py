"""`weft pool ls|add|set|rm`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from weft.api import types as t
from weft.base.net import parse_network
from weft.cli.options import NetworkName, example, group
from weft.cli.output import Format, Output, say, show
from weft.cli.session import Waiting, client
from weft.cli.table import Page
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


@app.command("ls", epilog=example("weft pool ls prod", "weft pool ls prod -o json"))
def ls(ctx: typer.Context, network: NetworkName, output: Output = Format.TABLE) -> None:
    """List a network's pools: whom they are for, what of them is in use."""
    with Waiting("asking for the pools"):
        pools = client(ctx).pools(network)
    show(pools, output, _table)


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


def _table(page: Page, pools: tuple[t.PoolInfo, ...]) -> Iterator[str]:
    return page.table(
        ("POOL", "NODES", "STATE", "TO OUTSIDE", "BLOCK SIZE", "BLOCKS HELD", "ADDRESSES"),
        [
            (
                str(p.subnet),
                p.nodes or "all",
                "disabled" if p.disabled else "enabled",
                "masqueraded" if p.masquerade else "as it is",
                f"/{p.block_size}",
                f"{p.blocks} of {p.total}",
                str(p.addresses),
            )
            for p in pools
        ],
        whole=["POOL"],
    )
