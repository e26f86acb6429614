"""Where a packet is on its way, and what it looks like there."""

from __future__ import annotations

from dataclasses import dataclass, replace

from weft.base.net import IPAddress
from weft.trace.path import ECHO, Flow, Place
from weft.trace.tracked import Tracked


@dataclass(frozen=True)
class Tunnel:
    """What is inside a tunnel's packet: a frame for the VXLAN device with this VNI, listening on this UDP port; a bare packet
    in UDP for the program at this port, where there is no VNI; or a packet in IPIP, where both are None.
    `network`, `to`: a frame for the program of the host `to`, in the mesh's network."""

    vni: int | None
    port: int | None
    frame: Frame
    device: str
    overhead: int
    network: int | None = None
    to: str = ""


@dataclass(frozen=True)
class Packet:
    """`overhead`: octets that it is longer than the packet that is traced. `flow`: with the ports that it has now. `mark`,
    `tracked`: what the kernel has attached to it in the namespace it is in. `physin`: the port of a bridge by which it came,
    where rules for IP have seen it there already (br_netfilter)."""

    src: IPAddress
    dst: IPAddress
    ttl: int
    tunnel: Tunnel | None = None
    overhead: int = 0
    flow: Flow = ECHO
    mark: int = 0
    tracked: Tracked | None = None
    physin: str = ""

    def routed(self) -> Packet:
        return replace(self, ttl=self.ttl - 1)

    def moved(self, *, elsewhere: bool = True) -> Packet:
        """What is left of it behind a device (skb_scrub_packet()): the mark only where the namespace stays the same."""
        return replace(self, mark=0 if elsewhere else self.mark, tracked=None, physin="")


@dataclass(frozen=True)
class Frame:
    """`mac`: to whom; "" where nobody that was dumped has been asked yet. `next_hop`: whom this was resolved from.
    `by`: the entry that named the MAC, with its host. `source`: from whom. `vlan`: its tag, 0 for none."""

    mac: str
    next_hop: IPAddress
    packet: Packet
    by: str = ""
    source: str = ""
    vlan: int = 0

    def moved(self, *, elsewhere: bool = True) -> Frame:
        return replace(self, packet=self.packet.moved(elsewhere=elsewhere))


@dataclass(frozen=True)
class Send:
    place: Place
    packet: Packet
    by: str = ""


@dataclass(frozen=True)
class Transmit:
    place: Place
    dev: str
    frame: Frame


@dataclass(frozen=True)
class Arrive:
    place: Place
    dev: str
    frame: Frame


State = Send | Transmit | Arrive
