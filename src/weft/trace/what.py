"""What kind of packet is asked about, in the user's words."""

from __future__ import annotations

import msgspec

from weft.base.errors import Invalid
from weft.base.numbers import HIGHEST_PORT
from weft.services.model import Service
from weft.trace.path import ECHO, ICMP, SCTP, TCP, UDP, Flow

PROTOCOLS = {"icmp": ICMP, "tcp": TCP, "udp": UDP, "sctp": SCTP}
_NAMES = {number: name for name, number in PROTOCOLS.items()}
_STAND_IN = 51966
"""Source port of a sender that takes any: out of those that Linux gives (net.ipv4.ip_local_port_range)."""
_LARGEST = 65535


class What(msgspec.Struct, frozen=True, kw_only=True):
    """`protocol`: a name of `PROTOCOLS`, "" for tcp where a port is given, else what a service has first, else a ping. `port`,
    `sport`: 0 for none given. `size`: of the packet in octets, 0 for a small one. `mark`: the sender's. `member`: of a service,
    as endpoints are called."""

    protocol: str = ""
    port: int = 0
    sport: int = 0
    size: int = 0
    mark: int = 0
    member: str = ""

    def __post_init__(self) -> None:
        if self.protocol and self.protocol not in PROTOCOLS:
            raise Invalid(f"protocol {self.protocol} cannot be traced: choose one of {', '.join(PROTOCOLS)}")
        for name, port in (("port", self.port), ("source port", self.sport)):
            if not 0 <= port <= HIGHEST_PORT:
                raise Invalid(f"{name} {port} is not a port: they are 1 to {HIGHEST_PORT}")
        if self.size and not 28 <= self.size <= _LARGEST:
            raise Invalid(f"a packet of {self.size} octets cannot be: 28 to {_LARGEST} can")
        if not 0 <= self.mark < 1 << 32:
            raise Invalid(f"mark {self.mark} does not fit into 32 bits")
        if self.protocol == "icmp" and (port := self.port or self.sport):
            raise Invalid(f"ICMP has no ports: leave out port {port}, or choose tcp, udp or sctp")

    def flow(self, service: Service | None) -> Flow:
        """`service`: the one that is asked about. Raises Invalid."""
        protocol, port = self.protocol, self.port
        if service is not None and service.ports and not port and protocol != "icmp":
            first = next((p for p in service.ports if protocol in ("", p.protocol)), None)
            if first is None:
                raise Invalid(f"service {service.network}/{service.name} has no port of {protocol}: name one by --port")
            protocol, port = first.protocol, first.port
        protocol = protocol or ("tcp" if port else "icmp")
        if protocol == "icmp":
            return msgspec.structs.replace(ECHO, size=self.size, mark=self.mark)
        if not port:
            raise Invalid(f"{protocol} needs the port of who is asked: --port 80")
        return Flow(
            protocol=PROTOCOLS[protocol],
            sport=self.sport or _STAND_IN,
            dport=port,
            size=self.size,
            free=not self.sport,
            mark=self.mark,
        )


PING = What()


def name(flow: Flow) -> str:
    """As users write it."""
    if flow.protocol not in (TCP, UDP, SCTP):
        return "ICMP echo"
    text = f"{_NAMES[flow.protocol]} port {flow.sport if flow.answer else flow.dport}"
    return text if flow.free else f"{text} from port {flow.dport if flow.answer else flow.sport}"
