"""What a kernel says when a packet cannot be sent, and what ICMP errors mean, in words."""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import ip_address


def unsent(error: OSError) -> str:
    words = {
        errno.ENETUNREACH: "no route to the target",
        errno.EHOSTUNREACH: "a route or the target's neighbour says that it cannot be reached",
        errno.EMSGSIZE: "it is larger than the MTU on the way",
        errno.EPERM: "a filter of the sender's own namespace dropped it",
        errno.EACCES: "a route prohibits it",
        errno.EINVAL: "a blackhole route takes it",
        errno.EADDRNOTAVAIL: "the source address is not one of the sender's",
    }
    text = words.get(error.errno or 0)
    return f"it was not sent: {text or error.strerror}" + (
        f" ({errno.errorcode[error.errno]})" if text and error.errno else ""
    )


def sender(data: bytes) -> str:
    """SO_EE_OFFENDER: a struct sockaddr_in or sockaddr_in6."""
    family = struct.unpack_from("=H", data)[0] if len(data) >= 8 else 0
    if family == socket.AF_INET:
        return str(ip_address(data[4:8]))
    return str(ip_address(data[8:24])) if family == socket.AF_INET6 and len(data) >= 24 else ""


_UNREACHABLE = {
    0: "net unreachable",
    1: "host unreachable",
    2: "protocol unreachable",
    3: "port unreachable",
    4: "fragmentation needed",
    9: "net prohibited",
    10: "host prohibited",
    13: "administratively prohibited",
}
_UNREACHABLE_6 = {
    0: "no route",
    1: "administratively prohibited",
    3: "address unreachable",
    4: "port unreachable",
    5: "source address refused",
    6: "route rejects it",
}


def icmp(version: int, kind: int, code: int) -> str:
    """RFC 792, RFC 4443."""
    if version == 4:
        text = (
            _UNREACHABLE.get(code)
            if kind == 3
            else {11: "time exceeded", 5: "redirect", 12: "parameter problem"}.get(kind)
        )
    else:
        text = (
            _UNREACHABLE_6.get(code)
            if kind == 1
            else {2: "packet too big", 3: "time exceeded", 4: "parameter problem"}.get(kind)
        )
    return "ICMP " + (text or f"type {kind} code {code}")
