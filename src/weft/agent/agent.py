"""One node's agent, put together: what it knows, and the tasks that keep that true.

follow    the store's changes into the view; when it is lost, the kernel stays as it is
loop      the view into the kernel; each other target has one of its own
routing   the view into BIRD
presence  renewed while we live
liveness  which other nodes are dead, and why that is believed
uplink    this host's own facts, looked at again when the kernel says that they may have changed
tidy      endpoints whose namespace is gone
blocks    those without containers go back
evidence  what the store has lost of what runs here is written back
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from weft import __version__
from weft.agent.config import Config
from weft.agent.control import Control
from weft.agent.metrics import Metrics
from weft.api import types as t
from weft.base.errors import Conflict, Invalid, NotFound, Unavailable, WeftError
from weft.base.net import IPAddress
from weft.bgp.plan import PASSWORD, TTL
from weft.cluster.changes import Changed
from weft.cluster.cluster import Cluster
from weft.cluster.follower import Follower
from weft.cluster.footprint import key_of
from weft.cluster.journal import Journal, boot_id
from weft.cluster.kinds import KINDS
from weft.cluster.liveness import Liveness
from weft.cluster.membership import Membership
from weft.cluster.putback import PutBack
from weft.cluster.secret import ensure_bgp_secret
from weft.cluster.view import View
from weft.compile.compiler import Compiler
from weft.compile.contributor import Contributor
from weft.compile.contributors import CONTRIBUTORS
from weft.containers import find as containers
from weft.containers.find import Target
from weft.converge.loops import Loops
from weft.converge.pacing import Pacing
from weft.converge.stepper import Outcome
from weft.daemons.bird import Bird, signatures
from weft.daemons.routing import CONCERNS, BgpSpeaker, Routing
from weft.datapaths.driver import Host
from weft.endpoints.evidence import Evidence
from weft.endpoints.handover import HandoverAttachments
from weft.hoststate import HOST, Object, Union
from weft.hoststate import Key as ObjectKey
from weft.ipam.giveback import GiveBack
from weft.ipam.leases import Leases
from weft.kernel.host.facts import FEATURES, MD5, HostFacts
from weft.kernel.kinds.iptables import legacy_in_use
from weft.kernel.linux import LinuxKernel
from weft.kernel.plumbing import netns
from weft.model import Endpoint, Node, keys, records
from weft.model.record import Record
from weft.reconcile.protocol import Kernel
from weft.store.follow import Changes, Event, Lost, Synced
from weft.store.known import KnownStore
from weft.store.memory import Memory
from weft.store.protocol import Absent, Delete, Item, Store
from weft.store.url import without_secret
from weft.targets.remote import Remote
from weft.tasks import Supervisor

log = logging.getLogger(__name__)

IMPATIENCE = 2.0
"""Seconds between looks for an uplink while there is none."""
LEGACY_INTERVAL = 1.0
"""Seconds between looks whether iptables' old back end came into use, of which no event tells."""


class HostKernel(Kernel, Protocol):
    def facts(self, iface: str = "", fixed: Sequence[IPAddress] = ()) -> HostFacts:
        """Raises WeftError: why this host cannot take part."""

    def answering(self, addresses: Collection[IPAddress], seconds: float) -> set[IPAddress]:
        """Those of these hosts that answer within this time; blocks. Raises Denied, Failed."""


MakeKernel = Callable[[Mapping[ObjectKey, Object], Callable[[str], int]], HostKernel]
"""Given what is desired, and the cookie of the namespace that should be at a path; both stay up to date."""


class Surroundings(NamedTuple):
    """What an agent works on. `kernel`, `find`, `cookie`, `bird`: this host's, its containers and their namespaces, and its BGP
    speaker (by default its own BIRD). `remotes`: the targets besides the kernel."""

    kernel: MakeKernel | None = None
    find: Callable[[str], Target] = containers.find
    cookie: Callable[[str], int] = netns.cookie
    bird: BgpSpeaker | None = None
    remotes: Sequence[Remote] = ()


