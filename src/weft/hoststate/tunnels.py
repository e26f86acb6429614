"""Tunnels whose packets a program carries (`weft.tunnel`): what it goes by is a file for each device, and one that says where
hosts are. Each line is one of these objects, so they are wanted, compared, planned and mended as all that is in the kernel."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from weft.hoststate.paths import ALL

HERE = "here"
"""In place of a host's address: this host itself."""


_ETHERNET, _HEADER, _SEALED = 14, 10, 36
_UDP: dict[int, int] = {4: 28, 6: 48}


def sleeve_overhead(family: int, *, encrypted: bool) -> int:
    """Octets that a sleeve adds to a packet of a container, over an underlay of this family (4 or 6)."""
    return _UDP[family] + _HEADER + _ETHERNET + (_SEALED if encrypted else 0)


class Tunnel(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Packets of the TUN device `dev` in UDP, one in each datagram, sent and taken at the underlay address `local` and the port
    `port`. `mtu`: of the device. Ownership mark: the folder of the file."""

    kind: ClassVar[str] = "tunnel"

    dev: str
    local: str
    port: int
    mtu: int
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("tunnel", self.ns, self.dev)


class TunnelPrefix(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is sent to `prefix` by the tunnel of `dev` goes to the host `remote`, and comes from there. Of one that is HERE the
    first address is the tunnel's own."""

    kind: ClassVar[str] = "tunnel-prefix"

    dev: str
    prefix: str
    remote: str
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("tunnel-prefix", self.ns, self.dev, self.prefix)


class Sleeve(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Frames of the TAP device `dev` in UDP, one in each datagram (docs/adr/0049-sleeve.md). They belong to `network`, a VNI;
    number 0 is for probes. `number`: this host's own, 1 to 1023. `local` and `port`: the underlay address and the port at
    which datagrams are sent and taken, those of all networks. `mtu`: of the device. `encrypted`: nothing leaves in clear, and
    what comes in clear is dropped."""

    kind: ClassVar[str] = "sleeve"

    dev: str
    network: int
    number: int
    local: str
    port: int = 6783
    mtu: int
    encrypted: bool = False
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("sleeve", self.ns, self.dev)


class SleeveStation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Frames to the MAC address `mac` go to the host with this number, and frames from it come from there. All zeros: those
    for many, and those to an unknown one, go to this host, and to all others of which that is said. The number may be this
    host's own: nobody else sends in the name of what is here. `direct`: frames to it go straight to the host, whatever way
    others go: so a probe finds that way open again."""

    kind: ClassVar[str] = "sleeve-station"

    dev: str
    mac: str
    number: int
    direct: bool = False
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        each = (str(self.number),) if self.mac == ALL else ()
        return ("sleeve-station", self.ns, self.dev, self.mac, *each)


class SleeveHost(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The host with this number is at the underlay address `remote`. `via`: the number of the host that its datagrams go to
    instead, which passes them on; 0: none. `mtu`: of the packets that this way is known to carry, 0 where it is not known to
    carry less than the underlay."""

    kind: ClassVar[str] = "sleeve-host"

    number: int
    remote: str
    via: int = 0
    mtu: int = 0
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("sleeve-host", self.ns, str(self.number))
