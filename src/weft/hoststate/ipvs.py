"""The kernel's own load balancer (IPVS, ipvsadm(8)): what packets that carry a mark are spread over.

Ownership mark: all services by mark in a namespace of ours. Namespaces that are not ours are never looked at.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from weft.base.net import Family

Scheduler = Literal["rr", "mh"]
"""One after the other ("rr"); by the client's address, a client's stays the same while others come and go ("mh", Maglev)."""


class Ipvs(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How IPVS treats connections in a namespace. The defaults are the kernel's: with them there is nothing of ours.

    `established`, `closing`, `udp`: seconds after which it forgets a silent connection of TCP, one that is being closed, and
    one of UDP. The others are sysctls of net/ipv4/vs: `conntrack`: that connection tracking knows its connections.
    `expire_nodest_conn`: that a connection ends with its destination. `sloppy_tcp`: that a connection which is not known
    any more gets a destination, too."""

    kind: ClassVar[str] = "ipvs"

    established: int = 900
    closing: int = 120
    udp: int = 300
    conntrack: bool = False
    expire_nodest_conn: bool = False
    sloppy_tcp: bool = False
    ns: str

    @property
    def key(self) -> tuple[str, ...]:
        return ("ipvs", self.ns)


class IpvsService(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Packets of a family with this mark (1 to 2³²−1). `scheduler`: what is found on a host may be another. `persistent`:
    seconds for which a client keeps its destination, beside the scheduler; 0: not at all."""

    kind: ClassVar[str] = "ipvs-service"

    family: Family
    mark: int
    scheduler: str = "rr"
    persistent: int = 0
    ns: str

    @property
    def key(self) -> tuple[str, ...]:
        return ("ipvs-service", self.ns, str(self.family), str(self.mark))


class IpvsDestination(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One place that a service's packets go to. `port`: 0 for the one that they have. `weight`: 0: it keeps the connections
    that it has, and gets no new ones. `method`: "masquerading": it gets them as if they were sent to it, and its answers pass
    here; what is found on a host may be another."""

    kind: ClassVar[str] = "ipvs-destination"

    family: Family
    mark: int
    address: str
    port: int = 0
    weight: int = 1
    method: str = "masquerading"
    ns: str

    @property
    def key(self) -> tuple[str, ...]:
        return ("ipvs-destination", self.ns, str(self.family), str(self.mark), self.address, str(self.port))

    @property
    def service(self) -> tuple[str, ...]:
        """The key of its service."""
        return ("ipvs-service", self.ns, str(self.family), str(self.mark))
