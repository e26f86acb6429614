"""Programs for tests, of which anybody sees at once what they do."""

from __future__ import annotations

import struct

from weft.bpf import layout
from weft.hoststate import BpfMap, BpfProgram

_NEXT = struct.pack("<BBhi", 0xB7, 0, 0, -1) + struct.pack("<BBhi", 0x95, 0, 0, 0)
"""r0 = TCX_NEXT; exit"""
_MARK = struct.pack("<BBhi", 0x62, 1, 8, 1)
"""*(u32 *)(r1 + 8) = 1: the packet's mark."""
_MAP = struct.pack("<BBhi", 0x18, 0x12, 0, 0) + bytes(8)
"""r2 = a map, which nobody asks."""
_WRONG = struct.pack("<BBhi", 0x79, 0, 0, 0)
"""r0 = *(r0 + 0), where there was never anything in r0: the verifier refuses it."""

CONTROL = BpfMap(name=layout.CONTROL, type="array", key_size=4, value_size=layout.CONTROL_VALUE.size, entries=1)
HOMES = BpfMap(name=layout.HOMES, type="hash", key_size=16, value_size=layout.HOME.size, entries=1000)
COUNTS = BpfMap(name=layout.COUNTS, type="percpu_array", key_size=4, value_size=layout.COUNT.size, entries=layout.SLOTS)


def marking(
    name: str = "fast", *, version: int = 1, ns: str = "", uses: tuple[str, ...] = (layout.CONTROL,)
) -> BpfProgram:
    """Gives each packet the mark 1, and lets it go on. It is longer with each version."""
    maps = tuple((2 * n, each) for n, each in enumerate(uses))
    return BpfProgram(
        name=name, digest=f"{version:04x}", code=_MAP * len(uses) + _MARK * version + _NEXT, maps=maps, ns=ns
    )


def refused(name: str = "fast", *, version: int = 99) -> BpfProgram:
    return BpfProgram(name=name, digest=f"{version:04x}", code=_WRONG + _NEXT)
