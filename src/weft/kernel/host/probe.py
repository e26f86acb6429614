"""Does a host answer? Asked by ICMP echo requests (RFC 792, RFC 4443), all hosts at once.

Whatever ICMP message comes from the address itself and is about our request is an answer: the echo reply, and also an error
such as "administratively prohibited", which a firewall on that host sends in its name. Raw sockets are used, because the
kernel's unprivileged ping sockets are closed to everybody by default (net.ipv4.ping_group_range, kernel ip-sysctl.rst).
"""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
import struct
import time
from collections.abc import Collection, Iterator

from weft.base.errors import Denied, Failed
from weft.base.net import Family, IPAddress, parse_address

_SOCKETS = {4: (socket.AF_INET, socket.IPPROTO_ICMP, 8), 6: (socket.AF_INET6, socket.IPPROTO_ICMPV6, 128)}
"""Family → address family, protocol, type of an echo request."""
_TOKEN = 16
"""Bytes of payload that nobody can guess: an answer has to carry them."""
_BUFFER = 1 << 20
"""Bytes kept of answers that have not been read yet; a thousand hosts may answer at once."""


def answering(addresses: Collection[IPAddress], seconds: float) -> set[IPAddress]:
    """Those of `addresses` that answer one request each within this time. Blocks for as long, or until all have answered.
    A request that cannot be sent is as one that is not answered. Raises Denied, Failed where nothing can be asked."""
    token, answered = secrets.token_bytes(_TOKEN), set[IPAddress]()
    with contextlib.ExitStack() as stack:
        sockets = {}
        for fam in sorted({a.version for a in addresses}):
            sockets[fam] = stack.enter_context(_open(fam))
        for address in addresses:
            with contextlib.suppress(OSError):
                sockets[address.version].sendto(_request(address.version, token), (str(address), 0))
        deadline = time.monotonic() + seconds
        while len(answered) < len(set(addresses)) and (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select(list(sockets.values()), [], [], left)
            for one in ready:
                answered.update(set(_answers(one, token)).intersection(addresses))
    return answered


def _open(fam: Family) -> socket.socket:
    family, protocol, _ = _SOCKETS[fam]
    try:
        made = socket.socket(family, socket.SOCK_RAW, protocol)
    except PermissionError:
        raise Denied("hosts cannot be asked whether they live: the agent needs CAP_NET_RAW") from None
    except OSError as error:
        raise Failed(f"hosts cannot be asked whether they live: no raw IPv{fam} socket: {error.strerror}") from None
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    return made


def _request(fam: Family, token: bytes) -> bytes:
    """The kernel computes the checksum of IPv6's (RFC 3542, 3.1)."""
    kind = _SOCKETS[fam][2]
    bare = struct.pack("!BBHHH", kind, 0, 0, int.from_bytes(token[:2], "big"), 1) + token
    return bare if fam == 6 else bare[:2] + struct.pack("!H", checksum(bare)) + bare[4:]


def checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def _answers(one: socket.socket, token: bytes) -> Iterator[IPAddress]:
    """From where the messages came that carry the token. Our own requests to an address of this host come back as well;
    the reply to them does, too."""
    while True:
        try:
            data, (source, *_) = one.recvfrom(2048)
        except BlockingIOError:
            return
        except OSError:  # an error about one of the requests, told once
            continue
        if token in data:
            yield parse_address(source.partition("%")[0])
