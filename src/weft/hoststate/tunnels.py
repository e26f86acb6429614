"""Tunnels whose packets a program carries (`weft.tunnel`): what it goes by is a file for each device, and each line of it is
one of these objects. So they are wanted, compared, planned and mended as all that is in the kernel."""

from __future__ import annotations

from typing import ClassVar

import msgspec

HERE = "here"
"""In place of a host's address: this host itself."""


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
