"""The form between policies and rules: what a chain of rules says, and the sets that its rules name.

A *program* is what one endpoint's traffic in one direction has to pass: a chain for each tier that concerns it, the first
of which is asked first. Endpoints that the same policies select have the same program, and chains are called by a hash of
what they say: so they share them. A chain's rules are typed rules (`weft.hoststate.rules`) of both families, and end in one
of these:

    RETURN              allowed in this direction; the other direction is asked next
    DROP                denied
    Jump(…, back=False) on to the chain of the next tier

Both renderers (`weft.policy.render`) make kernel objects of it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from weft.base.net import Family
from weft.hoststate.rules import Rule
from weft.policy.model import Direction, Who

SetKind = Literal["addresses", "prefixes", "named-ports"]


class SetSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A set that rules look addresses up in; there is one of each family, called `name(family)`.

    `kind`: "addresses": of the endpoints that are `who`. "named-ports": of these, those that call a port `port` of
    `protocol` so, as ADDRESS . PROTOCOL . PORT. "prefixes": CIDRs, each an element: `cidrs`, and those of network sets that
    `sets` selects, and the addresses of the nodes that `nodes` selects."""

    kind: SetKind
    who: Who | None = None
    port: str = ""
    protocol: str = ""
    cidrs: tuple[str, ...] = ()
    sets: str | None = None
    nodes: str | None = None
    label: str = ""
    """The hash that names it."""

    def name(self, fam: Family) -> str:
        """At most 21 characters, so that both renderers can have it."""
        return f"p{fam}-{self.label}"


class Origin(msgspec.Struct, frozen=True):
    """What a rule of a chain came of. `policy`: its id, "" for a tier's default. `index`: of the rule in the policy."""

    tier: str
    policy: str
    direction: Direction
    index: int
    action: str


class Line(msgspec.Struct, frozen=True):
    rule: Rule
    origin: Origin


class Use(msgspec.Struct, frozen=True, order=True):
    """Members of the set `label` have what the line `line` of a chain says, for one port; `line` is the first one that came
    of the same rule of the same policy. (Of several for the same address and port the first one counts.)"""

    line: int
    label: str
    protocol: str
    port: int


class Lookup(msgspec.Struct, frozen=True):
    """Lines of a chain that allow, follow each other, and are many: who can have them looked up at once, by address,
    protocol and port, need not try them one by one. `name(family)`: of the map. `lines`: the numbers of those that are in
    it, rising."""

    label: str
    lines: tuple[int, ...]
    uses: tuple[Use, ...]

    def name(self, fam: Family) -> str:
        return f"m{fam}-{self.label}"

    @property
    def counting(self) -> list[int]:
        """The lines that count for all of the same rule of a policy."""
        return sorted({use.line for use in self.uses})


class Chain(msgspec.Struct, frozen=True):
    """`name`: at most 22 characters, "pi-" or "po-" (ingress, egress) and a hash."""

    name: str
    lines: tuple[Line, ...]
    lookups: tuple[Lookup, ...] = ()

    def counting(self, line: int) -> str:
        """Of a line that is looked up: the chain that it leads to."""
        return f"{self.name}-{line}"


class Program(msgspec.Struct, frozen=True):
    """`chains`: the first one is asked first; () where no policy selects the endpoint. `sets`: all that
    they name."""

    chains: tuple[Chain, ...] = ()
    sets: tuple[SetSpec, ...] = ()

    @property
    def asks(self) -> bool:
        """Whether a policy has a say: else it only sees to it that connections begin at their beginning."""
        return any(chain.lines[-1].origin.tier for chain in self.chains)
