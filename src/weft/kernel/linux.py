"""The real kernel: `weft.reconcile.protocol.Kernel` over netlink, nft, iptables and /proc/sys.

Blocking; one caller at a time (a Watcher may run beside it in another thread). "" among the namespaces is the one in
which `LinuxKernel` was made.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from pathlib import Path

from weft.base.errors import NotFound, WeftError
from weft.base.net import IPAddress
from weft.hoststate import HOST, Key, Link, Object
from weft.hoststate.links import NAMED
from weft.hoststate.objects import Rules
from weft.kernel import announce, guarding
from weft.kernel.decided import Decided
from weft.kernel.host import counters, probe, uplink
from weft.kernel.host import facts as host_facts
from weft.kernel.host.facts import HostFacts
from weft.kernel.host.nflog import Ear
from weft.kernel.host.outdating import Outdating
from weft.kernel.host.uplink import Addresses, Uplink
from weft.kernel.kinds import bpf_names
from weft.kernel.kinds.bpf import Programs
from weft.kernel.kinds.ipset import Ipsets
from weft.kernel.kinds.iptables import Iptables
from weft.kernel.kinds.kind import Kind, Look, Part, Work
from weft.kernel.kinds.nft import Nft
from weft.kernel.kinds.ovs import OvsPorts
from weft.kernel.kinds.sysctl import Sysctls
from weft.kernel.kinds.table import Adapters, kinds
from weft.kernel.plumbing import netns
from weft.kernel.plumbing.netlink import Netlink, open_socket
from weft.kernel.plumbing.secrets import Keys
from weft.kernel.plumbing.spaces import MOST, Expected, Meant, Space, Spaces, any_will_do
from weft.kernel.runs import runs, target
from weft.kernel.watch import LinuxWatcher
from weft.policy.counting import Counts
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Create, Failure, Op, Reading, Remove, Unread
from weft.reconcile.relations import twin_of
from weft.tunnel import table

RUN = Path("/run/weft")


class LinuxKernel:
    """`desired`: a live view of what is desired, for the watcher. `run`: where the record of sysctls is kept. `named`:
    the folder where namespaces of our own have their names. `ruled`: namespaces where an earlier process may have made rules,
    and none may be wanted any more. `keys`: of what is encrypted."""

    def __init__(
        self,
        desired: Mapping[Key, Object] | None = None,
        run: Path = RUN,
        expected: Expected = any_will_do,
        named: Path = Path(NAMED),
        ruled: Collection[str] = (),
        keys: Keys | None = None,
    ) -> None:
        self._meant = Meant(expected, netns.cookie(HOST))
        self._desired: Mapping[Key, Object] = {} if desired is None else desired
        self._host_fd = netns.open_path(HOST)
        self._host = Space(HOST, Netlink(open_socket()))
        self._nsids: dict[int, str] = {}
        self._pids: deque[int] = deque(maxlen=64)
        self._nft = Nft(self._pids.append, self._desired)
        self._iptables = Iptables(self._pids.append)
        self._sysctls = Sysctls(run)
        self._ipsets, self._ovs, self._programs = Ipsets(), OvsPorts(), Programs(run)
        self._run, self._outdating = run, Outdating(run, self._pids.append)
        rooms, tunnels = {HOST, *ruled}, run / table.FOLDER
        adapters = Adapters(
            nft=self._nft,
            iptables=self._iptables,
            sysctls=self._sysctls,
            named=named,
            ruled=rooms,
            ipsets=self._ipsets,
            ovs=self._ovs,
            tunnels=tunnels,
            keys=keys,
            programs=self._programs,
        )
        self.kinds = kinds(adapters)
        self._features: frozenset[str] | None = None
        self._uplink: Uplink | None = None

    def close(self) -> None:
        self._host.netlink.close()
        self._nft.close()
        self._outdating.close()
        os.close(self._host_fd)

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, desired: Mapping[Key, Object], namespaces: Set[str]) -> Reading:
        found = _Found(self.kinds)
        ordered = sorted(namespaces)
        for some in (ordered[i : i + MOST] for i in range(0, len(ordered), MOST)):
            with self._spaces() as spaces:
                found.open(spaces, some)
                for part in self._parts(dumped=True):
                    for ns in some:
                        if ns not in found.closed:
                            found.read(part, ns, lambda ns=ns, part=part: self._dump(spaces, ns, part, desired, found))  # type: ignore[misc] # mypy infers no type for the defaults
                spaces.remember_numbers()
        wanted = self._wanted(desired, namespaces)
        for ns in ordered:
            for part in self._parts(dumped=False):
                if ns not in found.closed and part.ask is not None:
                    ask, given = part.ask, wanted.get((part.name, ns), ())
                    found.read(part, ns, lambda ask=ask, ns=ns, given=given: ask(ns, given))  # type: ignore[misc]
        return found.reading(desired)

    def _parts(self, *, dumped: bool) -> list[Part]:
        """Each once."""
        parts = {kind.part.name: kind.part for kind in self.kinds.values()}
        return [part for part in parts.values() if (part.ask is None) is dumped]

    def _dump(
        self, spaces: Spaces, ns: str, part: Part, desired: Mapping[Key, Object], found: _Found
    ) -> Mapping[Key, Object]:
        space = spaces.get(ns)
        names = {index: device.name for index, device in space.devices().items()}
        look = Look(spaces, space, desired, found.decided, names, {}, found.foreign)
        for kind in self.kinds.values():
            if kind.part is part:
                for obj in kind.dump(look):
                    look.found[obj.key] = obj
        found.decided.look_at(space)
        return look.found

    def _wanted(self, desired: Mapping[Key, Object], namespaces: Set[str]) -> dict[tuple[str, str], list[Object]]:
        """By part and namespace the desired objects of kinds that netlink does not dump."""
        asked = {name: kind.part.name for name, kind in self.kinds.items() if kind.part.ask is not None}
        wanted: dict[tuple[str, str], list[Object]] = {}
        for key, obj in desired.items():
            if (part := asked.get(key[0])) is not None and key[1] in namespaces:
                wanted.setdefault((part, key[1]), []).append(obj)
        return wanted

    # -- writing -------------------------------------------------------------------------------------------------------

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        failures: list[Failure] = []
        with self._spaces() as spaces:
            made = {
                (op.obj.ns, op.obj.name): op.obj for op in ops if isinstance(op, Create) and isinstance(op.obj, Link)
            }
            work = Work(spaces, self._desired, self.kinds, made)
            for phase, run in runs(ops, self.kinds, made):
                failed = {failure.key for failure in failures}
                kept = guarding.stay(ops, run, failed) if phase.put_off else guarding.wait(run, failed)
                failures += kept
                left = _without(run, {failure.key for failure in kept})
                try:
                    failures += phase.apply(work, left)
                except (WeftError, OSError) as error:
                    failures += (Failure(target(op).key, f"{describe(target(op).key)}: {error}") for op in run)
            spaces.remember_numbers()
        failed = {failure.key for failure in failures}
        self._gone(_without(ops, failed))
        self._outdate_after([target(op) for op in ops])
        announce.send(list(announce.news(_without(ops, failed), self._desired)))
        return list({failure.key: failure for failure in reversed(failures)}.values())[::-1]  # each object's first

    def _outdate_after(self, touched: Sequence[Object]) -> None:
        """What repeats decisions is made to forget. Who changes rules waits until it has; who makes or removes a device need
        not: nothing was decided about a new one, and nothing comes by one that is gone."""
        devices = {obj.ns for obj in touched if isinstance(obj, Link)}
        strictly = {obj.ns for obj in touched if isinstance(obj, Rules)} - devices
        bpf_names.outdate(strictly, self._run)
        self._outdating.programs({obj.ns for obj in touched} - strictly)

    def _gone(self, ops: Sequence[Op]) -> None:
        """What goes with devices that were removed, and stays by its name."""
        for link in [op.obj for op in ops if isinstance(op, Remove) and isinstance(op.obj, Link)]:
            for _, ns, dev in filter(None, (link.key, twin_of(link))):
                self._programs.without(ns, dev)

    # -- the rest ------------------------------------------------------------------------------------------------------

    def watch(self) -> LinuxWatcher:
        """What others changed of rules before, nobody may have heard of: flowtables are emptied once."""
        watcher = netns.call(
            HOST,
            lambda: LinuxWatcher(
                self._desired,
                self._nsids,
                self._pids,
                self._host_fd,
                self.kinds,
                outdate=self._outdating.programs,
                empty=self._outdating.flowtables,
            ),
        )
        self._outdating.flowtables([HOST])
        return watcher

    def answering(self, addresses: Collection[IPAddress], seconds: float) -> set[IPAddress]:
        """Those of these hosts that answer a probe within this time. Raises Denied, Failed."""
        return probe.answering(addresses, seconds)

    def counts(self, ns: str) -> Counts:
        """What the rules of a namespace have counted; in any thread. Raises WeftError."""
        return {**counters.nft(ns), **(counters.iptables(ns) if self._iptables.unheard.knows(ns) else {})}

    def refused(self, ns: str) -> Counts:
        """And of Weft's rules on bridges; in any thread. Raises WeftError."""
        return {**self.counts(ns), **counters.bridged(ns)}

    def unheard(self) -> set[str]:
        """The namespaces where somebody changed what no event tells of: rules, ports of a switch, programs. Raises
        WeftError."""
        rules = self._iptables.unheard.changed() | self._ipsets.unheard.changed()
        self._outdating.programs(rules)
        self._outdating.flowtables(rules)
        return rules | self._ovs.changed() | self._programs.changed()

    def listen(self, group: int, ns: str) -> Ear:
        """To a group of NFLOG in a namespace; in any thread. Raises WeftError."""
        return Ear(group, ns)

    def facts(self, iface: str = "", fixed: Sequence[IPAddress] = ()) -> HostFacts:
        """What datapaths want to know of this host. `iface`, `fixed`: the uplink and the node's addresses, as the operator
        says; else they stay what they were as long as that is as good. Raises NotFound, Conflict, Denied."""
        if self._features is None:
            self._features = host_facts.features()
        self._host.forget()

        def choose(found: Addresses, defaults: list[str]) -> Uplink:
            exists: Callable[[str], bool] = lambda name: self._host.find(name) is not None  # noqa: E731
            return uplink.choose(found, defaults, exists, iface=iface, fixed=fixed, before=self._uplink)

        features = self._features | host_facts.running()
        found = host_facts.facts(self._host, choose, features, self._sysctls.record())
        self._uplink = Uplink(found.uplink, found.addresses, found.why)
        return found

    def _spaces(self) -> Spaces:
        return Spaces(self._host, self._host_fd, self._nsids, self._meant)


