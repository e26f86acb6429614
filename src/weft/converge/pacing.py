"""How often a loop looks at its target, and how much of its time."""

from __future__ import annotations

import msgspec


class Pacing(msgspec.Struct, frozen=True, kw_only=True):
    """`interval`: seconds between full comparisons. `jitter`: each is shorter by up to this share, by chance, so that many
    hosts do not ask one target all at once. `gather`: seconds in which changes come together before a step. `near`: it can be
    asked at any time, as a kernel can; what is not near only the loop asks, and `plan` goes by what was found last."""

    interval: float
    jitter: float = 0.0
    gather: float = 0.0
    near: bool = True


def far(interval: float = 60.0) -> Pacing:
    """Of what is reached over a network, and counts calls."""
    return Pacing(interval=interval, jitter=0.2, gather=0.5, near=False)
