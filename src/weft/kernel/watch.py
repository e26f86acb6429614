"""Kernel events as they come.

One socket hears link, address, neighbour and route events of the host's namespace and of every namespace that a veth of
the host leads to (NETLINK_LISTEN_ALL_NSID); another hears of changes to nftables there. Both sit behind one epoll
descriptor.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Final

from weft.base.errors import Denied
from weft.hoststate import HOST, Key, Object
from weft.hoststate.firewall import TABLE
from weft.kernel.events import Interpreter
from weft.kernel.kinds.kind import Kind
from weft.kernel.plumbing import nfnl
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import HEADER, attributes, messages, open_socket
from weft.reconcile.kinds.kind import namespace_key
from weft.reconcile.protocol import Disturbed, Event, Gone, Seen, UplinkChanged

RCVBUF: Final = 32 << 20
"""Octets: an event takes about 1 KB of it, and a burst may be tens of thousands."""
_AT_ONCE: Final = 2000
"""Datagrams per `drain()`, so that a burst does not keep the event loop from everything else."""
_ANEW: Final = {nfnl.message(kind) for kind in (u.NFT_MSG_DELFLOWTABLE, u.NFT_MSG_NEWFLOWTABLE)}
"""A flowtable was made anew, by which it is empty (`weft.kernel.host.flowtables`)."""


class LinuxWatcher:
    """`desired`: what is desired, live. `nsids`: paths of namespaces by the host's numbers for them, live. `pids`: the
    processes whose changes of rules are our own, and the ports of our sockets. (The kernel tells pids of its first pid
    namespace. Inside another one a program is still known by its socket, whose port is its pid there.) `outdate`: told of the
    namespaces where others changed rules, ours or their own. `empty`: of those among them where flowtables hold what was
    decided before, and not where the change itself has emptied them."""

    def __init__(
        self,
        desired: Mapping[Key, Object],
        nsids: dict[int, str],
        pids: Container[int],
        host_fd: int,
        kinds: Mapping[str, Kind],
        rcvbuf: int = RCVBUF,
        outdate: Callable[[Iterable[str]], None] = lambda _namespaces: None,
        empty: Callable[[Iterable[str]], None] = lambda _namespaces: None,
    ) -> None:
        self._desired, self._nsids, self._pids = desired, nsids, pids
        self._sock = _subscribe(u.NETLINK_ROUTE, sorted({g for kind in kinds.values() for g in kind.groups}), rcvbuf)
        try:
            self._sock.setsockopt(u.SOL_NETLINK, u.NETLINK_LISTEN_ALL_NSID, 1)
        except PermissionError:
            self._sock.close()
            raise Denied("no permission to hear the kernel's events of containers' namespaces: run as root") from None
        try:
            self._nft: socket.socket | None = _subscribe(u.NETLINK_NETFILTER, (u.NFNLGRP_NFTABLES,), rcvbuf)
            self._nft.setsockopt(u.SOL_NETLINK, u.NETLINK_LISTEN_ALL_NSID, 1)
        except OSError:  # the kernel has no nf_tables
            self._nft = None
        self._touched: dict[str, set[int]] = {}
        """By namespace the kinds of messages about rules of ours, of a transaction that has not ended."""
        self._ruled_anew: set[str] = set()
        self._to_empty: set[str] = set()
        self._outdate, self._empty = outdate, empty
        self._epoll = select.epoll()
        for sock in filter(None, (self._sock, self._nft)):
            self._epoll.register(sock, select.EPOLLIN)
        self._interpreter = Interpreter(desired, nsids, host_fd, kinds)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def close(self) -> None:
        self._epoll.close()
        self._sock.close()
        if self._nft is not None:
            self._nft.close()
        self._interpreter.close()

    def drain(self) -> list[Event]:
        """At most some thousand events; the rest stays readable. Of several about one thing the last is told."""
        events: dict[object, Event] = {}
        for event in self._events():
            about = event.obj.key if isinstance(event, Seen) else event.key if isinstance(event, Gone) else event
            events.pop(about, None)
            events[about] = event
        if self._ruled_anew:
            anew, self._ruled_anew = self._ruled_anew, set()
            self._outdate(anew)
        if self._to_empty:
            full, self._to_empty = self._to_empty, set()
            self._empty(full)
        return list(events.values())

    def _events(self) -> Iterator[Event]:
        for received in _datagrams(self._sock):
            if received is None:
                self._interpreter.start_over()
                yield from (Disturbed(ns, "more happened than the kernel could tell") for ns in self._namespaces())
                continue
            data, ancillary = received
            ns = self._whence(ancillary)
            if ns is not None:
                for kind, _, start, end in messages(data):
                    yield from self._interpreter.event(kind, data, start + 16, end, ns)
        for received in _datagrams(self._nft) if self._nft is not None else ():
            if received is None:
                self._ruled_anew |= self._namespaces()
                self._to_empty |= self._namespaces()
            for ns in filter(self._ruled, self._namespaces()) if received is None else self._rules_changed(*received):
                yield Disturbed(ns, "rules were changed")
                if ns == HOST:
                    yield UplinkChanged("rules were changed")  # iptables may be in use only from now on

    def _namespaces(self) -> set[str]:
        return {HOST, *self._nsids.values()}

    def _ruled(self, ns: str) -> bool:
        """Whether we keep rules in it: what containers do with theirs is their own."""
        return ns == HOST or namespace_key(ns) in self._desired

    def _whence(self, ancillary: list[tuple[int, int, bytes]]) -> str | None:
        """The namespace an event is from; None if it is none of ours."""
        for level, kind, value in ancillary:
            if level == u.SOL_NETLINK and kind == u.NETLINK_LISTEN_ALL_NSID:
                return self._nsids.get(struct.unpack("=i", value[:4])[0])
        return HOST

    def _rules_changed(self, data: bytes, ancillary: list[tuple[int, int, bytes]]) -> list[str]:
        """The namespace in which a transaction that concerns us ends here, and is somebody else's: its last message says
        whose it was."""
        ns = self._whence(ancillary)
        if ns is None or not self._ruled(ns):
            return []
        changed = False
        for kind, _, start, end in messages(data):
            found = attributes(data, start + 20, end)
            if kind == nfnl.message(u.NFT_MSG_NEWGEN):
                pid = int.from_bytes(found.get(u.NFTA_GEN_PROC_PID, b""), "big")
                port = HEADER.unpack_from(data, start)[4]
                touched = self._touched.pop(ns, set())
                if pid not in self._pids and port not in self._pids:
                    changed |= bool(touched)
                    self._ruled_anew.add(ns)
                    if not touched >= _ANEW:
                        self._to_empty.add(ns)
            elif _concerns_us(data[start + 16], found.get(1, b"")):
                self._touched.setdefault(ns, set()).add(kind)
        return [ns] if changed else []


def _concerns_us(family: int, table: bytes) -> bool:
    """A table of ours, or the one in which iptables-nft keeps the chains that ours are called from. The first attribute
    of every message of nf_tables is its table's name."""
    name = table.rstrip(b"\0")
    return name == TABLE.encode() if family in (u.NFPROTO_INET, u.AF_BRIDGE) else name == b"filter"


def _subscribe(protocol: int, groups: Iterable[int], rcvbuf: int) -> socket.socket:
    sock = open_socket(protocol, rcvbuf)
    for group in groups:
        sock.setsockopt(u.SOL_NETLINK, u.NETLINK_ADD_MEMBERSHIP, group)
    sock.setblocking(False)
    return sock


def _datagrams(sock: socket.socket) -> Iterator[tuple[bytes, list[tuple[int, int, bytes]]] | None]:
    """What there is to read now; None where the kernel had to drop some."""
    for _ in range(_AT_ONCE):
        try:
            data, ancillary, _flags, _address = sock.recvmsg(1 << 16, 64)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            yield None
        else:
            yield data, ancillary
