"""The same paths as `bench.fastpath`, counted instead of timed: `./dev bench fastpath --vm`.

A virtual machine with Debian's kernel whose processor is emulated and takes two nanoseconds for each instruction (QEMU's
`-icount shift=1`), so that its clock counts instructions: what else this machine does changes nothing, and figures come
again within a percent. It has one CPU, and no agents: Weft's networks are compiled and made in its kernel (`bench.compiled`).
Instead of Docker's overlay there is what Docker makes, wired by hand.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from bench import compiled, fastpath, labs, wired
from bench.fastpath import CASES, DOCKER, ORDINARY, PLACES, POLICY, WEFT, Case, Effort, Options, Progress, Samples
from bench.figures import Figure
from bench.traffic import Pair
from weft.base.errors import Failed, Unsupported
from weft.base.net import parse_network
from weft.lab import Lab, flat
from weft.lab.inside import InsideProcess
from weft.lab.state import BASE_VARIABLE
from weft.model import Network, Node, decode, encode

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from support import guest

LIKE_DOCKER = "as Docker's overlay, by hand"
SHIFT = 1
"""An instruction takes 2^SHIFT nanoseconds."""
_RATE = 1e9 / 2**SHIFT
"""Instructions in a second of the machine's clock."""
EFFORT = Effort(turns=7, seconds=1e6, trips=150, connections=30, streams=1, mib=4)
QUICK = msgspec.structs.replace(EFFORT, turns=4)
_LINE = f"mount -t tmpfs labs /mnt && env {BASE_VARIABLE}=/mnt PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=src:. "
"""For the machine's shell. A lab has sockets, which the root file system there cannot."""
_LONGEST = 3_600.0
"""Seconds, on this machine."""
Found = dict[str, dict[str, Samples]]
"""By title of the case."""


def run(effort: Effort, progress: Progress, cases: Sequence[Case] = CASES) -> list[Figure]:
    """Raises Unsupported, Failed."""
    if why := guest.missing():
        raise Unsupported(why)
    progress("fastpath: counted in a virtual machine")
    with tempfile.TemporaryDirectory(prefix="weft-vm-") as folder:
        wanted, found = Path(folder, "wanted"), Path(folder, "found")
        wanted.write_bytes(encode((effort, [case.word for case in cases])))
        words = [sys.executable, "-m", "bench.counted", folder]
        said = guest.boot(
            _LINE + shlex.join(words), Path(folder), _LONGEST, cpus=1, qemu=f"-icount shift={SHIFT},sleep=on"
        )
        if not found.exists():
            raise Failed(f"the virtual machine ended early: {' | '.join(said.strip().splitlines()[-3:])}")
        samples = decode(Found, found.read_bytes())
    return [
        in_instructions(figure) for case in cases for figure in fastpath.figures_of(_by_hand(case), samples[case.title])
    ]


def _by_hand(case: Case) -> Case:
    beside = {LIKE_DOCKER if name == DOCKER else name: least for name, least in case.beside.items()}
    return msgspec.structs.replace(case, beside=beside)


_UNITS = {
    "/s": ("/10⁹ instr.", 1e9 / _RATE),
    "Gbit/s": ("Gbit/10⁹ instr.", 1e9 / _RATE),
    "s": ("10⁹ instr.", _RATE / 1e9),
}
_UNITS["µs"] = ("instr.", _RATE / 1e6)


def in_instructions(figure: Figure) -> Figure:
    """What was measured by a clock that counts them."""
    unit, factor = _UNITS[figure.unit]
    return msgspec.structs.replace(
        figure,
        group=figure.group.replace("fast path", "fast path, instructions", 1),
        unit=unit,
        value=figure.value * factor,
        reference=None if figure.reference is None else figure.reference * factor,
        samples={name: [each * factor for each in some] for name, some in figure.samples.items()},
    )


# -- in the machine ----------------------------------------------------------------------------------------------------


def inside(folder: Path) -> None:
    labs.importable()
    effort, words = decode(tuple[Effort, list[str]], (folder / "wanted").read_bytes())
    cases = [_by_hand(case) for case in CASES if case.word in words]
    with labs.up(flat(14)) as lab, _sides(lab) as sides:
        others = fastpath.by_hand(lab)
        wired.wire_overlay(lab, PLACES[DOCKER], tracked=True)
        others[LIKE_DOCKER] = fastpath.pair(lab, LIKE_DOCKER, PLACES[DOCKER], "overlay", wired.OVERLAY[1])
        found = {
            case.title: fastpath.measured(lab, case, sides.make, others, effort, lambda step: print(step, flush=True))
            for case in cases
        }
    (folder / "found").write_bytes(encode(found))


class Sides:
    """Of all hosts that have networks of Weft's."""

    def __init__(self, processes: dict[str, InsideProcess]) -> None:
        self._processes = processes

    @contextmanager
    def make(self, lab: Lab, case: Case, name: str, options: Options) -> Iterator[Pair]:
        hosts = PLACES[name]
        nodes = tuple(
            Node(name=host, addresses=lab.topology.place(host).addresses, uplink="eth0", instance=host, version="0")
            for host in hosts
        )
        network = Network(
            name=case.driver,
            driver=case.driver,
            subnets=(parse_network(fastpath.SUBNET),),
            options={"reach": "self", **options},
        )
        places = (0, 0) if case.near else (0, 1)
        model = compiled.Model(network=network, nodes=nodes, places=places, policy=POLICY if case.policy else {})
        one, two = model.endpoints
        for host in hosts:
            self._tell(host, encode(model).decode())
        client, server = (lab.host(end.node).container(end.container) for end in (one, two))
        yield Pair(name, client, server, str(two.addresses[0].ip))
        for host in hosts:
            self._tell(host, "")

    def _tell(self, host: str, line: str) -> None:
        """Raises Failed."""
        process = self._processes[host]
        assert process.stdin and process.stdout
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        if said := process.stdout.readline().strip():
            raise Failed(f"{host}: {said}")


@contextmanager
def _sides(lab: Lab) -> Iterator[Sides]:
    with ExitStack() as stack:
        hosts = (*PLACES[WEFT], *PLACES[ORDINARY])
        yield Sides(
            {host: stack.enter_context(labs.started(lab.host(host), labs.module("compiled", host))) for host in hosts}
        )


if __name__ == "__main__":
    inside(Path(sys.argv[1]))
