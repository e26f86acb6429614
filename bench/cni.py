"""The CNI plugin as an engine meets it, a process for each call, beside the reference plugins that do the same work."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import msgspec

from bench import cni_calls, labs
from bench.figures import Figure, Goal, Named, beside, paired, single
from bench.stats import percentile
from weft.base.errors import Failed
from weft.cni import launcher
from weft.lab import flat
from weft.model import decode

HOST = "node-1"
GROUP = "weft-cni, whole process"
MASQUERADED, PLAIN = "bridge, ipMasq", "bridge without"
"""With `host-local` both."""
Progress = Callable[[str], None]


class Effort(msgspec.Struct, frozen=True):
    """`containers`: one after the other, each by all three."""

    containers: int = 150


QUICK = Effort(containers=20)


def run(effort: Effort, progress: Progress) -> list[Figure]:
    """Raises Failed."""
    progress("cni: ADD and DEL")
    if not (cni_calls.PLUGINS / "bridge").exists():
        raise Failed(f"{cni_calls.PLUGINS}/bridge is missing: install containernetworking-plugins")
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as folder, labs.up(flat(1), agents=(HOST,)) as lab:
        labs.create(lab, HOST, "blue", "bridge", "10.63.0.0/16")
        executable = launcher.install(Path(folder))
        words = labs.module("cni_calls", str(executable), "blue", str(effort.containers))
        done = lab.host(HOST).run(words, timeout=600)
    if done.returncode:
        raise Failed(f"cni_calls: {' | '.join(done.stderr.strip().splitlines()[-3:])}")
    return figures(decode(cni_calls.Times, done.stdout.encode()))


def figures(times: cni_calls.Times) -> list[Figure]:
    goals = {MASQUERADED: Goal("ratio", most=0.6), PLAIN: Goal("ratio", most=1.0)}
    found = []
    for what, took, references in (
        ("ADD", times.add, {MASQUERADED: times.bridge_add, PLAIN: times.plain_add}),
        ("DEL", times.delete, {MASQUERADED: times.bridge_delete, PLAIN: times.plain_delete}),
    ):
        for against, reference in references.items():
            found.append(paired(Named(GROUP, f"{what} p50", "ms", against), took, reference, goals[against]))
        for against, reference in references.items():
            found.append(beside(Named(GROUP, f"{what} p99", "ms", against), _p99(took), _p99(reference)))
    nothing = Named(GROUP, "of it, an interpreter that does nothing, p50", "ms")
    return [*found, single(nothing, median(times.start), times.start)]


def _p99(samples: Sequence[float]) -> tuple[float, Sequence[float]]:
    return percentile(samples, 0.99), samples
