"""`weft status`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from weft.api import types as t
from weft.base.errors import Failed
from weft.cli.options import example, single
from weft.cli.output import Format, Output, ago, blocks, counted, due, listed, show
from weft.cli.session import Waiting, client
from weft.cli.table import Cell, Page, Styled

app = single()

CONVERGED = "converged"


@app.command(epilog=example("weft status", "weft status --check && echo all is well", "weft status -o json"))
def status(
    ctx: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also the kernel objects, by kind.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit status 1 unless all is well, with the reason.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """This node as its agent sees it: the store, the networks, the peers, and what is amiss with the way out.

    An agent that answers makes exit status 0, whatever it says; see --check. But where its store is not the one of this
    host's cluster it is 1: somebody has to decide.
    """
    with Waiting("asking the agent"):
        found = client(ctx).status()
    show(found, output, lambda page, value: render(page, value, verbose=verbose))
    if found.store.state == "refused":
        raise Failed(f"{found.node}: {found.store.reason}")
    if check and (reasons := reasons_of(found)):
        state = found.state if found.state != CONVERGED else "not well"
        raise Failed(f"{found.node} is {state}: {'; '.join(reasons)}")


def render(page: Page, found: t.Status, *, verbose: bool = False) -> Iterator[str]:
    return blocks(
        _head(page, found),
        _networks(page, found),
        _peers(page, found),
        _tunnels(page, found),
        _fast(page, found),
        _objects(page, found) if verbose or found.state != CONVERGED else (),
        _troubles(page, found),
        _problems(page, found),
        _notes(page, found),
    )


def reasons_of(found: t.Status) -> tuple[str, ...]:
    """Why not all is well. An agent of an earlier version says its state only."""
    return found.reasons or (() if found.state == CONVERGED else ("not everything is in place yet",))


def _head(page: Page, found: t.Status) -> Iterator[str]:
    if reasons := reasons_of(found):
        state = "not well" if found.state == CONVERGED else found.state
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        style = "bad" if found.state == "degraded" else "warn"
        yield from page.paragraph(f"{found.node} is {state}: {reasons[0]}{more}", style=style)
    else:
        yield f"{page.paint(found.node, 'head')} is {page.paint(found.state, 'good')}: all is well"
    yield from page.pairs(
        [
            ("agent", f"weft {found.version}, up {ago(found.started)}"),
            ("uplink", f"{found.uplink}, {listed(found.addresses)}, MTU {found.mtu}"),
            ("", found.why),
            ("store", store_line(found.store)),
            ("bgp", _bgp(found.bgp) if found.bgp else ""),
            ("policy", f"through {found.policy}"),
            ("fast", fast_path(found.means)),
            ("drift", _drift(found)),
        ]
    )


def store_line(store: t.StoreStatus) -> Cell:
    text = f"{store.url}, {store.state} for {ago(store.since)}, at revision {store.revision}"
    return text if store.state == "connected" else Styled(f"{text}: {store.reason or 'no reason is known'}", "bad")


def _bgp(bgp: t.BgpStatus) -> Cell:
    if bgp.reason:
        return Styled(bgp.reason, "bad")
    if bgp.unknown:
        return Styled(f"{counted(bgp.unknown, 'session')}, of which nothing is known: BIRD does not answer", "bad")
    text = f"{bgp.established} of {counted(bgp.sessions, 'session')} up"
    return Styled(f"{text}: see `weft bgp peers`", "warn") if bgp.established < bgp.sessions else text


def _drift(found: t.Status) -> str:
    checked = f"last full comparison {ago(found.last_resync)} ago" if found.last_resync else "not compared in full yet"
    repairs = counted(found.repairs, "repair") if found.repairs else "nothing repaired"
    return f"{repairs}{f', the last: {found.last_repair}' if found.last_repair else ''}; {checked}"


def _networks(page: Page, found: t.Status) -> Iterator[str]:
    if not found.networks:
        yield "no networks: weft network create NAME --driver vxlan --subnet 10.1.0.0/16"
        return
    yield from page.table(
        ("NETWORK", "DRIVER", "SUBNET HERE", "ENDPOINTS", "PEERS", "PROBLEMS"),
        [
            (
                n.name,
                n.driver,
                listed(n.subnets) or _no_subnet(n),
                str(n.endpoints),
                str(n.peers),
                Styled(str(n.problems), "bad" if n.problems else ""),
            )
            for n in found.networks
        ],
        whole=["SUBNET HERE"],
    )


def _no_subnet(n: t.NetworkStatus) -> Cell:
    from weft.datapaths import registry  # mostly there is one

    found = registry.DRIVERS.get(n.driver)
    return "-" if found is not None and found.addresses.bare else Styled("none yet", "warn")


def _peers(page: Page, found: t.Status) -> Iterator[str]:
    if not found.peers:
        yield "no other nodes"
        return
    ways = ["WAY"] if any(p.way for p in found.peers) else []
    yield from page.table(
        ("PEER", "ADDRESSES", "AGENT", "SEGMENT", *ways),
        [
            (
                p.name,
                listed(p.addresses),
                liveness(p),
                "same" if p.same_segment else "behind a router",
                *([Styled(p.way or "-", "" if p.way in ("", "kernel") else "warn")] if ways else []),
            )
            for p in found.peers
        ],
        whole=["ADDRESSES"],
    )
    for p in found.peers:
        if p.evidence:
            yield from page.paragraph(p.evidence, style="warn")


def _tunnels(page: Page, found: t.Status) -> Iterator[str]:
    """Those that a program carries."""
    if not found.tunnels:
        return
    yield from page.table(
        ("TUNNEL", "SENT", "RECEIVED", "DROPPED"),
        [
            (
                tunnel.device,
                f"{tunnel.sent} packets, {_octets(tunnel.sent_octets)}",
                f"{tunnel.received} packets, {_octets(tunnel.received_octets)}",
                Styled(
                    tunnel.trouble
                    or listed([f"{count} {reason}" for reason, count in tunnel.dropped.items()])
                    or "none",
                    "bad" if tunnel.trouble else "",
                ),
            )
            for tunnel in found.tunnels
        ],
    )


_MEANS = {"flowtable": "the kernel's flowtable", "cache": "programs at devices"}


def fast_path(means: tuple[str, ...]) -> str:
    """An agent of an earlier version says nothing of it, as one does whose kernel has none."""
    if not means:
        return "none: neither flowtable nor tcx can be used here; `weft doctor` says why"
    return " and ".join(_MEANS.get(each, each) for each in means)


def _fast(page: Page, found: t.Status) -> Iterator[str]:
    """Networks where something took it."""
    if found.fast:
        yield from page.table(
            ("FAST PATH", "FLOWS NOW", "PASSED ON", "ASKED"),
            [
                (
                    fast.network or "-",
                    listed([f"{number} by {_MEANS.get(means, means)}" for means, number in fast.flows.items()]) or "0",
                    f"{fast.packets} packets, {_octets(fast.octets)}",
                    counted(fast.asked, "packet"),
                )
                for fast in found.fast
            ],
        )


def _octets(number: int) -> str:
    value, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}"


def liveness(n: t.PeerStatus | t.NodeInfo) -> Cell:
    if n.foreign:
        return f"none: {n.foreign}"
    if n.alive:
        return Styled("alive", "good")
    return Styled("dead", "bad") if n.withdrawn else Styled("silent", "warn")


def alive(is_alive: bool) -> Cell:
    return Styled("alive", "good") if is_alive else Styled("silent", "bad")


def _objects(page: Page, found: t.Status) -> Iterator[str]:
    if found.objects:
        yield from page.table(
            ("OBJECTS", "DESIRED", "ACTUAL", "FAILED"),
            [
                (kind, str(n.desired), str(n.actual), Styled(str(n.failed), "bad" if n.failed else ""))
                for kind, n in sorted(found.objects.items())
            ],
        )


def _troubles(page: Page, found: t.Status) -> Iterator[str]:
    if found.troubles:
        yield page.paint("FAILED OBJECTS", "head")
    for trouble in found.troubles:
        yield from page.paragraph(trouble.object)
        yield from page.paragraph(trouble.reason, "    ", "bad")
        tries = counted(trouble.attempts, "attempt")
        yield from page.paragraph(f"{tries} in {ago(trouble.since)}, next {due(trouble.next_try)}", "    ")


def _problems(page: Page, found: t.Status) -> Iterator[str]:
    if found.problems:
        yield page.paint("PROBLEMS", "head")
    for problem in found.problems:
        about = ("network", problem.network), ("peer", problem.peer)
        yield from page.paragraph(listed([f"{kind} {name}" for kind, name in about if name]) or "this node")
        yield from page.paragraph(problem.text, "    ", "warn")


def _notes(page: Page, found: t.Status) -> Iterator[str]:
    if found.notes:
        yield page.paint("NOTES", "head")
    for note in found.notes:
        yield from page.paragraph(note, "  ")
