"""Numbers that people and programs write, read strictly.

Python's `int()`, `str.isdigit()` and the `\\d` of `re` also take the digits of other scripts ("٣"), and `int()` takes signs,
spaces and underscores. The kernel, BIRD and nft take none of these. So every number in a text is read here.
"""

from __future__ import annotations

from weft.base.errors import Invalid

LONGEST = 19
"""Digits: as many as the largest signed 64-bit number has."""
HIGHEST_PORT = 65535


def is_number(text: str) -> bool:
    """Whether it is a decimal number: ASCII digits and nothing else."""
    return 0 < len(text) <= LONGEST and text.isascii() and text.isdecimal()


def parse_number(what: str, text: str, least: int = 0, most: int = 2**63 - 1) -> int:
    """A decimal number from `least` to `most`. Raises Invalid, which calls it `what`."""
    if is_number(text) and least <= int(text) <= most:
        return int(text)
    raise Invalid(f"{what} '{text[:80]}' is not a number from {least} to {most}")


def parse_port(what: str, text: str) -> int:
    """A port of TCP, UDP or SCTP, of which 0 is none. Raises Invalid."""
    return parse_number(what, text, 1, HIGHEST_PORT)
