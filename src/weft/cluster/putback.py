"""A store that was put back to an earlier state: nothing is removed for it, and what it lacks is written back.

What one listing lacks says nothing then: the backup may be older than what runs. So whoever follows the store (`adopt`) takes
over what is new in it, and goes on with what is missing. It comes back from those who know of it:

    a node, its leases, its endpoints         from its own agent (`Membership.register`, `weft.endpoints.evidence`)
    networks, policies, services, BGP's       from whichever agent is first (`PutBack.run`)
    settings

What nobody writes back, because its node is gone, is told in the status until the operator lets it go (`weft store accept`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from weft.alloc.leases import check_new
from weft.base import events
from weft.base.errors import Conflict, NotFound
from weft.cluster import records
from weft.cluster.cluster import Cluster
from weft.cluster.secret import ensure_bgp_secret
from weft.cluster.view import View
from weft.datapaths import registry
from weft.model import Network, encode, keys
from weft.model.record import Record
from weft.model.records import BGP_PEERS, BGP_SETTINGS
from weft.policy import record as policy
from weft.services.record import SERVICES
from weft.store.known import KnownStore
from weft.store.protocol import Absent, Guard, Item, NothingNewer, Op, Put, Unchanged
from weft.tasks import whenever

log = logging.getLogger(__name__)

_NOBODYS: tuple[Record[Any, Any], ...] = (
    BGP_SETTINGS,
    BGP_PEERS,
    policy.TIERS,
    policy.NAMESPACES,
    policy.NETWORK_SETS,
    policy.POLICIES,
    SERVICES,
)
"""In the order in which they stand on each other."""

Beside = Callable[[Any], Awaitable[tuple[list[Guard], list[Op]]]]
"""Given a record that is written back: what is to be written in the same transaction. Raises Conflict, NotFound."""

MANY = 8
"""So many keys are named in one line."""


class Past:
    """Of some prefixes, from one connection to the next: what the listing that begins each of them means for the view."""

    def __init__(self, known: KnownStore, view: View) -> None:
        self._known, self._view = known, view
        self._put_back, self._accepted, self.revision = known.put_back, known.accepted, 0

    def adopt(self, prefixes: Iterable[str], items: Iterable[Item], revision: int) -> bool:
        """Whether the store was put back since the last listing."""
        known, view = self._known, self._view
        prefixes, items = tuple(prefixes), tuple(items)
        if self._accepted != known.accepted:
            view.rewound(prefixes)
            view.let_go()
        elif why := self._earlier(items, revision):
            known.contradicted(why)
        careful = self._put_back != known.put_back and self._accepted == known.accepted
        if careful:
            view.rewound(prefixes)
        view.listed(prefixes, items, revision, careful=careful)
        self._put_back, self._accepted, self.revision = known.put_back, known.accepted, revision
        return careful

    def told(self, revision: int) -> None:
        """By the watch."""
        self.revision = max(revision, self.revision)

    def _earlier(self, items: tuple[Item, ...], revision: int) -> str:
        """What shows that the store was put back, where the store in front of it has not noticed; "" if nothing does."""
        if self._put_back != self._known.put_back:
            return ""
        if revision < self.revision:
            return f"it is at revision {revision}, and was at {self.revision}"
        key = self._view.contradicted(items, revision)
        return f"{key} is older in it than it was" if key else ""


class PutBack:
    def __init__(self, cluster: Cluster, beside: Mapping[Record[Any, Any], Beside] = {}) -> None:
        """`beside`: what else has to be written with a record, by its kind."""
        self._cluster, self._store, self._view = cluster, cluster.store, cluster.view
        self._beside = beside
        self._wake = asyncio.Event()
        self._trouble: dict[str, tuple[str, str, str]] = {}
        """Key → its network or "", what it is, why it cannot be written back."""

    def review(self) -> None:
        """After something may have been found missing."""
        if self._view.kept:
            self._wake.set()

    async def run(self) -> None:
        """For ever; begin when the view is complete."""
        await whenever(self._wake, self.write_back, "what the store lacks is not written back yet")

    async def write_back(self) -> None:
        """What belongs to nobody in particular. Raises WeftError where the store does not answer."""
        view = self._view
        self._trouble.clear()
        networks = [view.networks[n] for n in list(view.networks) if keys.network(n) in view.kept]
        for network in sorted(networks, key=lambda n: n.home != n.name):  # first those that others share
            try:
                await self._network(network)
            except Conflict as error:
                self._trouble[keys.network(network.name)] = network.name, "this network", str(error)
                log.error("network %s is not written back: %s", network.name, error)
        for kind, key, value in self._nobodys():
            await self._nobodys_own(kind, key, value)
        if keys.BGP_SECRET in view.kept:
            await ensure_bgp_secret(self._cluster)

    def _nobodys(self) -> list[tuple[Record[Any, Any], str, Any]]:
        """What users wrote for the whole cluster, beside networks, and the store has no more: kind, key and value."""
        places = ((kind, kind.pattern.parse(key), key) for kind in _NOBODYS for key in sorted(self._view.kept))
        found = ((kind, key, self._view.table(kind).get(at)) for kind, at, key in places if at is not None)
        return [(kind, key, value) for kind, key, value in found if value is not None]

    async def _nobodys_own(self, kind: Record[Any, Any], key: str, value: Any) -> None:
        guards, ops = list[Guard](), list[Op]()
        try:
            if kind in self._beside:
                guards, ops = await self._beside[kind](value)
        except (Conflict, NotFound) as error:
            self._trouble[key] = getattr(value, "network", ""), key, str(error)
            log.error("%s is not written back: %s", key, error)
            return
        if not await self._cluster.write([Absent(key), *guards], [Put(key, encode(value)), *ops]):
            await self._look(key)

    async def _network(self, network: Network) -> None:
        """Raises Conflict where others have made one meanwhile that excludes it."""
        key, name, view = keys.network(network.name), network.name, self._view
        listing = await self._store.list(keys.NETWORKS)
        if any(item.key == key for item in listing.items):
            await self._look(key)
            return
        others = records.readable(Network, listing.items)
        apart = not registry.of(network).addresses.outside
        check_new(network, others, [node for _, node in sorted(view.nodes.items())] if apart else ())
        guards: list[Guard] = [NothingNewer(keys.NETWORKS, listing.revision), Absent(key)]
        ops: list[Op] = [Put(key, encode(network))]
        for number, what in registry.claims(network):
            claim = keys.claim(number)
            item = await self._store.get(claim)
            if item is not None and item.value != name.encode():
                raise Conflict(f"{what} belongs to network {item.value.decode(errors='replace')} by now")
            guards.append(Absent(claim) if item is None else Unchanged(claim, item.revision))
            ops += [Put(claim, name.encode())] if item is None else []
        if await self._cluster.write(guards, ops):
            log.warning("wrote back network %s, which the store had lost", name, extra=events.WRITTEN_BACK)
        else:
            await self._look(key)

    async def _look(self, key: str) -> None:
        """Another agent was quicker; or try again."""
        item = await self._store.get(key)
        if item is not None:
            self._view.present_now(item)
        else:
            self._wake.set()

    def problems(self) -> Iterator[tuple[str, str]]:
        """(Network or "", what is kept against the store's word)."""
        for key, (network, what, why) in self._trouble.items():
            if key in self._view.kept:
                yield network, f"the store, which was put back, lacks {what}, and it cannot be written back: {why}"
        if kept := sorted(self._view.kept):
            more = f" and {len(kept) - MANY} more" if len(kept) > MANY else ""
            yield (
                "",
                f"the store was put back to an earlier state; it lacks {', '.join(kept[:MANY])}{more}, by which this "
                "node still goes: their own nodes' agents write them back; `weft store accept` lets them go",
            )
