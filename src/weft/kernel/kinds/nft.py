"""Weft's own nftables tables, `weft` of any family: read as `nft` lists them, changed by one atomic transaction per call.

Of a rule that is found only its comment is compared, which is a hash of the rule (`weft.hoststate.rules`); the text says
nothing but which sets and chains it names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from weft.base.errors import Failed, WeftError
from weft.hoststate import Key, NftChain, NftElement, NftSet, Object
from weft.hoststate.firewall import (
    TABLE,
    Family,
    Hook,
    Table,
    chain_text,
    element_text,
    noun,
    priority_of,
    same_rules,
    set_text,
)
from weft.hoststate.rules import MARK, FoundRule, Rule
from weft.kernel.host import flows
from weft.kernel.plumbing import netns, tools
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.nfnl import Nftables
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Failure, Op, Remove

PACKAGE = "nftables"
NftObject = NftSet | NftElement | NftChain
Content = dict[Key, NftObject]
FAMILIES: dict[Family, int] = {
    "inet": u.NFPROTO_INET,
    "bridge": u.AF_BRIDGE,
    "netdev": u.NFPROTO_NETDEV,
    "ip": u.AF_INET,
    "ip6": u.AF_INET6,
}

_OPEN = re.compile(r"\t(set|map|chain) (\S+) \{")
_PROTOCOLS = {"6": "tcp", "17": "udp", "132": "sctp"}
_HOOK = re.compile(r"type (\w+) hook (\w+)(?: devices? =? ?(\{[^}]*\}|\S+))? priority ([^;]+); policy (\w+);")
_JUMP = re.compile(r"\b(?:jump|goto) ([^\s,;}]+)")
_SET = re.compile(r"@(?!(?:ll|nh|th|ih),\d)([^\s,;}]+)")
"""A set's name; what is excluded are places in a packet, such as `@th,96,24`."""
_TYPES = {"udp dport": "inet_service"}
_DURATION = re.compile(r"(\d+)([dhms])")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_LOCATION = re.compile(r"^\S*?:(\d+):\d+-\d+: (?:Error: )?(.*)$", re.M)


# -- reading -----------------------------------------------------------------------------------------------------------


def parse(listing: str, ns: str = "", family: Family = "inet") -> Content:
    """What `nft -s list table FAMILY weft` prints."""
    found: Content = {}
    kind, name, lines = "", "", list[str]()
    for line in listing.splitlines():
        if opened := _OPEN.fullmatch(line):
            kind, name, lines = opened[1], opened[2], []
        elif line == "\t}" and kind:
            for obj in _SECTIONS[kind](name, lines, Table(family), ns):
                found[obj.key] = obj
            kind = ""
        elif kind:
            lines.append(line.strip())
    return found


def _parse_chain(name: str, lines: list[str], table: Table, ns: str) -> Iterator[NftObject]:
    hook = _HOOK.fullmatch(lines[0]) if lines else None
    rules = (_seen(line) for line in lines[1 if hook else 0 :] if line)
    yield NftChain(name=name, table=table, hook=hook and _hook(hook, table.family), rules=tuple(rules), ns=ns)


def _hook(found: re.Match[str], family: Family) -> Hook:
    kind, hook, devices, priority, policy = found.groups()
    names = tuple(sorted(re.findall(r"[^\s{},\"]+", devices or "")))
    return Hook(
        type=kind,
        hook=hook,
        priority=priority_of(priority, family),
        policy="drop" if policy == "drop" else "accept",
        devices=names,
    )


def _seen(line: str) -> FoundRule:
    text, _, comment = line.removesuffix('"').rpartition(' comment "')
    mark = comment if MARK.fullmatch(comment) else ""
    return FoundRule(mark, tuple(_SET.findall(text or line)), tuple(_JUMP.findall(text or line)))


def _parse_set(name: str, lines: list[str], table: Table, ns: str) -> Iterator[NftObject]:
    _, _, elements = " ".join(lines).partition("elements = {")
    words = {line.split(" ", 1)[0]: line for line in lines}
    flags = words.get("flags", "").removeprefix("flags ").replace(" ", "")
    kind, _, to = words.get("typeof", words.get("type", "")).partition(" ")[2].partition(" : ")
    yield NftSet(
        name=name,
        type=tuple(_TYPES.get(part, part) for part in kind.split(" . ")),
        flags=_split(flags),
        to=tuple(to.split(" . ")) if to else (),
        timeout=sum(int(n) * _SECONDS[unit] for n, unit in _DURATION.findall(words.get("timeout", ""))),
        table=table,
        ns=ns,
    )
    for element in _split(elements.removesuffix("}")):
        value, _, to = element.partition(" : ")
        yield NftElement(
            set=name, value=_with_names(value) if "inet_proto" in kind else value, to=to, table=table, ns=ns
        )


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _with_names(value: str) -> str:
    """The protocol comes before the port, last but one. nft knows these names by itself, but prints numbers where
    /etc/protocols is missing."""
    *address, protocol, port = value.split(" . ")
    return " . ".join((*address, _PROTOCOLS.get(protocol, protocol), port))


