"""How many blocks a node has in hand where it alone gives their addresses, so that it can go on when nobody can be asked.

    low water    four fifths of its addresses are in use, or it has no block: it takes another one, before it needs it
    high water   an empty block goes back once what is left would not be half used
    scarcity     what is only in hand leaves a quarter of all blocks to those who need one now; where none is left at all,
                 it goes back

Pure. A block is (addresses in use, addresses that it can give); what is in use is never given back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from weft.alloc import subnets
from weft.alloc.subnets import Plan
from weft.base.net import IPAddress, IPNetwork, covers

LOW_WATER = 0.8
HIGH_WATER = 0.5
LEFT_TO_OTHERS = 0.25

Filled = Mapping[IPNetwork, tuple[int, int]]
"""Block → addresses in use, and all that it can give."""


def filled(blocks: Iterable[IPNetwork], used: Sequence[IPAddress], reserved: Sequence[IPNetwork]) -> Filled:
    """`blocks`: of one family. `reserved`: what nobody gets."""
    listed = list(blocks)
    sizes = {(block.version, block.max_prefixlen - block.prefixlen) for block in listed}
    counts = {bits: Counter(int(a) >> bits for a in used if a.version == version) for version, bits in sizes}
    return {block: (_count(block, counts), _room(block, reserved)) for block in listed}


def _count(block: IPNetwork, counts: Mapping[int, Mapping[int, int]]) -> int:
    bits = block.max_prefixlen - block.prefixlen
    return counts[bits][int(block.network_address) >> bits]


def _room(block: IPNetwork, reserved: Sequence[IPNetwork]) -> int:
    if any(covers(prefix, block) for prefix in reserved):
        return 0
    inside = (p for p in reserved if p.version == block.version and covers(block, p))
    return block.num_addresses - sum(prefix.num_addresses for prefix in subnets.merge(inside))


def short(blocks: Filled) -> bool:
    """Of one family: whether another one is to be taken."""
    used, room = _sums(blocks.values())
    return used >= LOW_WATER * room


def may_take(plan: Plan, held: Iterable[IPNetwork]) -> bool:
    """Whether there is one to be had in hand. `held`: by anybody."""
    return subnets.free(plan, held) - 1 >= LEFT_TO_OTHERS * plan.size


def spare(blocks: Filled, *, scarce: bool) -> Iterator[IPNetwork]:
    """Of one family: the empty ones that are to go back. `scarce`: others may need them."""
    left = dict(blocks)
    for block, (used, _) in blocks.items():
        if used:
            continue
        others, room = _sums(found for other, found in left.items() if other != block)
        if scarce or (room and others <= HIGH_WATER * room):
            del left[block]
            yield block


def _sums(some: Iterable[tuple[int, int]]) -> tuple[int, int]:
    listed = list(some)
    return sum(used for used, _ in listed), sum(room for _, room in listed)
