"""The Internet checksum (RFC 1071), by whole numbers: 2**16 is 1 modulo 65535, so a number of any length, taken modulo 65535,
is the one's complement sum of its 16-bit words. Python reads a kilobyte as a number in less than a microsecond; numpy, where
there is one, adds up all payloads of a super-packet in ten."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import cast

_ORDER = 256 if sys.byteorder == "little" else 1
"""What makes a sum of words that were read as this machine has them right: modulo 65535 that changes a word's octets round."""


@cache
def adder() -> ModuleType | None:
    """numpy, of the extra `udp`. It is asked for with the first super-packet: loading it takes a fifth of a second, and
    only who sends needs it."""
    try:
        import numpy
    except ImportError:
        return None
    return cast(ModuleType, numpy)


@cache
def halves(octets: int) -> tuple[tuple[int, int], ...]:
    """How to fold numbers of that many octets: (shift, mask) pairs. A division takes longer than some additions of halves."""
    found = []
    words = (octets + 1) // 2
    while words > 32:
        words = (words + 1) // 2
        found.append((16 * words, (1 << 16 * words) - 1))
    return tuple(found)


def total(data: bytes | bytearray | memoryview, folds: Sequence[tuple[int, int]] = ()) -> int:
    """A number that is the sum modulo 65535; it may be larger. What is missing of the last word counts as 0."""
    value = int.from_bytes(data, "big")
    if len(data) & 1:
        value <<= 8
    for shift, mask in folds:
        value = (value >> shift) + (value & mask)
    return value


def sums(data: memoryview, size: int) -> list[int]:
    """The sum of each `size` octets; the last may have fewer."""
    numpy = None if size % 4 else adder()
    rows = len(data) // size if numpy else 0
    found: list[int] = []
    if numpy and rows:
        words = numpy.frombuffer(data, "u4", rows * size // 4).reshape(rows, size // 4)
        found += (words.sum(axis=1, dtype="u8") * _ORDER).tolist()
    folds = halves(size)
    found += [total(data[at : at + size], folds) for at in range(rows * size, len(data), size)]
    return found


def finished(value: int) -> int:
    """The checksum of what has this sum; never 0, which UDP has for none."""
    return 65535 - value % 65535
