"""The cluster's store: etcd v3 (https://etcd.io/docs/v3.4/learning/api/).

Key `k` is kept at `/prefix/k`. A transaction's guards are etcd's compares; revisions are etcd's own, so they also count
what others write there. How calls find a living endpoint: `etcd_link`.

Leases: etcd counts whole seconds, has a least duration (about one and a half election timeouts, 2 s as it comes), and
keeps the duration that a lease was first granted with: extending it by another `ttl` extends it by the first. Revoke
the lease, or choose another number, to change it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncGenerator, Callable, Sequence

from weft.base.errors import Denied, NotFound, WeftError
from weft.store import etcd_link as link
from weft.store.checks import check_commit, check_lease
from weft.store.etcd_api import etcd_pb2 as pb
from weft.store.etcd_errors import ToCome, explain_text, is_granted
from weft.store.etcd_link import Secrets
from weft.store.protocol import (
    Absent,
    Batch,
    Change,
    Compacted,
    Delete,
    DeletePrefix,
    Guard,
    Item,
    Listing,
    NothingNewer,
    Op,
    Put,
    Unchanged,
)

PAGE = 5_000
"""Items asked for at once."""


def connect(endpoints: Sequence[str], *, prefix: str = "weft", secrets: Callable[[], Secrets] = Secrets) -> EtcdStore:
    """`endpoints`: "host:port", tried in this order. `secrets` is asked with each new connection, as they may be renewed."""
    return EtcdStore(",".join(endpoints), prefix, link.Link(link.fixed(endpoints), secrets))


class EtcdStore:
    """A `Store`. Nothing is connected before the first call; one event loop per store."""

    def __init__(self, names: str, prefix: str, calls: link.Link) -> None:
        """`names`: of its endpoints, for errors."""
        self._names = names
        self._root = f"/{prefix}/".encode()
        self._link = calls

    async def get(self, key: str) -> Item | None:
        answer = await self._link.call(link.RANGE, pb.RangeRequest(key=self._key(key)))
        return self._item(answer.kvs[0]) if answer.kvs else None

    async def list(self, prefix: str) -> Listing:
        key, end = self._range(prefix)
        items: list[Item] = []
        revision = 0  # of the first page; the others are read as of it
        while True:
            request = pb.RangeRequest(key=key, range_end=end, limit=PAGE, revision=revision)
            answer = await self._link.call(link.RANGE, request)
            revision = revision or answer.header.revision
            items += map(self._item, answer.kvs)
            if not answer.more:
                return Listing(revision, tuple(items))
            key = answer.kvs[-1].key + b"\0"

    async def wrote(self, key: str, revision: int) -> bool | None:
        """By reading the key as it was at that revision; etcd refuses one that is yet to come, or was compacted."""
        try:
            answer = await self._link.call(link.RANGE, pb.RangeRequest(key=self._key(key), revision=revision))
        except ToCome:
            return False
        except Compacted:
            now = await self.get(key)
            return True if now is not None and now.revision == revision else None
        return bool(answer.kvs) and answer.kvs[0].mod_revision == revision

    async def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int | None:
        check_commit(guards, ops)
        request = pb.TxnRequest(compare=map(self._compare, guards), success=map(self._request, ops))
        answer = await self._link.call(link.TXN, request)
        return answer.header.revision if answer.succeeded else None

    async def watch(self, prefix: str, revision: int) -> AsyncGenerator[Batch, None]:
        key, end = self._range(prefix)
        create = pb.WatchCreateRequest(key=key, range_end=end, start_revision=revision + 1)
        for renewed in (False, True):
            async with contextlib.aclosing(self._watch(create)) as batches:
                try:
                    async for batch in batches:
                        yield batch
                except Denied:  # as a first answer; etcd says so, too, when it has forgotten the token
                    if renewed:
                        raise
                    self._link.forget_token()

    async def grant(self, lease: int, ttl: float) -> None:
        check_lease(lease, ttl)
        if await self._keep_alive(lease):
            return
        try:
            await self._link.call(link.GRANT, pb.LeaseGrantRequest(ID=lease, TTL=math.ceil(ttl)))
        except WeftError as error:
            if not is_granted(error):
                raise
            await self._keep_alive(lease)  # another call was quicker

    async def revoke(self, lease: int) -> None:
        with contextlib.suppress(NotFound):
            await self._link.call(link.REVOKE, pb.LeaseRevokeRequest(ID=lease))

    async def close(self) -> None:
        """Watches end with Unavailable. Closing twice is harmless."""
        await self._link.close()

    async def _keep_alive(self, lease: int) -> bool:
        """False: there is no such lease. It costs the cluster nothing, unlike a grant that is refused."""
        answer = await self._link.call(link.KEEP_ALIVE, pb.LeaseKeepAliveRequest(ID=lease))
        return answer.TTL > 0

    async def _watch(self, create: pb.WatchCreateRequest) -> AsyncGenerator[Batch, None]:
        request = pb.WatchRequest(create_request=create)
        async with contextlib.aclosing(self._link.stream(link.WATCH, request)) as answers:
            async for answer in answers:
                if answer.canceled:
                    raise self._cancelled(answer)
                if answer.events:
                    changes = tuple(map(self._change, answer.events))
                    yield Batch(changes[-1].revision, changes)

    def _cancelled(self, answer: pb.WatchResponse) -> WeftError:
        if answer.compact_revision:
            return Compacted(f"etcd at {self._names} has the changes from revision {answer.compact_revision} on only")
        return explain_text(answer.cancel_reason or "the watch was cancelled", self._names)

    def _key(self, key: str) -> bytes:
        return self._root + key.encode()

    def _range(self, prefix: str) -> tuple[bytes, bytes]:
        """The keys under a prefix lie in [first, second). The last byte is below 0xff: it ends a UTF-8 sequence."""
        start = self._key(prefix)
        return start, start[:-1] + bytes([start[-1] + 1])

    def _item(self, kv: pb.KeyValue) -> Item:
        return Item(self._name(kv.key), kv.value, kv.mod_revision)

    def _change(self, event: pb.Event) -> Change:
        kv = event.kv
        value = None if event.type == pb.Event.DELETE else kv.value
        return Change(self._name(kv.key), value, kv.mod_revision)

    def _name(self, key: bytes) -> str:
        """Others may write keys that are no text; these are shown as such and fit nothing."""
        return key[len(self._root) :].decode(errors="backslashreplace")

    def _compare(self, guard: Guard) -> pb.Compare:
        """A missing key has revision 0. A range holds if each of its keys does; an empty one is as a missing key
        (applyCompare in etcd's server), which is older than any."""
        match guard:
            case Absent(key=key):
                return pb.Compare(key=self._key(key), target=pb.Compare.CREATE, create_revision=0)
            case Unchanged(key=key, revision=revision):
                # Revision 0 would hold for a missing key; none is ever -1.
                return pb.Compare(key=self._key(key), target=pb.Compare.MOD, mod_revision=revision or -1)
            case NothingNewer(prefix=prefix, revision=revision):
                start, end = self._range(prefix)
                return pb.Compare(
                    key=start,
                    range_end=end,
                    target=pb.Compare.MOD,
                    result=pb.Compare.LESS,
                    mod_revision=revision + 1,
                )

    def _request(self, op: Op) -> pb.RequestOp:
        match op:
            case Put(key=key, value=value, lease=lease):
                return pb.RequestOp(request_put=pb.PutRequest(key=self._key(key), value=value, lease=lease))
            case Delete(key=key):
                return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=self._key(key)))
            case DeletePrefix(prefix=prefix):
                start, end = self._range(prefix)
                return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=start, range_end=end))