_SECTIONS = {"chain": _parse_chain, "set": _parse_set, "map": _parse_set}


# -- writing -----------------------------------------------------------------------------------------------------------


class Step(msgspec.Struct, frozen=True):
    """Commands of the nft language, and the object they are for."""

    key: Key
    commands: tuple[str, ...]


def script(before: Content, after: Content) -> list[Step]:
    """From one content of the tables to the other."""
    return [step for family in FAMILIES for step in _script(family, _of(family, before), _of(family, after))]


def _of(family: Family, content: Content) -> Content:
    return {key: obj for key, obj in content.items() if family == obj.table.family}


def _alike(one: NftObject | None, other: NftObject | None) -> bool:
    if isinstance(one, NftChain) and isinstance(other, NftChain):
        return same_rules(one, other)
    return one == other


def _script(family: Family, before: Content, after: Content) -> list[Step]:
    """From one content of a table to the other. Elements go before others come, since intervals must not overlap;
    chains are all declared before any rule, which may jump to any of them."""
    if not after:
        return [Step(("nft-chain", "", "*"), (f"delete table {family} {TABLE}",))] if before else []
    if any(key in after and after[key] != obj for key, obj in before.items() if isinstance(obj, NftSet)):
        # A set in use cannot change its type: all anew, still in one transaction. A chain that nobody wants any more, of
        # which only the marks are known, goes already now.
        after = {key: obj for key, obj in after.items() if not _only_seen(obj)}
        return [Step(("nft-chain", "", "*"), (f"delete table {family} {TABLE}",)), *_script(family, {}, after)]
    gone = [obj for key, obj in before.items() if key not in after]
    new = [obj for key, obj in after.items() if not _alike(before.get(key), obj)]
    steps = [Step(("nft-chain", "", "*"), (f"add table {family} {TABLE}",))]
    chains = [obj for obj in new if isinstance(obj, NftChain)]
    rehooked = {obj.key for obj in chains if isinstance(old := before.get(obj.key), NftChain) and old.hook != obj.hook}
    stale = gone + [old for obj in new if (old := before.get(obj.key)) is not None]
    steps += [Step(obj.key, (f"delete {_element(obj)}",)) for obj in stale if isinstance(obj, NftElement)]
    steps += [Step(obj.key, (f"add {set_text(obj)}",)) for obj in new if isinstance(obj, NftSet)]
    steps += [Step(obj.key, (f"add {_element(obj)}",)) for obj in new if isinstance(obj, NftElement)]
    steps += [Step(obj.key, tuple(_declare(obj, obj.key in rehooked))) for obj in chains]
    steps += [Step(obj.key, tuple(_fill(obj))) for obj in chains]
    dead = [obj for obj in gone if isinstance(obj, NftChain)]
    steps += [Step(obj.key, (f"flush chain {family} {TABLE} {obj.name}",)) for obj in dead]
    steps += [Step(obj.key, (f"delete chain {family} {TABLE} {obj.name}",)) for obj in dead]
    steps += [Step(obj.key, (f"delete {noun(obj)} {obj.table} {obj.name}",)) for obj in gone if isinstance(obj, NftSet)]
    return steps if len(steps) > 1 else []


def _only_seen(obj: NftObject) -> bool:
    return isinstance(obj, NftChain) and any(isinstance(rule, FoundRule) for rule in obj.rules)


def _element(obj: NftElement) -> str:
    return f"element {obj.table} {obj.set} {{ {element_text(obj)} }}"


def _declare(obj: NftChain, anew: bool) -> Iterator[str]:
    if anew:
        yield f"flush chain {obj.table} {obj.name}"
        yield f"delete chain {obj.table} {obj.name}"
    yield f"add {chain_text(obj)}"


