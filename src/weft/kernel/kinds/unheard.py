"""What the kernel tells nobody of: rules in iptables' old back end, those of namespaces whose events are not heard, sets.

From time to time it is asked for something that costs little and changes with them: for rules their number and size, for a set
its number of elements. So what is there is read again only where somebody changed it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from weft.base.errors import Denied, Failed, NotFound
from weft.base.net import Family
from weft.hoststate import HOST
from weft.kernel.plumbing import netns
from weft.kernel.plumbing.nfnl import Nftables

_INFO = 64
"""IPT_SO_GET_INFO of linux/netfilter_ipv4/ip_tables.h, IP6T_SO_GET_INFO."""
_SIZE = 84
"""Of struct ipt_getinfo: name, valid_hooks, hook_entry[5], underflow[5], num_entries, size."""
_LEVELS: dict[Family, tuple[socket.AddressFamily, int]] = {
    4: (socket.AF_INET, socket.IPPROTO_IP),
    6: (socket.AF_INET6, socket.IPPROTO_IPV6),
}


def table_info(family: Family, table: str) -> bytes:
    """How many rules a table of the old back end has, how large they are, and where its chains begin; in the calling
    thread's namespace. It must exist, or it is made. Raises Denied, Failed."""
    of, level = _LEVELS[family]
    buffer = ctypes.create_string_buffer(table.encode(), _SIZE)
    length = ctypes.c_uint32(_SIZE)
    try:
        with socket.socket(of, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.getsockopt(sock.fileno(), level, _INFO, buffer, ctypes.byref(length)):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            raise Denied("no permission to ask for the rules of iptables: run as root") from None
        raise Failed(f"the rules of iptables cannot be looked at: {error.strerror}") from None
    return buffer.raw


def generation(ns: str) -> bytes:
    """Of all that is in nf_tables; nothing of the host's own namespace, whose events are heard."""
    if ns == HOST:
        return b""
    with Nftables() as nftables:
        return struct.pack("=I", nftables.generation() or 0)


class Unheard:
    """`look`: in a namespace, which the calling thread is in, something that changes with what is there."""

    def __init__(self, look: Callable[[str], bytes]) -> None:
        self._look = look
        self._seen: dict[str, bytes] = {}

    def reading(self, ns: str) -> None:
        """It is about to be read. Raises WeftError."""
        self._seen[ns] = self._at(ns)

    @contextmanager
    def writing(self, ns: str) -> Iterator[None]:
        """What we change ourselves, here, is no news; but what others changed before still is. Raises WeftError."""
        before = self._at(ns)
        known = self._seen.setdefault(ns, before) == before
        yield
        if known:
            self._seen[ns] = self._at(ns)

    def leave(self, ns: str) -> None:
        """Nothing of ours is there any more."""
        self._seen.pop(ns, None)

    def knows(self, ns: str) -> bool:
        """Whether anything of ours is there."""
        return ns in self._seen

    def changed(self) -> set[str]:
        """The namespaces where it is not what it was when it was read or written last. Raises WeftError."""
        found = set[str]()
        for ns, seen in list(self._seen.items()):
            try:
                if self._at(ns) != seen:
                    found.add(ns)
            except NotFound:
                del self._seen[ns]
        return found

    def _at(self, ns: str) -> bytes:
        return netns.call(ns, lambda: self._look(ns))
