"""The Internet checksum (RFC 1071), by whole numbers: 2**16 is 1 modulo 65535, so a number of any length, taken modulo 65535,
is the one's complement sum of its 16-bit words. Python reads a kilobyte as a number in less than a microsecond."""

from __future__ import annotations

from collections.abc import Sequence


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


def finished(value: int) -> int:
    """The checksum of what has this sum; never 0, which UDP has for none."""
    return 65535 - value % 65535
