"""`weft network create|ls|show|set|rm|drivers`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from weft.api import types as t
from weft.base.net import parse_subnet
from weft.cli import complete, network_set
from weft.cli.columns import Column, Table
from weft.cli.declared import show_documents
from weft.cli.listing import listing
from weft.cli.node import removed
from weft.cli.options import Labels, NetworkName, NetworkNames, example, group, pairs
from weft.cli.output import Format, Output, blocks, complain, listed, mapped, say, show, show_each
from weft.cli.session import Waiting, client
from weft.cli.status import alive
from weft.cli.table import Cell, Page
from weft.model import Network
from weft.model.network import FLANNEL, SHARE

app = group(
    "Networks that containers can be attached to.",
    "weft network create blue --driver vxlan --subnet 10.1.0.0/16",
    "weft network drivers",
    "weft network show blue",
)


@app.command(
    "create",
    epilog=example(
        "weft network create blue --driver vxlan --subnet 10.1.0.0/16 --subnet fd00:1::/48",
        "weft network create flat --driver host-gw --subnet 10.2.0.0/16 -O node-prefix=25 --internal",
    ),
)
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="1 to 63 of a-z, 0-9, '.', '_', '-'.")],
    driver: Annotated[
        str,
        typer.Option(
            "--driver", "-d", metavar="DRIVER", help="See `weft network drivers`.", autocompletion=complete.drivers
        ),
    ],
    subnet: Annotated[
        list[str] | None,
        typer.Option("--subnet", "-s", metavar="CIDR", help="Two, one of each family, make it dual stack."),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", "-O", metavar="KEY=VALUE", help="Of the driver; several times.")
    ] = None,
    internal: Annotated[bool, typer.Option("--internal", help="No way out of the network.")] = False,
    mtu: Annotated[
        int | None, typer.Option("--mtu", metavar="OCTETS", help="Of the containers' interfaces; else found out.")
    ] = None,
    label: Labels = None,
    output: Annotated[
        list[str] | None, typer.Option("--output", "-o", metavar="table|json|yaml", help="How to show it.")
    ] = None,
    former: Annotated[list[str] | None, typer.Option("--option", hidden=True)] = None,
) -> None:
    """Create a network on all nodes."""
    form, meant = _former_options([*(output or ())], former)
    options = pairs("--set", [*(option or ()), *meant])
    if not subnet and SHARE not in options and FLANNEL not in options and not _found_elsewhere(driver):
        raise typer.BadParameter("missing: give the network's addresses", param_hint="'--subnet'")
    network = Network(
        name=name,
        driver=driver,
        subnets=tuple(parse_subnet(text) for text in subnet or ()),
        options=dict(options),
        internal=internal,
        mtu=mtu,
        labels=pairs("--label", label),
    )
    with Waiting(f"creating {name}"):
        made = client(ctx).create_network(network)
    show(made, form, _made)
    for text in (*made.one_sided, *made.problems):
        complain(f"warning: network {made.name}: {text}")


def _former_options(shown: list[str], former: list[str] | None) -> tuple[Format, list[str]]:
    """How to show it, and the driver's options that are given as they once were: `-o KEY=VALUE`, `--option KEY=VALUE`.
    Raises BadParameter."""
    meant = [*(former or ()), *(text for text in shown if "=" in text)]
    if meant:
        complain(f"note: -o says how to show it; a driver's option is now given as -O {meant[0]}")
    forms = [text for text in shown if "=" not in text]
    if forms and forms[-1] not in tuple(Format):
        raise typer.BadParameter(
            f"'{forms[-1]}' is not one of {listed(map(repr, map(str, Format)))}", param_hint="'--output' / '-o'"
        )
    return Format(forms[-1]) if forms else Format.TABLE, meant


def _made(_page: Page, made: t.NetworkInfo) -> Iterator[str]:
    told = [made.driver, *map(str, made.subnets), *(["internal"] if made.internal else [])]
    yield f"created network {made.name}: {listed(told)}"


def _found_elsewhere(driver: str) -> bool:
    """Whether subnets may be left out, since they are somebody else's, or there are none."""
    from weft.datapaths import registry  # most networks have some, and need not wait for it

    found = registry.DRIVERS.get(driver)
    return found is not None and (found.addresses.made_elsewhere or found.addresses.bare)


