"""What a kind of record is: where it lies in the store, how it is read, who follows it, by what it is found.

A record is declared once, as a `Record`. All that keeps records (`weft.cluster.replica`), follows them
(`weft.cluster.follower`) and writes them down (`weft.cluster.journal`) works from that. So a feature that has records of its
own declares them in a module of its own, and names them in one table (`weft.cluster.kinds`).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Generic, TypeVar

import msgspec

from weft.base.errors import Invalid
from weft.model.codec import decode

K = TypeVar("K", bound=tuple[str, ...])
V = TypeVar("V")


class Pattern(Generic[K]):
    """How the keys of a kind are written: `leases/{network}/{node}`."""

    def __init__(self, text: str, fields: type[K]) -> None:
        """`fields`: a NamedTuple with the names in braces, in their order."""
        self.text, self.fields = text, fields
        self._parts = text.split("/")
        names = tuple(part[1:-1] for part in self._parts if part.startswith("{"))
        if names != getattr(fields, "_fields", ()):
            raise ValueError(f"{text} and the fields of {fields.__name__} differ")
        self._fixed = [(n, part) for n, part in enumerate(self._parts) if not part.startswith("{")]
        self._named = [n for n, part in enumerate(self._parts) if part.startswith("{")]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._parts[n][1:-1] for n in self._named)

    @property
    def root(self) -> str:
        """Under which all keys of this kind lie: "leases/", and "bgp/" of "bgp/settings"."""
        return self.under() if self._named else self.text.rpartition("/")[0] + "/"

    def key(self, *names: str) -> str:
        """The whole key."""
        if len(names) != len(self._named):
            raise ValueError(f"{self.text} does not consist of {names}")
        return "/".join(self._filled(names))

    def under(self, *names: str) -> str:
        """What all keys begin with that have these names first."""
        return "/".join(self._filled(names)[: self._named[len(names)]]) + "/"

    def parse(self, key: str) -> K | None:
        """What a key says; None where it is not of this kind."""
        parts = key.split("/")
        if len(parts) != len(self._parts) or any(parts[n] != part for n, part in self._fixed):
            return None
        return self.fields._make([parts[n] for n in self._named])  # type: ignore[attr-defined,no-any-return] # a NamedTuple

    def _filled(self, names: tuple[str, ...]) -> list[str]:
        filled = list(self._parts)
        for n, name in zip(self._named, names, strict=False):
            filled[n] = name
        return filled


class Follow(Enum):
    """Who follows the records of a kind."""

    EVERYBODY = "every node, all of them"
    OWN = "every node, those under its own name, which comes first in the key"
    ON_DEMAND = "whoever needs them, by the first name in the key"


class Record(Generic[K, V]):
    """One kind of record."""

    def __init__(
        self,
        kind: str,
        pattern: Pattern[K],
        read: Callable[[K, bytes], V],
        *,
        by: tuple[tuple[str, ...], ...],
        follow: Follow = Follow.EVERYBODY,
        held: bool = False,
        passing: bool = False,
        sticky: bool = False,
    ) -> None:
        """`read`: the value, given what its key says; raises Invalid.

        `by`: how records are found, each a path of names: ("network", "node") is a mapping from networks to
        mappings from nodes to records. A name is one in the key, or an attribute of the record ("namespace.path", too); where
        that is a tuple, the record is found under each of its items. The first path consists of names in the key that no two
        followed records have in common.

        `held`: each node holds its own, those with its name as "node" in the key: they are its own to remove, and are written
        down on its host. `passing`: their writer loses them all the time, so a store that lacks them says something.
        `sticky`: once known it stays in force, whatever becomes of its key."""
        self.kind, self.pattern, self.read, self.by, self.follow = kind, pattern, read, by, follow
        self.held, self.passing, self.sticky = held, passing, sticky
        if not set(by[0]) <= set(pattern.names):
            raise ValueError(f"{kind}: {by[0]} are not all in {pattern.text}")

    def __repr__(self) -> str:
        return f"Record({self.kind})"

    def prefix(self, me: str) -> str:
        """What the node called `me` follows of them at all times; "" for nothing."""
        match self.follow:
            case Follow.EVERYBODY:
                return self.pattern.root
            case Follow.OWN:
                return self.pattern.under(me)
        return ""

    def mine(self, at: K, me: str) -> bool:
        """Whether it is one of the node called `me`, by its key."""
        return bool(getattr(at, "node", None) == me)


def reads(cls: type[V], *same: str, **named: str) -> Callable[[Any, bytes], V]:
    """Reads JSON. What the key says has to be in the record as well: `same`: in a field of the same name; `named`: in the
    field FIELD what the key calls NAME, `name="network"`."""
    repeated = {**{name: name for name in same}, **named}

    def read(at: Any, value: bytes) -> V:
        found = decode(cls, value)
        for field, name in repeated.items():
            if getattr(found, field) != getattr(at, name):
                raise Invalid(f"its {field} is '{getattr(found, field)}', but its key says '{getattr(at, name)}'")
        return found

    return read


def own_copy(at: K, value: Any, me: str) -> tuple[K, Any]:
    """The same record as one of the node called `me`, where its key names a node."""
    if "node" not in getattr(at, "_fields", ()):
        return at, value
    return at._replace(node=me), msgspec.structs.replace(value, node=me)  # type: ignore[attr-defined] # a NamedTuple
