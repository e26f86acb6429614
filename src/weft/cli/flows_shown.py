"""How connections are shown to people."""

from __future__ import annotations

import time
from collections.abc import Iterator

from weft.api import flows as f
from weft.api import observed as o
from weft.cli.output import counted, span
from weft.cli.table import Page, Styled

_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def listed(page: Page, pages: tuple[f.FlowPage, ...]) -> Iterator[str]:
    several = len(pages) > 1
    heads = ("NODE", "PROTO", "STATE", "FROM", "TO", "TRANSLATED", "SENT", "ANSWERED", "AGE", "TIMEOUT", "SHORT WAY")
    rows = [
        (
            flow.node,
            flow.protocol,
            Styled("CUT OFF", "bad") if flow.cut else flow.state,
            end(flow.source),
            end(flow.target),
            translation(flow) or "-",
            _amount(flow.packets, flow.octets),
            _amount(flow.reply_packets, flow.reply_octets),
            "-" if flow.age is None else span(flow.age),
            span(flow.timeout),
            short_way(flow),
        )
        for found in pages
        for flow in found.flows
    ]
    first = 0 if several else 1
    last = len(heads) if any(row[-1] for row in rows) else len(heads) - 1
    yield from page.table(heads[first:last], [row[first:last] for row in rows], whole=["FROM", "TO"])
    yield from (note for found in pages for note in _notes(found, several))


def short_way(flow: f.Flow) -> str:
    """ "cache", and where it is one direction only, which."""
    return f"{flow.short}, {flow.short_ways[0]}" if len(flow.short_ways) == 1 else flow.short


def _notes(found: f.FlowPage, several: bool) -> Iterator[str]:
    where = f" on {found.node}" if several else ""
    if found.total > len(found.flows):
        yield f"{len(found.flows)} of {counted(found.total, 'connection')}{where}: --limit shows more"
    if not found.accounting:
        setting = "sysctl -w net.netfilter.nf_conntrack_acct=1"
        yield f"packets and octets are not counted{where}: {setting} counts those of connections to come"
    if any(flow.short for flow in found.flows):
        yield f"what goes a short way is not in these counts{where}: `weft status` counts it by network"


def refused(page: Page, pages: tuple[f.FlowPage, ...]) -> Iterator[str]:
    several = len(pages) > 1
    rows = [
        (
            found.node,
            each.reason,
            each.what,
            each.direction or "-",
            each.where or "-",
            str(each.packets),
            str(each.octets),
        )
        for found in pages
        for each in found.dropped
    ]
    if not rows:
        yield "rules dropped nothing"
        return
    heads = ("NODE", "DROPPED BY", "WHAT", "DIRECTION", "IN", "PACKETS", "BYTES")
    first = 0 if several else 1
    yield from page.table(heads[first:], [row[first:] for row in rows])


def end(found: f.FlowEnd) -> str:
    """`node-1/web:80`, `service blue/shop:80`, `203.0.113.9:443`."""
    port = "" if found.port is None else f":{found.port}"
    match found.kind:
        case "container":
            return f"{found.node}/{found.name}{port}"
        case "service":
            return f"service {found.network}/{found.name}{port}"
        case "floating":
            return f"{found.address} of {found.node}/{found.name}{port}"
        case "node":
            return f"{found.name}{port}"
    return f"[{found.address}]{port}" if port and found.address.version == 6 else f"{found.address}{port}"


def translation(flow: f.Flow) -> str:
    """`→ node-2/web-1:8080`: who answers; `as node-1:40123`: whom it sees."""
    parts = [f"→ {end(flow.member)}"] if flow.member is not None else []
    if flow.translated is not None:
        parts.append(f"as {end(flow.translated)}")
    return ", ".join(parts)


def line(page: Page, flow: f.Flow, several: bool) -> str:
    """An event."""
    moment = _moment(flow.time)
    kind = page.paint("new    ", "good") if flow.event == "new" else page.paint("end    ", "dim")
    where = f"{flow.node}  " if several else ""
    translated = translation(flow)
    told = [f"{end(flow.source)} → {end(flow.target)}", *([f"({translated})"] if translated else []), flow.protocol]
    if flow.event == "end":
        counts = [_amount(flow.packets, flow.octets), _amount(flow.reply_packets, flow.reply_octets)]
        told += [f"sent {counts[0]}, answered {counts[1]}"] if counts[0] != "-" else []
        told += [f"after {span(flow.age)}"] if flow.age is not None else []
    return f"{moment}  {kind}  {where}{'  '.join(told)}"


def logged(page: Page, entry: o.LogEntry, node: str) -> str:
    """What a rule of policy logged and policy denies."""
    ends = " → ".join(
        _log_end(side, port) for side, port in ((entry.source, entry.source_port), (entry.target, entry.port))
    )
    rule = f"rule {entry.rule} of {entry.policy} ({entry.direction})"
    where = f"{node}  " if node else ""
    return f"{_moment(entry.time)}  {page.paint('denied ', 'bad')}  {where}{ends}  {entry.protocol}  {rule}"


def _log_end(side: o.LogEnd, port: int | None) -> str:
    kind = "container" if side.name else "node" if side.node else "outside"
    return end(
        f.FlowEnd(
            address=side.address,
            port=port,
            kind=kind,
            name=side.name or side.node,
            network=side.network,
            node=side.node,
        )
    )


def _moment(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment)) + f".{int(moment % 1 * 1000):03}"


def _amount(packets: int | None, octets: int | None) -> str:
    if packets is None or octets is None:
        return "-"
    size = next((f"{octets / unit:.1f} {name}" for unit, name in _UNITS if octets >= unit), f"{octets} B")
    return f"{packets} p, {size}"
