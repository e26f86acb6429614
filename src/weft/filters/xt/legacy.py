"""The tables of the old iptables, as chains that the kernel asks at hooks (net/ipv4/netfilter/ip_tables.c, ipt_do_table())."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Literal

from weft.api.dump import FiltersDump, XtablesDump
from weft.filters.model import Action, Where
from weft.filters.owners import owner
from weft.filters.state import Base, End, Run, Unknown
from weft.filters.xt import commands
from weft.filters.xt.decode import target, touches
from weft.filters.xt.entry import RETURN, VERDICTS, Entry
from weft.filters.xt.sets import Ipsets

HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_CHAINS = tuple(hook.upper() for hook in HOOKS)
_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
_DSTNAT, _SRCNAT = -100, 100
_TERMINAL: dict[str, Action] = {"ACCEPT": "accept", "DROP": "drop", "QUEUE": "queue"}
_DEEPEST = 64
"""Jumps: the kernel allows no circle, a dump that is torn may have one."""


def legacy(dump: FiltersDump, sets: Ipsets) -> list[Base]:
    """The base chains of all tables."""
    return [chain for table in dump.xtables for chain in _Table(table, sets).bases()]


class _Chain:
    """`underflow`: the offset of the policy, -1 in a user's chain."""

    def __init__(self, name: str, underflow: int = -1) -> None:
        self.name = name
        self.underflow = underflow
        self.entries: list[Entry] = []


class _Table:
    def __init__(self, dump: XtablesDump, sets: Ipsets) -> None:
        self.name = dump.name
        self.family: Literal["ip", "ip6"] = "ip6" if dump.family == 6 else "ip"
        self._dump = dump
        self._sets = sets

    def bases(self) -> Iterator[Base]:
        for number, offset in enumerate(self._dump.hooks):
            if offset >= 0:
                yield _Base(self, number)

    @cached_property
    def chains(self) -> dict[int, _Chain]:
        """By the offset of the first entry. A user's chain begins with an entry whose target is ERROR and says its name."""
        dump = self._dump
        begins = {offset: number for number, offset in enumerate(dump.hooks) if offset >= 0}
        found: dict[int, _Chain] = {}
        at, size, chain = 0, len(dump.entries), _Chain("")
        while at < size:
            entry = Entry(dump.entries, at, dump.family, self._sets)
            if at in begins:
                number = begins[at]
                chain = found[at] = _Chain(_CHAINS[number], dump.underflows[number])
            if entry.target.name == "ERROR":
                chain = found[entry.end] = _Chain(entry.target.data.split(b"\0", 1)[0].decode(errors="replace"))
            else:
                chain.entries.append(entry)
            if entry.end <= at:
                break
            at = entry.end
        return found

    @property
    def _names(self) -> list[str]:
        return [chain.name for chain in self.chains.values()]

    def leads_to(self, entry: Entry) -> _Chain | None:
        """A jump to the next entry is none: the rule has no target."""
        verdict = entry.verdict
        if verdict is None or verdict < 0 or (verdict == entry.end and not entry.goto):
            return None
        return self.chains.get(verdict)

    def where(self, hook: str, chain: _Chain, number: int) -> Where:
        """Of the rule at this place, from 0; of the policy."""
        entry = chain.entries[number]
        program = commands.program("legacy", self.family)
        leads_to = self.leads_to(entry)
        spec = entry.text(leads_to.name if leads_to else "")
        if policy := entry.at == chain.underflow:
            shown = f"-P {chain.name} {VERDICTS.get(entry.verdict or 0, '')}"
            how = commands.of_policy(program, self.name, chain.name)
        else:
            shown = f"-A {chain.name} {spec}"
            how = commands.of_rule(program, self.name, chain.name, number + 1, spec if entry.written else "")
        return Where(
            program="iptables-legacy",
            family=self.family,
            table=self.name,
            chain=chain.name,
            handle=0 if policy else number + 1,
            text=shown,
            comment=entry.comment,
            owner=owner(self.name, chain.name, entry.comment, self._names if policy else ()),
            hook=hook,
            show=how.show,
            remedy=how.remedy,
        )


class _Base:
    devices: tuple[str, ...] = ()

    def __init__(self, table: _Table, number: int) -> None:
        self._table = table
        self._number = number
        self.family: str = table.family
        self.hook = HOOKS[number]
        self.nat = table.name == "nat"
        nat = _DSTNAT if self.hook in ("prerouting", "output") else _SRCNAT
        self.priority = nat if self.nat else _PRIORITIES.get(table.name, 0)

    @property
    def chains(self) -> list[str]:
        return [chain.name for chain in self._table.chains.values()]

    def run(self, run: Run) -> End:
        offset = self._table._dump.hooks[self._number]
        chain = self._table.chains.get(offset) or _Chain(_CHAINS[self._number])
        found = _Walk(self._table, self.hook, run).chain(chain, None)
        if isinstance(found, End):
            return found
        last = len(chain.entries) - 1  # a RETURN here comes to the policy
        policy = chain.entries[last].verdict if chain.entries else None
        action = _TERMINAL.get(VERDICTS.get(policy or 0, ""), "accept")
        return End(action, partial(self._table.where, self.hook, chain, last), policy=True)


class _Walk:
    def __init__(self, table: _Table, hook: str, run: Run) -> None:
        self._table = table
        self._hook = hook
        self._run = run
        self._depth = 0

    def chain(self, chain: _Chain, why: str | None) -> End | None:
        """None: it returns. `why`: it is not known whether the packet comes here at all, so that what decides it here is only
        doubted."""
        self._depth += 1
        try:
            return self._entries(chain, why) if self._depth < _DEEPEST else None
        finally:
            self._depth -= 1

    def _entries(self, chain: _Chain, why: str | None) -> End | None:
        for number, entry in enumerate(chain.entries):
            answer = entry.judge(self._run)
            if answer is False:
                continue
            doubt = answer.why if isinstance(answer, Unknown) else why
            if entry.at == chain.underflow:  # the policy
                return None
            found = self._apply(entry, partial(self._table.where, self._hook, chain, number), doubt)
            certain = not isinstance(answer, Unknown)
            if found == "return" and certain:
                return None
            if isinstance(found, End):
                if doubt is None:
                    return found
                self._run.doubt(found.where, doubt, _does(found))
                if certain:  # whoever comes here at all goes no further
                    return None
        return None

    def _apply(self, entry: Entry, where: Callable[[], Where], doubt: str | None) -> End | Literal["return"] | None:
        if (leads_to := self._table.leads_to(entry)) is not None:
            if doubt is None:
                self._run.passing(where)
            found = self.chain(leads_to, doubt)
            return found if found is not None or not entry.goto else "return"
        verdict = entry.verdict
        if verdict == RETURN:
            return "return"
        if verdict is not None:
            word = _TERMINAL.get(VERDICTS.get(verdict, ""))
            return End(action=word, where=where) if word else None
        return self._target(entry, where, doubt)

    def _target(self, entry: Entry, where: Callable[[], Where], doubt: str | None) -> End | Literal["return"] | None:
        name, revision, data = entry.target
        if doubt is not None and (touched := touches(name)):
            self._run.unsure[touched] = doubt
            return None
        outcome = target(name, revision, data, self._run, where, self._table._sets)
        if isinstance(outcome, Unknown):
            self._run.doubt(where, outcome.why)
            return None
        if outcome.action == "continue":
            if doubt is None:
                self._run.passing(where)
            return None
        if outcome.action == "return":
            return "return"
        return End(action=outcome.action, where=where, translation=outcome.translation)


def _does(end: End) -> str:
    return end.translation.kind if end.translation is not None else end.action
