"""The fast path: programs at devices, the maps that they go by, and what these say of containers.

Nothing else stands or falls with any of it: where the kernel refuses, packets take the ordinary way. No tool loads a program
that is not a file of a compiler's, and nothing of this is worth anything without the programs; so a plan tells it in words.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from weft.bpf.layout import CONTROL, HOMES
from weft.hoststate import BpfLink, BpfMap, BpfProgram, FastHome, FastPairs, Key
from weft.reconcile.kinds.kind import Kind, on_device, within
from weft.reconcile.kinds.shell import name_of
from weft.reconcile.protocol import Op, Remove


def _map_key(ns: str, name: str) -> Key:
    return (BpfMap.kind, ns, name)


def _program_hosts(obj: BpfProgram) -> tuple[Key, ...]:
    """What it uses is filled in when it is loaded: another map under the same name is none of its own."""
    return (*within(obj), *(_map_key(obj.ns, name) for name in sorted({name for _, name in obj.maps})))


def _link_needs(obj: BpfLink) -> tuple[Key, ...]:
    """It has another program when that is exchanged, and stands on the device alone."""
    return (*on_device(obj), (BpfProgram.kind, obj.ns, obj.program))


def _home_hosts(obj: FastHome) -> tuple[Key, ...]:
    """It knows its device by number. But it stays in the map when that goes: so that one is no carrier."""
    return (*on_device(obj), _map_key(obj.ns, HOMES))


def _home_carriers(obj: FastHome) -> tuple[Key, ...]:
    return (*within(obj), _map_key(obj.ns, HOMES))


def _pairs_hosts(obj: FastPairs) -> tuple[Key, ...]:
    return (*within(obj), _map_key(obj.ns, CONTROL))


# -- in words ----------------------------------------------------------------------------------------------------------


def _told(say: Callable[[Any], str], op: Op, obj: Any) -> list[str]:
    where = f" in {name_of(obj.ns) or obj.ns}" if obj.ns else ""
    return [f"# fast path{where}: {'no more ' if isinstance(op, Remove) else ''}{say(obj)}"]


def _map(obj: BpfMap) -> str:
    return f"map {obj.name}: {obj.type}, {obj.key_size} to {obj.value_size} octets, at most {obj.entries}"


def _program(obj: BpfProgram) -> str:
    return f"program {obj.name}: {len(obj.code) // 8} instructions, {obj.digest}"


def _link(obj: BpfLink) -> str:
    return f"program {obj.program} for what {'comes in' if obj.way == 'ingress' else 'goes out'} by {obj.dev}"


def _home(obj: FastHome) -> str:
    return f"{obj.address} of {obj.network} behind {obj.dev}"


def _pairs(_obj: FastPairs) -> str:
    return "entries by addresses alone"


MAP = Kind(
    of=BpfMap,
    commands=partial(_told, _map),
    carries=True,
    told="never",
    optional=True,
    in_place=lambda _found, _wanted: False,
)
PROGRAM = Kind(
    of=BpfProgram,
    commands=partial(_told, _program),
    told="never",
    optional=True,
    hosts=_program_hosts,
    carriers=within,
    fits=lambda found, wanted: found.digest == wanted.digest,
)
LINK = Kind(
    of=BpfLink,
    commands=partial(_told, _link),
    told="never",
    optional=True,
    hosts=on_device,
    needs=_link_needs,
    words=lambda rest: " ".join(rest[::-1]),
)
HOME = Kind(
    of=FastHome,
    commands=partial(_told, _home),
    told="never",
    optional=True,
    hosts=_home_hosts,
    carriers=_home_carriers,
)
PAIRS = Kind(
    of=FastPairs,
    commands=partial(_told, _pairs),
    told="never",
    optional=True,
    hosts=_pairs_hosts,
    words=lambda _rest: "entries by addresses",
)
