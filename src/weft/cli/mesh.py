"""`weft mesh status|peers|voters|recover|leave`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from weft.api import mesh as m
from weft.cli.options import example, group
from weft.cli.output import Format, Output, ago, blocks, counted, listed, say, show
from weft.cli.session import Waiting, client
from weft.cli.table import Cell, Page, Styled

app = group(
    "Hosts that find each other, and the store that they keep together.",
    "weft mesh status",
    "weft mesh peers",
    "weft mesh voters",
    "weft mesh recover",
)

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
STANDINGS = {"alive": "good", "suspect": "warn", "dead": "bad"}
STATES = {"learner": "warn", "silent": "bad"}
LOST = (
    "Go on with this host's voter alone? What the other voters have written and this one has not heard of is lost; "
    "they must never start again with their data."
)


@app.command("status", epilog=example("weft mesh status", "weft mesh status -o json"))
def status(ctx: typer.Context, output: Output = Format.TABLE) -> None:
    """Which hosts there are, as this one knows them, who keeps the store, and what is amiss."""
    with Waiting("asking the agent"):
        found = client(ctx).mesh()
    show(found, output, _status)


@app.command("voters", epilog=example("weft mesh voters", "weft mesh voters -o json"))
def voters(ctx: typer.Context, output: Output = Format.TABLE) -> None:
    """Those of the hosts that keep the store."""
    with Waiting("asking the agent"):
        found = client(ctx).mesh()
    show(found.voters, output, lambda page, _: _voters(page, found))


@app.command("peers", epilog=example("weft mesh peers", "weft mesh peers -o json"))
def peers(ctx: typer.Context, output: Output = Format.TABLE) -> None:
    """How packets of networks of driver mesh get to each of the other hosts, and why not on the best way.

    With any store. fastdp is the kernel's own tunnel, sleeve a program, relay the sleeve by a third host.
    """
    with Waiting("asking the agent"):
        found = client(ctx).mesh_peers()
    show(found, output, _peers)


@app.command("recover", epilog=example("weft mesh recover", "weft mesh recover --yes"))
def recover(ctx: typer.Context, yes: Yes = False) -> None:
    """Go on with this host's voter alone, where most of the voters are gone for good.

    The store on this host becomes a cluster of one, under a new identity; the other hosts go over to it, and more of them
    become voters again. What the lost voters have written and this one has not heard of is lost. Until then containers keep
    their networks, so first try to bring the others back.
    """
    _confirm(LOST, yes)
    with Waiting("recovering the store"):
        done = client(ctx).recover_mesh()
    say(f"the store goes on with this host's voter alone: {listed(done.what)}; see `weft mesh status`")


@app.command("leave", epilog=example("weft mesh leave --yes && systemctl stop weft-agent && weft agent purge --yes"))
def leave(ctx: typer.Context, yes: Yes = False) -> None:
    """Let this host go: another one becomes a voter in its place, and nobody counts it as dead.

    Its containers keep their networks for as long as the agent is not purged.
    """
    _confirm("Let this host leave the mesh? It takes part again when its agent is started anew.", yes)
    with Waiting("leaving the mesh"):
        done = client(ctx).leave_mesh()
    say(f"this host has left: {listed(done.what)}; stop its agent now")


def _peers(page: Page, found: tuple[m.MeshPeer, ...]) -> Iterator[str]:
    if not found:
        yield "no other hosts, or no network that has several ways to them (driver mesh)"
    for peer in found:
        words = [f"→ {peer.address or '-'}", page.paint(peer.name, "head"), _state(page, peer)]
        apart = _apart(peer)
        words += ["encrypted"] if not apart and peer.encrypted not in ("", "trusted") else []
        words += [_way(page, peer)]
        words += [f"mtu={peer.mtu}"] if peer.mtu else []
        words += [f"rtt={peer.rtt:.1f}ms"] if peer.rtt is not None else []
        yield " ".join(words)
        if apart:
            yield f"    encrypted networks: {peer.encrypted}"
        for reason in peer.why:
            yield from page.paragraph(reason, "    ", "warn")


def _apart(peer: m.MeshPeer) -> bool:
    """Whether encrypted networks are something else than the way that is told."""
    if peer.encrypted in ("", "trusted"):
        return False
    return peer.clear or (peer.encrypted == "sleeve" and peer.way == "kernel")


def _state(page: Page, peer: m.MeshPeer) -> str:
    return page.paint(peer.state, "good" if peer.state == "established" else "warn")


def _way(page: Page, peer: m.MeshPeer) -> str:
    text = "fastdp" if peer.way == "kernel" else f"{peer.way} via {peer.via}" if peer.via else peer.way
    return page.paint(text, "" if peer.way == "kernel" else "warn")


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody can be asked here: give --yes", param_hint="'--yes'")
    typer.confirm(question, abort=True)


def _status(page: Page, found: m.MeshStatus) -> Iterator[str]:
    return blocks(
        page.pairs(
            [
                ("node", found.node),
                ("named", listed(found.named)),
                ("cluster", found.cluster or "none yet"),
                ("store", _store(found)),
                ("voters", _summary(found)),
            ]
        ),
        page.table(
            ("MEMBER", "ADDRESS", "STANDING", "SINCE", "FROM HERE", "VOTER"),
            [
                (
                    f"{one.name} *" if one.this else one.name,
                    str(one.address),
                    Styled(one.standing, STANDINGS.get(one.standing, "")),
                    ago(one.since),
                    "-" if one.this else _reached(one.reached),
                    "yes" if one.voter else "-",
                )
                for one in found.members
            ],
            whole=["ADDRESS"],
        )
        if found.members
        else ["no members are known: see that this host has an uplink"],
        (line for text in found.problems for line in page.paragraph(text, style="warn")),
    )


def _store(found: m.MeshStatus) -> Cell:
    return (
        Styled(found.waiting, "bad") if found.waiting else f"at {found.through}" if found.through else "not asked yet"
    )


def _summary(found: m.MeshStatus) -> Cell:
    """How many may be lost before nothing can be written."""
    votes = [one for one in found.voters if one.state != "learner"]
    up = [one for one in votes if one.standing == "alive" and one.state != "silent"]
    text = f"{len(up)} of {counted(len(votes), 'voter')} up" if votes else "none is known"
    return text if votes and len(up) == len(votes) else Styled(text, "warn" if 2 * len(up) > len(votes) else "bad")


def _reached(reached: bool) -> Cell:
    return "reached" if reached else Styled("not reached", "warn")


def _voters(page: Page, found: m.MeshStatus) -> Iterator[str]:
    if not found.voters:
        yield from page.paragraph(f"no voters are known: {found.waiting or 'try again in a moment'}")
        return
    yield from page.table(
        ("VOTER", "ADDRESS", "PORT", "STATE", "HOST", "FROM HERE"),
        [
            (
                f"{one.name} *" if one.name == found.node else one.name,
                str(one.address),
                str(one.port),
                Styled(one.state, STATES.get(one.state, "")),
                Styled(one.standing, STANDINGS.get(one.standing, "")),
                "-" if one.name == found.node else _reached(one.reached),
            )
            for one in found.voters
        ],
        whole=["ADDRESS"],
    )
