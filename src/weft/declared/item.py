"""One declared thing, whatever its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from weft.documents.field import Field

OWN = "weft/v1"

Scope = Literal["", "network", "namespace"]


class Spec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of what documents of Weft's own kinds say in `spec`. A field's default is what its absence means."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """`scope`: the network, or the policy namespace, that it is in; "" for none. `spec`: a `Spec`; of policy, an object of
    `weft.policy.objects`. `place`: where its document stands; "" where it was made from a record."""

    kind: str
    name: str
    scope: str = ""
    labels: dict[str, str] = {}
    spec: Any
    place: str = ""

    @property
    def id(self) -> str:
        """Unique among all: "network/blue", "service/blue/web"."""
        return "/".join(filter(None, (self.kind.lower(), self.scope, self.name)))

    def same(self, other: Item | None) -> bool:
        """Whether the other one says the same of the same thing."""
        return other is not None and (self.id, self.labels, self.spec) == (other.id, other.labels, other.spec)


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """`read`: a whole document; raises `weft.documents.field.Bad`. `write`: the document of an item, without what is left to
    defaults. `rank`: what has a lower one is made first, and removed last; of one rank, what is not
    `late`: what stands on others of its kind. `labelled`: whether its items have labels, by
    which they are chosen. `spec`: of Weft's own kinds, for the JSON Schema."""

    name: str
    version: str = OWN
    read: Callable[[Field], Item]
    write: Callable[[Item], dict[str, Any]]
    rank: int
    late: Callable[[Item], bool] = lambda _: False
    scope: Scope = ""
    labelled: bool = False
    spec: type[Spec] | None = None
