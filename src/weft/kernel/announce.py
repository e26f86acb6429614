"""Telling a segment which MAC address an address has now: gratuitous ARP (RFC 5227 section 3) and unsolicited neighbour
advertisements (RFC 4861 section 7.2.6).

An address is given again, and its new holder may have another MAC address. Whoever spoke with the former holder would go on
sending to that one's until its own entry has aged. So what is new on a bridge is announced there: an address of a container
by the container's own device, to all others; and a container elsewhere, to which an entry of the bridge's VXLAN device leads,
to each container here. A bridge that is itself new has nobody who could remember anything.

What cannot be sent is lost like any frame: entries age, as they do without.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv6Address, ip_address, ip_interface

import msgspec

from weft.base.errors import WeftError
from weft.base.net import IPAddress
from weft.hoststate import Address, Key, Link, Neighbour, Object, Veth
from weft.kernel.host.probe import checksum
from weft.kernel.plumbing import netns
from weft.reconcile.protocol import Change, Create, Op, Remove

log = logging.getLogger(__name__)

_BROADCAST = b"\xff" * 6
_ALL_NODES = IPv6Address("ff02::1")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ARP, _IPV6, _ICMPV6 = 0x0806, 0x86DD, 58
_ARP_HEAD = struct.Struct("!HHBBH")
_NA_HEAD = struct.Struct("!BBHI")
_OVERRIDE = 0x20000000
"""RFC 4861 section 4.4: the O flag, so that an entry that is there is changed."""
_TARGET_LINK_LAYER = b"\x02\x01"


class News(msgspec.Struct, frozen=True):
    """`address` has this MAC address: to be sent out of the device `dev` of the namespace `ns`."""

    ns: str
    dev: str
    address: IPAddress
    mac: str


def news(ops: Sequence[Op], desired: Mapping[Key, Object]) -> Iterator[News]:
    """What of these operations others on a bridge have to hear."""
    made = {op.obj.key for op in ops if isinstance(op, Create) and isinstance(op.obj, Link)}
    ports: dict[Key, list[Link]] | None = None
    for op in ops:
        obj = op.new if isinstance(op, Change) else op.obj
        if isinstance(op, Remove) or not isinstance(obj, Address | Neighbour):
            continue
        dev = desired.get(("link", obj.ns, obj.dev))
        bridge = _bridge(dev, desired) if isinstance(dev, Link) else None
        if not isinstance(dev, Link) or bridge is None or bridge in made:
            continue
        if isinstance(obj, Address):
            if dev.mac is not None:
                yield News(obj.ns, obj.dev, ip_interface(obj.address).ip, dev.mac)
            continue
        ports = _ports(desired) if ports is None else ports
        for port in ports.get(bridge, ()):
            yield News(port.ns, port.name, ip_address(obj.address), obj.lladdr)


def _bridge(dev: Link, desired: Mapping[Key, Object]) -> Key | None:
    """The key of the bridge that it is a port of, or that it is behind a port of."""
    port: Object | None = dev
    if isinstance(dev.type, Veth) and not dev.type.primary:
        port = desired.get(("link", dev.type.peer_ns, dev.type.peer))
    return ("link", port.ns, port.master) if isinstance(port, Link) and port.master else None


def _ports(desired: Mapping[Key, Object]) -> dict[Key, list[Link]]:
    """Of bridges, those that lead to containers."""
    found: dict[Key, list[Link]] = {}
    for obj in desired.values():
        if isinstance(obj, Link) and isinstance(obj.type, Veth) and obj.master:
            found.setdefault(("link", obj.ns, obj.master), []).append(obj)
    return found


def send(some: Sequence[News]) -> None:
    """Blocking."""
    by_ns: dict[str, list[News]] = {}
    for each in some:
        by_ns.setdefault(each.ns, []).append(each)
    for ns, group in by_ns.items():
        try:
            netns.call(ns, lambda group=group: _send(group))  # type: ignore[misc] # mypy infers no type for the default
        except (OSError, WeftError) as error:  # the namespace, or the device, is gone
            log.debug("not announced in %s: %s", ns or "the host", error)


def _send(some: Sequence[News]) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as sock:
        for each in some:
            sock.sendto(frame(each.address, each.mac), (each.dev, 0))


def frame(address: IPAddress, mac: str) -> bytes:
    """An Ethernet frame to everybody."""
    source = bytes.fromhex(mac.replace(":", ""))
    if address.version == 4:
        request = _ARP_HEAD.pack(1, 0x0800, 6, 4, 1) + source + address.packed + bytes(6) + address.packed
        return _BROADCAST + source + struct.pack("!H", _ARP) + request
    body = _NA_HEAD.pack(136, 0, 0, _OVERRIDE) + address.packed + _TARGET_LINK_LAYER + source
    pseudo = address.packed + _ALL_NODES.packed + struct.pack("!II", len(body), _ICMPV6)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    head = struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, 255) + address.packed + _ALL_NODES.packed
    return _ALL_NODES_MAC + source + struct.pack("!H", _IPV6) + head + body
