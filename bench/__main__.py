"""`python -m bench [WORD…] [--json FILE] [--quick]`: measures, prints a table, keeps the samples."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.status import Status

from bench import (
    agent,
    aws,
    bgp,
    cni,
    convergence,
    counted,
    datapath,
    dns,
    docker,
    fastpath,
    inspect,
    labs,
    mesh,
    neutron,
    policy,
    readiness,
    remote,
    report,
    routing_mesh,
    services,
    sleeve,
    spread,
    swim,
    trace,
    udp,
)
from bench.figures import Figure
from weft.base.errors import WeftError

Progress = Callable[[str], None]
BENCHMARKS: dict[str, Callable[[bool, Progress], list[Figure]]] = {
    "datapath": lambda quick, progress: datapath.run(datapath.QUICK if quick else datapath.Effort(), progress),
    "agent": lambda quick, progress: agent.run(agent.QUICK if quick else agent.Effort(), progress),
    "cni": lambda quick, progress: cni.run(cni.QUICK if quick else cni.Effort(), progress),
    "convergence": lambda quick, progress: convergence.run(
        convergence.QUICK if quick else convergence.Effort(), progress
    ),
    "spread": lambda quick, progress: spread.run(spread.QUICK if quick else spread.Effort(), progress),
    "readiness": lambda quick, progress: readiness.run(readiness.QUICK if quick else readiness.Effort(), progress),
    "overlay-remote": lambda quick, progress: remote.run(remote.QUICK if quick else remote.Effort(), progress),
    "fastpath": lambda quick, progress: fastpath.run(fastpath.QUICK if quick else fastpath.Effort(), progress),
    "docker": lambda quick, progress: docker.run(docker.QUICK if quick else docker.Effort(), progress),
    "policy": lambda quick, progress: policy.run(policy.QUICK if quick else policy.Effort(), progress),
    "services": lambda quick, progress: services.run(services.QUICK if quick else services.Effort(), progress),
    "routing-mesh": lambda quick, progress: routing_mesh.run(
        routing_mesh.QUICK if quick else routing_mesh.Effort(), progress
    ),
    "dns": lambda quick, progress: dns.run(dns.QUICK if quick else dns.Effort(), progress),
    "inspect": lambda quick, progress: inspect.run(inspect.QUICK if quick else inspect.Effort(), progress),
    "trace": lambda quick, progress: trace.run(trace.QUICK if quick else trace.Effort(), progress),
    "udp": lambda quick, progress: udp.run(udp.QUICK if quick else udp.Effort(), progress),
    "swim": lambda quick, progress: swim.run(swim.QUICK if quick else swim.Effort(), progress),
    "mesh": lambda quick, progress: mesh.run(mesh.QUICK if quick else mesh.Effort(), progress),
    "sleeve": lambda quick, progress: sleeve.run(udp.QUICK if quick else udp.Effort(), progress),
    "aws": lambda quick, progress: aws.run(aws.QUICK if quick else aws.Effort(), progress),
    "neutron": lambda quick, progress: neutron.run(neutron.QUICK if quick else neutron.Effort(), progress),
    "bgp": lambda quick, progress: bgp.run(bgp.QUICK if quick else bgp.Effort(), progress),
}


def _services(driver: str, quick: bool, progress: Progress) -> list[Figure]:
    return services.packets(driver, services.QUICK if quick else services.Effort(), progress)


def _datapath(driver: str, quick: bool, progress: Progress) -> list[Figure]:
    return datapath.run(datapath.QUICK if quick else datapath.Effort(), progress, [driver])


def _fastpath(case: fastpath.Case, quick: bool, progress: Progress) -> list[Figure]:
    return fastpath.run(fastpath.QUICK if quick else fastpath.Effort(), progress, [case])


def _counted(cases: Sequence[fastpath.Case], quick: bool, progress: Progress) -> list[Figure]:
    return counted.run(counted.QUICK if quick else counted.EFFORT, progress, cases)


PARTS: dict[str, Callable[[bool, Progress], list[Figure]]] = {
    **{f"datapath-{driver}": partial(_datapath, driver) for driver in datapath.DRIVERS},
    **{f"services-{driver}": partial(_services, driver) for driver in services.SUBNETS},
    **{f"fastpath-{case.word}": partial(_fastpath, case) for case in fastpath.CASES},
}
"""Of a benchmark, to be had by themselves."""
IN_VM: dict[str, Callable[[bool, Progress], list[Figure]]] = {
    "fastpath": partial(_counted, fastpath.CASES),
    **{f"fastpath-{case.word}": partial(_counted, [case]) for case in fastpath.CASES},
}
"""With `--vm`."""
_KNOWN = f"{', '.join(BENCHMARKS)}; a part: {', '.join(PARTS)}"


def parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(prog="bench", description="Weft's benchmarks; docs/performance.md explains them.")
    words.add_argument("which", nargs="*", metavar="WORD", help=f"of {_KNOWN}; without one, all")
    words.add_argument("--json", type=Path, metavar="FILE", help="also write every sample there")
    words.add_argument(
        "--quick", action="store_true", help="fewer rounds, about five minutes; for a look, not for the record"
    )
    words.add_argument(
        "--vm",
        action="store_true",
        help="of fastpath and its parts: instructions, counted in a virtual machine with Debian's kernel",
    )
    return words


def chosen(words: Sequence[str]) -> argparse.Namespace:
    options = parser().parse_args(words)
    unknown = [word for word in options.which if word not in {**BENCHMARKS, **PARTS}]
    if unknown:
        parser().error(f"no benchmark '{unknown[0]}': there are {_KNOWN}")
    timed = [word for word in options.which if word not in IN_VM]
    if options.vm and (timed or not options.which):
        parser().error(f"--vm: what is counted are {', '.join(IN_VM)}; not {timed[0] if timed else 'all'}")
    options.which = options.which or list(BENCHMARKS)
    return options


def main(words: Sequence[str]) -> int:
    options = chosen(words)
    if os.geteuid() != 0:
        print("bench: it builds network namespaces: run it as root or with sudo", file=sys.stderr)
        return 1
    labs.importable()
    about, figures = report.machine(), list[Figure]()
    try:
        for name in options.which:
            figures += _one(name, options.quick, IN_VM if options.vm else {**BENCHMARKS, **PARTS})
    except WeftError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        report.write(options.json, figures, about)
    return 0


def _one(name: str, quick: bool, known: Mapping[str, Callable[[bool, Progress], list[Figure]]]) -> list[Figure]:
    """Measured and shown; progress on stderr, on a terminal only."""
    terminal = Console(stderr=True)
    with Status(name, console=terminal) as status:
        figures = known[name](quick, status.update)
    out = Console() if sys.stdout.isatty() else Console(width=report.WIDTH)
    report.show(figures, out)
    return figures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
