"""One rule: what it asks of a packet, and what it does with those that fit.

Two renderers write rules: `nft` and `iptables`. With each rule goes a comment, its *mark*: a hash of the rule as it was
written. By these, what is found on a host is compared with what is wanted; nothing has to know how some version of a tool
prints a rule. A rule without such a comment, or with another one, is not what is wanted.
"""

from __future__ import annotations

import hashlib
import re
from functools import cached_property

import msgspec

from weft.base.errors import Invalid
from weft.base.net import Family
from weft.hoststate.rules import iptables, nft
from weft.hoststate.rules.actions import Action
from weft.hoststate.rules.matches import Limit, Match

MARK = re.compile(r"weft:[0-9a-f]{12}")


def mark(text: str) -> str:
    """The comment of a rule that reads so."""
    return f"weft:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


class Rule(msgspec.Struct, frozen=True, dict=True):
    """Raises Invalid where something would follow a verdict."""

    matches: tuple[Match | Limit, ...]
    actions: tuple[Action, ...]

    def __post_init__(self) -> None:
        if any(action.final for action in self.actions[:-1]):
            raise Invalid("nothing comes after a verdict")

    @cached_property
    def _text(self) -> str:
        return nft.text(self.matches, self.actions)

    @cached_property
    def mark(self) -> str:
        """Its comment in nftables."""
        return mark(self._text)

    @property
    def nft(self) -> str:
        """As nft reads it, with the comment."""
        return f'{self._text} comment "{self.mark}"'

    def iptables_mark(self, family: Family) -> str:
        """Its comment in iptables. Raises Unsupported."""
        return mark(" ".join(iptables.words(self.matches, self.actions, family)))

    def iptables(self, family: Family) -> str:
        """As iptables reads it behind "-A CHAIN", with the comment. Raises Unsupported."""
        return " ".join(iptables.words(self.matches, self.actions, family, self.iptables_mark(family)))

    @property
    def sets(self) -> tuple[str, ...]:
        """The sets and maps that it looks up."""
        return tuple(name for part in (*self.matches, *self.actions) for name in part.sets)

    @property
    def jumps(self) -> tuple[str, ...]:
        """The chains that it leads to, but for those that a verdict map names."""
        return tuple(name for part in (*self.matches, *self.actions) for name in part.jumps)

    @property
    def flowtables(self) -> tuple[str, ...]:
        """Those that it adds to."""
        return tuple(name for part in (*self.matches, *self.actions) for name in part.flowtables)


class FoundRule(msgspec.Struct, frozen=True):
    """A rule as it is found on a host. `mark`: its comment, "" where that is none of ours."""

    mark: str
    sets: tuple[str, ...] = ()
    jumps: tuple[str, ...] = ()
    flowtables: tuple[str, ...] = ()


Rules = tuple[Rule | FoundRule, ...]
"""Of a chain."""


def rule(*parts: Match | Limit | Action) -> Rule:
    """In the order in which one reads them: matches before actions."""
    asked = tuple(part for part in parts if isinstance(part, Match | Limit))
    done = tuple(part for part in parts if isinstance(part, Action))
    if parts != (*asked, *done):
        raise Invalid("a rule asks first, and then does what it does")
    return Rule(asked, done)
