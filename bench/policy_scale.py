"""Policy in a large cluster, on one host: all of it at once, then one label after the other.

Runs inside a namespace of its own (a lab's host): `python -m bench.policy_scale ENDPOINTS POLICIES LABELS` prints JSON.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from bench.policies import ON_EACH, Cluster, allowing
from weft.base.errors import Failed
from weft.kernel.linux import LinuxKernel


class Times(msgspec.Struct):
    """Seconds; `…_ms` milliseconds, one for each label that changes. `rss`: MB at the end."""

    compute: float = 0.0
    kernel: float = 0.0
    objects: int = 0
    label_compute_ms: list[float] = []
    label_kernel_ms: list[float] = []
    policy_compute_ms: list[float] = []
    policy_kernel_ms: list[float] = []
    rss: float = 0.0


def main(endpoints: int, policies: int, labels: int) -> Times:
    times, apps = Times(), max(1, policies // 2)
    of = {n: {"app": f"a{n % apps}", "zone": str(n % 3)} for n in range(endpoints)}
    some = [
        allowing(n, f'app == "a{n % apps}"', f'app == "a{(n * 7 + 1) % apps}"', 80 + n % 10) for n in range(policies)
    ]
    with tempfile.TemporaryDirectory() as folder:
        kernel, cluster = LinuxKernel({}, Path(folder)), Cluster()
        start = time.perf_counter()
        cluster.put(range(endpoints), of)
        cluster.policies(some)
        times.compute, times.kernel, times.objects = _step(kernel, cluster, start)
        for n in range(labels):
            remote = ON_EACH + n * 37 % max(1, endpoints - ON_EACH)
            # Into a set that a rule of this host names: the one of an endpoint here.
            app = f"a{((n % ON_EACH) * 7 + 1) % apps}"
            start = time.perf_counter()
            cluster.put([remote], {remote: {"app": app, "n": str(n)}})
            compute, took, _ = _step(kernel, cluster, start)
            times.label_compute_ms.append(1000 * compute)
            times.label_kernel_ms.append(1000 * took)
        for n in range(min(labels, 30)):
            start = time.perf_counter()
            cluster.policies([allowing(n, f'app == "a{n % apps}"', f'app == "a{(n + 3) % apps}"', 9000)])
            compute, took, _ = _step(kernel, cluster, start)
            times.policy_compute_ms.append(1000 * compute)
            times.policy_kernel_ms.append(1000 * took)
    times.rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return times


def _step(kernel: LinuxKernel, cluster: Cluster, start: float) -> tuple[float, float, int]:
    """Seconds of computing and in the kernel, and how many objects it took."""
    ops = cluster.ops()
    computed = time.perf_counter()
    if failures := kernel.apply(ops):
        raise Failed(failures[0].reason)
    done = time.perf_counter()
    cluster.carried_out(ops)
    return computed - start, done - computed, len(ops)


if __name__ == "__main__":
    print(msgspec.json.encode(main(*map(int, sys.argv[1:4]))).decode())
