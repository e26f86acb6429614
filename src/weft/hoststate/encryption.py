"""What the kernel encrypts between hosts: WireGuard (wg(8)), and IPsec's ESP in transport mode (ip-xfrm(8)).

No key is in here: an object says what a key is made of, and only who writes it to the kernel knows the secret that makes it
one. So keys are in no plan, no log and no support archive.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

REQID = 0x57454654
"""Ownership mark of states and policies of ESP: the number by which the kernel joins the two ("WEFT")."""


class WireguardEnd(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """This host's own end of the WireGuard device `dev`: it listens at the UDP port `port`, and is known by the public key
    `public` (base64). The private one is in a file of this host's."""

    kind: ClassVar[str] = "wireguard"

    dev: str
    port: int
    public: str
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("wireguard", self.ns, self.dev)


class WireguardPeer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Another host, known by its public key: at the UDP port `port` of `endpoint`; what goes to `allowed`, prefixes in order,
    is encrypted for it, and comes from there only by it. `shared`: its preshared key is the one that the mesh secret makes for
    the two public keys; what is found on a host may have another, or none."""

    kind: ClassVar[str] = "wireguard-peer"

    dev: str
    public: str
    endpoint: str
    port: int
    allowed: tuple[str, ...]
    shared: bool = True
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("wireguard-peer", self.ns, self.dev, self.public)


class XfrmState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How packets from `source` to `destination` are encrypted one way: an SA, which its receiver knows by `spi`. Its key is
    made of the mesh secret and `recipe` (`weft.model.ciphers`); of one found with another key that is "". `out`: this host
    sends with it. Such a one is made once only, for with its key no packet may be numbered again."""

    kind: ClassVar[str] = "xfrm-state"

    source: str
    destination: str
    spi: int
    recipe: str
    out: bool
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("xfrm-state", self.ns, self.destination, f"{self.spi:#010x}")


class XfrmPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """That UDP packets from `source` to the port `port` of `destination` are ESP's in transport mode: others do not leave
    ("out"), and are not taken ("in")."""

    kind: ClassVar[str] = "xfrm-policy"

    source: str
    destination: str
    port: int
    direction: Literal["in", "out"]
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("xfrm-policy", self.ns, self.direction, self.source, self.destination, str(self.port))
