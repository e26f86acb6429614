"""The real kernel: `weft.reconcile.protocol.Kernel` over netlink, nft, iptables and /proc/sys.

Blocking; one caller at a time (a Watcher may run beside it in another thread). "" among the namespaces is the one in
which `LinuxKernel` was made.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from itertools import chain, groupby
from pathlib import Path

import msgspec

from weft.base.errors import Denied, NotFound, WeftError
from weft.base.net import IPAddress
from weft.hoststate import HOST, PROTO, Bridge, Key, Link, Netns, Object, Route, Sysctl, Veth, Vxlan
from weft.hoststate.links import NAMED
from weft.kernel import announce, guarding
from weft.kernel.decided import Decided
from weft.kernel.host import facts as host_facts
from weft.kernel.host import probe, uplink
from weft.kernel.host.facts import HostFacts
from weft.kernel.host.uplink import Addresses, Uplink
from weft.kernel.kinds import addresses, bulk, devices, own_netns, tc, wire
from weft.kernel.kinds.describe import links_of
from weft.kernel.kinds.iptables import Iptables
from weft.kernel.kinds.nft import Nft
from weft.kernel.kinds.sysctl import Sysctls, device
from weft.kernel.plumbing import netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Netlink, Refused, open_socket
from weft.kernel.plumbing.spaces import MOST, Expected, Meant, Space, Spaces, any_will_do
from weft.kernel.watch import LinuxWatcher
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Create, Failure, Op, Reading, Remove, Unread

RUN = Path("/run/weft")
_PHASES = {
    "netns": "netns",
    "sysctl": "sysctl",
    "nft-set": "nft",
    "nft-element": "nft",
    "nft-chain": "nft",
    "iptables-chain": "iptables",
    "link": "link",
    "qdisc": "tc",
    "redirect": "tc",
    "address": "bulk",
    "neighbour": "bulk",
    "fdb": "bulk",
    "route": "bulk",
}


_PARTS: dict[str, frozenset[str]] = {
    "all": frozenset(_PHASES),
    "devices": frozenset(kind for kind, phase in _PHASES.items() if phase in ("link", "tc", "bulk")),
    "namespaces": frozenset({"netns"}),
    "sysctls": frozenset({"sysctl"}),
    "nftables": frozenset(kind for kind, phase in _PHASES.items() if phase == "nft"),
    "iptables": frozenset({"iptables-chain"}),
}
"""What is read at once, and so fails at once."""


def _unread(ns: str, what: str, error: Exception) -> Unread:
    return Unread(ns, what, _PARTS[what], str(error))


class LinuxKernel:
    """`desired`: a live view of what is desired, for the watcher. `run`: where the record of sysctls is kept. `named`:
    the folder where namespaces of our own have their names."""

    def __init__(
        self,
        desired: Mapping[Key, Object] | None = None,
        run: Path = RUN,
        expected: Expected = any_will_do,
        named: Path = Path(NAMED),
    ) -> None:
        self._named = named
        self._meant = Meant(expected, netns.cookie(HOST))
        self._desired: Mapping[Key, Object] = {} if desired is None else desired
        self._host_fd = netns.open_path(HOST)
        self._host = Space(HOST, Netlink(open_socket()))
        self._nsids: dict[int, str] = {}
        self._lost: addresses.Lost = {}
        self._pids: deque[int] = deque(maxlen=64)
        self._ruled = {HOST}
        self._nft = Nft(self._pids.append, self._desired)
        self._iptables = Iptables(self._pids.append)
        self._sysctls = Sysctls(run)
        self._features: frozenset[str] | None = None
        self._uplink: Uplink | None = None

    def close(self) -> None:
        self._host.netlink.close()
        self._nft.close()
        os.close(self._host_fd)

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, desired: Mapping[Key, Object], namespaces: Set[str]) -> Reading:
        objects: dict[Key, Object] = {}
        foreign: set[Key] = set()
        vanished: set[str] = set()
        unread: list[Unread] = []
        decided = Decided()
        ordered = sorted(namespaces)
        for some in (ordered[i : i + MOST] for i in range(0, len(ordered), MOST)):
            with self._spaces() as spaces:
                failed = spaces.open(some)
                vanished |= {ns for ns, error in failed.items() if isinstance(error, NotFound)}
                unread += (_unread(ns, "all", error) for ns, error in failed.items() if ns not in vanished)
                for ns in some:
                    if ns not in failed:
                        try:
                            objects |= self._read_netlink(spaces, spaces.get(ns), desired, foreign, decided)
                        except (WeftError, OSError) as error:
                            unread.append(_unread(ns, "devices", error))
                if HOST in some:
                    try:
                        objects |= {own.key: own for own in self._read_own(spaces, foreign)}
                    except (WeftError, OSError) as error:
                        unread.append(_unread(HOST, "namespaces", error))
                spaces.remember_numbers()
        closed = vanished | {u.ns for u in unread if u.what == "all"}
        for ns, wanted in self._unmarked(desired, namespaces - closed).items():
            for what, read in self._rules(ns, wanted):
                try:
                    objects |= read()
                except NotFound:  # ended in between
                    vanished.add(ns)
                except (WeftError, OSError) as error:
                    unread.append(_unread(ns, what, error))
        objects = {key: obj for key, obj in objects.items() if key[1] not in vanished} if vanished else objects
        waived = decided.waived(desired, objects)
        return Reading(objects, frozenset(foreign), frozenset(vanished), tuple(unread), waived)

    def _read_own(self, spaces: Spaces, foreign: set[Key]) -> list[Netns]:
        found, others = own_netns.read(spaces, self._named)
        foreign |= others
        return found

    def _unmarked(self, desired: Mapping[Key, Object], namespaces: Set[str]) -> dict[str, list[Object]]:
        """By namespace the desired objects of kinds that netlink does not dump; where there is something to see."""
        found: dict[str, list[Object]] = {ns: [] for ns in namespaces if ns in self._ruled}
        for key, obj in desired.items():
            if isinstance(obj, Sysctl) and obj.initial:
                continue  # of no interest once its device is there
            if _PHASES[key[0]] in ("sysctl", "nft", "iptables") and key[1] in namespaces:
                found.setdefault(key[1], []).append(obj)
        return found

    def _read_netlink(
        self, spaces: Spaces, space: Space, desired: Mapping[Key, Object], foreign: set[Key], decided: Decided
    ) -> dict[Key, Object]:
        objects, others = links_of(spaces, space, desired)
        foreign |= others
        names = {index: dev.name for index, dev in space.devices().items()}
        for obj in chain(
            addresses.read(space, names, desired, self._lost), tc.read(space, desired), _bulk(space, names, objects)
        ):
            if not (isinstance(obj, Route) and decided.elsewhere(obj, desired)):
                objects[obj.key] = obj
        decided.look_at(space)
        return objects

    def _rules(self, ns: str, wanted: Sequence[Object]) -> Iterator[tuple[str, Callable[[], Mapping[Key, Object]]]]:
        """What there is to read in a namespace besides what netlink dumps, part by part."""
        yield "sysctls", lambda: self._sysctls.read(ns, [obj for obj in wanted if isinstance(obj, Sysctl)])
        kinds = {obj.key[0] for obj in wanted}
        if ns in self._ruled or any(_PHASES[kind] == "nft" for kind in kinds):
            yield "nftables", lambda: self._nft.read(ns)
        if ns in self._ruled or "iptables-chain" in kinds:
            yield "iptables", lambda: self._iptables.read(ns, wanted)

    # -- writing -------------------------------------------------------------------------------------------------------

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        failures: list[Failure] = []
        with self._spaces() as spaces:
            made = {
                (op.obj.ns, op.obj.name): op.obj for op in ops if isinstance(op, Create) and isinstance(op.obj, Link)
            }
            for phase, run in _runs(ops, made):
                failed = {failure.key for failure in failures}
                kept = guarding.stay(ops, run, failed) if phase == "nft" else guarding.wait(run, failed)
                failures += kept
                left = [op for op in run if _target(op).key not in {failure.key for failure in kept}]
                try:
                    failures += self._apply_run(spaces, phase, left, made)
                except (WeftError, OSError) as error:
                    failures += (Failure(_target(op).key, f"{describe(_target(op).key)}: {error}") for op in run)
            spaces.remember_numbers()
        failed = {failure.key for failure in failures}
        announce.send(list(announce.news([op for op in ops if _target(op).key not in failed], self._desired)))
        return list({failure.key: failure for failure in reversed(failures)}.values())[::-1]  # each object's first

    def _apply_run(
        self, spaces: Spaces, phase: str, ops: Sequence[Op], made: Mapping[tuple[str, str], Link]
    ) -> Iterator[Failure]:
        match phase:
            case "bulk":
                yield from bulk.apply(spaces, ops, self._desired)
            case "tc":
                yield from tc.apply(spaces, ops)
            case "netns":
                yield from own_netns.apply(spaces, ops)
            case "link":
                yield from (failure for op in _veths_last(ops) if (failure := _apply_link(spaces, op, made)))
                devices.settle(spaces, [link for op in ops if isinstance(link := _target(op), Link) and link.master])
            case "sysctl":
                yield from (failure for op in ops if (failure := self._sysctls.apply(op)))
            case _:
                adapter = self._nft if phase == "nft" else self._iptables
                for ns, group in _by_namespace(ops).items():
                    self._ruled.add(ns)
                    yield from _unless_gone(group, adapter.apply(ns, group))

    # -- the rest ------------------------------------------------------------------------------------------------------

    def watch(self) -> LinuxWatcher:
        return netns.call(HOST, lambda: LinuxWatcher(self._desired, self._nsids, self._pids, self._host_fd, self._lost))

    def answering(self, addresses: Collection[IPAddress], seconds: float) -> set[IPAddress]:
        """Those of these hosts that answer a probe within this time. Raises Denied, Failed."""
        return probe.answering(addresses, seconds)

    def facts(self, iface: str = "", fixed: Sequence[IPAddress] = ()) -> HostFacts:
        """What datapaths want to know of this host. `iface`, `fixed`: the uplink and the node's addresses, as the operator
        says; else they stay what they were as long as that is as good. Raises NotFound, Conflict, Denied."""
        if self._features is None:
            self._features = host_facts.features()
        self._host.forget()

        def choose(found: Addresses, defaults: list[str]) -> Uplink:
            exists: Callable[[str], bool] = lambda name: self._host.find(name) is not None  # noqa: E731
            return uplink.choose(found, defaults, exists, iface=iface, fixed=fixed, before=self._uplink)

        found = host_facts.facts(self._host, choose, self._features, self._sysctls.record())
        self._uplink = Uplink(found.uplink, found.addresses, found.why)
        return found

    def _spaces(self) -> Spaces:
        return Spaces(self._host, self._host_fd, self._nsids, self._meant)


def _bulk(space: Space, names: Mapping[int, str], links: Mapping[Key, Object]) -> Iterator[Object]:
    """`links`: our own."""
    dump, ns = space.netlink.dump, space.ns
    neighbours = wire.neighbour_filter(u.AF_UNSPEC)
    yield from dump(u.RTM_GETNEIGH, neighbours, partial(wire.decode_neighbour, names=names, ns=ns))
    own = {index: name for index, name in names.items() if ("link", ns, name) in links}
    fdb = partial(wire.decode_fdb, names=own, ns=ns)
    for index, name in own.items():
        match links["link", ns, name]:
            case Link(type=Vxlan()):
                yield from dump(u.RTM_GETNEIGH, wire.fdb_filter(index), fdb)
            case Link(type=Bridge()):
                yield from dump(u.RTM_GETNEIGH, wire.fdb_filter_of_bridge(index), fdb)
    for family in (u.AF_INET, u.AF_INET6):
        proto = PROTO if ns == HOST else None  # in a container it matters who else has routes there (`Decided`)
        routes = wire.route_filter(family, proto or 0)
        yield from dump(u.RTM_GETROUTE, routes, partial(wire.decode_route, names=names, ns=ns, proto=proto))


def _target(op: Op) -> Object:
    return op.new if isinstance(op, Change) else op.obj


def _runs(ops: Sequence[Op], made: Mapping[tuple[str, str], Link]) -> Iterator[tuple[str, list[Op]]]:
    """Consecutive operations of one phase, with two exceptions: all of nftables is one transaction, but for what is removed
    after the devices that it guards; and a sysctl of a device that is yet to be made waits for it, and the other end of a
    veth for that."""
    phases = [(_PHASES[_target(op).key[0]], op) for op in ops]
    rules = [op for phase, op in phases if phase == "nft"]
    final = {id(op): op for op in guarding.put_off(rules)}
    nft = [op for op in rules if id(op) not in final]
    late = [op for phase, op in phases if phase == "sysctl" and _awaits(op, made)]
    runs: list[tuple[str, list[Op]]] = []
    for phase, op in phases:
        if phase == "nft":
            if nft and id(op) not in final:
                runs.append((phase, nft))
                nft = []
        elif phase == "sysctl" and _awaits(op, made):
            continue
        elif runs and runs[-1][0] == phase:
            runs[-1][1].append(op)
        else:
            runs.append((phase, [op]))
    if late:
        last = max(i for i, (phase, _) in enumerate(runs) if phase == "link")
        runs[last : last + 1] = _set_before_up(runs[last][1], late)
    yield from ((phase, run) for phase, run in [*runs, ("nft", list(final.values()))] if run)


def _set_before_up(links: Sequence[Op], sysctls: list[Op]) -> list[tuple[str, list[Op]]]:
    """New devices, their sysctls, and only then that they are up, with the other ends of veths: so that nothing comes in
    while the kernel's defaults are still in force."""
    awaited = {(obj.ns, device(obj.name)) for op in sysctls if isinstance(obj := _target(op), Sysctl)}
    made: list[Op] = []
    up: list[Op] = []
    ends: list[Op] = []
    for op in links:
        link = _target(op)
        if _lets_through(op):
            ends.append(op)
        elif isinstance(op, Create) and isinstance(link, Link) and link.up and (link.ns, link.name) in awaited:
            down = msgspec.structs.replace(link, up=False)
            made.append(Create(down))
            up.append(Change(down, link))
        else:
            made.append(op)
    return [("link", made), ("sysctl", sysctls), ("link", up + ends)]


