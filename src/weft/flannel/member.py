"""This node in one registry: its entry is kept there, and all others are followed.

    the etcd lease    more time when half of it is over: flannel's hosts see nothing of it
    the entry         written where it says something else than it should; where it is gone, taken again at once
    the others        told whenever one comes, changes or goes; what was known stays while the registry is away

Nothing that happens in the registry moves a container: a subnet that somebody else has taken meanwhile is a problem to be told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from weft.base.errors import WeftError
from weft.base.net import IPNetwork, covers
from weft.cluster.liveness import now
from weft.flannel import lease, remembered
from weft.flannel.lease import Entry
from weft.flannel.registry import Registry, read, read_one
from weft.flannel.remembered import Memory
from weft.store.follow import Changes, Lost, Synced, follow
from weft.store.protocol import Item
from weft.tasks import backoff

log = logging.getLogger(__name__)

QUIET = 60.0
"""Seconds between two answers to somebody who writes this node's entry over and over."""
TOLD = 3600.0
"""Seconds for which it is told that somebody did."""
LOOK = 30.0
"""Seconds between looks whether it is time for something."""


class Member:
    def __init__(
        self,
        network: str,
        registry: Registry,
        memory: Memory,
        state: Path,
        heard: Callable[[], None],
        clock: Callable[[], float] = now,
    ) -> None:
        """`memory`: of an earlier agent. `heard`: called when `entries` are others."""
        self.network, self.registry = network, registry
        self._memory, self._state, self._heard, self._clock = memory, state, heard, clock
        self.entries = {k: e for k, v in memory.entries.items() if (e := read_one(k, v.encode()))}
        self.synced = asyncio.Event()
        """Set once the registry was read."""
        self.wake = asyncio.Event()
        self._wanted: Entry | None = None
        self._renewed: float | None = None
        self._answered: float | None = None
        self._lost: tuple[float, str] | None = None
        self._taken = self._rival = ""

    # What others ask and say.

    def want(self, entry: Entry | None) -> None:
        """What this node's entry is to say from now on; None: it is to have none yet."""
        if entry != self._wanted:
            self._wanted = entry
            self.wake.set()

    def has_written(self, entry: Entry) -> None:
        """Somebody wrote this for it."""
        mine = lease.key(entry.subnets), lease.value(entry).decode()
        if mine != self._memory.wrote:
            self._remember(msgspec.structs.replace(self._memory, wrote=mine))

    @property
    def key(self) -> str:
        """Of this node's own entry; ""."""
        return lease.key(self._wanted.subnets) if self._wanted else ""

    @property
    def former(self) -> tuple[IPNetwork, ...]:
        """The subnets that this node had last."""
        return lease.parse_key(self._memory.wrote[0]) or ()

    def problems(self) -> Iterator[str]:
        url = self.registry.url
        if self._lost is not None:
            since, reason = self._lost
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since))
            yield f"flannel's registry {url} is away since {at}: {reason}; what was known of it stays in force"
        if self._taken:
            yield self._taken
        if self._rival and self._answered is not None and self._clock() - self._answered < TOLD:
            yield self._rival

    # What goes on.

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name=f"flannel {self.network} follow")
            tasks.create_task(self._keep(), name=f"flannel {self.network} keep")

    async def _follow(self) -> None:
        async with contextlib.aclosing(follow(self.registry.store, lease.SUBNETS)) as events:
            async for event in events:
                match event:
                    case Synced(items=items):
                        if self._lost is not None:
                            log.info("flannel's registry %s has %d leases", self.registry.url, len(items))
                        self._lost = None
                        self._note({item.key: item.value for item in items}, read(items))
                        self.synced.set()
                    case Changes(batch=batch):
                        self._change({change.key: change.value for change in batch.changes})
                    case Lost(reason=reason):
                        log.warning("flannel's registry %s is away: %s", self.registry.url, reason)
                        self._lost = self._lost[0] if self._lost else time.time(), reason

    def _change(self, changes: dict[str, bytes | None]) -> None:
        values = {key: text.encode() for key, text in self._memory.entries.items()}
        entries = dict(self.entries)
        for key, value in changes.items():
            values.pop(key, None)
            entries.pop(key, None)
            if value is not None:
                values[key] = value
                if (entry := read_one(key, value)) is not None:
                    entries[key] = entry
        self._note(values, entries)

    def _note(self, values: dict[str, bytes], entries: dict[str, Entry]) -> None:
        told = {key: values[key].decode(errors="replace") for key in entries}
        changed, self.entries = entries != self.entries, entries
        if told != self._memory.entries:
            self._remember(
                Memory(url=self._memory.url, number=self._memory.number, wrote=self._memory.wrote, entries=told)
            )
        self.wake.set()
        if changed:
            self._heard()

    def _remember(self, memory: Memory) -> None:
        self._memory = memory
        remembered.save(self._state, self.network, memory)

    async def _keep(self) -> None:
        delays = backoff(first=0.1)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(LOOK, self.registry.ttl / 4)):
                    await self.wake.wait()
            self.wake.clear()
            try:
                if self._wanted is not None and self.synced.is_set():
                    await self._renew()
                if (wanted := self._wanted) is not None and self.synced.is_set():
                    await self._mind(wanted)
                delays = backoff(first=0.1)
            except WeftError as error:
                log.warning("this node's entry in flannel's registry %s: %s", self.registry.url, error)
                await asyncio.sleep(next(delays))
                self.wake.set()

    async def _renew(self) -> None:
        if self._renewed is None or self._clock() - self._renewed >= self.registry.ttl / 2:
            await self.registry.begin()
            self._renewed = self._clock()

    # This node's own entry.

    async def _mind(self, wanted: Entry) -> None:
        """Raises WeftError."""
        known = self.entries.get(lease.key(wanted.subnets))
        if known == wanted:
            self._taken = ""
            self.has_written(wanted)
        elif known is None or not self._is_early(known):
            await self._write(wanted)

    async def _write(self, wanted: Entry) -> None:
        listing = await self.registry.store.list(lease.SUBNETS)
        there = {item.key: item for item in listing.items}
        entries, key = read(listing.items), lease.key(wanted.subnets)
        found = there.get(key)
        if found is not None and entries.get(key) == wanted:
            return  # the watch is yet to tell
        if self._is_taken(wanted, entries):
            return
        rival = self._rivalry(found, entries.get(key)) if found else ""
        if not await self.registry.put(key, wanted, found.revision if found else 0, listing.revision):
            self.wake.set()  # somebody was quicker: look again
            return
        if rival:
            self._rival, self._answered = rival, self._clock()
            log.warning("%s", rival)
        log.info("flannel's registry %s: %s written", self.registry.url, key)
        self.has_written(wanted)

    def _is_taken(self, wanted: Entry, entries: dict[str, Entry]) -> bool:
        """Whether somebody else has the subnet, or a part of it."""
        holder = next((e for k, e in entries.items() if self._is_others(k, e, wanted) and _overlap(e, wanted)), None)
        self._taken = ""
        if holder is not None:
            at = lease.key(wanted.subnets).partition("/")[2]
            self._taken = (
                f"this node's subnet {at} is {holder.host}'s in flannel's registry {self.registry.url}: its containers stay, "
                f"and flannel's hosts do not reach them; stop the flanneld at {holder.host}, and delete its key"
            )
        return holder is not None

    def _is_others(self, key: str, entry: Entry, wanted: Entry) -> bool:
        """An entry of this node's from before its address changed is its own."""
        if entry.host == wanted.host and key == lease.key(wanted.subnets):
            return False
        return not self._is_own_of_old(key, entry)

    def _is_own_of_old(self, key: str, entry: Entry) -> bool:
        at, text = self._memory.wrote
        return key == at and entry == read_one(at, text.encode())

    def _rivalry(self, found: Item, entry: Entry | None) -> str:
        """That somebody wrote this node's own entry since it did; "" where nobody did."""
        if entry is None or self._memory.wrote[0] != found.key or self._is_own_of_old(found.key, entry):
            return ""
        return (
            f"another program with this node's address {entry.host} has written this node's entry "
            f"{found.key.partition('/')[2]} into flannel's registry {self.registry.url} ({_data(entry)}), and it was written "
            "back: is there a flanneld on this host, or another one with this address? Stop it"
        )

    def _is_early(self, known: Entry) -> bool:
        """Whether somebody who wrote this node's entry was answered just now. Two who correct each other would never end."""
        if self._answered is None or self._is_own_of_old(lease.key(known.subnets), known):
            return False
        return self._clock() - self._answered < QUIET


def _overlap(one: Entry, other: Entry) -> bool:
    return any(covers(a, b) or covers(b, a) for a in one.subnets for b in other.subnets)


def _data(entry: Entry) -> str:
    said = [f"{name} {value}" for name, value in (entry.data or {}).items()]
    return ", ".join([entry.type or "no BackendType", *said])
