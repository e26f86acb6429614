"""Claims of addresses for endpoints to come: they free themselves, so nobody has to come back for them."""

from __future__ import annotations

import secrets
import time

from weft.cluster.cluster import Cluster
from weft.model import claims
from weft.store.protocol import Absent, Delete, Put, Unchanged


class PassingClaims:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._store = cluster, cluster.store
        self._brief = (0, 0.0, 0.0)
        """The store lease that they are bound to: its number, of how many seconds, until when it is given to more of them."""

    async def take(self, key: str, seconds: float, over: int = 0) -> int | None:
        """Claim an address for so many seconds at least, twice that at most. The claim's revision; None if it is
        somebody's. `over`: the revision of a claim that may be taken over."""
        guard = Unchanged(key, over) if over else Absent(key)
        value = claims.coming(self._cluster.me)
        return await self._store.commit([guard], [Put(key, value, await self._lasting(seconds))])

    async def _lasting(self, seconds: float) -> int:
        """A store lease that lasts that long from now on. One serves many, so that hardly any claim waits for a grant."""
        lease, of, until = self._brief
        now = time.monotonic()
        if of != seconds or now > until:
            lease = secrets.randbits(62) + 1
            await self._store.grant(lease, 2 * seconds)
            self._brief = lease, seconds, now + seconds
        return lease

    async def give_back(self, key: str, revision: int) -> None:
        """Unless somebody else has it by now."""
        await self._store.commit([Unchanged(key, revision)], [Delete(key)])