NETWORKS: Table[t.NetworkInfo] = Table(
    Column("NETWORK", lambda n: n.name),
    Column("DRIVER", lambda n: n.driver),
    Column("SUBNETS", lambda n: listed(n.subnets), whole=True),
    Column("MTU", lambda n: n.mtu or "auto", spare=2),
    Column("NODES", lambda n: len(n.leases), spare=3),
    Column("ENDPOINTS", lambda n: n.endpoints, spare=4),
    Column("INTERNAL", lambda n: "yes" if n.internal else "no", spare=1),
    Column("LABELS", lambda n: mapped(n.labels), shown=False),
    Column("OPTIONS", lambda n: _options(n), shown=False),
    Column("REACHES", lambda n: listed(n.reaches), shown=False),
    Column("PROBLEMS", lambda n: len(n.problems), shown=False),
    name=lambda n: n.name,
    labels=lambda n: n.labels,
    tells=("networks", "nodes", "endpoints"),
)


@listing(
    app, NETWORKS, "weft network ls", "weft network ls -l team=web --columns network,subnets", "weft network ls -o yaml"
)
def ls(ctx: typer.Context) -> tuple[t.NetworkInfo, ...]:
    """List the networks."""
    return client(ctx).networks()


@app.command("show", epilog=example("weft network show blue", "weft network show blue red -o json"))
def one(ctx: typer.Context, name: NetworkNames, output: Output = Format.TABLE) -> None:
    """Show networks: who holds which subnet, what is amiss.

    Their options are shown as they are in force; the problems are those of this node. With -o yaml their documents, for
    `weft apply`.
    """
    if output is Format.YAML:
        show_documents(ctx, *(f"network/{each}" for each in name))
        return
    with Waiting("asking for the network"):
        networks = [client(ctx).network(each) for each in name]
    show_each(networks, output, _details)


app.command("set", epilog=network_set.EXAMPLES)(network_set.command)


@app.command("rm", epilog=example("weft network rm blue", "weft network rm blue --force"))
def rm(
    ctx: typer.Context,
    name: NetworkName,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Also with endpoints and services in it: all of them go.")
    ] = False,
) -> None:
    """Remove a network from all nodes."""
    with Waiting(f"removing {name}"):
        done = client(ctx).remove_network(name, force=force)
    say(removed("network", name, done))


@app.command("drivers", epilog=example("weft network drivers", "weft network drivers vxlan"))
def drivers(
    name: Annotated[
        str, typer.Argument(metavar="[DRIVER]", help="Only this one.", autocompletion=complete.drivers)
    ] = "",
    output: Output = Format.TABLE,
) -> None:
    """List the drivers and their options.

    Options are given with `weft network create NAME -O KEY=VALUE`. What is live can be changed later, on all hosts at once,
    with `weft network set NAME -O KEY=VALUE`. So can what is later, but part of it stays as it was. What is fixed stays.
    """
    from weft.cli import drivers as known

    show(known.describe(name), output, known.render)


def _details(page: Page, n: t.NetworkInfo) -> Iterator[str]:
    return blocks(
        page.pairs(
            [
                ("network", n.name),
                ("driver", n.driver),
                ("subnets", listed(n.subnets)),
                ("internal", "yes: no way out" if n.internal else "no"),
                ("reaches", listed(n.reaches) or "no other network"),
                ("for services", listed(n.services)),
                ("MTU", str(n.mtu or "auto")),
                ("options", _options(n)),
                ("fast", n.fast),
                ("labels", mapped(n.labels)),
                ("endpoints", str(n.endpoints)),
            ]
        ),
        _leases(page, n),
        _texts(page, "ONE-SIDED REACH", n.one_sided),
        _texts(page, "PROBLEMS ON THIS NODE", n.problems),
    )


def _options(n: t.NetworkInfo) -> str:
    return mapped({key: value for key, value in n.options.items() if value != ""})


def _leases(page: Page, n: t.NetworkInfo) -> Iterator[str]:
    if n.leases:
        yield from page.table(
            ("NODE", "SUBNETS", "AT", "AGENT", "DATA"),
            [
                (held.node, listed(held.subnets), listed(held.addresses), _agent(held), mapped(held.data) or "-")
                for held in n.leases
            ],
            whole=["SUBNETS", "AT"],
        )


def _agent(held: t.LeaseInfo) -> Cell:
    return f"none: {held.foreign}" if held.foreign else alive(held.alive)


def _texts(page: Page, title: str, texts: tuple[str, ...]) -> Iterator[str]:
    if texts:
        yield page.paint(title, "head")
    for text in texts:
        yield from page.paragraph(text, "  ", "warn")
