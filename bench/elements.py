"""A set of a hundred thousand elements, and one element more: by Weft's adapter and by `nft -f`, in turns.

Runs inside a namespace of its own (a lab's host): `python -m bench.elements COUNT ROUNDS` prints seconds as JSON.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from weft.base.errors import Failed
from weft.hoststate import NftElement, NftSet
from weft.hoststate.firewall import set_text
from weft.kernel.linux import LinuxKernel
from weft.reconcile.protocol import Create, Op, Remove

ADDRESSES = NftSet(name="addresses", type=("ipv4_addr",))
PREFIXES = NftSet(name="prefixes", type=("ipv4_addr",), flags=("interval",))
_ONES = 5


class Times(msgspec.Struct):
    """Seconds, one for each round; `…_cpu`: of it on a processor. `one`: another element, when all are there."""

    all: list[float] = []
    all_cpu: list[float] = []
    all_by_nft: list[float] = []
    all_by_nft_cpu: list[float] = []
    one: list[float] = []
    one_by_nft: list[float] = []


class Both(msgspec.Struct):
    addresses: Times
    prefixes: Times


def elements(holder: NftSet, count: int) -> list[NftElement]:
    """Single addresses, or prefixes that do not touch, as many."""
    tail = "/28" if holder.flags else ""
    step = 32 if holder.flags else 1
    numbers = ((10 << 24) + i * step for i in range(count))
    texts = (f"{n >> 24}.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}{tail}" for n in numbers)
    return [NftElement(set=holder.name, value=text) for text in texts]


class Bench:
    def __init__(self, holder: NftSet, count: int, folder: Path) -> None:
        self._kernel = LinuxKernel({}, folder)
        some = elements(holder, count)
        self._ops: list[Op] = [Create(holder), *(Create(element) for element in some)]
        self._removal = Remove(holder)
        self._one = NftElement(set=holder.name, value="9.0.0.1")
        self._file = folder / holder.name
        listed = ", ".join(element.value for element in some)
        place = f"{holder.table} {holder.name}"
        lines = f"add table {holder.table}", f"add {set_text(holder)}", f"add element {place} {{ {listed} }}"
        self._file.write_text("\n".join(lines) + "\n")
        self._add_one = f"add element {place} {{ {self._one.value} }}"
        self._delete_one = f"delete element {place} {{ {self._one.value} }}"

    def round(self, times: Times, first: bool) -> None:
        for part in (self._by_weft, self._by_nft) if first else (self._by_nft, self._by_weft):
            part(times)
            _expect_nothing(self._kernel.apply([self._removal]))

    def _by_weft(self, times: Times) -> None:
        with _timed(times.all, times.all_cpu, resource.RUSAGE_SELF):
            failures = self._kernel.apply(self._ops)
        _expect_nothing(failures)
        for _ in range(_ONES):
            with _timed(times.one):
                failures = self._kernel.apply([Create(self._one)])
            _expect_nothing(failures)
            _expect_nothing(self._kernel.apply([Remove(self._one)]))

    def _by_nft(self, times: Times) -> None:
        with _timed(times.all_by_nft, times.all_by_nft_cpu, resource.RUSAGE_CHILDREN):
            _nft("-f", str(self._file))
        for _ in range(_ONES):
            with _timed(times.one_by_nft):
                _nft(self._add_one)
            _nft(self._delete_one)


@contextmanager
def _timed(into: list[float], cpu: list[float] | None = None, who: int = resource.RUSAGE_SELF) -> Iterator[None]:
    before, start = resource.getrusage(who), time.perf_counter()
    yield
    into.append(time.perf_counter() - start)
    after = resource.getrusage(who)
    if cpu is not None:
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def _expect_nothing(failures: object) -> None:
    if failures:
        raise Failed(f"not all was made: {failures}")


def _nft(*words: str) -> None:
    subprocess.run(("nft", *words), check=True, stdout=subprocess.DEVNULL, timeout=120)


def main(count: int, rounds: int) -> None:
    found = Both(Times(), Times())
    with tempfile.TemporaryDirectory() as folder:
        for holder, times in ((ADDRESSES, found.addresses), (PREFIXES, found.prefixes)):
            bench = Bench(holder, count, Path(folder))
            for number in range(rounds):
                bench.round(times, first=number % 2 == 0)
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
