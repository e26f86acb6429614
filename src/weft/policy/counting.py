"""What the rules of chains have counted, as what the rules of policies have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def tally(chains: Iterable[Chain], counted: Sequence[Counts]) -> Tally:
    """`counted`: of each namespace. A chain that is not there, or is another one than this, has counted nothing."""
    found: Tally = {}
    for chain in chains:
        there = [some[chain.name] for some in counted if len(some.get(chain.name, ())) == len(chain.lines)]
        for place, line in enumerate(chain.lines):
            total = found.get(line.origin, Count())
            for counts in there:
                total = total.plus(counts[place])
            found[line.origin] = total
    return found
