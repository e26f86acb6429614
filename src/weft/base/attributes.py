"""Attributes of netlink messages, as the kernel wrote them (struct nlattr)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

ATTR = struct.Struct("=HH")


def attributes(data: bytes) -> dict[int, bytes]:
    """The payloads by type, without the bits that say nested and byte order. Of a type that is there twice, the last."""
    return dict(each(data))


def each(data: bytes) -> Iterator[tuple[int, bytes]]:
    """In order."""
    start, end = 0, len(data)
    while start + 4 <= end:
        size, kind = ATTR.unpack_from(data, start)
        if size < 4:
            return
        yield kind & 0x3FFF, data[start + 4 : start + size]
        start += (size + 3) & ~3


def number(found: dict[int, bytes], kind: int, default: int = 0) -> int:
    """Of nf_tables all are big-endian."""
    return int.from_bytes(found[kind], "big") if kind in found else default


def name(found: dict[int, bytes], kind: int) -> str:
    return found.get(kind, b"").split(b"\0", 1)[0].decode(errors="replace")
