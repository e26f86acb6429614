"""Tables of nf_tables, and a base chain's run through its rules and the chains that they lead to (nft_do_chain()).

A rule that cannot be judged is gone on from as if it did not match, and what it would do is kept as a doubt: it matters where
the chain ends otherwise. Where it would jump, the other chain is gone through for what it would do, and where it would return
from a chain, the rest of that chain is as doubtful as the rule.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from weft.api.dump import NftChainDump, NftRuleDump, NftTableDump
from weft.base.attributes import ATTR
from weft.filters.model import Action, Where
from weft.filters.nft import text
from weft.filters.nft.decode import expression
from weft.filters.nft.machine import NONSENSE, Break, Go, Machine
from weft.filters.nft.sets import Set
from weft.filters.state import End, Run, Unknown
from weft.filters.xt import Ipsets

_MOST_JUMPS = 64
"""The kernel allows 16; a chain that leads to itself ends here."""
_TERMINAL = frozenset(("accept", "drop", "reject", "queue", "stolen", "depends"))


class Table:
    """`chains` by name."""

    def __init__(self, dump: NftTableDump, ipsets: Ipsets) -> None:
        self.dump = dump
        self.ipsets = ipsets
        self.chains = {chain.name: chain for chain in dump.chains}
        self._dumps = {named.name: named for named in dump.sets}
        self._sets: dict[str, Set] = {}

    def set(self, name: str) -> Set | None:
        if name not in self._sets:
            if name not in self._dumps:
                return None
            self._sets[name] = Set(self._dumps[name])
        return self._sets[name]

    def where(self, chain: NftChainDump, rule: NftRuleDump, hook: str) -> Where:
        return text.rule(self.dump, chain, rule, hook, self.ipsets)

    def policy(self, chain: NftChainDump) -> Where:
        return text.policy(self.dump, chain)


class BaseChain:
    """A chain at a hook."""

    def __init__(self, table: Table, dump: NftChainDump) -> None:
        self.table = table
        self.dump = dump
        self.family = table.dump.family
        self.hook = dump.hook
        self.priority = dump.priority
        self.nat = dump.type == "nat"
        self.devices = dump.devices
        self.chains = table.chains.keys()

    def run(self, run: Run) -> End:
        end = _Running(self.table, self.hook, run).base(self.dump)
        if end is not None:
            return end
        action: Action = "drop" if self.dump.policy == "drop" else "accept"
        return End(action, partial(self.table.policy, self.dump), policy=True)


class _Running:
    def __init__(self, table: Table, hook: str, run: Run) -> None:
        self._table = table
        self._hook = hook
        self._run = run
        self._machine = Machine(run, table.set, table.ipsets)
        self._policy = ""

    def base(self, chain: NftChainDump) -> End | None:
        self._policy = chain.policy
        return self._chain(chain, "", 0)

    def _chain(self, chain: NftChainDump, entered: str, depth: int) -> End | None:
        """None: at its end, or by `return`. `entered`: why it may not be run at all; then what its rules do are doubts."""
        left = ""  # why the packet may have returned from here already
        for rule in chain.rules:
            go, where = self._rule(chain, rule, left or entered)
            if go is None:
                continue
            own, why = self._machine.doubt, self._machine.doubtful
            end: End | None = None
            if go.code in _TERMINAL:
                if not why:
                    return End(go.code, where, go.translation)  # type: ignore[arg-type]
                self._run.doubt(where, why, _does(go))
                end = _DOUBTED
            elif go.code != "return":
                end = self._jump(go.chain, why, depth)
                if end is None and go.code == "jump":
                    continue
            if not own:
                return None if left else end
            if end is None:
                left = left or self._left(depth, own, where)
        return None

    def _jump(self, name: str, why: str, depth: int) -> End | None:
        chain = self._table.chains.get(name)
        return None if chain is None or depth > _MOST_JUMPS else self._chain(chain, why, depth + 1)

    def _left(self, depth: int, own: str, where: Callable[[], Where]) -> str:
        """Why the rest of the chain is doubtful, after a doubtful rule may have left it. From a base chain that is by
        the policy."""
        if depth:
            return own
        self._run.doubt(where, own, self._policy)
        return ""

    def _rule(self, chain: NftChainDump, rule: NftRuleDump, doubt: str) -> tuple[Go | None, Callable[[], Where]]:
        """What the rule leads to, None where it does not match, or goes on to the next."""
        machine, data = self._machine, rule.expressions
        where = partial(self._table.where, chain, rule, self._hook)
        machine.where, machine.doubt, machine.above, machine.did = where, "", doubt, False
        at, end = 0, len(data)
        while at + 4 <= end:
            size, _kind = ATTR.unpack_from(data, at)
            if size < 4:
                break
            try:
                result = expression(data[at : at + size]).run(machine)
            except NONSENSE:
                result = Unknown("numbers that no kernel writes")
            at += (size + 3) & ~3
            if result is None:
                continue
            if isinstance(result, Unknown):
                machine.doubt = machine.doubt or result.why
            elif isinstance(result, Break):
                return None, where
            elif result.code != "continue":
                self._run.passing(where)
                return result, where
        if machine.did:
            self._run.passing(where)
        return None, where


def _never() -> Where:
    raise AssertionError("a doubtful end is not an end")


_DOUBTED = End("depends", _never)
"""A doubtful chain's way ended: whoever jumped there goes on."""


def _does(go: Go) -> str:
    if go.translation is not None:
        return go.translation.kind
    return "" if go.code == "depends" else go.code
