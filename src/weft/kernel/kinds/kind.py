"""What a real kernel has to do for a kind of objects: the half of it that does I/O. The other half says what there is to
know without a kernel (`weft.reconcile.kinds.kind`).

A kind is read in one of two ways. What netlink dumps is read in each namespace on a socket of its own, kind by kind
(`Kind.dump`); all else is asked for by part (`Part.ask`). It is written by its phase: consecutive operations of one phase
are carried out together. Events are told to each kind that hears messages of their type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from weft.hoststate import Key, Link, Object
from weft.kernel.decided import Decided
from weft.kernel.plumbing.links import Device
from weft.kernel.plumbing.netlink import Message
from weft.kernel.plumbing.spaces import Space, Spaces
from weft.reconcile.protocol import Create, Event, Failure, Op

Names = Mapping[int, str]
"""Of devices, by ifindex."""


class Look(msgspec.Struct):
    """A namespace that is being read. `names`: of its devices, by ifindex; `found`: our objects of the kinds that were read
    before; `foreign`: what is somebody else's, to be added to; `decided`: what others decided there."""

    spaces: Spaces
    space: Space
    desired: Mapping[Key, Object]
    decided: Decided
    names: dict[int, str]
    found: dict[Key, Object]
    foreign: set[Key]

    @property
    def ns(self) -> str:
        return self.space.ns


class Hearing(Protocol):
    """What there is to know while an event is heard (`weft.kernel.events.Interpreter`)."""

    desired: Mapping[Key, Object]
    nsids: dict[int, str]
    """The paths of namespaces, by the host's numbers for them."""
    heard: dict[object, object]
    """What kinds keep of what they heard."""

    def devices(self, ns: str) -> dict[int, Device]:
        """As last heard of, by ifindex; to be kept up."""

    def names(self, ns: str, *, ours: bool = False) -> Names:
        """Of that namespace's devices, looked up when asked for. `ours`: only of devices of ours."""

    def name(self, ns: str, index: int) -> str: ...

    def marked(self, ns: str, index: int) -> bool:
        """Whether the device is ours."""

    def spaces(self) -> Spaces: ...

    def gone(self, key: Key) -> Event:
        """An object of ours was removed."""

    def shaken(self, dev: str, ns: str, what: str) -> Iterator[Event]:
        """What happened to a device may concern what stands on it, which is not told one by one."""


Hear = Callable[[Hearing, int, bytes, int, int, str], Iterator[Event]]
"""Given who hears, the type of a message, where it is, from the start of its body to its end, and the namespace it is from."""


class Part(msgspec.Struct, frozen=True):
    """What is read at once, and so fails at once. `name`: as users read it. `ask`: given a namespace and what is desired
    there of the part's kinds, what is there; None for what netlink dumps."""

    name: str
    ask: Callable[[str, Sequence[Any]], Mapping[Key, Object]] | None = None


DEVICES, NAMESPACES = Part("devices"), Part("namespaces")


class Work(msgspec.Struct, frozen=True):
    """What is being carried out. `made`: all links that are made, by namespace and name."""

    spaces: Spaces
    desired: Mapping[Key, Object]
    kinds: Mapping[str, Kind]
    made: Mapping[tuple[str, str], Link]


class Phase(msgspec.Struct, frozen=True):
    """Operations that are carried out together. `put_off`: of all of a phase's
    operations those that can wait for the end, where all others make one transaction, whatever lies between them."""

    name: str
    apply: Callable[[Work, Sequence[Op]], Iterable[Failure]]
    put_off: Callable[[Sequence[Op]], list[Op]] | None = None


class Encoding(msgspec.Struct, frozen=True):
    """How an object becomes one netlink message: `encode` is given the object, its device's ifindex (0: it has none), the
    message's type and flags. `make`, `unmake`: these types. `dev`: its device. `change`: more messages than one, of which
    the last one tells whether it succeeded. `yields`: whether what lies in the way of a new one is
    ours, or the kernel's own doing."""

    encode: Callable[[Any, int, int, int], Message]
    make: int
    unmake: int
    dev: Callable[[Any], str] = lambda obj: obj.dev
    change: Callable[[Space, Any], list[Message]] | None = None
    yields: Callable[[Space, Create, Message], bool] = lambda _space, _op, _message: False


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """`hears`: by type of netlink message; `groups`: the multicast groups (RTNLGRP_…) that these come by. `forget`: called
    when events were lost."""

    name: str
    phase: Phase
    part: Part = DEVICES
    dump: Callable[[Look], Iterable[Object]] = lambda _look: ()
    encoding: Encoding | None = None
    hears: Mapping[int, Hear] = {}
    groups: tuple[int, ...] = ()
    forget: Callable[[], None] = lambda: None
