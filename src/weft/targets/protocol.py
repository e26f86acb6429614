"""What one writes for a target: its kinds (`weft.hoststate.beyond.TargetObject`), and the calls that read and write them.

How often these are called, how long one may take, and what follows from a failure is not its concern (`weft.targets.remote`).
What a call raises says what follows:

    Unavailable   nobody can be reached: what else was to be done waits, too
    Throttled     too many calls: none for some seconds, then this one again
    NotFound      what was to be removed is gone: that is success
    Conflict      something lies there that is not ours, or was not there when it was read
    WeftError     this one object cannot be had, the others may
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from weft.api import types as t
from weft.hoststate import Key, Object, TargetObject
from weft.model import Node

Check = Callable[[], Awaitable[t.Finding]]
"""One thing that `weft doctor` looks at, in one call."""


class Page(msgspec.Struct, frozen=True):
    """A part of what is in a place. `objects`: those that are ours, by a mark that survives the agent's restart. `foreign`:
    keys of our kinds under which there is something that somebody else made: it is never written to. `more`: where the next
    page begins, "" after the last."""

    objects: tuple[Object, ...] = ()
    foreign: tuple[Key, ...] = ()
    more: str = ""


class Target(Protocol):
    """Its methods run in an event loop of the target's own, so that one that waits keeps nobody else waiting. Each is one call
    of the API as its limit counts them."""

    @property
    def name(self) -> str:
        """In a word, for messages and metrics: "aws"."""

    @property
    def kinds(self) -> frozenset[str]: ...

    @property
    def places(self) -> frozenset[str]:
        """Those that are read whatever is wanted of them: an earlier agent may have left something there. Asked for after
        `learn`."""

    async def learn(self, node: Node) -> Mapping[str, str]:
        """What this host, which is `node`, is there: for the pure functions of data paths (`Host.targets`). Asked again from
        time to time."""

    def checks(self) -> Iterable[Check]:
        """What keeps packets from arriving, or will."""

    async def read(self, place: str, more: str) -> Page: ...

    async def create(self, obj: TargetObject) -> None:
        """Raises Conflict where something lies there."""

    async def change(self, old: TargetObject, new: TargetObject) -> None:
        """Both have the same key; there must not be a moment with neither."""

    async def remove(self, obj: TargetObject) -> None: ...
