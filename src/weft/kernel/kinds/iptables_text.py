"""What `iptables-save` says, and what `iptables-restore` is told. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

import msgspec

from weft.base.net import Family
from weft.hoststate import IptablesChain, IptablesElement, IptablesMap
from weft.hoststate.iptables import Backend
from weft.hoststate.rules import MARK, FoundRule
from weft.hoststate.rules.iptables import CHAIN_PREFIX, SET_PREFIX
from weft.kernel.kinds import iptables_tree
from weft.reconcile.protocol import Change, Op, Remove

_PROGRAM: dict[Family, str] = {4: "iptables", 6: "ip6tables"}


class Where(msgspec.Struct, frozen=True):
    """One back end."""

    backend: Backend
    family: Family

    @property
    def program(self) -> str:
        return f"{_PROGRAM[self.family]}-{self.backend}"


_DOCKER = re.compile(
    r"-j DOCKER-(?:USER|ISOLATION-STAGE-1|FORWARD)|(?:.* )?(?<!! )-[io] (?:docker\S+|br-[0-9a-f]{12}) .*"
)
"""What Docker puts first in FORWARD whenever it makes a network: jumps to chains where it drops what goes to its own
bridges, and where an administrator drops what is meant to be dropped; and rules for one bridge of its own."""


Wanted = dict[tuple[str, str], IptablesChain | IptablesMap]
"""By table and chain, or map."""
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

    def leads(self, chain: IptablesChain) -> bool:
        """Whether the jump is there once, with nothing before it but jumps of ours, and Docker's where it need not be first."""
        rules, jump = self.rules.get(chain.parent, []), f"-j {chain.name}"
        if rules.count(jump) != 1:
            return False
        before = rules[: rules.index(jump)]
        if chain.first:
            return not before
        return all(rule.startswith(f"-j {CHAIN_PREFIX}") or _DOCKER.fullmatch(rule) for rule in before)

    def of_map(self, name: str) -> dict[str, list[str]]:
        """The chains of one of our maps."""
        return {chain: rules for chain, rules in self.rules.items() if iptables_tree.belongs(chain, name)}


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


_COUNTED = re.compile(rf"\[(\d+):(\d+)\] -A ({CHAIN_PREFIX}\S+) ")


def counters(text: str) -> dict[str, list[tuple[int, int]]]:
    """What `iptables-save -c` says of our chains: packets and octets of each rule."""
    found: dict[str, list[tuple[int, int]]] = {}
    for packets, octets, chain in _COUNTED.findall(text):
        found.setdefault(chain, []).append((int(packets), int(octets)))
    return found


OfIptables = IptablesChain | IptablesMap | IptablesElement


def found(tables: dict[str, Saved], where: Where, ns: str, wanted: Wanted) -> Iterator[OfIptables]:
    """Ours, in all tables. `wanted`: where a jump is meant to be, and what is a map; a jump that is not there, or not first,
    shows as no parent."""
    for table, content in tables.items():
        maps = [obj for (of, _), obj in wanted.items() if of == table and isinstance(obj, IptablesMap)]
        of_maps: set[str] = set()
        for obj in maps:
            rules = content.of_map(obj.name)
            of_maps |= rules.keys()
            yield from _found_map(obj, rules)
        for name in content.rules:
            if name.startswith(CHAIN_PREFIX) and name not in of_maps:
                yield _found_chain(content, where, table, name, ns, wanted.get((table, name)))


def _found_map(obj: IptablesMap, rules: dict[str, list[str]]) -> Iterator[IptablesMap | IptablesElement]:
    """If anything about its chains is not as it should be, it leads nowhere: then all of it is written again."""
    if iptables_tree.root(obj.name) not in rules:
        return
    yield obj
    to = iptables_tree.elements(obj.family, obj.end, rules)
    if iptables_tree.tree(obj.name, obj.family, obj.end, to) == rules:
        yield from (iptables_element(obj, address, chain) for address, chain in to.items())


def iptables_element(holder: IptablesMap, address: str, to: str) -> IptablesElement:
    return IptablesElement(
        backend=holder.backend,
        family=holder.family,
        table=holder.table,
        map=holder.name,
        end=holder.end,
        address=address,
        to=to,
        ns=holder.ns,
    )


def _found_chain(
    content: Saved, where: Where, table: str, name: str, ns: str, want: IptablesChain | IptablesMap | None
) -> IptablesChain:
    parent = want.parent if isinstance(want, IptablesChain) else next(iter(content.jumps(name)), "")
    chain = IptablesChain(
        backend=where.backend,
        family=where.family,
        table=table,
        parent=parent,
        name=name,
        first=isinstance(want, IptablesChain) and want.first,
        rules=tuple(map(_seen, content.rules[name])),
        ns=ns,
    )
    return chain if content.leads(chain) else msgspec.structs.replace(chain, parent="")