class Agent:
    def __init__(
        self,
        config: Config,
        name: str,
        instance: str,
        store: Store,
        *,
        known: KnownStore | None = None,
        around: Surroundings | None = None,
        kinds: Iterable[Record[Any, Any]] = KINDS,
        contributors: Iterable[Contributor] = CONTRIBUTORS,
    ) -> None:
        """`known`: what tells whether `store` is the one that this host knows, if it is not `store` itself. `around`: this
        host, unless another one is to be used. `kinds`, `contributors`: the features that it has."""
        around = around or Surroundings()
        self.config, self.started = config, time.time()
        self.store = store
        self.known = known or (store if isinstance(store, KnownStore) else KnownStore(store, Memory()))
        self.view = View(name, kinds)
        self.cluster = Cluster(store, self.view, instance, config.tenure)
        self.membership = Membership(self.cluster, config.presence_ttl)
        self.leases = Leases(self.cluster)
        self.liveness = Liveness(
            self.view, self.membership.attention, self._answering, self._died_or_came_back, withdraw=config.withdraw
        )
        self.compiler = Compiler(self.view, self.liveness.dead, contributors)
        union = Union()
        make = around.kernel or (lambda desired, cookies: LinuxKernel(desired, Path(config.run_dir), cookies))
        self.kernel = make(union.desired, self.view.cookie)
        self._cookie, self._find = around.cookie, around.find
        self._control = Control(config)
        self.loops = Loops(
            self.kernel, union, self.compiler.contribution, Pacing(interval=config.resync), around.remotes
        )
        self.loop = self.loops.kernel
        self.loop.listeners.append(self._stepped)
        self.routing = Routing(
            self.view,
            lambda: self.node,
            around.bird or Bird(Path(config.run_dir)),
            signatures,
            partial(ensure_bgp_secret, self.cluster),
        )
        self.metrics = Metrics(self)
        self.supervisor = Supervisor()
        self.follower = Follower(store, self.view, self.known)
        self.put_back = PutBack(self.cluster)
        self._held: list[Item] = []
        """What this node held when the agent before this one ended, in this boot of the host."""
        self._boot_checked = False
        self._had = frozenset[str]()
        """Own endpoints before the last listing."""
        self._revived: list[Endpoint] = []
        """Own endpoints that a store which was put back has again."""
        self.attachments = HandoverAttachments(
            self.cluster, self.follower, self.loop.settle, around.find, config.gateway_subnets
        )
        self.journal = Journal(Path(config.state_dir), self.view)
        self.evidence = Evidence(self.cluster, self._inside)
        self.features: frozenset[str] = frozenset()
        self.node: Node | None = None
        self.waiting_for = ""
        """Why this node cannot take part yet, in one line."""
        self.why = ""
        """Why it is this uplink, and these addresses."""
        self.store_status = t.StoreStatus(url=without_secret(config.store), state="connecting", since=time.time())
        self._complete = asyncio.Event()
        """The view is."""
        self._learnt = asyncio.Event()
        """The uplink was."""
        self._look = asyncio.Event()
        self._tidy = asyncio.Event()
        self._subscribe()

    async def run(self) -> None:
        """For ever; ends by cancellation, which leaves the data plane as it is. Raises Conflict for a taken name, Invalid
        where the settings can never work."""

        def keep(name: str, work: Callable[[], Awaitable[None]]) -> None:
            tasks.create_task(self.supervisor.keep(name, work), name=name)

        try:
            self._held = self.journal.load()
            self.view.recall(self._held)
            await self._learn()
            async with asyncio.TaskGroup() as tasks:
                keep("follow", lambda: self.follower.run(self._heard, self._expect))
                keep("uplink", self._uplink)
                await self._complete.wait()
                await self._register()
                self._need()
                self.follower.start(tasks, self.supervisor)
                keep("evidence", self.evidence.run)
                keep("put back", self.put_back.run)
                keep("presence", lambda: self.membership.keep_alive(lambda: self.node, self._register))
                keep("liveness", self.liveness.run)
                keep("leases", lambda: self.leases.run(self.config.resync))
                keep("tidy", self._tidy_up)
                keep("blocks", GiveBack(self.view, self.attachments.blocks, self.config.block_idle).run)
                await self.follower.complete()
                await self._learnt.wait()  # without an uplink nothing is wanted, and all there is would be removed
                keep("loop", self.loop.run)
                for target, loop in self.loops.targets.items():
                    keep(f"target {target}", loop.run)
                keep("routing", self.routing.run)
        finally:
            self.loops.end()

    def close(self) -> None:
        self.loops.close()
        self.kernel.close()

    def ready(self) -> Host:
        """What is known of this host. Raises Unavailable while too little is known to change anything."""
        if self.known.doubt:
            raise Unavailable(self.known.doubt)
        if not self._complete.is_set():
            reason = self.store_status.reason or "try again in a moment"
            raise Unavailable(f"the agent has not heard from the store since its start: {reason}")
        if self.compiler.host is None:
            raise Unavailable(self.waiting_for or "the agent is still starting: try again in a moment")
        return self.compiler.host

    # The store.

    def _expect(self, _: Synced) -> None:
        """A listing, before the view takes it over. It may be of a store that was put back."""
        if not self._complete.is_set() and self.known.put_back:
            self.view.presume(item for item in self._held if item.key.startswith(keys.NETWORKS))
        self._had = frozenset(self.view.endpoints)

    def _heard(self, event: Event, put_back: bool) -> None:
        """What the store said, once the view has it."""
        match event:
            case Synced(_, _, revision):
                if put_back and self._complete.is_set():
                    self._revived = [e for id, e in self.view.endpoints.items() if id not in self._had]
                    self._tidy.set()
                self.put_back.review()
                self._store_is("connected", revision)
                self.membership.attention.interrupted()
                self.membership.hurry.set()
                self._complete.set()
                self.leases.wake.set()
            case Changes(_, batch):
                self._echoed(batch.revision)
                self._store_is("connected", max(batch.revision, self.store_status.revision))
            case Lost(reason):
                log.warning("store lost, the data plane stays as it is: %s", reason)
                self.membership.attention.interrupted()
                self._store_is("lost", self.store_status.revision, reason)

    def _echoed(self, revision: int) -> None:
        lag = self.cluster.echoed(revision)
        if lag is not None:
            self.metrics.watch_lag.observe(lag)

    def _store_is(self, state: str, revision: int, reason: str = "") -> None:
        old = self.store_status
        since = old.since if old.state == state else time.time()
        if old.state == "lost" and state == "connected":
            log.info("store is back after %.1f s", since - old.since)
        self.store_status = t.StoreStatus(url=old.url, state=state, since=since, reason=reason, revision=revision)

    def _subscribe(self) -> None:
        """Who hears of the model's changes, in this order."""
        subscribe, networks = self.view.subscribe, records.NETWORKS
        subscribe("the journal", self.journal.note, self.journal.kinds)
        subscribe("the compiler", lambda changed: self.loops.touch(self.compiler.touched(changed)))
        subscribe("liveness", lambda _: self.liveness.review(), (records.PRESENCE, records.NODES))
        subscribe("membership", lambda _: self._still_registered(), (records.PRESENCE, records.NODES))
        subscribe("leasing", lambda _: self.leases.wake.set(), (networks, records.LEASES))
        subscribe("the follower", lambda _: self._need(), self.compiler.needs_from)
        subscribe("tidying", self._tidy_after, (networks,))
        subscribe("BGP", lambda _: self.routing.touch(), CONCERNS)

    def _need(self) -> None:
        """What contributors need of what is followed on demand, as the view is now."""
        self.follower.need("contributors", self.compiler.needs())

    def _still_registered(self) -> None:
        if self.node is not None and not self.membership.registered(self.node):
            self.membership.hurry.set()

    def _tidy_after(self, changed: Changed) -> None:
        """What is left of networks that are no more."""
        if any(at.network not in self.view.networks for at in changed.of(records.NETWORKS)):
            self._tidy.set()

    def _answering(self, addresses: Collection[IPAddress], seconds: float) -> set[IPAddress]:
        return self.kernel.answering(addresses, seconds)

    def _died_or_came_back(self, nodes: set[str]) -> None:
        self.loops.touch(self.compiler.of_nodes(nodes))

    # This host.

    async def _learn(self) -> bool:
        """Look at the uplink; whether something about this host is new."""
        try:
            found = await self.loop.in_thread(lambda: self.kernel.facts(self.config.iface, self.config.fixed))
            control, elsewhere = await self._control.look()
            node = Node(
                name=self.view.me,
                addresses=found.addresses,
                uplink=found.uplink,
                mtu=found.mtu,
                segment=self.config.segment,
                labels=self.config.labels,
                asn=self.config.asn,
                bgp_guards=(TTL, PASSWORD) if MD5 in found.features else (TTL,),
                instance=self.cluster.instance,
                control=control,
                boot=boot_id(),
                version=__version__,
            )
        except WeftError as error:
            self.waiting_for = str(error)
            log.warning("%s", error)
            return False
        self.waiting_for = ""
        if found.why != self.why:
            log.info("uplink %s: %s", found.uplink, found.why)
        self.why = found.why
        self.features = found.features
        host = Host(
            node=node,
            iptables=found.iptables,
            advertised=found.advertised,
            ipv6=found.ipv6,
            attached=found.attached,
            lacking=frozenset(FEATURES.keys() - found.features),
            control_open=self.config.control == "open",
            store=elsewhere,
        )
        if host == self.compiler.host:
            return False
        self.node, self.compiler.host, self.leases.host = node, host, host
        self.routing.touch()
        self._learnt.set()
        return True

    async def _uplink(self) -> None:
        """Look again when the kernel hints at a change, and in intervals."""
        while True:
            await self._hint(self.config.resync if self._learnt.is_set() else IMPATIENCE)
            self._look.clear()
            if await self._learn() and self._complete.is_set():
                log.info("this host's uplink or addresses are not what they were")
                self.loops.touch(self.compiler.everything())
                await self._register()
                self.leases.wake.set()

    async def _hint(self, seconds: float) -> None:
        """Until the kernel hints at a change, or this time is over, or the old iptables are in use by now."""
        clock = asyncio.get_running_loop().time
        end = clock() + seconds
        while not self._look.is_set() and (left := end - clock()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, LEGACY_INTERVAL)):
                    await self._look.wait()
            if self.compiler.host is not None and not legacy_in_use() <= self.compiler.host.iptables:
                return

    async def _register(self) -> None:
        """Written now, or by the next renewal if the store does not take it. Raises Conflict."""
        if self.node is None:
            return
        try:
            await self._forget_earlier_boot(self.node)
            await self.membership.register(self.node)
        except Conflict:
            raise
        except WeftError as error:
            log.warning("not registered yet: %s", error)

    async def _forget_earlier_boot(self, node: Node) -> None:
        """Namespaces of an earlier boot are gone, even where their paths exist again, and cookies begin anew. Looked at once:
        afterwards only a store that was put back says such a thing."""
        if self._boot_checked:
            return
        before, held = self.view.nodes.get(node.name), {item.key for item in self._held}
        if before is not None and before.boot != node.boot:
            await self.attachments.forget([e for e in self.view.endpoints.values() if key_of(e) not in held])
        self._boot_checked = True

    # Namespaces.

    def _stepped(self, outcome: Outcome) -> None:
        if outcome.uplink:
            self._look.set()
        if outcome.failures or outcome.repaired or outcome.altered:
            self._tidy.set()

    async def _tidy_up(self) -> None:
        """Endpoints whose namespace is gone: their containers ended without a detach."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.config.resync):
                    await self._tidy.wait()
            self._tidy.clear()
            self.journal.note(Changed())
            self.view.tell_again()
            try:
                await self._forget_cursors()
                await asyncio.to_thread(self.evidence.review)
                vanished = await asyncio.to_thread(self._vanished, tuple(self.view.endpoints.values()))
                revived, self._revived = self._revived, []
                vanished += [e for e in revived if e not in vanished and e.id in self.view.endpoints]
                if vanished:
                    log.info("cleaning up after %s", ", ".join(e.name for e in vanished))
                    await self.attachments.remove(vanished)
                await self.attachments.follow_macs(self.loop.altered)
            except WeftError as error:
                log.warning("not cleaned up yet: %s", error)

    async def _forget_cursors(self) -> None:
        """This node's own, of networks that are no more."""
        for name in [name for name in self.view.cursors if name not in self.view.networks]:
            await self.cluster.write([Absent(keys.network(name))], [Delete(keys.cursor(self.view.me, name))])

    def _inside(self, endpoint: Endpoint) -> tuple[str, ...] | None:
        """The devices in an endpoint's namespace; None where that is gone."""
        try:
            found = self._find(endpoint.namespace.path)
        except (NotFound, Invalid):
            return None
        return found.links if found.namespace.cookie == endpoint.namespace.cookie else None

    def _vanished(self, endpoints: Iterable[Endpoint]) -> list[Endpoint]:
        def cookie(path: str) -> int:
            try:
                return self._cookie(path)
            except NotFound:
                return 0

        # What an engine takes over is its own to remove: before it has done so there is no namespace yet.
        own = [e for e in endpoints if not e.handover]
        host = cookie(HOST)  # an earlier version of Weft let it be attached
        return [e for e in own if e.namespace.cookie in (host, 0) or cookie(e.namespace.path) != e.namespace.cookie]
