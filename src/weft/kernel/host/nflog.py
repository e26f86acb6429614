"""What rules send to a group of NFLOG: each packet's beginning, with the rule's prefix (linux/netfilter/nfnetlink_log.h)."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterator

import msgspec

from weft.base.errors import Conflict, Failed, WeftError
from weft.base.net import IPAddress
from weft.kernel.plumbing import netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, Netlink, Refused, attr, attributes, messages, open_socket
from weft.kernel.plumbing.nfnl import NFGENMSG
from weft.policy.verdict import PORTED

COPIED = 128
"""Octets of each packet: its headers."""
RCVBUF = 1 << 20
"""Octets. What comes while it is full is lost, and counted."""
AT_ONCE, _SOON = 50, 10
"""Packets that the kernel tells together at most; hundredths of a second for which it waits for so many."""
_RECEIVE = 1 << 18

_ICMP = (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)
_EXTENSIONS = (socket.IPPROTO_HOPOPTS, socket.IPPROTO_ROUTING, socket.IPPROTO_DSTOPTS)
_MOST_EXTENSIONS = 8


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """`protocol`: its number. `sport`, `dport`: None where it has none, or they are cut off. `kind`, `code`: of ICMP."""

    prefix: str
    source: IPAddress
    target: IPAddress
    protocol: int
    sport: int | None = None
    dport: int | None = None
    kind: int | None = None
    code: int | None = None


class Ear:
    """On one group, in one network namespace, which it keeps alive. One program at most can listen to a group there."""

    def __init__(self, group: int, ns: str = "", rcvbuf: int = RCVBUF, at_once: int = AT_ONCE) -> None:
        """`at_once`: packets that the kernel tells together at most, after a moment fewer. Raises Conflict where
        somebody else listens, NotFound, Denied, Failed."""
        try:
            sock = netns.call(ns, lambda: open_socket(u.NETLINK_NETFILTER, rcvbuf))
        except OSError as error:
            raise Failed(f"the kernel has no NFLOG: {error.strerror}") from None
        self._sock, self._next = sock, 0
        self.lost = 0
        """Packets that were sent here and did not come."""
        try:
            Netlink(sock).batch_or_raise([_settings(group, at_once)])
        except Refused as refused:
            sock.close()
            raise _explain(group, refused) from None
        except BaseException:
            sock.close()
            raise

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def read(self, most: int) -> list[Heard]:
        """What there is now, of about so many packets; the rest stays readable."""
        found: list[Heard] = []
        while len(found) < most:
            try:
                data = self._sock.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # that is: some were lost, as their numbers tell
                    raise Failed(f"NFLOG: {error.strerror}") from None
                continue
            found += self._decoded(data)
        return found

    def _decoded(self, data: bytes) -> Iterator[Heard]:
        for kind, _flags, start, end in messages(data):
            if kind != u.NFNL_SUBSYS_ULOG << 8 | u.NFULNL_MSG_PACKET:
                continue
            parts = attributes(data, start + 16 + NFGENMSG.size, end)
            number = int.from_bytes(parts.get(u.NFULA_SEQ, b""), "big")
            self.lost += (number - self._next) & 0xFFFFFFFF
            self._next = number + 1 & 0xFFFFFFFF
            prefix = parts.get(u.NFULA_PREFIX, b"").rstrip(b"\0").decode(errors="replace")
            if (heard := packet(prefix, parts.get(u.NFULA_PAYLOAD, b""))) is not None:
                yield heard


def _settings(group: int, at_once: int) -> Message:
    body = NFGENMSG.pack(u.AF_UNSPEC, 0, socket.htons(group)) + b"".join(
        (
            attr(u.NFULA_CFG_CMD, bytes((u.NFULNL_CFG_CMD_BIND,))),
            attr(u.NFULA_CFG_MODE, struct.pack(">IBB", COPIED, u.NFULNL_COPY_PACKET, 0)),
            attr(u.NFULA_CFG_TIMEOUT, struct.pack(">I", _SOON)),
            attr(u.NFULA_CFG_QTHRESH, struct.pack(">I", at_once)),
            attr(u.NFULA_CFG_FLAGS, struct.pack(">H", u.NFULNL_CFG_F_SEQ)),
        )
    )
    return Message(u.NFNL_SUBSYS_ULOG << 8 | u.NFULNL_MSG_CONFIG, u.NLM_F_REQUEST, body)


def _explain(group: int, refused: Refused) -> WeftError:
    if refused.errno in (errno.EPERM, errno.EBUSY):  # EPERM: the group is another socket's (nfulnl_recv_config())
        return Conflict(f"another program listens to group {group} of NFLOG: `weft policy log` needs it")
    return Failed(f"the kernel has no NFLOG, which the module nfnetlink_log brings: {refused.text}")


# -- packets -----------------------------------------------------------------------------------------------------------


def packet(prefix: str, data: bytes) -> Heard | None:
    """What the headers of a packet of IP say; None where it is none."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        protocol, source, target = data[9], data[12:16], data[16:20]
        first = int.from_bytes(data[6:8], "big") & 0x1FFF == 0
        inner = data[(data[0] & 15) * 4 :] if first else b""
    elif version == 6 and len(data) >= 40:
        source, target = data[8:24], data[24:40]
        protocol, inner = _upper(data[6], data[40:])
    else:
        return None
    values: dict[str, int] = {}
    if protocol in PORTED and len(inner) >= 4:
        values["sport"], values["dport"] = struct.unpack_from(">HH", inner)
    elif protocol in _ICMP and len(inner) >= 2:
        values["kind"], values["code"] = inner[0], inner[1]
    return Heard(
        prefix=prefix,
        source=ipaddress.ip_address(source),
        target=ipaddress.ip_address(target),
        protocol=protocol,
        **values,
    )


def _upper(protocol: int, data: bytes) -> tuple[int, bytes]:
    """The protocol behind IPv6's extension headers, and its part; b"" where that is not in this fragment."""
    for _ in range(_MOST_EXTENSIONS):
        if protocol in _EXTENSIONS and len(data) >= 8:
            protocol, data = data[0], data[(data[1] + 1) * 8 :]
        elif protocol == socket.IPPROTO_FRAGMENT and len(data) >= 8:
            first = int.from_bytes(data[2:4], "big") & 0xFFF8 == 0
            protocol, data = data[0], data[8:] if first else b""
        else:
            break
    return protocol, data
