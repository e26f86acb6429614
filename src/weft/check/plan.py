"""What is tested. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from weft.api.checks import HOST, LARGEST, Placed, Probe, Test
from weft.api.services import ServiceInfo
from weft.base.net import Family, IPAddress

WHOLE = 12
"""Nodes of which all ordered pairs are tested; of more, each with some others."""
OTHERS = 8

What = Literal["small", "large", "tcp", "name", "host", "service", "outside"]
LABELS: dict[What, str] = {
    "small": "UDP, small",
    "large": "UDP, as large as the MTU, not to be cut",
    "tcp": "TCP",
    "name": "name",
    "host": "from its own host",
    "service": "service",
    "outside": "the way out",
}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """`source`: a node; `probe`: the id of its probe, "" where the node itself asks. `target`: the other one's node, or what is
    asked. `to`: the id of the endpoint that it goes to, "" where it is none."""

    what: What
    network: str
    source: str
    probe: str
    target: str
    to: str = ""
    test: Test

    @property
    def family(self) -> Family:
        return 4 if self.test.target.version == 4 else 6

    @property
    def protocol(self) -> str:
        return "tcp" if self.test.kind in ("tcp", "connect") else "icmp" if self.test.kind == "ping" else "udp"


def pairs(nodes: Sequence[str], whole: int = WHOLE, others: int = OTHERS) -> list[tuple[str, str]]:
    """Ordered ones. Of more than `whole` nodes each is with `others` others, as often the target as the source: those that are
    1, then as evenly as can be further places on in the order."""
    count = len(nodes)
    if count <= max(whole, others + 1):
        return [(one, other) for one in nodes for other in nodes if one != other]
    steps = [1 + number * (count - 1) // others for number in range(others)]
    return [(node, nodes[(place + step) % count]) for place, node in enumerate(nodes) for step in steps]


def networks(placed: Iterable[Placed]) -> dict[str, dict[str, list[Probe]]]:
    """Network → node → its probes there."""
    found: dict[str, dict[str, list[Probe]]] = {}
    for each in placed:
        for probe in each.probes:
            found.setdefault(probe.network, {}).setdefault(each.node, []).append(probe)
    return found


def cases(by_node: dict[str, list[Probe]], *, local: bool) -> Iterator[Case]:
    """Of one network. `local`: each host has it of its own, so only its own two probes are asked to reach each other."""
    for node, some in by_node.items():
        for probe in some:
            yield from _from_host(node, probe)
        yield from (
            case for one in some for other in some if one is not other for case in between(node, one, node, other)
        )
    if not local:
        for source, target in pairs(sorted(by_node)):
            yield from between(source, by_node[source][0], target, by_node[target][0])


def between(source: str, one: Probe, target: str, other: Probe) -> Iterator[Case]:
    """From one probe to another."""
    size = min(one.mtu or LARGEST, other.mtu or LARGEST, LARGEST)
    own = {address.version for address in one.addresses}
    for address in other.addresses:
        if address.version not in own:
            continue
        tests: list[tuple[What, Test]] = [
            ("small", Test(kind="udp", target=address, port=other.udp)),
            ("large", Test(kind="udp", target=address, port=other.udp, size=size)),
            ("tcp", Test(kind="tcp", target=address, port=other.tcp)),
        ]
        if one.resolver:
            tests.append(("name", Test(kind="name", target=address, name=other.name)))
        for what, test in tests:
            yield Case(
                what=what, network=one.network, source=source, probe=one.id, target=target, to=other.id, test=test
            )


def _from_host(node: str, probe: Probe) -> Iterator[Case]:
    for address in probe.reached:
        for kind, port in (("udp", probe.udp), ("tcp", probe.tcp)):
            test = Test(kind=kind, target=address, port=port)  # type: ignore[arg-type] # one of its kinds
            yield Case(what="host", network=probe.network, source=node, probe=HOST, target=node, to=probe.id, test=test)


SMALLEST = {4: 576, 6: 1280}
"""Octets that every way takes (RFC 791, RFC 8200)."""


def sizes(fits: int, too_large: int, count: int = 12) -> list[int]:
    """To be tried next, where a packet of the one size arrives and one of the other does not; none where none is between."""
    gap = too_large - fits
    return sorted({fits + gap * number // (count + 1) for number in range(1, count + 1)} - {fits, too_large})


def outside(by_node: dict[str, list[Probe]], target: IPAddress) -> Iterator[Case]:
    """The way out, of each node's first probe."""
    for node, (probe, *_) in by_node.items():
        if target.version in {address.version for address in probe.addresses}:
            test = Test(kind="ping", target=target)
            yield Case(
                what="outside", network=probe.network, source=node, probe=probe.id, target=str(target), test=test
            )


def services(by_node: dict[str, list[Probe]], found: Iterable[ServiceInfo]) -> Iterator[Case]:
    """TCP ports of virtual addresses, of services that have a member which takes connections: a connection that is closed at
    once."""
    for info in found:
        service = info.service
        if not any(member.state == "ready" for member in info.members):
            continue
        for node, (probe, *_) in by_node.items():
            own = {address.version for address in probe.addresses}
            for address in service.addresses:
                for port in service.ports if address.version in own else ():
                    if port.protocol == "tcp":
                        yield Case(
                            what="service",
                            network=probe.network,
                            source=node,
                            probe=probe.id,
                            target=service.name,
                            test=Test(kind="connect", target=address, port=port.port),
                        )
