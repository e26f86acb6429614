"""What the passwords of BGP sessions between nodes are made of: one secret of the whole cluster, in the store."""

from __future__ import annotations

import secrets

from weft.cluster.cluster import Cluster
from weft.model import BgpSecret, encode, keys
from weft.store.protocol import Absent, Guard, Put, Unchanged


async def ensure_bgp_secret(cluster: Cluster) -> None:
    """In the store and in the view: the one that is there, else the one that is known, else a new one. What is there and
    cannot be read helps nobody, and is replaced. Raises Unavailable."""

    async def attempt() -> None:
        key, view = keys.BGP_SECRET, cluster.view
        item = await cluster.store.get(key)
        if item is not None:
            view.present_now(item)
            if key not in view.broken:
                return
        secret = BgpSecret(value=view.bgp_secret or secrets.token_hex(32))
        guard: Guard = Unchanged(key, item.revision) if item else Absent(key)
        await cluster.commit([guard], [Put(key, encode(secret))])

    await cluster.change(attempt, "the secret of BGP sessions")
