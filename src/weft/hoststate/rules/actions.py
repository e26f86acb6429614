"""What a rule does with the packets that fit it. A verdict ends the rule, and is its last action; the others go on."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from weft.base.errors import Invalid
from weft.base.net import Family
from weft.hoststate.rules.matches import Part, Selector

_PREFIX = re.compile(r"[A-Za-z0-9 ._:/=+-]{1,29}")
_CHAIN = re.compile(r"[A-Za-z0-9_-]{1,28}")


class Action(Part, frozen=True):
    """`final`: a verdict."""

    final: ClassVar[bool] = False


class Counter(Action, frozen=True):
    """Counts packets and octets."""


class Log(Action, frozen=True):
    """To the kernel's log, or to who listens to a `group` of NFLOG (1 to 65535), where that is not 0; `prefix`: up to 29 plain
    characters, as many as iptables takes. Together with a Limit, the log cannot be flooded. Raises Invalid."""

    prefix: str
    group: int = 0

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise Invalid(f"{self.prefix!r} is no prefix for a log: use 1 to 29 plain characters")
        if not 0 <= self.group <= 0xFFFF:
            raise Invalid(f"{self.group} is no group of NFLOG: use 1 to 65535")


class SetMark(Action, frozen=True):
    """The bits of `mask` in the packet's mark ("meta mark"), or the connection's, become those of `value`."""

    value: int
    mask: int = 0xFFFFFFFF
    of: Literal["meta mark", "ct mark"] = "meta mark"


class ClampMss(Action, frozen=True):
    """The largest segment that a TCP SYN packet offers becomes what the packet's route carries in one piece, both ways (RFC
    9293, 3.7.1), if it is larger. For the hooks forward, output and postrouting."""


class Notrack(Action, frozen=True):
    """No connection tracking; only at the priority raw."""


class FlowAdd(Action, frozen=True):
    """The packet's connection goes into the flowtable, if it is one that can: the hook is forward."""

    flowtable: str

    @property
    def flowtables(self) -> tuple[str, ...]:
        return (self.flowtable,)


class Verdict(Action, frozen=True):
    """See ACCEPT, DROP, RETURN."""

    final: ClassVar[bool] = True

    name: Literal["accept", "drop", "return"]


class Reject(Action, frozen=True):
    """Drop, and tell the sender. "tcp-reset" is for TCP packets only."""

    final: ClassVar[bool] = True

    answer: Literal["port-unreachable", "admin-prohibited", "tcp-reset"] = "port-unreachable"


class Jump(Action, frozen=True):
    """To another chain of the same table; `back`: and from its end to the next rule here. Raises Invalid."""

    final: ClassVar[bool] = True

    chain: str
    back: bool = True

    def __post_init__(self) -> None:
        _check_chains(self.chain)

    @property
    def jumps(self) -> tuple[str, ...]:
        return (self.chain,)


class Spread(Action, frozen=True):
    """To one of the chains: by chance, or `by` fields of the packet, the same for the same ones. Raises Invalid."""

    final: ClassVar[bool] = True

    chains: tuple[str, ...]
    by: Selector | None = None

    def __post_init__(self) -> None:
        _check_chains(*self.chains)

    @property
    def jumps(self) -> tuple[str, ...]:
        return self.chains


class Dispatch(Action, frozen=True):
    """What the verdict map says of the fields; the next rule where it says nothing."""

    final: ClassVar[bool] = True

    by: Selector
    map: str

    @property
    def sets(self) -> tuple[str, ...]:
        return (self.map,)


class Nat(Action, frozen=True):
    """Another destination ("dnat") or source ("snat"): the address `to`, with `port` if not 0; or what the `map` says of the
    fields `by` (the next rule where it says nothing). Raises Invalid."""

    final: ClassVar[bool] = True

    change: Literal["dnat", "snat"]
    family: Family
    to: str = ""
    port: int = 0
    by: Selector | None = None
    map: str = ""

    def __post_init__(self) -> None:
        if bool(self.to) == bool(self.map) or bool(self.map) != (self.by is not None):
            raise Invalid(f"{self.change} needs an address, or a map and the fields to look up in it")

    @property
    def sets(self) -> tuple[str, ...]:
        return (self.map,) if self.map else ()


class Masquerade(Action, frozen=True):
    """The source becomes the address of the device that the packet leaves by. `random`: the port is drawn, which makes it
    unlikely that two connections want the same one at the same moment, when one of them would lose its first packet."""

    final: ClassVar[bool] = True

    random: bool = False


ACCEPT, DROP, RETURN = Verdict("accept"), Verdict("drop"), Verdict("return")
COUNTER, NOTRACK, CLAMP_MSS = Counter(), Notrack(), ClampMss()


def _check_chains(*names: str) -> None:
    if not names:
        raise Invalid("a jump to no chain")
    for name in names:
        if not _CHAIN.fullmatch(name):
            raise Invalid(f"{name!r} is no chain's name: use 1 to 28 letters, digits, '-' and '_'")