def _seen(line: str) -> FoundRule:
    """A rule that `iptables-save` printed."""
    mark = _COMMENT.search(line)
    return FoundRule(mark[1] if mark else "", sets=tuple(_SET.findall(line)), jumps=tuple(_JUMP.findall(line)))


def script(tables: dict[str, Saved], ops: Iterable[Op]) -> str:
    """For `iptables-restore --noflush`, where naming a chain of one's own empties it. Each table changes at once."""
    groups: dict[str, list[Op]] = {}
    for op in ops:
        groups.setdefault(of(op).table, []).append(op)
    return "".join(_script(name, tables.get(name, Saved({})), group) for name, group in groups.items())


def _script(name: str, table: Saved, ops: Iterable[Op]) -> str:
    work = _Work(table)
    for op in ops:
        work.take(op)
    lines = work.lines()
    return "\n".join([f"*{name}", *lines, "COMMIT", ""]) if lines else ""


class _Work:
    """What is to be done to one table: chains get `rules`, or are `gone`; jumps go (`unhung`) and come (`hung`)."""

    def __init__(self, table: Saved) -> None:
        self._table = table
        self._rules: dict[str, Sequence[str]] = {}
        self._gone: list[str] = []
        self._unhung: list[str] = []
        self._hung: list[IptablesChain] = []
        self._maps: dict[str, tuple[IptablesMap | IptablesElement, dict[str, str] | None]] = {}
        """Where each address is to lead; None: the map goes."""

    def take(self, op: Op) -> None:
        obj, removal = of(op), isinstance(op, Remove)
        if isinstance(obj, IptablesChain):
            self._chain(obj, removal)
        elif isinstance(obj, IptablesMap):
            to = iptables_tree.elements(obj.family, obj.end, self._table.of_map(obj.name))
            self._maps[obj.name] = (obj, None if removal else to)
        else:
            if obj.map not in self._maps:
                self._maps[obj.map] = (obj, iptables_tree.elements(obj.family, obj.end, self._table.of_map(obj.map)))
            if (leading := self._maps[obj.map][1]) is not None:
                leading.pop(obj.address, None)
                leading |= {} if removal else {obj.address: obj.to}

    def _chain(self, obj: IptablesChain, removal: bool) -> None:
        stale = [f"-D {parent} -j {obj.name}" for parent in self._table.jumps(obj.name)]
        if removal:
            if obj.name in self._table.rules:
                self._unhung += stale
                self._gone.append(obj.name)
            return
        self._rules[obj.name] = obj.lines
        if not obj.parent or not self._table.leads(obj) or len(stale) != 1:
            self._unhung += stale
            self._hung += [obj] if obj.parent else []

    def lines(self) -> list[str]:
        for name, (obj, to) in self._maps.items():
            self._map(name, obj, to)
        fill = [f"-A {name} {line}" for name, rules in self._rules.items() for line in rules]
        hang = [self._hang(obj) for obj in sorted(self._hung, key=lambda obj: obj.first)]
        clear = [f"{do} {name}" for do in ("-F", "-X") for name in self._gone]
        return [*(f":{name} - [0:0]" for name in self._rules), *fill, *self._unhung, *hang, *clear]

    def _map(self, name: str, obj: IptablesMap | IptablesElement, to: dict[str, str] | None) -> None:
        old = self._table.of_map(name)
        new = {} if to is None else iptables_tree.tree(name, obj.family, obj.end, to)
        self._rules |= {chain: rules for chain, rules in new.items() if old.get(chain) != rules}
        self._gone += [chain for chain in old if chain not in new]

    def _hang(self, obj: IptablesChain) -> str:
        """After jumps of ours that are there, unless it is to be first."""
        rules = [f"-D {obj.parent} {rule}" for rule in self._table.rules.get(obj.parent, [])]
        kept = [rule for rule in rules if rule not in self._unhung]
        ours = list(takewhile(lambda rule: rule.startswith(f"-D {obj.parent} -j {CHAIN_PREFIX}"), kept))
        return f"-I {obj.parent} {1 if obj.first else 1 + len(ours)} -j {obj.name}"


def of(op: Op) -> OfIptables:
    obj = op.new if isinstance(op, Change) else op.obj
    assert isinstance(obj, OfIptables)
    return obj
