"""Matches and targets of iptables, as the kernel's structs, in both of its back ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from weft.api.dump import FiltersDump, IpsetDump
from weft.filters.model import Where
from weft.filters.state import Base, Judged, Outcome, Run, Unknown


class Ipsets:
    """The sets of ipset, by the numbers that matches call them by."""

    def __init__(self, dumps: Iterable[IpsetDump]) -> None:
        self.by_index = {dump.index: dump for dump in dumps}


def match(name: str, revision: int, info: bytes, run: Run, sets: Ipsets) -> Judged:
    """Whether the packet is one of those that the match is for."""
    return Unknown(f"match {name} of iptables")


def target(
    name: str, revision: int, info: bytes, run: Run, where: Callable[[], Where], sets: Ipsets
) -> Outcome | Unknown:
    """What the target does. What it changes of the packet is changed in `run.seen`."""
    return Unknown(f"target {name} of iptables")


def match_text(name: str, revision: int, info: bytes, family: str, sets: Ipsets) -> str:
    """As iptables-save writes it."""
    return f"-m {name}"


def target_text(name: str, revision: int, info: bytes, family: str, sets: Ipsets) -> str:
    """As iptables-save writes it."""
    return f"-j {name}"


def legacy(dump: FiltersDump, sets: Ipsets) -> list[Base]:
    """The base chains of tables of the old iptables."""
    return []
