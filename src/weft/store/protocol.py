"""What a store does: keep keys, compare and swap, tell what changed, forget what a dead writer left.

Keys are '/'-separated printable text, values are bytes. Every committed transaction has a revision, one higher than the
last (a step may be larger where others use the same etcd; one that changes nothing has the last one's); a key's
`revision` is that of the transaction that last wrote it. Any method may raise `Unavailable`; after that nothing is
known about whether a commit happened, and the caller reads again. Other errors: Denied (no permission, wrong password),
Failed (the store is broken, not only away), Invalid (it can never work), NotFound (a Put names a lease that has ended).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

import msgspec

from weft.base.errors import WeftError


class Item(msgspec.Struct, frozen=True):
    key: str
    value: bytes
    revision: int


class Listing(msgspec.Struct, frozen=True):
    """All items under a prefix, in key order, as they were at `revision`."""

    revision: int
    items: tuple[Item, ...]


class Put(msgspec.Struct, frozen=True):
    """`lease`: the key disappears when that lease ends."""

    key: str
    value: bytes
    lease: int = 0


class Delete(msgspec.Struct, frozen=True):
    key: str


class DeletePrefix(msgspec.Struct, frozen=True):
    prefix: str


Op = Put | Delete | DeletePrefix


class Absent(msgspec.Struct, frozen=True):
    """Holds while there is no such key."""

    key: str


class Unchanged(msgspec.Struct, frozen=True):
    """Holds while the key was last written at `revision` (and exists)."""

    key: str
    revision: int


class NothingNewer(msgspec.Struct, frozen=True):
    """Holds while no key under `prefix` was written after `revision`: what was decided from a listing still stands.
    A deletion does not count as writing."""

    prefix: str
    revision: int


Guard = Absent | Unchanged | NothingNewer


class Change(msgspec.Struct, frozen=True):
    """`value` is None when the key was deleted (by a transaction or by its lease's end)."""

    key: str
    value: bytes | None
    revision: int


class Batch(msgspec.Struct, frozen=True):
    """Changes of one or more whole transactions, in order; `revision` is the last one's."""

    revision: int
    changes: tuple[Change, ...]


class Compacted(WeftError):
    """The store no longer has the changes since the revision asked for: list again, watch from there."""

    code = "compacted"


class Store(Protocol):
    async def get(self, key: str) -> Item | None: ...

    async def list(self, prefix: str) -> Listing: ...

    async def wrote(self, key: str, revision: int) -> bool | None:
        """Whether the transaction of this revision wrote (not deleted) the key. It did once, as far as the caller knows: so
        False says that the store was put back to an earlier state since. None: it has forgotten so old a revision."""

    async def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int | None:
        """All `ops` in one transaction if all `guards` hold: its revision. None if a guard does not hold: nothing was
        done. At most 128 guards and 128 ops; no two ops on one key."""

    def watch(self, prefix: str, revision: int) -> AsyncGenerator[Batch, None]:
        """Every change under `prefix` after `revision`, for ever. Raises Compacted or Unavailable; end it by closing
        the iterator."""

    async def grant(self, lease: int, ttl: float) -> None:
        """Make the lease (number chosen by the caller, 63 bits) or, if it exists, extend it by `ttl` seconds from now.
        A lease that exists keeps its keys. Idempotent: it is also the keep-alive."""

    async def revoke(self, lease: int) -> None:
        """End a lease now, deleting its keys. Harmless if there is none."""

    async def close(self) -> None: ...
