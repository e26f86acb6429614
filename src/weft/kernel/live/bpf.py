"""bpf(2): programs on tracepoints, and the ring by which they tell what they saw. All of it ends with its file descriptors."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Iterator

from weft.base.errors import Unsupported
from weft.kernel.plumbing import bpf

_BUSY, _DISCARD, _LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1


def attach(tracepoint: str, code: bytes) -> int:
    """A program on a raw tracepoint of the kernel: the file descriptor with which it ends. Raises Denied, Unsupported."""
    name = ctypes.create_string_buffer(tracepoint.encode())
    program = bpf.load(code, "weft_live", bpf.RAW_TRACEPOINT)
    try:
        return bpf.call(bpf.RAW_TRACEPOINT_OPEN, struct.pack("=QI", ctypes.addressof(name), program))
    finally:
        os.close(program)  # the attachment holds it


class Ring:
    """BPF_MAP_TYPE_RINGBUF (kernel Documentation/bpf/ringbuf.rst): what does not fit is lost, never waited for.
    Raises Denied, Unsupported."""

    def __init__(self, size: int) -> None:
        """`size` in octets, a power of two of at least a page."""
        self._size, self._page = size, mmap.PAGESIZE
        self.fd = bpf.create_map("ringbuf", 0, 0, size, "weft_live")
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
