"""The maps and programs of a namespace, as objects of the kernel."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache

from weft.bpf import fast, seen
from weft.bpf.frame import ETHER
from weft.bpf.layout import (
    CONTROL,
    CONTROL_VALUE,
    COUNT,
    COUNTS,
    ENTRY,
    FLOWS,
    HOME,
    HOMES,
    KEY4,
    KEY6,
    SLOTS,
)
from weft.hoststate.bpf import BpfMap, BpfProgram

FAST, SEEN, BARE = "fast", "seen", "-ip"
"""Names of the programs; what those end with that are for devices whose packets have no Ethernet header (IP in IP)."""
HOST_ENTRIES, OWN_ENTRIES = 65536, 4096
"""Flows of each family in the host's namespace, and in one that a network has for itself."""
_HOMES = 8192


@cache
def objects(ns: str, entries: int) -> tuple[BpfMap | BpfProgram, ...]:
    """`entries`: how many flows of each family are kept; the one that was not used for longest makes room for another."""
    return tuple(_objects(ns, entries))


def _objects(ns: str, entries: int) -> Iterator[BpfMap | BpfProgram]:
    yield BpfMap(name=CONTROL, type="array", key_size=4, value_size=CONTROL_VALUE.size, entries=1, ns=ns)
    for family, key in ((4, KEY4), (6, KEY6)):
        yield BpfMap(
            name=FLOWS[family], type="lru_hash", key_size=key.size, value_size=ENTRY.size, entries=entries, ns=ns
        )
    yield BpfMap(name=HOMES, type="hash", key_size=16, value_size=HOME.size, entries=_HOMES, ns=ns)
    yield BpfMap(name=COUNTS, type="percpu_array", key_size=4, value_size=COUNT.size, entries=SLOTS, ns=ns)
    for name, (digest, code, maps) in _programs().items():
        yield BpfProgram(name=name, digest=digest, code=code, maps=maps, ns=ns)


@cache
def _programs() -> dict[str, tuple[str, bytes, tuple[tuple[int, str], ...]]]:
    """By name: digest, instructions, maps."""
    made = {
        f"{name}{suffix}": module(at)
        for name, module in ((FAST, fast.program), (SEEN, seen.program))
        for suffix, at in (("", ETHER), (BARE, 0))
    }
    return {
        name: (hashlib.sha256(code.octets + repr(code.maps).encode()).hexdigest()[:16], code.octets, code.maps)
        for name, code in made.items()
    }
