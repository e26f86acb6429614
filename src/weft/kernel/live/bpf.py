"""bpf(2): programs on tracepoints, and the ring by which they tell what they saw. All of it ends with its file descriptors."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import struct
from collections.abc import Iterator

from weft.base.errors import Denied, Unsupported, WeftError

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "s390x": 351}
_MAP_CREATE, _PROG_LOAD, _RAW_TRACEPOINT_OPEN = 0, 5, 17
_RINGBUF, _RAW_TRACEPOINT = 27, 17
_ATTR = 144
"""Octets of union bpf_attr that are handed over; the kernel wants those it does not know to be zeros."""

_BUSY, _DISCARD, _LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1


def _call(command: int, attr: bytes) -> int:
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise Unsupported(f"BPF is not known on {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attr, _ATTR)
    result: int = libc.syscall(number, command, buffer, _ATTR)
    if result < 0:
        raise _explain(ctypes.get_errno())
    return result


def _explain(number: int) -> WeftError:
    if number in (errno.EPERM, errno.EACCES):
        return Denied(
            "the kernel does not let BPF be used here: CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN), no lockdown"
        )
    return Unsupported(f"the kernel refuses BPF: {os.strerror(number)}")


def attach(tracepoint: str, code: bytes) -> int:
    """A program on a raw tracepoint of the kernel: the file descriptor with which it ends. Raises Denied, Unsupported."""
    octets, license_ = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    name = ctypes.create_string_buffer(tracepoint.encode())
    program = _call(
        _PROG_LOAD,
        struct.pack(
            "=IIQQIIQII16s",
            _RAW_TRACEPOINT,
            len(code) // 8,
            ctypes.addressof(octets),
            ctypes.addressof(license_),
            0,
            0,
            0,
            0,
            0,
            b"weft_live",
        ),
    )
    try:
        return _call(_RAW_TRACEPOINT_OPEN, struct.pack("=QI", ctypes.addressof(name), program))
    finally:
        os.close(program)  # the attachment holds it


class Ring:
    """BPF_MAP_TYPE_RINGBUF (kernel Documentation/bpf/ringbuf.rst): what does not fit is lost, never waited for.
    Raises Denied, Unsupported."""

    def __init__(self, size: int) -> None:
        """`size` in octets, a power of two of at least a page."""
        self._size, self._page = size, mmap.PAGESIZE
        self.fd = _call(_MAP_CREATE, struct.pack("=IIIII16s", _RINGBUF, 0, 0, size, 0, b"weft_live"))
        try:
            self._consumer = mmap.mmap(self.fd, self._page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            # The data is there twice, one behind the other, so what goes over the end can be read in one piece.
            self._data = mmap.mmap(self.fd, self._page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=self._page)
        except OSError as error:
            os.close(self.fd)
            raise Unsupported(f"the ring of a BPF program cannot be read: {error.strerror}") from None

    def close(self) -> None:
        self._consumer.close()
        self._data.close()
        os.close(self.fd)

    def read(self) -> Iterator[bytes]:
        """What has come since."""
        at = int.from_bytes(self._consumer[:8], "little")
        end = int.from_bytes(self._data[:8], "little")
        while at < end:
            head = self._page + (at & (self._size - 1))
            length = int.from_bytes(self._data[head : head + 4], "little")
            if length & _BUSY:
                break
            size = length & _LENGTH
            if not length & _DISCARD:
                yield self._data[head + 8 : head + 8 + size]
            at += 8 + size + 7 & ~7
            self._consumer[:8] = at.to_bytes(8, "little")
