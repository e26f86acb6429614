"""What the store is owed: containers of this host that came and went while it was away (docs/adr/0052-without-the-store.md).

    attached    the record is written down on this host and in the view, `lost` as if the store had forgotten it: so
                `weft.endpoints.evidence` writes it back like any other, or cuts the container off where it cannot be
    detached    written down, too, as a record that is *renounced*: whatever the store says of it counts no more, until it
                has been taken out of there (`settle`)

A container that is detached and attached again meanwhile has both: the store's record is of the former attachment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from typing import Protocol

from weft.base import events
from weft.base.errors import Unavailable
from weft.cluster import footprint, records
from weft.cluster.footprint import key_of
from weft.cluster.view import View
from weft.model import Endpoint, encode, keys
from weft.store.protocol import Change, Guard, Item, Store, Unchanged

log = logging.getLogger(__name__)


class Ledger(Protocol):
    """Where it outlives the agent. Raises OSError where it cannot be written."""

    def keep(self, key: str, value: bytes) -> None:
        """A record of this node's own."""

    def renounce(self, key: str, value: bytes) -> None:
        """One that it removed."""

    def settled(self, key: str) -> None:
        """The store knows of the removal."""


class Unwritten:
    """A ledger of those who need none."""

    def keep(self, key: str, value: bytes) -> None: ...

    def renounce(self, key: str, value: bytes) -> None: ...

    def settled(self, key: str) -> None: ...


class Owed:
    def __init__(self, store: Store, view: View) -> None:
        self._store, self._view = store, view
        self.ledger: Ledger = Unwritten()
        self._settling = asyncio.Lock()
        self._attached = set[str]()

    def attach(self, endpoint: Endpoint) -> None:
        """Raises Unavailable where it cannot be written down: nothing has happened then."""
        item = Item(key_of(endpoint), encode(endpoint), 0)
        try:
            self.ledger.keep(item.key, item.value)
        except OSError as error:
            raise Unavailable(_not_written(endpoint, error)) from None
        self._attached = {*self._attached & self._view.held, item.key}
        self._view.hold([item])
        log.warning(
            "%s is attached to %s without the store, which is told later",
            endpoint.name,
            endpoint.network,
            extra=events.OFFLINE_ATTACHED,
        )

    def came(self, endpoint: Endpoint) -> bool:
        """Whether it was attached since the agent's start: its interface may yet have to be made."""
        return key_of(endpoint) in self._attached & self._view.held

    def detach(self, endpoints: Iterable[Endpoint]) -> None:
        """Raises Unavailable, as above."""
        for endpoint in endpoints:
            try:
                self.ledger.renounce(key_of(endpoint), encode(endpoint))
            except OSError as error:
                raise Unavailable(_not_written(endpoint, error)) from None
            self._view.renounce([key_of(endpoint)])
            log.warning(
                "%s is detached from %s without the store, which is told later",
                endpoint.name,
                endpoint.network,
                extra=events.OFFLINE_DETACHED,
            )

    async def settle(self) -> None:
        """Take out of the store what was detached. Raises Unavailable."""
        async with self._settling:
            for key in sorted(self._view.renounced):
                while not await self._settle(key):
                    pass  # somebody has changed the record meanwhile
                self._view.forgive(key)
                self.ledger.settled(key)

    async def _settle(self, key: str) -> bool:
        item = await self._store.get(key)
        if item is None:
            return True
        found = records.readable(Endpoint, [item])
        guards: list[Guard] = [Unchanged(key, item.revision)]
        ops = [op for e in found for op in footprint.removal(e, footprint.place(self._view, e.network))]
        revision = await self._store.commit(guards, ops) if found else item.revision
        if revision is not None:
            self._view.apply([Change(key, None, revision)])
        return revision is not None

    def problems(self) -> Iterator[str]:
        """What is owed, in a line."""
        held, gone = sum(key.startswith(keys.ENDPOINTS) for key in self._view.held), len(self._view.renounced)
        some = [f"{n} {what}" for n, what in ((held, "attached"), (gone, "detached")) if n]
        if some:
            yield f"containers that came and went without the store ({', '.join(some)}) are not in it yet"


def _not_written(endpoint: Endpoint, error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return (
        f"{endpoint.name} in network {endpoint.network}: the store is away, and it cannot be written down on this host either: "
        f"{error.strerror}{where}: make room there, or wait until the store is back"
    )
