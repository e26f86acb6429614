"""What goes along while the chains of one hook are run, and what a match or a target may come to."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal, Protocol

import msgspec

from weft.filters.headers import Headers, headers
from weft.filters.model import Action, Doubt, Seen, Translation, Where


class Unknown(msgspec.Struct, frozen=True):
    """It cannot be judged from here. `why`: what is asked for, to be read after "depends on"."""

    why: str


class Lottery(msgspec.Struct, frozen=True):
    """Chance decides. Of a match: outcome 0 is that it matches."""

    outcomes: int


Judged = bool | Unknown | Lottery

Sign = Literal["continue", "return"] | Action


class Outcome(msgspec.Struct, frozen=True):
    """What a target of iptables comes to."""

    action: Sign
    translation: Translation | None = None


class Run:
    """The packet on its way through the chains of a hook. `family`: "ip", "ip6", "bridge", "arp", "netdev": what the packet is
    asked as. `unsure`: what of it a doubtful rule has changed ("mark", "connection mark", "packet"), and why that is doubtful.
    `tracked`: the chain comes after conntrack. `flowtable`: to which a rule has added the flow."""

    def __init__(self, seen: Seen, family: str, hook: str) -> None:
        self.seen = seen
        self.family = family
        self.hook = hook
        self.tracked = True
        self.notrack = False
        self.flowtable = ""
        self.translation: Translation | None = None
        self.unsure: dict[str, str] = {}
        self.passed: list[Callable[[], Where]] = []
        self.doubts: list[tuple[Callable[[], Where], str, str]] = []
        self.drawn: list[int] = []
        self._headers: tuple[bytes, Headers] | None = None

    @property
    def headers(self) -> Headers:
        """Where the headers of the packet begin."""
        if self._headers is None or self._headers[0] is not self.seen.octets:
            self._headers = self.seen.octets, headers(self.seen.octets, self.seen.protocol)
        return self._headers[1]

    def draw(self, outcomes: int) -> int:
        """What the next lottery comes to, 0 up to outcomes - 1."""
        place = len(self.drawn)
        self.drawn.append(outcomes)
        return self.seen.draws[place] % outcomes if place < len(self.seen.draws) else 0

    def passing(self, where: Callable[[], Where]) -> None:
        """A rule that does something matched."""
        self.passed.append(where)

    def doubt(self, where: Callable[[], Where], why: str, action: str = "") -> None:
        """A rule that would do `action` ("" for nobody knows what) cannot be judged."""
        self.doubts.append((where, why, action))

    def told(self) -> tuple[Doubt, ...]:
        return tuple(Doubt(where=where(), why=why, action=action) for where, why, action in self.doubts)


class End(msgspec.Struct, frozen=True):
    """How a base chain ends. `where`: the rule or policy that decided; `policy`: it was the policy."""

    action: Action
    where: Callable[[], Where]
    translation: Translation | None = None
    policy: bool = False


class Base(Protocol):
    """A chain that the kernel asks at a hook. `chains`: names of all in its table. `nat`: only of new connections, at a place
    of NAT's own. `devices`: where it is for some devices only (families netdev and inet, hooks ingress and egress)."""

    family: str
    hook: str
    priority: int
    nat: bool
    devices: tuple[str, ...]

    @property
    def chains(self) -> Collection[str]: ...

    def run(self, run: Run) -> End: ...
