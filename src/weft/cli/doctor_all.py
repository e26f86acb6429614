"""`weft doctor --all`: what the agents of all hosts find, and which of them do not answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from weft.api import types as t
from weft.api.dump import ALONE, HostDump
from weft.base.errors import NotFound, WeftError
from weft.base.nearby import unknown
from weft.cli.findings import remedy
from weft.cli.output import blocks, counted, listed
from weft.cli.table import Page, Styled
from weft.faults.examine import compare

if TYPE_CHECKING:
    from weft.client import Client

Findings = tuple[t.Finding, ...]

AT_ONCE = 16
PATIENCE = 20
"""Seconds for a host's answer: a doctor looks around."""
RESULTS = {"error": "bad", "warning": "warn", "ok": "good"}
"""The worst first."""


def everywhere(agent: Client, names: Sequence[str]) -> Findings:
    """What is found on these nodes, or on all, each with its host. Raises NotFound, and what the local agent says."""
    nodes = {node.name: node for node in agent.nodes()}
    if strange := [name for name in names if name not in nodes]:
        raise NotFound(unknown("node", strange[0], nodes, "weft node ls"))
    chosen = sorted(set(names) or nodes)
    with ThreadPoolExecutor(max(1, min(len(chosen), AT_ONCE)), thread_name_prefix="doctor") as pool:
        found = pool.map(lambda name: _of(agent, name), chosen)
        dumps = list(pool.map(lambda name: _tables(agent, name), chosen if len(chosen) > 1 else ()))
        each = tuple(finding for some in found for finding in some)
        return (*each, *compare({dump.node: dump for dump in dumps if dump is not None}))


def _tables(agent: Client, node: str) -> HostDump | None:
    """Without containers' namespaces: what hosts should agree on is in their own. That a host does not answer is told once."""
    try:
        return agent.at(node, PATIENCE).kernel(ALONE)
    except WeftError:
        return None


def _of(agent: Client, node: str) -> Findings:
    try:
        return tuple(msgspec.structs.replace(f, host=f.host or node) for f in agent.at(node, PATIENCE).doctor())
    except WeftError as error:
        advice = f"on {node}: `systemctl status weft-agent`; `weft doctor` there needs no other host"
        return (
            t.Finding(check="agent", result="error", detail=str(error), advice=advice, fault="agent-dead", host=node),
        )


def render(page: Page, findings: Findings) -> Iterator[str]:
    groups = _groups(findings)
    return blocks(_table(page, groups), _advice(page, groups), _sum(findings))


def _groups(findings: Findings) -> list[tuple[str, t.Finding]]:
    """What is the same on several hosts is told once, with these; the worst first, and what is fine not at all."""
    hosts: dict[t.Finding, list[str]] = {}
    for finding in findings:
        if finding.result != "ok":
            hosts.setdefault(msgspec.structs.replace(finding, host=""), []).append(finding.host)
    order = list(RESULTS)
    worst_first = sorted(hosts, key=lambda f: (order.index(f.result) if f.result in order else len(order), f.check))
    return [(listed(dict.fromkeys(hosts[finding])), finding) for finding in worst_first]


def _table(page: Page, groups: Iterable[tuple[str, t.Finding]]) -> Iterator[str]:
    rows = [(Styled(f.result, RESULTS.get(f.result, "")), hosts, f.check, f.detail) for hosts, f in groups]
    return page.table(("RESULT", "HOSTS", "CHECK", "DETAIL"), rows) if rows else iter(())


def _advice(page: Page, groups: Iterable[tuple[str, t.Finding]]) -> Iterator[str]:
    advised = [(f"{f.check} ({hosts})", remedy(f)) for hosts, f in groups if f.advice]
    if advised:
        yield page.paint("WHAT TO DO", "head")
        yield from page.pairs(advised)


def _sum(findings: Findings) -> Iterator[str]:
    hosts = counted(len({f.host for f in findings}), "host")
    said = (
        f"{sum(f.result == result for f in findings)} {word}"
        for result, word in (("ok", "fine"), ("warning", "to look at"), ("error", "wrong"))
    )
    yield f"{hosts}: {listed(said)}"
