"""Two hosts with a network whose tunnels are encrypted, put into a real kernel's namespaces as the agent would; and what an
attacker on the wire between them does."""

from __future__ import annotations

import secrets
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from msgspec.structs import replace

from support import lab
from support.namespaces import Home, Namespace
from support.routed import Host, Router
from weft.base.net import parse_network
from weft.datapaths import _encryption
from weft.datapaths.driver import gather
from weft.hoststate.union import Source
from weft.mesh.keys import HostKeys
from weft.mesh.rotation import Drawn, draw, restart
from weft.mesh.secret import Secret
from weft.model import Network

PORT = 8473
SECRET = b"a secret that two hosts share"


class Secured(Host):
    """What an agent does beside the kernel's part: it tells what it has drawn, and hears what the other one tells."""

    keys: HostKeys
    drawn: Drawn

    @classmethod
    def made(cls, home: Home, router: Router, name: str, net: Network, run: Path) -> Secured:
        keys = HostKeys(Secret(SECRET), run / name / "wireguard.key", run / name / "esp", secrets.token_hex(4))
        drawn = keys.drawn(0.0)
        said = {
            "wg_key": keys.public,
            "esp_salt": drawn.told,
            "esp_start": drawn.start,
            "number": int(name[-1]),
        }
        host = cls(home, router, name, net, run / name, keys=keys, said=said, keyed=True, salts=drawn.taken)
        host.drawn = drawn
        return host

    def tell(self, drawn: Drawn, *ciphers: str) -> None:
        """From now on it says this, and takes packets by it."""
        self.drawn, able = drawn, ciphers or self.node.ciphers
        self.node = replace(self.node, ciphers=able, esp_salt=drawn.told, esp_start=drawn.start)
        self.site = replace(self.site, host=replace(self.site.host, node=self.node, salts=drawn.taken))
        self.sites[self.site.network.name] = self.site

    def hears(self, other: Secured, *trusted: str) -> None:
        """Of the other host as it is now."""
        self.site = replace(self.site, host=replace(self.site.host, trusted=tuple(map(parse_network, trusted))))
        self.knows(other)
        secured = self.site.options.secured
        found = gather(_encryption.pair(self.site.host, other.node, [secured]))
        self.want(Source("encryption", "", other.name), found)
        self.converge()


class Pair:
    """`one` and `two`, each with a container: `c1`, `c2`."""

    def __init__(self, router: Namespace, one: Secured, two: Secured) -> None:
        self.router, self.one, self.two = router, one, two
        self.c1, self.c2 = one.containers["c1"], two.containers["c2"]
        self.to = two.addresses()[0]

    def use(self, cipher: str) -> None:
        """Both have only this one from now on."""
        for host in (self.one, self.two):
            host.tell(host.drawn, cipher)
        self.hear()

    def hear(self, *trusted: str) -> None:
        self.one.hears(self.two, *trusted)
        self.two.hears(self.one, *trusted)

    def begin_anew(self) -> None:
        """As agents do where states that they sent by are gone."""
        for host in (self.one, self.two):
            host.keys.used_twice = False
            host.tell(restart(host.drawn, draw()))
        self.hear()

    @contextmanager
    def heard_in_c2(self, port: int) -> Iterator[socket.socket]:
        with self.c2.entered():
            heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        heard.bind(("", port))
        heard.settimeout(20)
        with heard:
            yield heard

    def forged(self, port: int, text: bytes) -> bytes:
        """An IP packet in the clear, as `one` would send it: from c1, to this UDP port of c2, in VXLAN."""
        source, to = ip_address(self.one.addresses()[0]), ip_address(self.to)
        inner = _udp(source.packed, to.packed, 5000, port, text)
        mac = bytes.fromhex(self.two.site.lease.data["vtep-mac"].replace(":", ""))
        frame = mac + bytes.fromhex("020000000001") + b"\x08\x00" + inner
        vxlan = struct.pack("!II", 0x08000000, self.two.site.options.vni << 8) + frame
        ends = (ip_address(str(host.node.address(4))).packed for host in (self.one, self.two))
        return _udp(*ends, 40000, PORT, vxlan)

    def inject(self, packet: bytes) -> None:
        """On the wire, by somebody who is neither host."""
        with self.router.entered(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.sendto(packet, (str(self.two.node.address(4)), 0))


def _udp(source: bytes, to: bytes, sport: int, dport: int, data: bytes) -> bytes:
    datagram = struct.pack("!4H", sport, dport, 8 + len(data), 0) + data
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 0, 0x4000, 64, socket.IPPROTO_UDP, 0, source, to)
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[12:] + datagram


@contextmanager
def pair(home: Home, run: Path) -> Iterator[Pair]:
    """They have no cipher as yet."""
    net, router = lab.network("vxlan", options={"encrypt": True, "port": PORT}), Router(home)
    found = []
    try:
        for name in ("node-1", "node-2"):
            found.append(Secured.made(home, router, name, net, run))
            found[-1].attach(f"c{name[-1]}", 2)
            found[-1].converge()
        yield Pair(router.ns, *found)
    finally:
        for host in found:
            host.close()
