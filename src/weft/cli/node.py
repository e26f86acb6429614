"""`weft node ls|show|rm`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from weft.api import types as t
from weft.cli.columns import Column, Table
from weft.cli.listing import listing
from weft.cli.options import NodeName, NodeNames, example, group
from weft.cli.output import Format, Output, blocks, listed, say, show_each
from weft.cli.session import Waiting, client
from weft.cli.status import liveness
from weft.cli.table import Page

app = group("The hosts of the cluster.", "weft node ls", "weft node show node-2", "weft node rm node-3")


NODES: Table[t.NodeInfo] = Table(
    Column("NODE", lambda n: f"{n.name} *" if n.this else n.name),
    Column("ADDRESSES", lambda n: listed(n.addresses), whole=True),
    Column("UPLINK", lambda n: n.uplink, spare=4),
    Column("MTU", lambda n: n.mtu or "", spare=2),
    Column("SEGMENT", lambda n: n.segment, spare=3),
    Column("AGENT", liveness),
    Column("VERSION", lambda n: n.version, spare=1),
    Column("POLICY", lambda n: "" if n.foreign else n.policy, shown=False),
    Column("SUBNETS", lambda n: listed(net for nets in n.subnets.values() for net in nets), shown=False, whole=True),
    Column("EVIDENCE", lambda n: n.evidence, shown=False),
    name=lambda n: n.name,
    tells=("nodes",),
)


@listing(app, NODES, "weft node ls", "weft node ls -w", "weft node ls -o json")
def ls(ctx: typer.Context) -> tuple[t.NodeInfo, ...]:
    """List the nodes. The one you are on has a star."""
    return client(ctx).nodes()


@app.command("show", epilog=example("weft node show node-2"))
def one(ctx: typer.Context, name: NodeNames, output: Output = Format.TABLE) -> None:
    """Show nodes and the subnets that they hold."""
    with Waiting("asking for the node"):
        nodes = [client(ctx).node(each) for each in name]
    show_each(nodes, output, _details)


@app.command("rm", epilog=example("weft node rm node-3", "weft node rm node-3 --force"))
def rm(
    ctx: typer.Context,
    name: NodeName,
    force: Annotated[bool, typer.Option("--force", "-f", help="Even if it is alive or has endpoints.")] = False,
) -> None:
    """Forget a node that is gone for good.

    Its subnets become free, its peers drop their routes to it.
    """
    with Waiting(f"removing {name}"):
        done = client(ctx).remove_node(name, force=force)
    say(removed("node", name, done))


def removed(kind: str, name: str, done: t.Done) -> str:
    """`done`: may tell of more that went with it."""
    others = [what for what in done.what if what != name]
    return f"removed {kind} {name}{f', with it {listed(others)}' if others else ''}"


def _details(page: Page, node: t.NodeInfo) -> Iterator[str]:
    return blocks(
        page.pairs(
            [
                ("node", f"{node.name} (this one)" if node.this else node.name),
                ("agent", liveness(node)),
                ("evidence", node.evidence),
                ("version", node.version),
                ("addresses", listed(node.addresses)),
                ("uplink", "" if node.foreign else f"{node.uplink}, MTU {node.mtu}"),
                ("segment", node.segment),
                ("policy", "" if node.foreign else f"through {node.policy}"),
            ]
        ),
        page.table(("NETWORK", "SUBNETS"), [(name, listed(nets)) for name, nets in sorted(node.subnets.items())])
        if node.subnets
        else ["holds no subnets"],
    )
