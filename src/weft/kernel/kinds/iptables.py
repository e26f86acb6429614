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
from weft.hoststate.ipset import SET_PREFIX
from weft.hoststate.rules import MARK, FoundRule
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
    """One back end."""

    backend: Backend
    family: Family

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
    return frozenset((family, "legacy") for family in FAMILIES if table in _legacy_tables(family))


def _legacy_tables(family: Family) -> list[str]:
    path = _LEGACY_NAMES[family]
    return path.read_text().split() if path.exists() else []


_DOCKER = re.compile(
    r"-j DOCKER-(?:USER|ISOLATION-STAGE-1|FORWARD)|(?:.* )?(?<!! )-[io] (?:docker\S+|br-[0-9a-f]{12}) .*"
)
"""What Docker puts first in FORWARD whenever it makes a network: jumps to chains where it drops what goes to its own
bridges, and where an administrator drops what is meant to be dropped; and rules for one bridge of its own."""


Parents = dict[tuple[str, str], str]
"""By table and chain."""
_COMMENT = re.compile(rf'--comment "?({MARK.pattern})"?')
_JUMP = re.compile(rf"-[jg] ({CHAIN_PREFIX}\S+)")
_SET = re.compile(rf"--match-set {SET_PREFIX}(\S+)")


class Saved(msgspec.Struct):
    """What `iptables-save` says of one table: rules by chain, in order."""

    rules: dict[str, list[str]]

    def jumps(self, chain: str) -> list[str]:
        """The chains of others that jump to `chain` without a condition, as often as they do."""
        others = {name: rules for name, rules in self.rules.items() if not name.startswith(CHAIN_PREFIX)}
        return [parent for parent, rules in others.items() for rule in rules if rule == f"-j {chain}"]

    def leads(self, parent: str, chain: str) -> bool:
        """Whether the jump is there once, with nothing but jumps of ours, and of Docker's, before it."""
        rules, jump = self.rules.get(parent, []), f"-j {chain}"
        if rules.count(jump) != 1:
            return False
        before = rules[: rules.index(jump)]
        return all(rule.startswith(f"-j {CHAIN_PREFIX}") or _DOCKER.fullmatch(rule) for rule in before)


def parse(text: str) -> dict[str, Saved]:
    """By the tables' names."""
    tables: dict[str, Saved] = {}
    rules: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            rules = tables.setdefault(line[1:], Saved({})).rules
        elif line.startswith(":"):
            rules.setdefault(line[1:].split(" ", 1)[0], [])
        elif line.startswith("-A "):
            _, chain, rule = (*line.split(" ", 2), "")[:3]
            rules.setdefault(chain, []).append(rule)
    return tables


def save(where: Where) -> dict[str, Saved]:
    """The tables that there are; asking for them makes none. Raises WeftError."""
    output = tools.run([f"{where.program}-save"], PACKAGE)
    if output.status:
        raise Failed(f"the rules of iptables cannot be read: {where.program}-save: {tools.complaint(output)}")
    return parse(output.out)


def chains(tables: dict[str, Saved], where: Where, ns: str, parents: Parents) -> Iterator[IptablesChain]:
    """Ours, in all tables. `parents`: where the jump is meant to be, by table and chain; a jump that is not there, or not
    first, shows as no parent."""
    for table, content in tables.items():
        for name, rules in content.rules.items():
            if not name.startswith(CHAIN_PREFIX):
                continue
            parent = parents.get((table, name)) or next(iter(content.jumps(name)), "")
            yield IptablesChain(
                backend=where.backend,
                family=where.family,
                table=table,
                parent=parent if parent and content.leads(parent, name) else "",
                name=name,
                rules=tuple(map(_seen, rules)),
                ns=ns,
            )


def _seen(line: str) -> FoundRule:
    """A rule that `iptables-save` printed."""
    mark = _COMMENT.search(line)
    return FoundRule(mark[1] if mark else "", sets=tuple(_SET.findall(line)), jumps=tuple(_JUMP.findall(line)))


def script(tables: dict[str, Saved], ops: Iterable[Op]) -> str:
    """For `iptables-restore --noflush`, where naming a chain of one's own empties it. Each table changes at once."""
    groups: dict[str, list[Op]] = {}
    for op in ops:
        groups.setdefault(_chain(op).table, []).append(op)
    return "".join(_script(name, tables.get(name, Saved({})), group) for name, group in groups.items())


def _script(name: str, table: Saved, ops: Iterable[Op]) -> str:
    declare, fill = [], []
    for op in ops:
        obj = _chain(op)
        stale = [f"-D {parent} -j {obj.name}" for parent in table.jumps(obj.name)]
        if isinstance(op, Remove):
            if obj.name in table.rules:
                fill += [*stale, f"-F {obj.name}", f"-X {obj.name}"]
            continue
        declare.append(f":{obj.name} - [0:0]")
        fill += [f"-A {obj.name} {line}" for line in obj.lines]
        if not obj.parent:
            fill += stale
        elif not table.leads(obj.parent, obj.name) or len(stale) != 1:
            fill += [*stale, f"-I {obj.parent} 1 -j {obj.name}"]
    if not declare and not fill:
        return ""
    return "\n".join([f"*{name}", *declare, *fill, "COMMIT", ""])


def _chain(op: Op) -> IptablesChain:
    obj = op.new if isinstance(op, Change) else op.obj
    assert isinstance(obj, IptablesChain)
    return obj


class Iptables:
    """`started` is told the ids of the processes that change rules."""

    def __init__(self, started: tools.Started) -> None:
        self._started = started

    def read(self, ns: str, desired: Iterable[Object]) -> dict[Key, IptablesChain]:
        """Raises WeftError."""
        wanted = [obj for obj in desired if isinstance(obj, IptablesChain) and obj.ns == ns]
        return netns.call(ns, lambda: self._read(ns, wanted))

    def _read(self, ns: str, wanted: Sequence[IptablesChain]) -> dict[Key, IptablesChain]:
        parents: dict[Where, Parents] = {where: {} for where in _may_hold_ours()}
        for obj in wanted:
            parents.setdefault(Where(obj.backend, obj.family), {})[obj.table, obj.name] = obj.parent
        found: dict[Key, IptablesChain] = {}
        for where, names in parents.items():
            for chain in chains(save(where), where, ns, names):
                found[chain.key] = chain
        return found

    def apply(self, ns: str, ops: Sequence[Op]) -> list[Failure]:
        groups: dict[Where, list[Op]] = {}
        for op in ops:
            groups.setdefault(Where(_chain(op).backend, _chain(op).family), []).append(op)
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
            key = _chain(ops[0]).key
            return [Failure(key, f"{describe(key)}: {complaint}")]
        return [failure for op in ops for failure in self._guard(ns, where, [op])]

    def _apply(self, where: Where, ops: Sequence[Op]) -> str:
        text = script(save(where), ops)
        if not text:
            return ""
        output = tools.run([f"{where.program}-restore", "--noflush", "-w", "10"], PACKAGE, text, self._started)
        return tools.complaint(output) if output.status else ""


def _may_hold_ours() -> Iterator[Where]:
    """The back ends that could hold a chain of ours in the calling thread's namespace, found out cheaply: their programs
    are slow to start."""
    with Nftables() as nftables:
        for family in FAMILIES:
            if any(name.startswith(CHAIN_PREFIX) for _table, name in nftables.chains(_NFPROTO[family])):
                yield Where("nft", family)
    yield from (Where("legacy", family) for family in FAMILIES if _legacy_tables(family))
