"""What a packet is that somebody saw: the marked one itself, in whatever tunnel; its answer; or an error that quotes it.

Its token tells: it stands where the content begins, so the headers before it are the marked packet's own, and what is before
those is a tunnel's, or an ICMP error's.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Literal, NamedTuple

import msgspec

from weft.api.live import Protocol
from weft.base.net import Family

What = Literal["probe", "answer", "error"]

_IP = {4: 20, 6: 40}
_TRANSPORT = {"tcp": 20, "udp": 8, "icmp": 8}
_ADDRESSES = {4: (12, 16, 20), 6: (8, 24, 40)}
"""Where both addresses begin and end in the header."""
_NEXT = {4: 9, 6: 6}
"""Where the number of the next protocol is."""
_ICMP = {4: 1, 6: 58}
_REPLY = {4: 0, 6: 129}
_UDP = 17
_NAMES = {4: "IPIP", 6: "TCP", 17: "UDP", 41: "IPv6 in IP", 47: "GRE", 50: "ESP"}


class Mark(NamedTuple):
    """Of the packet that was sent. `sport`: the sender's port; of ICMP the echo's identifier."""

    token: bytes
    protocol: Protocol
    family: Family
    sport: int


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """`addresses`: "SOURCE > TARGET" with ports, as it is there. `tunnel`: what it is in, "" where it is plain."""

    what: What
    addresses: str
    tunnel: str = ""


def form(head: bytes, mark: Mark) -> Form:
    """`head`: octets from the outermost network header on. Of what is not understood, what its header says."""
    begin = head.find(mark.token) - _TRANSPORT[mark.protocol] - _IP[mark.family]
    if begin < 0 or head[begin] >> 4 != mark.family:
        return Form(what="probe", addresses=_outer(head))
    inner = head[begin:]
    addresses = _pair(inner, mark.protocol)
    if (sender := _quoted(head, begin, mark.family)) is not None:
        return Form(
            what="error", addresses=f"{sender}, about {addresses}", tunnel=_tunnel(head, begin - _IP[mark.family] - 8)
        )
    return Form(what="answer" if _answers(inner, mark) else "probe", addresses=addresses, tunnel=_tunnel(head, begin))


def _pair(packet: bytes, protocol: str) -> str:
    version = packet[0] >> 4
    source, target = _sides(packet)
    if protocol == "icmp":
        return f"{source} > {target}"
    sport, dport = struct.unpack_from("!HH", packet, _IP[version])
    return f"{_at(source, sport)} > {_at(target, dport)}"


def _at(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _sides(packet: bytes) -> tuple[str, str]:
    first, second, end = _ADDRESSES[packet[0] >> 4]
    return str(ip_address(packet[first:second])), str(ip_address(packet[second:end]))


def _answers(packet: bytes, mark: Mark) -> bool:
    """An echo reply has all that the request had; what comes back by UDP has the ports turned."""
    at = _IP[mark.family]
    if mark.protocol == "icmp":
        return packet[at] == _REPLY[mark.family]
    sport, dport = struct.unpack_from("!HH", packet, at)
    return bool(dport == mark.sport and sport != mark.sport)


def _quoted(head: bytes, begin: int, family: Family) -> str | None:
    """Who reports an error about what begins there, and to whom; None where nobody does."""
    start = begin - _IP[family] - 8
    if start < 0 or head[start] >> 4 != family or head[start + _NEXT[family]] != _ICMP[family]:
        return None
    return " > ".join(_sides(head[start:]))


def _tunnel(head: bytes, begin: int) -> str:
    """What is before the packet that begins there."""
    return _outer(head) if begin > 0 else ""


def _outer(head: bytes) -> str:
    version = head[0] >> 4 if head else 0
    if version not in _IP or len(head) < _IP[version] + 4:
        return "not IP"
    source, target = _sides(head)
    number = head[_NEXT[version]]
    name = _NAMES.get(number, f"protocol {number}")
    if number == _UDP:
        target = _at(target, struct.unpack_from("!HH", head, _IP[version])[1])
    return f"{name} {source} > {target}"
