"""Chains of our own in iptables, where iptables is in use, and the jumps to them.

iptables has two back ends that do not see each other's rules. A back end's programs are run only if that back end is in
use or asked for: merely listing a table would make it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from weft.base.errors import Failed, WeftError
from weft.base.net import FAMILIES, Family
from weft.hoststate import IptablesChain, Key, Object
from weft.hoststate.firewall import CHAIN_PREFIX
from weft.kernel.plumbing import netns, tools
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.nfnl import Nftables
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Failure, Op, Remove

PACKAGE = "iptables"
Backend = Literal["nft", "legacy"]
BACKENDS: tuple[Backend, ...] = ("nft", "legacy")
_PROGRAM: dict[Family, str] = {4: "iptables", 6: "ip6tables"}
_NFPROTO: dict[Family, int] = {4: u.AF_INET, 6: u.AF_INET6}
_LEGACY_NAMES: dict[Family, Path] = {
    4: Path("/proc/thread-self/net/ip_tables_names"),
    6: Path("/proc/thread-self/net/ip6_tables_names"),
}


class Where(msgspec.Struct, frozen=True):
    """One table of one back end."""

    backend: Backend
    family: Family
    table: str = "filter"

    @property
    def program(self) -> str:
        return f"{_PROGRAM[self.family]}-{self.backend}"


def in_use(table: str = "filter", parent: str = "FORWARD") -> frozenset[tuple[Family, Backend]]:
    """The back ends that have this table, with `parent` in it, in the calling thread's namespace."""
    with Nftables() as nftables:
        found: set[tuple[Family, Backend]] = {
            (family, "nft") for family in FAMILIES if nftables.has_chain(_NFPROTO[family], table, parent)
        }
    return frozenset(found) | legacy_in_use(table)


def legacy_in_use(table: str = "filter") -> frozenset[tuple[Family, Backend]]:
    """The old back end's share of that: cheap to ask for, and no event tells when it changes."""
    return frozenset(
        (family, "legacy")
        for family, path in _LEGACY_NAMES.items()
        if path.exists() and table in path.read_text().split()
    )


_DOCKER = re.compile(
    r"-j DOCKER-(?:USER|ISOLATION-STAGE-1|FORWARD)|(?:.* )?(?<!! )-[io] (?:docker\S+|br-[0-9a-f]{12}) .*"
)
"""What Docker puts first in FORWARD whenever it makes a network: jumps to chains where it drops what goes to its own
bridges, and where an administrator drops what is meant to be dropped; and rules for one bridge of its own."""


class Table(msgspec.Struct):
    """What `iptables-save` says of one table: rules by chain, in order."""

    rules: dict[str, list[str]]

    def jumps(self, chain: str) -> list[str]:
        """The chains that jump to `chain` without a condition, as often as they do."""
        return [parent for parent, rules in self.rules.items() for rule in rules if rule == f"-j {chain}"]

    def leads(self, parent: str, chain: str) -> bool:
        """Whether the jump is there once, with nothing but jumps of ours, and of Docker's, before it."""
        rules, jump = self.rules.get(parent, []), f"-j {chain}"
        if rules.count(jump) != 1:
            return False
        before = rules[: rules.index(jump)]
        return all(rule.startswith(f"-j {CHAIN_PREFIX}") or _DOCKER.fullmatch(rule) for rule in before)


def parse(text: str) -> Table:
    rules: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith(":"):
            rules.setdefault(line[1:].split(" ", 1)[0], [])
        elif line.startswith("-A "):
            _, chain, rule = (*line.split(" ", 2), "")[:3]
            rules.setdefault(chain, []).append(rule)
    return Table(rules)


def save(where: Where) -> Table:
    """Raises WeftError."""
    output = tools.run([f"{where.program}-save", "-t", where.table], PACKAGE)
    if output.status:
        raise Failed(f"table {where.table} cannot be read: {where.program}-save: {tools.complaint(output)}")
    return parse(output.out)


