"""Frames as any process with CAP_NET_RAW can send them, octet by octet. Addresses and MAC addresses are text."""

from __future__ import annotations

import struct
from ipaddress import ip_address

BROADCAST = "ff:ff:ff:ff:ff:ff"
IP4, IP6, ARP = 0x0800, 0x86DD, 0x0806
UDP, TCP, ICMP, ICMPV6 = 17, 6, 1, 58


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def frame(to: str, source: str, kind: int, body: bytes, tags: str = "") -> bytes:
    """`tags`: VLAN tags as hexadecimal digits, before the frame's own type."""
    return octets(to) + octets(source) + bytes.fromhex(tags) + struct.pack("!H", kind) + body


def ip4(source: str, to: str, protocol: int, body: bytes, *, fragment: int = 0, options: bytes = b"") -> bytes:
    """`fragment`: the field with flags and offset."""
    words = 5 + len(options) // 4
    fields = (0x40 | words, 0, 4 * words + len(body), 7, fragment, 64, protocol)
    head = struct.pack("!BBHHHBBH", *fields, 0) + ip_address(source).packed + ip_address(to).packed + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def ip6(source: str, to: str, protocol: int, body: bytes) -> bytes:
    head = struct.pack("!IHBB", 0x60000000, len(body), protocol, 255)
    return head + ip_address(source).packed + ip_address(to).packed + body


def ip(source: str, to: str, protocol: int, body: bytes) -> tuple[int, bytes]:
    """With the frame's type, for either family."""
    return (IP6, ip6(source, to, protocol, body)) if ":" in source else (IP4, ip4(source, to, protocol, body))


def udp(source: int, to: int, body: bytes) -> bytes:
    """Without a checksum, as IPv4 allows it."""
    return struct.pack("!HHHH", source, to, 8 + len(body), 0) + body


def summed(source: str, to: str, datagram: bytes) -> bytes:
    """With the checksum without which nobody takes it by IPv6."""
    pseudo = ip_address(source).packed + ip_address(to).packed + struct.pack("!II", len(datagram), UDP)
    return datagram[:6] + struct.pack("!H", checksum(pseudo + datagram) or 0xFFFF) + datagram[8:]


def tcp(source: int, to: int, body: bytes) -> bytes:
    return struct.pack("!HHIIBBHHH", source, to, 1, 0, 0x50, 2, 1024, 0, 0) + body


def vxlan(vni: int, inner: bytes) -> bytes:
    return struct.pack("!II", 0x08000000, vni << 8) + inner


def arp(operation: int, mac: str, address: str, asked: str) -> bytes:
    head = struct.pack("!HHBBH", 1, IP4, 6, 4, operation)
    return head + octets(mac) + ip_address(address).packed + bytes(6) + ip_address(asked).packed


def icmp6(source: str, to: str, kind: int, body: bytes) -> bytes:
    """Behind type, code and checksum comes the body."""
    whole = struct.pack("!BBH", kind, 0, 0) + body
    pseudo = ip_address(source).packed + ip_address(to).packed + struct.pack("!II", len(whole), ICMPV6)
    return whole[:2] + struct.pack("!H", checksum(pseudo + whole)) + whole[4:]


def neighbour(
    source: str, to: str, kind: int, flags: bytes, target: str, option: int = 0, mac: str = "", more: bytes = b""
) -> bytes:
    """A solicitation (135), an advertisement (136), or a redirect (137); `option`: 1 says the sender's MAC address, 2 the
    target's; `more`: further options."""
    told = struct.pack("!BB", option, 1) + octets(mac) if option else b""
    about = ip_address(target).packed * (2 if kind == 137 else 1)
    return ip6(source, to, ICMPV6, icmp6(source, to, kind, flags + about + told + more))


def router(source: str, timers: bytes, to: str = "ff02::1") -> bytes:
    """An advertisement: it is the way to everywhere."""
    return icmp6(source, to, 134, struct.pack("!BBH", 64, 0, 1800) + timers * 2)


def padded(protocol: int, body: bytes) -> bytes:
    """Behind an IPv6 extension header (60, destination options) of nothing but padding."""
    return struct.pack("!BB", protocol, 0) + b"\x01\x04" + bytes(4) + body


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF
