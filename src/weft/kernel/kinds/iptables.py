"""Chains of our own in iptables, where iptables is in use, and the jumps to them.

iptables has two back ends that do not see each other's rules. A back end's programs are run only if that back end is in
use or asked for: merely listing a table would make it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from weft.base.errors import Failed, WeftError
from weft.base.net import FAMILIES, Family
from weft.hoststate import IptablesChain, IptablesMap, Key, Object
from weft.hoststate.iptables import Backend
from weft.hoststate.rules.iptables import CHAIN_PREFIX
from weft.kernel.kinds.iptables_text import OfIptables, Saved, Wanted, Where, counters, found, of, parse, script
from weft.kernel.kinds.unheard import Unheard, generation, table_info
from weft.kernel.plumbing import netns, tools
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.nfnl import Nftables
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Failure, Op

PACKAGE = "iptables"
BACKENDS: tuple[Backend, ...] = ("nft", "legacy")
_NFPROTO: dict[Family, int] = {4: u.AF_INET, 6: u.AF_INET6}
_LEGACY_NAMES: dict[Family, Path] = {
    4: Path("/proc/thread-self/net/ip_tables_names"),
    6: Path("/proc/thread-self/net/ip6_tables_names"),
}


def in_use(table: str = "filter", parent: str = "FORWARD") -> frozenset[tuple[Family, Backend]]:
    """The back ends that have this table, with `parent` in it, in the calling thread's namespace."""
    with Nftables() as nftables:
        found: set[tuple[Family, Backend]] = {
            (family, "nft") for family in FAMILIES if nftables.has_chain(_NFPROTO[family], table, parent)
        }
    return frozenset(found) | legacy_in_use(table)


def legacy_in_use(table: str = "filter") -> frozenset[tuple[Family, Backend]]:
    """The old back end's share of that: cheap to ask for, and no event tells when it changes."""
    return frozenset((family, "legacy") for family in FAMILIES if table in _legacy_tables(family))


def _legacy_tables(family: Family) -> list[str]:
    path = _LEGACY_NAMES[family]
    return path.read_text().split() if path.exists() else []


def counted(ns: str) -> dict[str, list[tuple[int, int]]]:
    """Of the rules of our chains, packets and octets, by chain and family: "WEFT-…/4". Raises WeftError."""
    found: dict[str, list[tuple[int, int]]] = {}
    for where in netns.call(ns, lambda: list(_may_hold_ours())):
        for chain, counts in counters(netns.call(ns, lambda where=where: _saved(where, "-c"))).items():  # type: ignore[misc] # mypy infers no type for the default
            found[f"{chain}/{where.family}"] = counts
    return found


def save(where: Where) -> dict[str, Saved]:
    """The tables that there are; asking for them makes none. Raises WeftError."""
    return parse(_saved(where))


def _saved(where: Where, *options: str) -> str:
    output = tools.run([f"{where.program}-save", *options], PACKAGE)
    if output.status:
        raise Failed(f"the rules of iptables cannot be read: {where.program}-save: {tools.complaint(output)}")
    return output.out


class Iptables:
    """`started` is told the ids of the processes that change rules."""

    def __init__(self, started: tools.Started) -> None:
        self._started = started
        self.unheard = Unheard(_looks)

    def read(self, ns: str, desired: Iterable[Object]) -> dict[Key, OfIptables]:
        """Raises WeftError."""
        wanted = [obj for obj in desired if isinstance(obj, IptablesChain | IptablesMap) and obj.ns == ns]
        if wanted:
            self.unheard.reading(ns)
        return netns.call(ns, lambda: self._read(ns, wanted))

    def _read(self, ns: str, wanted: Sequence[IptablesChain | IptablesMap]) -> dict[Key, OfIptables]:
        places: dict[Where, Wanted] = {where: {} for where in _may_hold_ours()}
        for obj in wanted:
            places.setdefault(Where(obj.backend, obj.family), {})[obj.table, obj.name] = obj
        return {obj.key: obj for where, some in places.items() for obj in found(save(where), where, ns, some)}

    def apply(self, ns: str, ops: Sequence[Op]) -> list[Failure]:
        groups: dict[Where, list[Op]] = {}
        for op in ops:
            groups.setdefault(Where(of(op).backend, of(op).family), []).append(op)
        failures: list[Failure] = []
        try:
            with self.unheard.writing(ns):
                for where, group in groups.items():
                    failures += self._guard(ns, where, group)
        except WeftError as error:
            return [Failure(of(op).key, f"{describe(of(op).key)}: {error}") for op in ops]
        return failures

    def _guard(self, ns: str, where: Where, ops: Sequence[Op]) -> list[Failure]:
        """All at once; if that fails, by halves, to find out which it is."""
        work: Callable[[], str] = lambda: self._apply(where, ops)  # noqa: E731
        try:
            complaint = netns.call(ns, work)
        except WeftError as error:
            complaint = str(error)
        if not complaint:
            return []
        if len(ops) == 1:
            key = of(ops[0]).key
            return [Failure(key, f"{describe(key)}: {complaint}")]
        half = len(ops) // 2
        return [failure for some in (ops[:half], ops[half:]) for failure in self._guard(ns, where, some)]

    def _apply(self, where: Where, ops: Sequence[Op]) -> str:
        text = script(save(where), ops)
        if not text:
            return ""
        output = tools.run([f"{where.program}-restore", "--noflush", "-w", "10"], PACKAGE, text, self._started)
        return tools.complaint(output) if output.status else ""


def _looks(ns: str) -> bytes:
    """See `weft.kernel.kinds.unheard`."""
    old = [(family, table) for family in FAMILIES for table in _legacy_tables(family)]
    return b"".join([generation(ns), *(table_info(family, table) for family, table in old)])


def _may_hold_ours() -> Iterator[Where]:
    """The back ends that could hold a chain of ours in the calling thread's namespace, found out cheaply: their programs
    are slow to start."""
    with Nftables() as nftables:
        for family in FAMILIES:
            if any(name.startswith(CHAIN_PREFIX) for _table, name in nftables.chains(_NFPROTO[family])):
                yield Where("nft", family)
    yield from (Where("legacy", family) for family in FAMILIES if _legacy_tables(family))
