"""Who has the addresses that conntrack tells. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from weft.agent.fast_counts import way_of
from weft.api import flows as f
from weft.base.net import IPAddress
from weft.kernel.host.short import Repeated
from weft.kernel.host.tracked import Side, Tracked
from weft.model import Endpoint, Node
from weft.model.ports import BY_NUMBER
from weft.policy.render.marks import CUT
from weft.services.model import Service

_NUMBERS = {**BY_NUMBER, 1: "icmp", 58: "icmpv6"}


class Names:
    """`me`: the node on which connections were seen: of an address that is several containers', such as one of the subnet by
    which each host's containers have their way out, it is the one that is there. `gateways`: addresses by which hosts are in
    networks, with the node."""

    def __init__(
        self,
        me: str,
        endpoints: Iterable[Endpoint],
        services: Iterable[Service],
        nodes: Mapping[str, Node],
        gateways: Mapping[IPAddress, str],
    ) -> None:
        self._me = me
        self._found: dict[IPAddress, f.FlowEnd] = {}
        for address, name in gateways.items():
            self._put("node", address, name, node=name)
        for node in nodes.values():
            for own in node.addresses:
                self._put("node", own.ip, node.name, node=node.name)
        for service in services:
            for address in service.addresses:
                self._put("service", address, service.name, service.network)
        for endpoint in sorted(endpoints, key=lambda e: e.node == me):
            self._learn(endpoint)

    def _learn(self, e: Endpoint) -> None:
        for address in e.floating:
            self._put("floating", address, e.name, e.network, e.node)
        ways = e.gateway.addresses if e.gateway is not None and e.node == self._me else ()
        for own in (*ways, *e.addresses):
            if not e.of_host:
                self._put("container", own.ip, e.name, e.network, e.node)
            else:
                self._put("node", own.ip, e.node, e.network, e.node)

    def _put(self, kind: str, address: IPAddress, name: str, network: str = "", node: str = "") -> None:
        self._found[address] = f.FlowEnd(address=address, kind=kind, name=name, network=network, node=node)

    def end(self, address: IPAddress, port: int | None = None) -> f.FlowEnd:
        known = self._found.get(address)
        if known is None:
            return f.FlowEnd(address=address, port=port)
        return f.FlowEnd(
            address=address, port=port, kind=known.kind, name=known.name, network=known.network, node=known.node
        )

    def flow(
        self,
        found: Tracked,
        where: str,
        now: float,
        event: str = "",
        moment: float = 0.0,
        repeated: Repeated | None = None,
    ) -> f.Flow:
        """`repeated`: what programs repeat where it is."""
        there, back = found.there, found.back
        short, ways = way_of(found, repeated or {})
        return f.Flow(
            event=event,
            node=self._me,
            where=where,
            protocol=_NUMBERS.get(found.protocol, str(found.protocol)),
            state=found.state,
            source=self.end(there.src, there.sport),
            target=self.end(there.dst, there.dport),
            member=self.end(back.src, back.sport) if _differ(there.dst, there.dport, back.src, back.sport) else None,
            translated=self.end(back.dst, back.dport)
            if _differ(there.src, there.sport, back.dst, back.dport)
            else None,
            cut=found.mark & CUT != 0,
            timeout=found.timeout,
            age=max((found.ended or now) - found.began, 0.0) if found.began else None,
            **_counted(there, back),
            time=moment,
            short=short,
            short_ways=ways,
        )


def _differ(address: IPAddress, port: int | None, other: IPAddress, other_port: int | None) -> bool:
    return (address, port) != (other, other_port)


def _counted(there: Side, back: Side) -> dict[str, int | None]:
    return {
        "packets": there.packets,
        "octets": there.octets,
        "reply_packets": back.packets,
        "reply_octets": back.octets,
    }
