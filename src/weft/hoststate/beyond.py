"""Objects of what is not this kernel and is reconciled all the same: a route in a cloud's table, a port of Neutron's.

Each kind is a class (for example `weft.hoststate.cloud`), with a name that no other kind has: by its kind an object says which
target it is for. What the reconciler has to know of a kind, the class itself says.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec


class TargetObject(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`place`: the part of the target in which it lies, and which is read on its own: a route table, a router. What cannot be
    changed in place belongs into the `name`: another value is another object then, made before the old one goes."""

    kind: ClassVar[str]
    order: ClassVar[int] = 0
    """What is made first, of the kinds of one target; removal goes backwards."""

    place: str

    @property
    def name(self) -> tuple[str, ...]:
        """What tells it from others of its kind in its place."""
        raise NotImplementedError

    @property
    def key(self) -> tuple[str, ...]:
        return (self.kind, self.place, *self.name)

    @property
    def ns(self) -> str:
        """A place is to a target what a network namespace is to a host."""
        return self.place

    def needs(self) -> tuple[tuple[str, ...], ...]:
        """The keys of what has to be there before it can be made."""
        return ()

    def making(self) -> list[str]:
        """The commands that make it, as an operator would type them."""
        raise NotImplementedError

    def changing(self, old: TargetObject) -> list[str]:
        """Those that turn `old`, which has the same key, into this one."""
        raise NotImplementedError

    def removing(self) -> list[str]:
        raise NotImplementedError