def _lets_through(op: Op) -> bool:
    """The other end of a veth, which has no carrier until that is up."""
    return (
        isinstance(op, Create)
        and isinstance(op.obj, Link)
        and isinstance(op.obj.type, Veth)
        and not op.obj.type.primary
    )


def _awaits(op: Op, made: Mapping[tuple[str, str], Link]) -> bool:
    obj = _target(op)
    return not isinstance(op, Remove) and isinstance(obj, Sysctl) and (obj.ns, device(obj.name)) in made


def _veths_last(ops: Sequence[Op]) -> list[Op]:
    """Of new links made in a row: bridges before the ports that want to join them, a veth before its other end."""

    def rank(op: Op) -> int:
        if not isinstance(op, Create) or not isinstance(op.obj, Link) or not isinstance(op.obj.type, Veth):
            return 0
        return 1 if op.obj.type.primary else 2

    return [op for _, group in groupby(ops, key=type) for op in sorted(group, key=rank)]


def _by_namespace(ops: Sequence[Op]) -> dict[str, list[Op]]:
    groups: dict[str, list[Op]] = {}
    for op in ops:
        groups.setdefault(_target(op).ns, []).append(op)
    return groups


def _apply_link(spaces: Spaces, op: Op, made: Mapping[tuple[str, str], Link]) -> Failure | None:
    link = _target(op)
    assert isinstance(link, Link)
    verb: Callable[[], None]
    match op:
        case Create():
            verb = partial(devices.create, spaces, link, made)
        case Change():
            assert isinstance(op.old, Link)
            verb = partial(devices.change, spaces, op.old, link)
        case Remove():
            verb = partial(devices.remove, spaces, link)
    try:
        verb()
    except Refused as refused:
        if isinstance(op, Remove) and refused.errno in (errno.ENODEV, errno.ENOENT):
            return None
        return Failure(link.key, f"{describe(link.key)}: {refused.text}", refused.errno)
    except WeftError as error:
        if isinstance(op, Remove) and isinstance(error, NotFound):
            return None
        return Failure(link.key, str(error), errno.EPERM if isinstance(error, Denied) else errno.ENOENT)
    return None


def _unless_gone(ops: Sequence[Op], failures: Sequence[Failure]) -> Iterator[Failure]:
    """In a namespace that has ended there is nothing left to remove."""
    removals = {_target(op).key for op in ops if isinstance(op, Remove)} if failures else set()
    for failure in failures:
        with suppress(WeftError):
            if failure.key in removals and not netns.exists(failure.key[1]):
                continue
        yield failure
