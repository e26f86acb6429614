"""What the rules of chains have counted, as what the rules of policies have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from weft.policy.program import Chain, Origin


class Count(NamedTuple):
    packets: int = 0
    octets: int = 0

    def plus(self, other: Count) -> Count:
        return Count(self.packets + other.packets, self.octets + other.octets)


Counts = Mapping[str, list[Count]]
"""Chain → of each of its rules, in their order. A rule without a counter has counted nothing."""


Tally = dict[Origin, Count]


Where = Callable[[Chain], Iterable[tuple[str, int, int]]]
"""Where each line of a chain is counted (`weft.policy.render.Renderer.counted`)."""


Places = Callable[[Chain], Iterable[tuple[str, int, int]]]
"""Where each line of a chain is counted: (the kernel's chain, the rule in it, the line)."""


def tally(chains: Iterable[Chain], places: Places, counted: Sequence[Counts]) -> Tally:
    """`counted`: of each namespace. What is not there has counted nothing."""
    found: Tally = {}
    for chain in chains:
        for line in chain.lines:
            found.setdefault(line.origin, Count())
        for name, place, n in places(chain):
            for counts in (some[name] for some in counted if place < len(some.get(name, ()))):
                origin = chain.lines[n].origin
                found[origin] = found[origin].plus(counts[place])
    return found