def _without(ops: Sequence[Op], keys: Set[Key]) -> Sequence[Op]:
    return [op for op in ops if target(op).key not in keys] if keys else ops


class _Found:
    """One reading on its way. `closed`: the namespaces that could not be opened, or have ended since."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._kinds = kinds
        self._objects: dict[Key, Object] = {}
        self._unread: list[Unread] = []
        self._vanished: set[str] = set()
        self.closed: set[str] = set()
        self.foreign: set[Key] = set()
        self.decided = Decided()

    def open(self, spaces: Spaces, namespaces: Sequence[str]) -> None:
        for ns, error in spaces.open(namespaces).items():
            self.closed.add(ns)
            if isinstance(error, NotFound):
                self._vanished.add(ns)
            else:
                self._unread.append(Unread(ns, "all", frozenset(self._kinds), str(error)))

    def read(self, part: Part, ns: str, read: Callable[[], Mapping[Key, Object]]) -> None:
        try:
            self._objects |= read()
        except (WeftError, OSError) as error:
            if part.ask is not None and isinstance(error, NotFound):  # ended in between
                self._vanished.add(ns)
                return
            kinds = frozenset(name for name, kind in self._kinds.items() if kind.part is part)
            self._unread.append(Unread(ns, part.name, kinds, str(error)))

    def reading(self, desired: Mapping[Key, Object]) -> Reading:
        objects, gone = self._objects, self._vanished
        objects = {key: obj for key, obj in objects.items() if key[1] not in gone} if gone else objects
        waived = self.decided.waived(desired, objects)
        return Reading(objects, frozenset(self.foreign), frozenset(gone), tuple(self._unread), waived)
