"""Ten thousand routes, neighbours and FDB entries: by Weft and by `ip -batch` and `bridge -batch`, in turns.

Runs inside a namespace of its own (a lab's host): `python -m bench.bulk COUNT ROUNDS` prints seconds as JSON.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from weft.base.errors import Failed
from weft.hoststate import Address, FdbEntry, Key, Link, Neighbour, Object, Route, Vxlan, route
from weft.kernel.linux import LinuxKernel
from weft.reconcile.protocol import Create
from weft.reconcile.reconciler import Reconciler

DEVICE = "weft.9"
BASE: tuple[Object, ...] = (
    Link(name=DEVICE, type=Vxlan(vni=9, port=8472, local="127.0.0.1", dev="lo"), mtu=1450, mac="02:00:00:00:09:00"),
    Address(address="10.0.0.0/32", dev=DEVICE),
)


class Times(msgspec.Struct):
    """Seconds, one for each round. `apply`: the kernel adapter alone; `programmed`: the reconciler, from reading what is
    there to knowing what it did; `resync`: all of it again when nothing differs; `dumped`: by `ip -j` and `bridge -j`."""

    apply: list[float] = []
    programmed: list[float] = []
    by_batch: list[float] = []
    resync: list[float] = []
    dumped: list[float] = []


def objects(count: int) -> list[Object]:
    """As so many peers of a VXLAN network make them: a neighbour, an FDB entry and a route each."""
    nets = [f"10.{1 + i // 256}.{i % 256}" for i in range(count)]
    macs = [f"02:00:00:{i >> 16:02x}:{i >> 8 & 255:02x}:{i & 255:02x}" for i in range(1, count + 1)]
    return [
        *(Neighbour(address=f"{net}.0", lladdr=mac, dev=DEVICE) for net, mac in zip(nets, macs, strict=True)),
        *(FdbEntry(lladdr=mac, dst=f"192.168.{i // 250}.{i % 250 + 1}", dev=DEVICE) for i, mac in enumerate(macs)),
        *(route(f"{net}.0/24", via=f"{net}.0", dev=DEVICE, onlink=True) for net in nets),
    ]


def batch_lines(things: Sequence[Object]) -> dict[str, list[str]]:
    """The same objects as input of `ip -batch` and `bridge -batch`."""
    lines: dict[str, list[str]] = {"ip": [], "bridge": []}
    for thing in things:
        match thing:
            case Neighbour(address=address, lladdr=mac):
                lines["ip"].append(f"neighbour add {address} lladdr {mac} dev {DEVICE} nud permanent protocol 87")
            case FdbEntry(lladdr=mac, dst=dst):
                lines["bridge"].append(f"fdb add {mac} dev {DEVICE} dst {dst} self permanent")
            case Route(prefix=prefix, via=via):
                lines["ip"].append(f"route add {prefix} via {via} dev {DEVICE} onlink proto 87")
    return lines


class Bench:
    def __init__(self, count: int, folder: Path) -> None:
        self._things = objects(count)
        self._desired: dict[Key, Object] = {thing.key: thing for thing in (*BASE, *self._things)}
        self._kernel = LinuxKernel(self._desired, folder)
        self._files = {tool: folder / tool for tool in ("ip", "bridge")}
        for tool, lines in batch_lines(self._things).items():
            self._files[tool].write_text("\n".join(lines) + "\n")

    def round(self, times: Times, first: bool) -> None:
        parts: list[Callable[[Times], None]] = [self._apply, self._reconcile, self._batch]
        for part in parts if first else reversed(parts):
            _expect_nothing(self._kernel.apply([Create(obj) for obj in BASE]))
            part(times)
            _run("ip", "link", "delete", DEVICE)

    def _apply(self, times: Times) -> None:
        ops = [Create(thing) for thing in self._things]
        with _timed(times.apply):
            failures = self._kernel.apply(ops)
        _expect_nothing(failures)

    def _reconcile(self, times: Times) -> None:
        reconciler = Reconciler(self._kernel, self._desired, time.monotonic)
        reconciler.complete = True
        with _timed(times.programmed):
            report = reconciler.resync()
        _expect_nothing(report.failures)
        with _timed(times.dumped):
            for command in (
                "ip -j route show proto 87",
                f"ip -j neigh show dev {DEVICE}",
                f"bridge -j fdb show dev {DEVICE}",
            ):
                _run(*command.split())
        reconciler.resync()  # the first one replaces what was read by what was desired; it is a start, not the usual
        with _timed(times.resync):
            report = reconciler.resync()
        _expect_nothing((*report.ops, *report.failures))

    def _batch(self, times: Times) -> None:
        with _timed(times.by_batch):
            for tool, file in self._files.items():
                _run(tool, "-batch", str(file))


class _timed:
    def __init__(self, into: list[float]) -> None:
        self._into = into

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._into.append(time.perf_counter() - self._start)


def _expect_nothing(things: Sequence[object]) -> None:
    if things:
        raise Failed(f"{len(things)} objects were not as they should be, the first: {things[0]}")


def _run(*words: str) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=60)


def main(count: int, rounds: int) -> None:
    times = Times()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(count, Path(folder))
        for number in range(rounds):
            bench.round(times, first=number % 2 == 0)
    sys.stdout.buffer.write(msgspec.json.encode(times))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
