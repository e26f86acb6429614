"""Backend udp: IP packets out of a TUN device, each alone in a datagram, and back.

A packet loses one of its TTL when it leaves and one when it arrives. Nothing is asked about who sends."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from ipaddress import IPv4Network

from support.flanneld.backends import Backend, Uplink, run
from support.flanneld.config import Config
from support.flanneld.registry import Lease

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
_ICMP, _UNREACHABLE, _NET = 1, 3, 0
_TTL = 8  # of packets of our own
_HEADER = 20


class Udp(Backend):
    """The table is a list that is walked from its beginning; what has been found moves to the front."""

    kind = ""
    overhead = 28

    def __init__(self, config: Config, link: Uplink) -> None:
        super().__init__(config, link)
        self._port = config.port or 8285
        self._table: list[tuple[int, int, str]] = []  # address, mask, host
        self._lock = threading.Lock()
        self._own = 0

    def takes(self, lease: Lease) -> bool:
        """Whatever its backend."""
        return True

    def start(self, own: IPv4Network, end: Callable[[str], None]) -> None:
        self._own = int(own.network_address)
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        wish = struct.pack("16sH22x", b"flannel%d", _IFF_TUN | _IFF_NO_PI)
        name = fcntl.ioctl(tun, _TUNSETIFF, wish)[:16].rstrip(b"\0").decode()
        run(f"ip addr add {own.network_address}/32 dev {name}")
        run(f"ip link set {name} mtu {self.mtu} up")
        run(f"ip route add {self.config.network} dev {name} scope global")
        wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        wire.bind((self.link.address, self._port))
        wire.setblocking(False)
        threading.Thread(target=self._pump, args=(tun, wire, end), daemon=True).start()

    def add(self, lease: Lease) -> None:
        entry = (int(lease.subnet.network_address), int(lease.subnet.netmask), lease.public_ip)
        with self._lock:
            self._table = [e for e in self._table if e[:2] != entry[:2]] + [entry]

    def remove(self, lease: Lease) -> None:
        address, mask = int(lease.subnet.network_address), int(lease.subnet.netmask)
        with self._lock:
            self._table = [e for e in self._table if e[:2] != (address, mask)]

    def _pump(self, tun: int, wire: socket.socket, end: Callable[[str], None]) -> None:
        poll = select.poll()
        poll.register(tun, select.POLLIN)
        poll.register(wire, select.POLLIN)
        try:
            while True:
                ready = {fd for fd, _ in poll.poll()}
                if tun in ready:
                    self._leaves(os.read(tun, self.mtu), tun, wire)
                if wire.fileno() in ready:
                    self._arrives(wire.recv(self.mtu), tun)
        except OSError as error:
            end(f"the pump has ended: {error}")

    def _leaves(self, packet: bytes, tun: int, wire: socket.socket) -> None:
        if len(packet) < _HEADER or packet[0] >> 4 != 4:
            return
        host = self._host(int.from_bytes(packet[16:20]))
        if host is None:
            if (answer := unreachable(packet, self._own)) is not None:
                _write(tun, answer)
        elif (fewer := less_ttl(packet)) is not None:
            try:
                wire.sendto(fewer, (host, self._port))
            except OSError:  # as a lost packet: too long for the path, or no route
                return

    def _arrives(self, packet: bytes, tun: int) -> None:
        if len(packet) >= _HEADER and packet[0] >> 4 == 4 and (fewer := less_ttl(packet)) is not None:
            _write(tun, fewer)

    def _host(self, address: int) -> str | None:
        with self._lock:
            for place, (base, mask, host) in enumerate(self._table):
                if address & mask == base:
                    self._table.insert(0, self._table.pop(place))
                    return host
        return None


def less_ttl(packet: bytes) -> bytes | None:
    """With a checksum that is changed by as much (RFC 1624); None where it has come to its end."""
    ttl = packet[8] - 1
    if ttl <= 0:
        return None
    changed = int.from_bytes(packet[10:12]) + 0x100
    checksum = (changed & 0xFFFF) + (changed >> 16)
    return packet[:8] + bytes((ttl, packet[9])) + checksum.to_bytes(2) + packet[12:]


def unreachable(packet: bytes, own: int) -> bytes | None:
    """What tells the sender that no host has the destination; None where nothing is said: about ICMP, and about later parts
    of a packet."""
    length = (packet[0] & 0x0F) * 4
    offset = int.from_bytes(packet[6:8]) & 0x1FFF
    if packet[9] == _ICMP or offset or len(packet) < length + 8:
        return None
    body = struct.pack("!BBHI", _UNREACHABLE, _NET, 0, 0) + packet[: length + 8]
    body = body[:2] + checksum(body).to_bytes(2) + body[4:]
    fields = (0x45, 0, _HEADER + len(body), 0, 0, _TTL, _ICMP, 0)
    header = struct.pack("!BBHHHBBH", *fields) + ipaddress.v4_int_to_packed(own) + packet[12:16]
    return header[:10] + checksum(header).to_bytes(2) + header[12:] + body


def checksum(data: bytes) -> int:
    """RFC 1071."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(padded[i : i + 2]) for i in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _write(tun: int, packet: bytes) -> None:
    try:
        os.write(tun, packet)
    except OSError:  # the kernel drops what is no packet
        return
