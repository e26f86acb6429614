"""The kinds that can be declared. A new one is a module, and a line here."""

from __future__ import annotations

from weft.declared import bgp, floating, network, policies, pool, service
from weft.declared.item import Item, Kind

KINDS: tuple[Kind, ...] = (
    *bgp.KINDS,
    network.KIND,
    pool.KIND,
    *policies.KINDS,
    service.KIND,
    floating.KIND,
)
BY_NAME = {kind.name: kind for kind in KINDS}
READERS = {(kind.version, kind.name): kind for kind in KINDS}


def of(item: Item) -> Kind:
    return BY_NAME[item.kind]


def order(item: Item) -> tuple[int, bool, str]:
    """In which items are made; the other way round they are removed."""
    kind = of(item)
    return kind.rank, kind.late(item), item.id


def document(item: Item) -> dict[str, object]:
    return of(item).write(item)
