"""Is this still the store that this host knows? Only what that one says is followed.

A store that has lost its data, was put back from a backup, or is another one altogether (a wrong prefix, a wrong host) says
that hardly anything exists. Whoever believes it takes the whole data plane down. So two things are remembered on this host:

- the *cluster's identity*: a random name under the key `cluster`, made once by the first agent of all;
- a *witness*: the newest write that was seen. History does not change, so the store still has to know of it.

`KnownStore` stands before a store. It looks again at both whenever the connection was lost, and before it passes on that
something is gone. What the store says then is followed in one of three ways:

    as ever     the identity and the witness are there
    with care   the identity is there, but the witness is not, or the identity was away: the store was put back. `put_back`
                counts such times. Whoever follows the store adopts what is new, removes nothing that is merely missing,
                and writes back what is its own (weft.cluster.putback)
    not at all  the identity is missing, or another one: every call raises Unavailable, as if the store were away, until it
                is the right one again or the operator has decided (`accept`, `restore`)
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import AsyncGenerator, Iterable, Sequence

from weft.base import events
from weft.base.errors import Conflict, Unavailable
from weft.model import keys
from weft.store.memory import Memory
from weft.store.protocol import Absent, Batch, Change, Guard, Item, Listing, Op, Put, Store

log = logging.getLogger(__name__)

_WHOLE = (keys.NODES, keys.NETWORKS, keys.LEASES)
"""Listings that say what the whole data plane is made of."""

_PASSING = (keys.QUESTIONS, keys.ANSWERS)
"""There for seconds: no witness of anything."""

_HARMLESS = (keys.PRESENCE, keys.CURSORS, *_PASSING)
"""Nothing is removed for one of these being gone."""

_WAYS_OUT = (
    "if it is the wrong store, name the right one; if its data are lost, `weft store restore` writes back what the agents "
    "know; `weft store accept` takes it as it is, and removes from this host what is not in it"
)


class KnownStore:
    """A `Store`. `memory`: what this host remembers."""

    def __init__(self, store: Store, memory: Memory) -> None:
        self._store, self._memory = store, memory
        self._sure = False
        """Nothing has happened since the last look after which it could be another one."""
        self.doubt = ""
        """Why it is not followed at all, in one line."""
        self.put_back = 0
        """How often it was found put back to an earlier state. Whoever follows it compares this with what it was."""
        self.accepted = 0
        """How often the operator has said that what it says counts, whatever was known before."""

    @property
    def cluster(self) -> str:
        """The identity that this host goes by; "" while there is none."""
        return self._memory.cluster

    # What the operator decides.

    async def accept(self) -> str:
        """What the store says counts from now on, on this host: the identity it has, or is given now. Raises Unavailable."""
        found = await self._identity() or await self._make(secrets.token_hex(8))
        log.warning("the store is accepted as it is: cluster %s", found, extra=events.STORE_ACCEPTED)
        self._memory.remember(found)
        self.accepted += 1
        self.doubt, self._sure = "", True
        return found

    async def restore(self) -> str:
        """Give the store the identity that it has lost: the agents then write back what they know. Raises Unavailable;
        Conflict where it has another one."""
        wanted = self._memory.cluster or secrets.token_hex(8)
        found = await self._make(wanted)
        if found != wanted:
            raise Conflict(
                f"the store belongs to cluster {found}, and this host to {wanted}: nothing is written back into another "
                "cluster's store; name the right one, or `weft store accept` makes this host part of that cluster"
            )
        self._sure = False
        await self._look()
        return found

    # A store, if it is the right one.

    async def get(self, key: str) -> Item | None:
        await self._look()
        return await self._store.get(key)

    async def list(self, prefix: str) -> Listing:
        """Its identity is looked at afterwards as well where much depends on it: what was emptied meanwhile says nothing."""
        sure = self._sure
        await self._look()
        listing = await self._store.list(prefix)
        if not sure or prefix in _WHOLE:
            await self._check()
        self._seen(listing.items)
        return listing

    async def wrote(self, key: str, revision: int) -> bool | None:
        await self._look()
        return await self._store.wrote(key, revision)

    async def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int | None:
        await self._look()
        revision = await self._store.commit(guards, ops)
        if revision is not None:
            self._seen(Item(op.key, op.value, revision) for op in ops if isinstance(op, Put))
        return revision

    async def watch(self, prefix: str, revision: int) -> AsyncGenerator[Batch, None]:
        await self._look()
        try:
            async with contextlib.aclosing(self._store.watch(prefix, revision)) as batches:
                async for batch in batches:
                    if _removes(batch.changes):
                        await self._check()
                    self._seen(Item(c.key, c.value, c.revision) for c in batch.changes if c.value is not None)
                    yield batch
        finally:
            self._sure = False

    async def grant(self, lease: int, ttl: float) -> None:
        await self._look()
        self._memory.save()  # as often as this node renews its presence
        await self._store.grant(lease, ttl)

    async def revoke(self, lease: int) -> None:
        await self._look()
        await self._store.revoke(lease)

    async def close(self) -> None:
        self._memory.save()
        await self._store.close()

    # Looking.

    async def _look(self) -> None:
        """Raises Unavailable where it is not to be followed."""
        if not self._sure:
            await self._check()
            await self._check_history()
            self._sure = True

    async def _check(self) -> None:
        """Its identity. Raises Unavailable."""
        found = await self._identity()
        if not self._memory.cluster:
            found = found or await self._make(secrets.token_hex(8))
            log.info("this host belongs to cluster %s", found, extra=events.STORE_JOINED)
            self._memory.remember(found)
        if found != self._memory.cluster:
            self._doubt(found)
        if self.doubt:
            log.warning("the store is the one of cluster %s again", found, extra=events.STORE_ACCEPTED)
            self.doubt = ""
            self._found_put_back("its identity was away")

    def _doubt(self, found: str) -> None:
        self._sure = False
        mine = self._memory.cluster
        what = f"it belongs to cluster {found}" if found else "it has lost its data, or never was"
        doubt = f"this is not the store of cluster {mine}, to which this host belongs: {what}: {_WAYS_OUT}"
        if doubt != self.doubt:
            log.error("%s; the data plane stays as it is", doubt, extra=events.STORE_REFUSED)
        self.doubt = doubt
        raise Unavailable(doubt)

    async def _check_history(self) -> None:
        """Whether the newest write that was seen is still part of it."""
        witness = self._memory.witness
        if witness is not None and await self._store.wrote(witness.key, witness.revision) is False:
            self._memory.witness = None
            self._found_put_back(f"it does not know of revision {witness.revision}, which wrote {witness.key}")

    def _found_put_back(self, why: str) -> None:
        log.error(
            "the store was put back to an earlier state (%s): what is missing in it is kept here",
            why,
            extra=events.STORE_RESTORED,
        )
        self.put_back += 1

    def contradicted(self, why: str) -> None:
        """Somebody who followed it found out."""
        self._found_put_back(why)

    async def _identity(self) -> str:
        item = await self._store.get(keys.CLUSTER)
        return item.value.decode(errors="replace") if item else ""

    async def _make(self, wanted: str) -> str:
        """The identity that the store has in the end: `wanted`, or another's who was quicker."""
        await self._store.commit([Absent(keys.CLUSTER)], [Put(keys.CLUSTER, wanted.encode())])
        if not (found := await self._identity()):
            raise Unavailable("the store did not keep the cluster's identity that was just written: try again")
        return found

    def _seen(self, items: Iterable[Item]) -> None:
        lasting = (item for item in items if not item.key.startswith(_PASSING))
        newest = max(lasting, key=lambda item: item.revision, default=None)
        if newest is not None:
            self._memory.saw(newest.key, newest.revision)


def _removes(changes: Sequence[Change]) -> bool:
    return any(change.value is None and not change.key.startswith(_HARMLESS) for change in changes)
