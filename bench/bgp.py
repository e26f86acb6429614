"""BGP at scale: ten thousand blocks learnt, reflected to five hundred hosts, and what is lost when somebody fails."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from bench import failover, learn, reflect
from bench.figures import Figure

Progress = Callable[[str], None]


class Effort(msgspec.Struct, frozen=True):
    routes: int = 10_000
    rounds: int = 21
    nodes: int = 500
    blocks: int = 20
    starts: int = 3
    failures: int = 5


QUICK = Effort(routes=2_000, rounds=1, nodes=50, starts=1, failures=1)


def run(effort: Effort, progress: Progress) -> list[Figure]:
    return [
        *learn.figures(effort.routes, effort.rounds, progress),
        *reflect.figures(effort.nodes, effort.blocks, effort.starts, progress),
        *failover.figures(effort.failures, progress),
    ]