def _fill(obj: NftChain) -> Iterator[str]:
    yield f"flush chain {obj.table} {obj.name}"
    yield from (f"add rule {obj.table} {obj.name} {rule.nft}" for rule in obj.rules if isinstance(rule, Rule))


def merged(content: Content, ops: Iterable[Op]) -> Content:
    after = dict(content)
    for op in ops:
        obj = op.new if isinstance(op, Change) else op.obj
        assert isinstance(obj, NftObject)
        if isinstance(op, Remove):
            after.pop(obj.key, None)
            if isinstance(obj, NftSet):  # its elements go with it
                after = {
                    key: it for key, it in after.items() if not (isinstance(it, NftElement) and it.set == obj.name)
                }
        else:
            after[obj.key] = obj
    return after


# -- the adapter -------------------------------------------------------------------------------------------------------


class Nft:
    """`started` is told the ids of the processes that change rules. `desired`: what is wanted of this host; a chain that
    is as wanted can be written again, and has to be where a table is made anew."""

    def __init__(self, started: tools.Started, desired: Mapping[Key, Object]) -> None:
        self._started = started
        self._desired = desired
        self._listed: dict[str, tuple[int, Content]] = {}

    def read(self, ns: str) -> Content:
        """Raises WeftError."""
        return dict(netns.call(ns, lambda: self._list(ns)))

    def _list(self, ns: str) -> Content:
        """The listing, again only if any rule changed since (the kernel counts generations)."""
        with Nftables() as kernel:
            generation = kernel.generation()
            known = self._listed.get(ns)
            if generation is not None and known is not None and known[0] == generation and not ns:
                return known[1]
            if generation is None:
                return {}
            content: Content = {}
            for family, number in FAMILIES.items():
                content |= self._table(kernel, family, number, ns)
        self._listed[ns] = (generation, content)
        return content

    @staticmethod
    def _table(kernel: Nftables, family: Family, number: int, ns: str) -> Content:
        if not kernel.has_table(number, TABLE):
            return {}
        output = tools.run(["nft", "-s", "list", "table", family, TABLE], PACKAGE)
        if not output.status:
            return parse(output.out, ns, family)
        if kernel.has_table(number, TABLE):  # else it was removed in between
            raise Failed(f"the table {family} {TABLE} cannot be read: nft: {tools.complaint(output)}")
        return {}

    def apply(self, ns: str, ops: Sequence[Op]) -> list[Failure]:
        """All in one transaction; what nft objects to is left out, and told, and the rest done."""
        try:
            before = self.read(ns)
            after = merged({key: self._known(obj) for key, obj in before.items()}, ops)
            return netns.call(ns, lambda: self._apply(ns, before, after, ops))
        except WeftError as error:
            return [Failure(op.new.key if isinstance(op, Change) else op.obj.key, str(error)) for op in ops]

    def _apply(self, ns: str, before: Content, after: Content, ops: Sequence[Op]) -> list[Failure]:
        failures: dict[Key, Failure] = {}
        while steps := script(before, after):
            complaints = self._run(steps)
            if not complaints:
                break
            fresh = {key: text for key, text in complaints.items() if key not in failures}
            if not fresh or any(key[2] == "*" for key in fresh):
                text = next(iter(complaints.values()))
                return [Failure(op_key(op), f"{describe(op_key(op))}: nft: {text}") for op in ops]
            for key, text in fresh.items():
                failures[key] = Failure(key, f"{describe(key)}: nft: {text}")
                if key in before:
                    after[key] = before[key]
                else:
                    after.pop(key, None)
        flows.settle(before, after)
        return list(failures.values())

    def _known(self, found: NftObject) -> NftObject:
        wanted = self._desired.get(found.key)
        return wanted if isinstance(wanted, NftChain) and _alike(found, wanted) else found

    def _run(self, steps: Sequence[Step]) -> dict[Key, str]:
        """Run the transaction. Empty if it went through; else nft's complaints, by object."""
        lines = [(command, step.key) for step in steps for command in step.commands]
        text = "".join(f"{command}\n" for command, _ in lines)
        output = tools.run(["nft", "-f", "-"], PACKAGE, text, self._started)
        if not output.status:
            return {}
        located = [(int(line), text) for line, text in _LOCATION.findall(output.err)]
        found = {lines[line - 1][1]: text for line, text in located if line <= len(lines)}
        return found or {("nft-chain", "", "*"): tools.complaint(output)}


def op_key(op: Op) -> Key:
    return op.new.key if isinstance(op, Change) else op.obj.key
