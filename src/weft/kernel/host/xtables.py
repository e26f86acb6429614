"""The tables of the old iptables, read by getsockopt on a raw socket of the calling thread's namespace
(net/ipv4/netfilter/ip_tables.c, do_ipt_get_ctl()). To ask for a table makes it, and loads its module: so only those that
are there are asked for."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from weft.api.dump import XtablesDump
from weft.base.errors import Failed
from weft.base.net import Family

_GET_INFO, _GET_ENTRIES = 64, 65
_INFO = struct.Struct("=32sI5I5III")
_HEAD = struct.Struct("=32sI4x")
_ATTEMPTS = 8
_FAMILIES: tuple[tuple[Family, socket.AddressFamily, int, str], ...] = (
    (4, socket.AF_INET, socket.IPPROTO_IP, "ip_tables_names"),
    (6, socket.AF_INET6, socket.IPPROTO_IPV6, "ip6_tables_names"),
)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def tables() -> tuple[XtablesDump, ...]:
    """Of both families. Raises Failed."""
    return tuple(table for how in _FAMILIES for table in _of(*how))


def _of(family: Family, af: socket.AddressFamily, level: int, listing: str) -> Iterator[XtablesDump]:
    names = _names(Path("/proc/thread-self/net", listing))
    if not names:
        return
    try:
        with socket.socket(af, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW) as sock:
            for name in names:
                if (found := _table(sock, level, family, name)) is not None:
                    yield found
    except OSError as error:
        raise Failed(f"the tables of iptables-legacy cannot be read: {error.strerror}") from None


def _names(path: Path) -> list[str]:
    """The file is there where the module is, and readable for root of the namespace only."""
    try:
        return sorted(path.read_text().split())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Failed(f"{path.name} cannot be read: {error.strerror}") from None


def _table(sock: socket.socket, level: int, family: Family, name: str) -> XtablesDump | None:
    """None where it is gone. Its size may have changed between the two questions (EAGAIN)."""
    for _ in range(_ATTEMPTS):
        try:
            told = _ask(sock, level, _GET_INFO, name.encode().ljust(_INFO.size, b"\0"))
            _, valid, *rest = _INFO.unpack(told)
            hooks, underflows, size = rest[:5], rest[5:10], rest[11]
            answer = _ask(sock, level, _GET_ENTRIES, _HEAD.pack(name.encode(), size).ljust(_HEAD.size + size, b"\0"))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            if error.errno != errno.EAGAIN:
                raise
            continue
        return XtablesDump(
            family=family,
            name=name,
            entries=answer[_HEAD.size : _HEAD.size + size],
            hooks=_valid(valid, hooks),
            underflows=_valid(valid, underflows),
        )
    raise Failed(f"the table {name} of iptables-legacy changed while it was read, {_ATTEMPTS} times in a row")


def _valid(bits: int, offsets: Sequence[int]) -> tuple[int, ...]:
    return tuple(offset if bits >> number & 1 else -1 for number, offset in enumerate(offsets))


def _ask(sock: socket.socket, level: int, option: int, question: bytes) -> bytes:
    """getsockopt(2) with something in the buffer, which Python's has not. Raises OSError."""
    buffer = ctypes.create_string_buffer(question, len(question))
    size = ctypes.c_uint32(len(question))
    if _libc().getsockopt(sock.fileno(), level, option, buffer, ctypes.byref(size)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return buffer.raw
