"""How many packets passed, and why others did not: a file of numbers, which the pump has in its memory.

So to count costs no call, whoever wants to know reads the file, and when the pump ends nothing that it counted is lost. Each
number is written by one process only.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

SENT = ("sent packets", "sent octets")
RECEIVED = ("received packets", "received octets")
OUTWARD = (
    "no host holds the destination",
    "time to live exceeded",
    "larger than the path's MTU",
    "not sent",
    "no key agreed on yet",
)
"""Why packets from this host's containers were dropped."""
INWARD = (
    "sender unknown",
    "malformed",
    "source not the sender's",
    "destination not here",
    "time to live exceeded on arrival",
    "not taken by the device",
    "clear",
    "forged",
    "of another secret",
    "replayed",
    "sealed for an earlier start",
    "not to be passed on",
)
"""Why packets from other hosts were dropped."""
NAMES = (*SENT, *RECEIVED, *OUTWARD, *INWARD)
DROPS = (*OUTWARD, *INWARD)
SLOT = {name: at for at, name in enumerate(NAMES)}
_SIZE = 8 * len(NAMES)


def opened(path: Path) -> memoryview:
    """The numbers, as those of the file from now on. Where the disk is full they are told to nobody."""
    try:
        return memoryview(_mapped(path)).cast("Q")
    except OSError:
        return memoryview(mmap.mmap(-1, _SIZE)).cast("Q")


def _mapped(path: Path) -> mmap.mmap:
    """Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(fd).st_size != _SIZE:  # of another version of Weft
            os.ftruncate(fd, 0)
        os.posix_fallocate(fd, 0, _SIZE)  # a hole that the disk has no room for would end whoever counts (SIGBUS)
        return mmap.mmap(fd, _SIZE)
    finally:
        os.close(fd)


def read(path: Path) -> dict[str, int]:
    """By name. All 0 where there are none yet."""
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    values = struct.unpack(f"={len(NAMES)}Q", data if len(data) == _SIZE else bytes(_SIZE))
    return dict(zip(NAMES, values, strict=True))
