"""`weft network set`: what of a network is changed while containers are in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from weft.api import types as t
from weft.base.net import parse_subnet
from weft.cli.options import NetworkName, example, pairs, set_or_gone
from weft.cli.output import Format, Output, complain, listed, mapped, show
from weft.cli.session import Waiting, client
from weft.cli.table import Page
from weft.model.network import OptionValue

AUTO = "auto"
EXAMPLES = example(
    "weft network set blue --mtu 1400",
    "weft network set blue -O reach=shop -O masquerade=false",
    "weft network set blue -O reserve- --mtu auto --label tier=front --label old-",
)


def command(
    ctx: typer.Context,
    name: NetworkName,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--set", "-O", metavar="KEY=VALUE|KEY-", help="An option of the driver; KEY-: as if it had not been given."
        ),
    ] = None,
    mtu: Annotated[
        str, typer.Option("--mtu", metavar=f"OCTETS|{AUTO}", help="Of the containers' interfaces; auto: found out.")
    ] = "",
    internal: Annotated[
        bool | None, typer.Option("--internal/--no-internal", help="No way out of the network.", show_default=False)
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE|KEY-", help="A label to set, or to take away.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing: only say whether it can be done.")] = False,
    driver: Annotated[str, typer.Option("--driver", "-d", hidden=True)] = "",
    subnet: Annotated[list[str] | None, typer.Option("--subnet", "-s", hidden=True)] = None,
    output: Output = Format.TABLE,
) -> None:
    """Change a network while containers are in it, on all nodes.

    What can be changed, and what cannot, `weft network drivers` says of each option.
    """
    options, removed = set_or_gone(option)
    labels, gone = set_or_gone(label)
    request = t.SetNetwork(
        options=dict[str, OptionValue](pairs("--set", options)),
        remove=removed,
        mtu=_octets(mtu),
        internal=internal,
        labels=pairs("--label", labels),
        remove_labels=gone,
        driver=driver,
        subnets=tuple(parse_subnet(text) for text in subnet) if subnet else None,
        check=check,
    )
    if request == t.SetNetwork(check=check):
        raise typer.BadParameter("nothing to change: give -O, --mtu, --internal, --no-internal or --label")
    with Waiting(f"changing {name}"):
        done = client(ctx).set_network(name, request)
    show(done, output, _changed if not check else _could)
    for text in (*done.notes, *done.network.one_sided, *done.network.problems):
        complain(f"note: network {name}: {text}")


def _octets(text: str) -> int | None:
    """None: nothing is said. Raises BadParameter."""
    if not text:
        return None
    if text == AUTO:
        return 0
    if not text.isascii() or not text.isdigit() or not int(text):
        raise typer.BadParameter(f"'{text}' is not a number of octets, nor {AUTO}", param_hint="'--mtu'")
    return int(text)


def _changed(_page: Page, done: t.NetworkSet) -> Iterator[str]:
    if not done.changes:
        yield f"network {done.network.name} is so already"
    for change in done.changes:
        yield f"network {done.network.name}: {change.what} is {_word(change.new)} (was {_word(change.old)})"


def _could(_page: Page, done: t.NetworkSet) -> Iterator[str]:
    if not done.changes:
        yield f"network {done.network.name} is so already"
    for change in done.changes:
        yield f"network {done.network.name}: {change.what} can become {_word(change.new)} (is {_word(change.old)})"


def _word(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return mapped(value) or "nothing"
        case None:
            return AUTO
        case list() | tuple():
            return listed(map(str, value)) or "nothing"
    return str(value) or "nothing"
