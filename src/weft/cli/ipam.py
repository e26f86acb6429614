"""`weft ipam show|check`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from weft.api import types as t
from weft.base.errors import Failed
from weft.cli import complete
from weft.cli.options import OfNetwork, example, group
from weft.cli.output import Format, Output, blocks, counted, listed, show
from weft.cli.session import Waiting, client
from weft.cli.table import Page, Styled

app = group("Who holds which addresses, and whether that is right.", "weft ipam show", "weft ipam check --fix")

Network = Annotated[str, typer.Argument(metavar="[NETWORK]", help="Only this one.", autocompletion=complete.networks)]


@app.command("show", epilog=example("weft ipam show", "weft ipam show prod -o json"))
def one(ctx: typer.Context, network: Network = "", output: Output = Format.TABLE) -> None:
    """Show the blocks with their holders, and how full they are."""
    with Waiting("asking for the addresses"):
        found = client(ctx).ipam(network)
    show(found, output, _networks)


@app.command("check", epilog=example("weft ipam check", "weft ipam check --network prod --fix"))
def check(
    ctx: typer.Context,
    network: OfNetwork = "",
    fix: Annotated[bool, typer.Option("--fix", help="Put right what can be; also while agents work.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Audit claims, leases and endpoints of all nodes against each other. Exit status 1 if something is wrong and stays so.

    Weft writes them together, so nothing is to be found unless the store was edited, or restored in parts.
    """
    with Waiting("auditing the store"):
        found = client(ctx).check_ipam(t.CheckIpam(network=network, fix=fix))
    show(found, output, _faults)
    left = [f for f in found.faults if not f.fixed]
    if left:
        fixable = "" if fix else "; `weft ipam check --fix` puts right what can be"
        raise Failed(f"{counted(len(left), 'fault')} found: {listed(sorted({f.kind for f in left}))}{fixable}")


def _networks(page: Page, networks: tuple[t.IpamInfo, ...]) -> Iterator[str]:
    if not networks:
        yield "no network whose addresses are claimed: those of others are out of their nodes' subnets"
    yield from blocks(*(_network(page, n) for n in networks))


def _network(page: Page, n: t.IpamInfo) -> Iterator[str]:
    outside = f", {n.outside} outside their node's blocks" if n.outside else ""
    yield page.paint(f"{n.network} ({n.driver}, {listed(n.subnets)})", "head")
    outside += f", {n.services} of services" if n.services else ""
    yield f"{counted(n.used, 'address', 'addresses')} in use{outside}, {n.cooling} cooling down"
    if n.blocks:
        yield from page.table(
            ("BLOCK", "NODE", "USED", "BORROWED", "COOLING", "FREE"),
            [(str(b.block), b.node, str(b.used), str(b.borrowed), str(b.cooling), str(b.free)) for b in n.blocks],
            whole=["BLOCK"],
        )


def _faults(page: Page, found: t.IpamCheck) -> Iterator[str]:
    if found.faults:
        yield from page.table(
            ("RESULT", "NETWORK", "FAULT", "SUBJECT", "NODE", "DETAIL"),
            [
                (
                    Styled("fixed", "good") if f.fixed else Styled("wrong", "bad"),
                    f.network or "-",
                    f.kind,
                    f.subject,
                    f.node or "-",
                    f.text,
                )
                for f in found.faults
            ],
            whole=["SUBJECT"],
        )
        yield ""
    looked = (
        f"{counted(found.addresses, 'claimed address', 'claimed addresses')}, {counted(found.blocks, 'block')}, "
        f"{counted(found.endpoints, 'endpoint')}"
    )
    wrong = sum(not f.fixed for f in found.faults)
    fixed = len(found.faults) - wrong
    yield f"looked at {looked}: " + (f"{fixed} fixed, {wrong} wrong" if found.faults else "nothing is wrong")
