"""What the reconciler needs of a kernel. `weft.kernel.linux` is the real one, `weft.kernel.fake` one that fails on demand;
`weft.targets.remote` makes one of what is far away and is reconciled all the same. What is said of namespaces here holds of
its places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Protocol

import msgspec

from weft.hoststate import Key, Object


class Create(msgspec.Struct, frozen=True, gc=False):
    """Make it; something that lies there already is a failure (it may be somebody else's)."""

    obj: Object


class Change(msgspec.Struct, frozen=True, gc=False):
    """Turn `old`, which is ours, into `new` in place (same key), without a moment in which there is neither."""

    old: Object
    new: Object


class Remove(msgspec.Struct, frozen=True, gc=False):
    """Remove it; success if it is already gone (also with its device or namespace)."""

    obj: Object


Op = Create | Change | Remove


class Failure(msgspec.Struct, frozen=True):
    """`reason`: one line for the user; `errno` where the kernel gave one, else 0. `later`: it was not tried, as its turn has
    not come. That is no trouble: its namespace is read again soon, and then it has its turn."""

    key: Key
    reason: str
    errno: int = 0
    later: bool = False


class Unread(msgspec.Struct, frozen=True):
    """A part of a namespace that could not be read, and why: nothing is known of objects of these kinds there. `what`: the
    part, in words."""

    ns: str
    what: str
    kinds: frozenset[str]
    reason: str

    def covers(self, key: Key) -> bool:
        return key[1] == self.ns and key[0] in self.kinds


class Reading(msgspec.Struct, frozen=True):
    """What was found. `objects`: everything that carries our mark, whatever is desired. `foreign`: what exists and is not
    ours, where we have to keep off (device names, as Link keys). `gone`: namespaces that could not be opened any more.
    `unread`: what could not be read, which is neither there nor missing. `waived`: what is desired in a container's namespace
    and is not to be made there, because somebody else decided so there after us; and why, where users should know."""

    objects: dict[Key, Object]
    foreign: frozenset[Key] = frozenset()
    gone: frozenset[str] = frozenset()
    unread: tuple[Unread, ...] = ()
    waived: dict[Key, str] = {}


class Seen(msgspec.Struct, frozen=True, gc=False):
    """An object that carries our mark was made or changed (by whomever); this is what it looks like now."""

    obj: Object


class Gone(msgspec.Struct, frozen=True, gc=False):
    """An object of ours was removed (by whomever)."""

    key: Key


class Disturbed(msgspec.Struct, frozen=True, gc=False):
    """Something happened in a namespace whose effect on our objects is not told one by one (a link went down, rules were
    changed, events were lost): read that namespace again."""

    ns: str
    reason: str


class UplinkChanged(msgspec.Struct, frozen=True, gc=False):
    """A device, address, default route or rule that is not ours changed: what is known of the uplink, and of who else
    rules here, may no longer hold."""

    reason: str


Event = Seen | Gone | Disturbed | UplinkChanged


class Watcher(Protocol):
    """Kernel events as they come. Register `fileno()` with an event loop and call `drain()` when it is readable."""

    def fileno(self) -> int: ...

    def drain(self) -> list[Event]: ...

    def close(self) -> None: ...


class Kernel(Protocol):
    def read(self, desired: Mapping[Key, Object], namespaces: Set[str]) -> Reading:
        """All our objects in `namespaces`. `desired` tells which things without a mark to look at (sysctls)."""

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out `ops` in this order, in batches; go on past failures."""

    def watch(self) -> Watcher: ...

    def close(self) -> None: ...