def chains(table: Table, where: Where, ns: str, parents: dict[str, str]) -> Iterator[IptablesChain]:
    """Ours. `parents`: where the jump is meant to be; a jump that is not there, or not first, shows as no parent."""
    for name, rules in table.rules.items():
        if name.startswith(CHAIN_PREFIX):
            parent = parents.get(name) or next(iter(table.jumps(name)), "")
            yield IptablesChain(
                backend=where.backend,
                family=where.family,
                table=where.table,
                parent=parent if table.leads(parent, name) else "",
                name=name,
                rules=tuple(rules),
                ns=ns,
            )


def script(table: Table, where: Where, ops: Iterable[Op]) -> str:
    """For `iptables-restore --noflush`: naming a chain of one's own empties it."""
    declare, fill = [], []
    for op in ops:
        obj = op.new if isinstance(op, Change) else op.obj
        assert isinstance(obj, IptablesChain)
        name = obj.name
        stale = [f"-D {parent} -j {name}" for parent in table.jumps(name)]
        if isinstance(op, Remove):
            if name in table.rules:
                fill += [*stale, f"-F {name}", f"-X {name}"]
            continue
        declare.append(f":{name} - [0:0]")
        fill += [f"-A {name} {rule}" for rule in obj.rules]
        if not table.leads(obj.parent, name) or len(stale) != 1:
            fill += [*stale, f"-I {obj.parent} 1 -j {name}"]
    if not declare and not fill:
        return ""
    return "\n".join([f"*{where.table}", *declare, *fill, "COMMIT", ""])


class Iptables:
    """`started` is told the ids of the processes that change rules."""

    def __init__(self, started: tools.Started) -> None:
        self._started = started

    def read(self, ns: str, desired: Iterable[Object]) -> dict[Key, IptablesChain]:
        """Raises WeftError."""
        wanted = [obj for obj in desired if isinstance(obj, IptablesChain) and obj.ns == ns]
        return netns.call(ns, lambda: self._read(ns, wanted))

    def _read(self, ns: str, wanted: Sequence[IptablesChain]) -> dict[Key, IptablesChain]:
        parents: dict[Where, dict[str, str]] = {Where(backend, family): {} for family, backend in in_use()}
        for obj in wanted:
            parents.setdefault(Where(obj.backend, obj.family, obj.table), {})[obj.name] = obj.parent
        found: dict[Key, IptablesChain] = {}
        with Nftables() as nftables:
            for where, names in parents.items():
                if not names and not _ours_there(nftables, where):
                    continue
                for chain in chains(save(where), where, ns, names):
                    found[chain.key] = chain
        return found

    def apply(self, ns: str, ops: Sequence[Op]) -> list[Failure]:
        groups: dict[Where, list[Op]] = {}
        for op in ops:
            obj = op.new if isinstance(op, Change) else op.obj
            assert isinstance(obj, IptablesChain)
            groups.setdefault(Where(obj.backend, obj.family, obj.table), []).append(op)
        failures: list[Failure] = []
        for where, group in groups.items():
            failures += self._guard(ns, where, group)
        return failures

    def _guard(self, ns: str, where: Where, ops: Sequence[Op]) -> list[Failure]:
        """All at once; if that fails, one by one, to find out which it is."""
        work: Callable[[], str] = lambda: self._apply(where, ops)  # noqa: E731
        try:
            complaint = netns.call(ns, work)
        except WeftError as error:
            complaint = str(error)
        if not complaint:
            return []
        if len(ops) == 1:
            op = ops[0]
            key = op.new.key if isinstance(op, Change) else op.obj.key
            return [Failure(key, f"{describe(key)}: {complaint}")]
        return [failure for op in ops for failure in self._guard(ns, where, [op])]

    def _apply(self, where: Where, ops: Sequence[Op]) -> str:
        text = script(save(where), where, ops)
        if not text:
            return ""
        output = tools.run([f"{where.program}-restore", "--noflush", "-w", "10"], PACKAGE, text, self._started)
        return tools.complaint(output) if output.status else ""


def _ours_there(nftables: Nftables, where: Where) -> bool:
    """Cheaply, whether a back end that nobody asks for could hold a chain of ours: its programs are slow to start."""
    if where.backend == "legacy":
        return True
    return nftables.has_chain(_NFPROTO[where.family], where.table, f"{CHAIN_PREFIX}FORWARD")
