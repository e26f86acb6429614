"""A kernel in memory that behaves like the real one where it matters to the reconciler, and fails on demand.

What is modelled: a device takes along what stands on it and the other end of a veth; a port needs its bridge, a route
its device and its source address, an element its set, a jump its chain; what is made anew must not exist; a namespace
of ours takes along what is in it; IPv4 routes vanish without notice when their device goes or goes down; other people's
objects lie beside ours; namespaces vanish.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from errno import EBUSY, EEXIST, EINVAL, ENETDOWN, ENODEV, ENOENT, EOPNOTSUPP

import msgspec

from weft.hoststate import (
    HOST,
    Address,
    FdbEntry,
    IptablesChain,
    Key,
    Link,
    Neighbour,
    Netns,
    NftChain,
    NftElement,
    NftSet,
    Object,
    Qdisc,
    Redirect,
    Route,
    Sysctl,
    Veth,
    Vxlan,
    is_ours,
)
from weft.kernel.guarding import wait
from weft.reconcile.protocol import Change, Create, Disturbed, Event, Failure, Gone, Op, Reading, Remove, Seen, Unread
from weft.reconcile.relations import device_of, fall, jumps, outside, same_type, sets

TOLD = ("netns", "link", "qdisc", "redirect", "address", "neighbour", "fdb", "route")
"""The kinds whose changes are told one by one (rtnetlink); of rules only that something changed, of sysctls nothing."""


class Killed(BaseException):
    """The process ends here: no handler of ordinary errors may see it."""


class FakeWatcher:
    def __init__(self, forget: Callable[[FakeWatcher], None]) -> None:
        self._forget = forget
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._events: list[Event] = []

    def fileno(self) -> int:
        return self._fd

    def drain(self) -> list[Event]:
        events, self._events = self._events, []
        if events:
            os.eventfd_read(self._fd)
        return events

    def close(self) -> None:
        self._forget(self)
        os.close(self._fd)

    def put(self, event: Event) -> None:
        self._events.append(event)
        os.eventfd_write(self._fd, 1)

    def lose(self, namespaces: Iterable[str]) -> None:
        """As after ENOBUFS: what was queued is lost, and that is told."""
        self.drain()
        for ns in namespaces:
            self.put(Disturbed(ns, "events were lost"))


class FakeKernel:
    """`unreadable`: parts of namespaces that cannot be read now. `fault`: given the number of an op (from 0, over all calls)
    and the op, the errno it shall fail with, or 0. `kill_at`: the number of the op before which the process is killed.
    `log`: every op that was carried out."""

    def __init__(self, namespaces: Iterable[str] = ()) -> None:
        self.objects: dict[Key, Object] = {}
        self.namespaces: set[str] = {HOST, *namespaces}
        self.log: list[Op] = []
        self.unreadable: list[Unread] = []
        self.fault: Callable[[int, Op], int] | None = None
        self.kill_at: int | None = None
        self._number = 0
        self._watchers: list[FakeWatcher] = []
        self._before: dict[Key, Sysctl] = {}

    # ---------------------------------------------------------------------------------------------- as a Kernel

    def read(self, desired: Mapping[Key, Object], namespaces: Set[str]) -> Reading:
        objects: dict[Key, Object] = {}
        foreign: set[Key] = set()
        unread = tuple(u for u in self.unreadable if u.ns in namespaces)
        for key, obj in self.objects.items():
            if key[1] not in namespaces or any(u.covers(key) for u in unread):
                continue
            if self._ours(obj) or (isinstance(obj, Sysctl) and key in desired):
                objects[key] = obj
            elif isinstance(obj, Link | Netns):
                foreign.add(key)
        return Reading(objects, frozenset(foreign), frozenset(namespaces - self.namespaces), unread)

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        failures: list[Failure] = []
        for op in ops:
            if self._number == self.kill_at:
                raise Killed(f"before op {self._number}")
            obj = op.new if isinstance(op, Change) else op.obj
            waits = wait([op], {failure.key for failure in failures}) if failures else []
            code = 0 if waits else (self.fault(self._number, op) if self.fault else 0) or self._carry_out(op)
            self._number += 1
            if waits:
                failures += waits
            elif code:
                failures.append(Failure(obj.key, os.strerror(code), code))
            else:
                self.log.append(op)
        return failures

    def watch(self) -> FakeWatcher:
        watcher = FakeWatcher(lambda me: self._watchers.remove(me))
        self._watchers.append(watcher)
        return watcher

    def close(self) -> None:
        for watcher in list(self._watchers):
            watcher.close()

    # ------------------------------------------------------------------------------------- what others do to it

    def plant(self, *objects: Object) -> None:
        """Put these there, as someone else would, ours or not, without a check."""
        for obj in objects:
            self._put(obj)

    def destroy(self, key: Key) -> None:
        """Remove one object by hand, with what goes along."""
        self._drop(key)

    def vanish(self, ns: str) -> None:
        """A network namespace ends, and with it its devices and the other ends of its veths."""
        for key in [key for key in self.objects if key[1] == ns and key[0] == "link"]:
            self._drop(key)
        self.objects = {key: obj for key, obj in self.objects.items() if key[1] != ns}
        self.namespaces.discard(ns)
        if named := self.objects.get(("netns", HOST, ns)):
            self._vanish(named, told=True)
        self._tell(Disturbed(ns, "the namespace is gone"))

    def set_up(self, key: Key, up: bool) -> None:
        """`ip link set … up|down`, by someone else, on a device of ours or not."""
        link = self.objects[key]
        assert isinstance(link, Link)
        self._put(msgspec.structs.replace(link, up=up))
        self._tell(Disturbed(link.ns, f"{link.name} went {'up' if up else 'down'}"))

    def lose_events(self) -> None:
        for watcher in self._watchers:
            watcher.lose(sorted(self.namespaces))

    def ours(self) -> dict[Key, Object]:
        return {key: obj for key, obj in self.objects.items() if self._ours(obj)}

    def others(self) -> dict[Key, Object]:
        return {key: obj for key, obj in self.objects.items() if not self._ours(obj)}

    # --------------------------------------------------------------------------------------------------- inside

    def _ours(self, obj: Object) -> bool:
        return obj.key in self._before if isinstance(obj, Sysctl) else is_ours(obj)

    def _carry_out(self, op: Op) -> int:
        """0 or an errno."""
        if isinstance(op, Remove):
            return self._remove(op.obj)
        obj = op.new if isinstance(op, Change) else op.obj
        if obj.ns not in self.namespaces:
            return ENOENT
        there = self.objects.get(obj.key)
        if code := self._refusal(obj, there, making=isinstance(op, Create)):
            return code
        if isinstance(obj, Link):
            if isinstance(op, Change) and isinstance(op.old, Link) and isinstance(there, Link) and obj.lent:
                obj = _only_changed(op.old, obj, there)
            obj = self._complete(obj, there)
            if there is None and isinstance(obj.type, Veth):
                self._put(_other_end(obj, obj.type))
        if isinstance(obj, Sysctl):
            nought = Sysctl(name=obj.name, value="0", ns=obj.ns)
            self._before.setdefault(obj.key, there if isinstance(there, Sysctl) else nought)
        self._put(obj)
        return 0

    def _refusal(self, obj: Object, there: Object | None, *, making: bool) -> int:
        match obj:
            case Netns():
                return EEXIST if there is not None or obj.path in self.namespaces else 0
            case Link():
                return self._refuse_link(obj, there, making=making)
            case NftElement():
                holder = self.objects.get(("nft-set", obj.ns, obj.set))
                if not isinstance(holder, NftSet):
                    return ENOENT
                return 0 if bool(holder.to) == bool(obj.to) else EINVAL
            case NftChain():
                return 0 if all(key in self.objects for key in jumps(obj) | sets(obj)) else ENOENT
            case IptablesChain():
                known = all(key in self.objects for key in jumps(obj) if not key[-1].isupper() or "-" in key[-1])
                return 0 if known else ENOENT
            case Sysctl():
                device = device_of(obj)
                return 0 if device is None or device in self.objects else ENOENT
        if making and there is not None:
            return EEXIST
        return self._refuse_on_device(obj)

    def _refuse_on_device(self, obj: Object) -> int:
        match obj:
            case Address() | Neighbour() | FdbEntry():
                link = self.objects.get(("link", obj.ns, obj.dev))
                if not isinstance(link, Link):
                    return ENODEV
                if isinstance(obj, FdbEntry) and obj.bridge:
                    return 0 if link.master == obj.bridge else EINVAL
                return EOPNOTSUPP if isinstance(obj, FdbEntry) and not isinstance(link.type, Vxlan) else 0
            case Qdisc() | Redirect():
                wanted = (obj.dev, obj.to) if isinstance(obj, Redirect) else (obj.dev,)
                return 0 if all(self._has("link", obj.ns, dev) for dev in wanted) else ENODEV
            case Route():
                return self._refuse_route(obj)
        return 0

    def _refuse_link(self, obj: Link, there: Object | None, *, making: bool) -> int:
        if obj.master and not self._has("link", obj.ns, obj.master):
            return ENODEV
        if not making or (isinstance(obj.type, Veth) and not obj.type.primary):
            if not isinstance(there, Link):
                return ENODEV
            return 0 if same_type(there, obj) else EOPNOTSUPP
        if there is not None:
            return EEXIST
        match obj.type:
            case Veth(peer, peer_ns):
                if peer_ns not in self.namespaces:
                    return ENOENT
                return EEXIST if self._has("link", peer_ns, peer) else 0
            case Vxlan(vni, port, dev=dev):
                if dev and not self._has("link", outside(obj), dev):
                    return ENODEV
                links = [o for o in self.objects.values() if isinstance(o, Link) and outside(o) == outside(obj)]
                others = [o.type for o in links]
                return EEXIST if any(isinstance(t, Vxlan) and (t.vni, t.port) == (vni, port) for t in others) else 0
        return 0

    def _refuse_route(self, obj: Route) -> int:
        link = self.objects.get(("link", obj.ns, obj.dev))
        if obj.dev not in ("", "lo"):
            if not isinstance(link, Link):
                return ENODEV
            if not link.up:
                return ENETDOWN
        here = [o.address for o in self.objects.values() if isinstance(o, Address) and o.ns == obj.ns]
        return EINVAL if obj.src and not any(address.startswith(f"{obj.src}/") for address in here) else 0

    def _complete(self, obj: Link, there: Object | None) -> Link:
        """With what the kernel chooses itself."""
        old = there if isinstance(there, Link) else None
        mac = obj.mac or (old.mac if old else None) or f"52:00:00:00:00:{len(obj.name):02x}"
        return msgspec.structs.replace(obj, mtu=obj.mtu or (old.mtu if old else None) or 1500, mac=mac)

    def _remove(self, obj: Object) -> int:
        key = obj.key
        if key not in self.objects:
            return 0
        match obj:
            case NftSet():
                if any(key in sets(chain) for chain in self.objects.values() if isinstance(chain, NftChain)):
                    return EBUSY
            case NftChain() | IptablesChain():
                chains = [o for o in self.objects.values() if isinstance(o, NftChain | IptablesChain)]
                if any(key in jumps(chain) for chain in chains if chain.key != key):
                    return EBUSY
            case Sysctl():
                if before := self._before.pop(key, None):
                    self._put(before)
                return 0
        self._drop(key)
        return 0

    def _put(self, obj: Object) -> None:
        before = self.objects.get(obj.key)
        self.objects[obj.key] = obj
        if isinstance(obj, Netns):
            self.namespaces.add(obj.path)
        if isinstance(obj, Link) and isinstance(before, Link) and before.up and not obj.up:
            routes = [o for o in self.objects.values() if isinstance(o, Route) and device_of(o) == obj.key]
            for route in routes:
                self._vanish(route, told=not _is_v4_route(route))
        if obj != before:
            self._announce(obj, Seen(obj))

    def _drop(self, key: Key) -> None:
        gone = fall({key}, self.objects)
        for port in [o for o in self.objects.values() if isinstance(o, Link) and o.master]:
            if ("link", port.ns, port.master) in gone and port.key not in gone:
                self._put(msgspec.structs.replace(port, master=""))
        for each in sorted(gone):
            if obj := self.objects.get(each):
                self._vanish(obj, told=each == key or not _is_v4_route(obj))

    def _vanish(self, obj: Object, *, told: bool) -> None:
        del self.objects[obj.key]
        self._before.pop(obj.key, None)
        if isinstance(obj, Netns):
            self.namespaces.discard(obj.path)
        if told:
            self._announce(obj, Gone(obj.key))

    def _announce(self, obj: Object, event: Event) -> None:
        if obj.kind in TOLD:
            if is_ours(obj):
                self._tell(event)
        elif obj.kind != "sysctl":
            self._tell(Disturbed(obj.ns, "rules were changed"))

    def _tell(self, event: Event) -> None:
        for watcher in self._watchers:
            watcher.put(event)

    def _has(self, *key: str) -> bool:
        return key in self.objects


def _only_changed(old: Link, new: Link, there: Link) -> Link:
    """Of a device that is lent, what others made of it stays."""
    return msgspec.structs.replace(
        new,
        mtu=there.mtu if new.mtu == old.mtu else new.mtu,
        mac=there.mac if new.mac == old.mac else new.mac,
        master=there.master if new.master == old.master else new.master,
    )


def _other_end(link: Link, veth: Veth) -> Link:
    return Link(
        name=veth.peer,
        type=Veth(link.name, link.ns, primary=False),
        mtu=1500,
        mac=f"52:00:00:00:01:{len(link.name):02x}",
        up=False,
        alias="",
        ns=veth.peer_ns,
    )


def _is_v4_route(obj: Object) -> bool:
    """fib_table_flush() tells nobody."""
    return isinstance(obj, Route) and ":" not in obj.prefix
