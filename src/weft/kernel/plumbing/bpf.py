"""bpf(2): programs, maps, links, and the names by which they stay (kernel Documentation/bpf/).

What is made here ends with its file descriptor, unless it is pinned. Calls block; all raise Denied and Unsupported.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from weft.base.errors import Conflict, Denied, Failed, NotFound, Unsupported, WeftError

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "s390x": 351}
_MEMBARRIER = {"x86_64": 324, "aarch64": 283, "riscv64": 283, "loongarch64": 283, "ppc64le": 365, "s390x": 356}
_ATTR = 160
"""Octets of union bpf_attr that are handed over; the kernel wants those it does not know to be zeros."""

MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, MAP_NEXT, PROG_LOAD, OBJ_PIN, OBJ_GET = 0, 1, 2, 3, 4, 5, 6, 7
TEST_RUN, PROG_BY_ID, MAP_BY_ID, INFO, PROG_QUERY, RAW_TRACEPOINT_OPEN = 10, 13, 14, 15, 16, 17
MAP_BATCH, LINK_CREATE, LINK_UPDATE, LINK_DETACH = 24, 28, 29, 34
TYPES = {"hash": 1, "array": 2, "percpu_array": 6, "lru_hash": 9, "ringbuf": 27}
"""Of maps."""
RAW_TRACEPOINT, SCHED_CLS = 17, 3
"""Types of programs."""
TCX: dict[Literal["ingress", "egress"], int] = {"ingress": 46, "egress": 47}
"""Where tcx has a program asked (Linux 6.6)."""
_LOG = 1 << 16


def call(command: int, attr: bytes) -> int:
    return _call(command, attr)[0]


def _call(command: int, attr: bytes) -> tuple[int, bytes]:
    """And what the kernel wrote into the attributes."""
    buffer = ctypes.create_string_buffer(attr, _ATTR)
    result: int = _LIBC.syscall(_number(), command, buffer, _ATTR)
    if result < 0:
        raise _explain(ctypes.get_errno())
    return result, buffer.raw


def _number() -> int:
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise Unsupported(f"BPF is not known on {platform.machine()}")
    return number


_LIBC = ctypes.CDLL(None, use_errno=True)


def _explain(number: int) -> WeftError:
    if number in (errno.EPERM, errno.EACCES):
        return Denied(
            "the kernel does not let BPF be used here: CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN), no lockdown"
        )
    if number in (errno.ENOENT, errno.ENODEV, errno.ENOLINK):
        return NotFound(f"BPF: {os.strerror(number)}")
    if number == errno.EEXIST:
        return Conflict(f"BPF: {os.strerror(number)}")
    if number in (errno.ENOMEM, errno.E2BIG, errno.ENOSPC):
        return Failed(f"BPF: {os.strerror(number)}")
    return Unsupported(f"the kernel refuses BPF: {os.strerror(number)}")


class _Octets:
    """Memory that the kernel reads or writes."""

    def __init__(self, content: bytes | int) -> None:
        size = content if isinstance(content, int) else len(content)
        self._buffer = (
            ctypes.create_string_buffer(size)
            if isinstance(content, int)
            else ctypes.create_string_buffer(content, size)
        )

    @property
    def at(self) -> int:
        return ctypes.addressof(self._buffer)

    @property
    def raw(self) -> bytes:
        return self._buffer.raw

    def part(self, start: int, size: int) -> bytes:
        return ctypes.string_at(self.at + start, size)


# -- maps --------------------------------------------------------------------------------------------------------------


def create_map(type: str, key_size: int, value_size: int, entries: int, name: str) -> int:
    """A file descriptor. `name`: at most 15 characters."""
    return call(
        MAP_CREATE, struct.pack("=IIIIIII16s", TYPES[type], key_size, value_size, entries, 0, 0, 0, name.encode())
    )


def update(fd: int, key: bytes, value: bytes) -> None:
    """An element is there then, whether or not it was before."""
    keys, values = _Octets(key), _Octets(value)
    call(MAP_UPDATE, struct.pack("=IxxxxQQQ", fd, keys.at, values.at, 0))


def lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """`value_size`: of a percpu_array, of all CPUs together, each a multiple of 8."""
    keys, values = _Octets(key), _Octets(value_size)
    try:
        call(MAP_LOOKUP, struct.pack("=IxxxxQQQ", fd, keys.at, values.at, 0))
    except NotFound:
        return None
    return values.raw


def delete(fd: int, key: bytes) -> None:
    """Raises NotFound."""
    keys = _Octets(key)
    call(MAP_DELETE, struct.pack("=IxxxxQQQ", fd, keys.at, 0, 0))


def items(fd: int, key_size: int, value_size: int) -> Iterator[tuple[bytes, bytes]]:
    """All elements; one that comes or goes meanwhile may be among them, or not."""
    key = None
    for _ in range(1 << 22):
        before, after = _Octets(key or bytes(key_size)), _Octets(key_size)
        try:
            call(MAP_NEXT, struct.pack("=IxxxxQQ", fd, before.at if key is not None else 0, after.at))
        except NotFound:
            return
        key = after.raw
        if (value := lookup(fd, key, value_size)) is not None:
            yield key, value


_AT_ONCE = 4096
"""Elements of one answer."""


def many(fd: int, key_size: int, value_size: int) -> Iterator[tuple[bytes, bytes]]:
    """As `items`, of a map of a type that is a hash: thousands at a time, for those that may have very many (Linux 5.6)."""
    keys, values = _Octets(key_size * _AT_ONCE), _Octets(value_size * _AT_ONCE)
    place, next_place = _Octets(max(key_size, 4)), _Octets(max(key_size, 4))
    begun = ended = False
    while not ended:
        attr = struct.pack("=QQQQIIQQ", place.at if begun else 0, next_place.at, keys.at, values.at, _AT_ONCE, fd, 0, 0)
        count, ended = _batch(attr)
        for n in range(count):
            yield keys.part(n * key_size, key_size), values.part(n * value_size, value_size)
        place, next_place, begun = next_place, place, True


def _batch(attr: bytes) -> tuple[int, bool]:
    """How many elements there are in this answer, and whether it is the last one (ENOENT)."""
    buffer = ctypes.create_string_buffer(attr, _ATTR)
    ended = _LIBC.syscall(_number(), MAP_BATCH, buffer, _ATTR) < 0
    if ended and (number := ctypes.get_errno()) != errno.ENOENT:
        raise _explain(number)
    return struct.unpack_from("=I", buffer, 32)[0], ended


# -- programs ----------------------------------------------------------------------------------------------------------


def load(code: bytes, name: str, type: int = SCHED_CLS) -> int:
    """A file descriptor. `name`: at most 15 characters. Raises Unsupported also with what the kernel's verifier says."""
    octets, license_ = _Octets(code), _Octets(b"GPL\0")

    def attr(log: _Octets | None) -> bytes:
        size, where = (_LOG, log.at) if log else (0, 0)
        return struct.pack(
            "=IIQQIIQII16s",
            *(type, len(code) // 8, octets.at, license_.at, 1 if log else 0, size, where, 0, 0, name.encode()),
        )

    try:
        return call(PROG_LOAD, attr(None))
    except WeftError as refused:
        log = _Octets(_LOG)
        try:
            return call(PROG_LOAD, attr(log))
        except WeftError:
            lines = log.raw.rstrip(b"\0").decode(errors="replace").strip().splitlines()
            said = next((line for line in reversed(lines) if line and not line.startswith("processed ")), "")
            raise Unsupported(f"the kernel's verifier refuses {name}: {said}") if said else refused from None


class Ran(NamedTuple):
    """`verdict`: what the program returned, with its sign. `frame`: what became of it. `context`: struct __sk_buff afterwards.
    `duration`: of one run, in nanoseconds."""

    verdict: int
    frame: bytes
    context: bytes
    duration: int = 0


def test_run(fd: int, frame: bytes, context: bytes = b"", repeat: int = 1) -> Ran:
    """The program is asked about one frame, without any device; `repeat` times, each time about what the last one left."""
    given, found = _Octets(frame), _Octets(len(frame) + 256)
    before, after = _Octets(context or b"\0"), _Octets(256)
    attr = struct.pack(
        "=IIIIQQIIIIQQ",
        *(fd, 0, len(frame), len(frame) + 256, given.at, found.at, repeat, 0),
        *(len(context), 256 if context else 0, before.at if context else 0, after.at if context else 0),
    )
    _, told = _call(TEST_RUN, attr)
    _, verdict, _, size = struct.unpack_from("=IiII", told)
    duration, _, context_size = struct.unpack_from("=III", told, 36)
    return Ran(verdict, found.raw[:size], after.raw[: context_size if context else 0], duration)


def attached(ifindex: int, way: Literal["ingress", "egress"]) -> tuple[int, ...]:
    """The numbers of the programs that tcx has asked there, in their order. The device is one of the calling thread's
    namespace."""
    ids = _Octets(4 * _MOST_PROGRAMS)
    _, told = _call(
        PROG_QUERY, struct.pack("=IIIIQIIQQQQ", ifindex, TCX[way], 0, 0, ids.at, _MOST_PROGRAMS, 0, 0, 0, 0, 0)
    )
    (count,) = struct.unpack_from("=I", told, 24)
    return struct.unpack(f"={count}I", ids.part(0, 4 * count))


_MOST_PROGRAMS = 64
"""That one device has for one way (BPF_MPROG_MAX)."""


def name_of(program: int) -> str:
    """The name with which a program of this number was loaded. Raises NotFound."""
    fd = call(PROG_BY_ID, struct.pack("=III", program, 0, 0))
    try:
        return info(fd)[64:80].rstrip(b"\0").decode(errors="replace")
    finally:
        os.close(fd)


# -- links, and names --------------------------------------------------------------------------------------------------


def attach(program: int, ifindex: int, way: Literal["ingress", "egress"]) -> int:
    """A link: a file descriptor. The device is one of the calling thread's namespace. Raises NotFound;
    Conflict where that program is there already."""
    return call(LINK_CREATE, struct.pack("=IIIIIIQ", program, ifindex, TCX[way], 0, 0, 0, 0))


def replace(link: int, program: int) -> None:
    """The link has another program from the next packet on; none goes without."""
    call(LINK_UPDATE, struct.pack("=IIII", link, program, 0, 0))


def detach(link: int) -> None:
    """At once: without it, a link ends some time after the last file descriptor is closed and its name is gone."""
    call(LINK_DETACH, struct.pack("=I", link))


def pin(fd: int, path: Path) -> None:
    """It stays, under this name in a file system of type bpf."""
    name = _Octets(bytes(path) + b"\0")
    call(OBJ_PIN, struct.pack("=QII", name.at, fd, 0))


def pinned(path: Path) -> int:
    """A file descriptor. Raises NotFound."""
    name = _Octets(bytes(path) + b"\0")
    return call(OBJ_GET, struct.pack("=QII", name.at, 0, 0))


def info(fd: int, size: int = 232) -> bytes:
    """struct bpf_prog_info, bpf_map_info or bpf_link_info of linux/bpf.h, as much as the kernel has of it."""
    found = _Octets(size)
    _, told = _call(INFO, struct.pack("=IIQ", fd, size, found.at))
    (length,) = struct.unpack_from("=I", told, 4)
    return found.raw[:length]


def settle() -> None:
    """Waits until no CPU handles a packet any more that it had begun with before (membarrier(2): a grace period of RCU)."""
    number = _MEMBARRIER.get(platform.machine())
    if number is None or _LIBC.syscall(number, 1, 0, 0) < 0:
        raise Unsupported("the kernel has no membarrier")


class MapInfo(NamedTuple):
    number: int
    type: str
    key_size: int
    value_size: int
    entries: int


def map_info(fd: int) -> MapInfo:
    """`type`: as in `TYPES`, "" of others."""
    type, number, key_size, value_size, entries = struct.unpack_from("=IIIII", info(fd))
    return MapInfo(number, next((name for name, n in TYPES.items() if n == type), ""), key_size, value_size, entries)


class ProgramInfo(NamedTuple):
    """`maps`: the numbers of those that it uses."""

    number: int
    maps: frozenset[int]


def program_info(fd: int) -> ProgramInfo:
    maps, found = _Octets(4 * _MOST_MAPS), _Octets(232)
    at = found.at
    ctypes.memmove(at + 52, struct.pack("=IQ", _MOST_MAPS, maps.at), 12)
    call(INFO, struct.pack("=IIQ", fd, 232, at))
    (number,), (count,) = struct.unpack("=I", found.part(4, 4)), struct.unpack("=I", found.part(52, 4))
    return ProgramInfo(number, frozenset(struct.unpack(f"={count}I", maps.part(0, 4 * count))))


_MOST_MAPS = 64
"""That one program uses (MAX_USED_MAPS)."""


class LinkInfo(NamedTuple):
    """At tcx. `ifindex`: 0 where the device is gone, or the program was taken off it."""

    program: int
    ifindex: int
    way: Literal["ingress", "egress"]


def link_info(fd: int) -> LinkInfo:
    told = info(fd)
    _, _, program = struct.unpack_from("=III", told)
    ifindex, way = struct.unpack_from("=II", told, 16)
    return LinkInfo(program, ifindex, "egress" if way == TCX["egress"] else "ingress")


# -- the file system ---------------------------------------------------------------------------------------------------

_MAGIC, _NOSUID_NODEV_NOEXEC, _DETACH = 0xCAFE4A11, 2 | 4 | 8, 2
"""BPF_FS_MAGIC of linux/magic.h; MS_… of mount(2), MNT_DETACH of umount(2)."""


def mounted(path: Path) -> bool:
    """Whether names for objects are kept there."""
    buffer = ctypes.create_string_buffer(256)
    if _LIBC.statfs(bytes(path), buffer):
        return False
    return int.from_bytes(buffer.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder) == _MAGIC


def mount(path: Path) -> None:
    """A file system of type bpf, for root alone."""
    if _LIBC.mount(b"bpf", bytes(path), b"bpf", ctypes.c_ulong(_NOSUID_NODEV_NOEXEC), b"mode=0700"):
        raise _explain(ctypes.get_errno())


def unmount(path: Path) -> None:
    """Gone for all who look; whoever is still in it keeps it as long."""
    if _LIBC.umount2(bytes(path), _DETACH):
        raise _explain(ctypes.get_errno())
