"""Where the packets that follow go past what the first one was asked.

Nothing decides that but the rules themselves: those at the forward hook are asked once more, about a packet in the middle of
the flow as it is when both sides have sent. If a rule adds it to a flowtable, or marks it for the programs that repeat what
was decided, and the devices have what that takes, then such packets take the short way.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Literal

import msgspec

from weft.api.dump import NamespaceDump
from weft.bpf.layout import ANY_FLOW, FAST, ONE_FLOW, SEEN
from weft.filters.model import Seen, Verdict
from weft.trace.path import TCP, UDP, Place, Short
from weft.trace.record import Passing, Record
from weft.trace.tracked import IPS_SEEN_REPLY

_IPS_ASSURED, _IPS_CONFIRMED = 1 << 2, 1 << 3
_OPEN = IPS_SEEN_REPLY | _IPS_ASSURED | _IPS_CONFIRMED
_ACK = 0x10
_TCP_FLAGS = {4: 20 + 13, 6: 40 + 13}
"""Where they are, in octets from the network header on; these packets have no options of IP."""
_HOOKS = frozenset(("prerouting", "forward", "postrouting"))
_FAMILIES = {4: ("inet", "ip", "bridge"), 6: ("inet", "ip6", "bridge")}


def ways(record: Record) -> Iterator[Short]:
    """Of a packet that has arrived, in its order."""
    for (place, _, _), some in groupby(record.passings, lambda passing: _stay(record, passing)):
        *_, last = some
        short = _short(record, place, last)
        if short is not None:
            yield short


def _stay(record: Record, passing: Passing) -> tuple[Place, str, str]:
    """The namespace, and the devices by which the packet came into it and left it, itself or in the tunnel that it is in."""
    devices, at = record.devices, passing.device
    first = last = at

    def same(number: int) -> bool:
        return (devices[number].place, devices[number].depth) == (devices[at].place, devices[at].depth)

    while first > 0 and same(first - 1):
        first -= 1
    while last < len(devices) - 1 and same(last + 1):
        last += 1
    return passing.place, devices[first].dev, devices[last].dev


def _short(record: Record, place: Place, passing: Passing) -> Short | None:
    namespace, judge = record.namespace(place), record.world.judge(place)
    _, came_by, out = _stay(record, passing)
    if namespace is None or judge is None or came_by == out or not _able(namespace.dump, came_by, out):
        return None
    verdict = judge.run("forward", passing.family, _opened(passing))
    by = _means(namespace.dump, verdict, came_by, out)
    if verdict.action != "accept" or by is None:
        return None
    return Short(
        place=record.world.name(place),
        host=place.host,
        ns=place.ns,
        by=by,
        came_by=came_by,
        out=out,
        skips=tuple(_skipped(namespace.dump, 4 if passing.seen.octets[0] >> 4 == 4 else 6)),
    )


def _able(dump: NamespaceDump, came_by: str, out: str) -> bool:
    """Whether there is anything by which it could."""
    return any(table.flowtables for table in dump.filters.nft) or _repeated(dump, came_by, out)


def _repeated(dump: NamespaceDump, came_by: str, out: str) -> bool:
    return _has(dump, came_by, "ingress", FAST) and _has(dump, out, "egress", SEEN)


def _opened(passing: Passing) -> Seen:
    """The same packet, when the flow is open."""
    seen, tracked = passing.seen, passing.tracked
    version = 4 if seen.octets[0] >> 4 == 4 else 6
    octets = seen.octets
    if _protocol(octets, version) == TCP:
        place = _TCP_FLAGS[version]
        octets = octets[:place] + bytes([_ACK]) + octets[place + 1 :]
    connection = tracked.connection() if tracked is not None else seen.connection
    if connection is not None and connection.original is not None:
        connection = msgspec.structs.replace(connection, state="established", status=connection.status | _OPEN)
    return msgspec.structs.replace(seen, octets=octets, connection=connection)


def _protocol(octets: bytes, version: int) -> int:
    return octets[9] if version == 4 else octets[6]


def _means(
    dump: NamespaceDump, verdict: Verdict, came_by: str, out: str
) -> Literal["flowtable", "cache", "bypass"] | None:
    if verdict.flowtable:
        some = (one for table in dump.filters.nft for one in table.flowtables if one.name == verdict.flowtable)
        return "flowtable" if any(came_by in one.devices for one in some) else None
    if not _repeated(dump, came_by, out):
        return None
    if verdict.seen.mark & ANY_FLOW:
        return "bypass"
    octets = verdict.seen.octets
    fit = _protocol(octets, octets[0] >> 4) in (TCP, UDP)
    return "cache" if verdict.seen.mark & ONE_FLOW and fit else None


def _has(dump: NamespaceDump, dev: str, at: str, name: str) -> bool:
    links = (link for link in dump.links if link.name == dev)
    return any(program.at == at and program.name.startswith(name) for link in links for program in link.programs)


def _skipped(dump: NamespaceDump, version: int) -> Iterator[str]:
    """Conntrack and routes, and all tables of rules that are asked on the ordinary way."""
    yield "routes"
    yield "conntrack"
    for table in dump.filters.nft:
        if table.family in _FAMILIES[version] and any(chain.hook in _HOOKS for chain in table.chains):
            yield f"nft {table.family} {table.name}"
    for old in dump.filters.xtables:
        if old.family == version:
            yield f"iptables {old.name}"
