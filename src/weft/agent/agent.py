"""One node's agent, put together: what it knows, and the tasks that keep that true.

follow    the store's changes into the view; when it is lost, the kernel stays as it is
loop      the view into the kernel; each other target has one of its own
connects  of those that are open, what policy forbids now is cut off
targets   besides the kernel, that networks need: what they say of this host, and a loop for each
routing   the view into BIRD
tunnels   of driver udp: the program that carries them runs
presence  renewed while we live
liveness  which other nodes are dead, and why that is believed
uplink    this host's own facts, looked at again when the kernel says that they may have changed
tidy      endpoints whose namespace is gone
flannel   what registries of flannel's say, and this node's entries in them
blocks    those without containers go back
stock     blocks that are had in hand, before they are needed
log       what rules of policy log is heard
evidence  what the store has lost of what runs here is written back
locations of own containers that have none are written
claims    of names of own containers of an earlier version are made
checks    what is left of tests of the cluster's connectivity is removed
drains    of members of services, when their time is over, and what is left of them
following of networks that became other ones, by containers of this host
automatic services, which containers' labels ask for
published ports of services that something else here has
health    members of services that are here are asked, and what they say is written
encryption keys of what hosts send each other are changed
names     where containers can ask for names, and what the host's resolv.conf says
paths     which way to each other host is open: probed all the time, where networks have several
questions of other agents are answered, and answers to this one's heard
unheard   what no event tells of: what others do to rules in iptables, to ports of a switch, and to programs
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Any

from weft.agent.config import Config
from weft.agent.parts import Parts, Surroundings
from weft.agent.resources import infos
from weft.agent.resources.service import Service
from weft.alloc.bridges import bridge_name
from weft.api import types as t
from weft.base import events
from weft.base.errors import Conflict, WeftError
from weft.cluster.changes import Changed
from weft.cluster.footprint import key_of
from weft.cluster.kinds import KINDS
from weft.compile import encryption
from weft.compile.contributor import Contributor
from weft.compile.contributors import CONTRIBUTORS
from weft.converge.stepper import Outcome
from weft.daemons.routing import CONCERNS
from weft.datapaths import registry
from weft.endpoints.claimed import ClaimedNames
from weft.endpoints.locations import Locations
from weft.flannel.subnet_env import docker_opts, subnet_env
from weft.hoststate import Bridge, Link
from weft.ipam.giveback import GiveBack
from weft.kernel.kinds.iptables import legacy_in_use
from weft.model import Node, keys, records
from weft.model.network import REACH
from weft.model.record import Record
from weft.services.record import CONDITIONS, SERVICES
from weft.store.follow import Changes, Event, Lost, Synced
from weft.store.known import KnownStore
from weft.store.protocol import Item, Store

log = logging.getLogger(__name__)

IMPATIENCE = 2.0
"""Seconds between looks for an uplink while there is none."""
LEGACY_INTERVAL = 1.0
"""Seconds between looks whether iptables' old back end came into use, of which no event tells."""


UNHEARD_INTERVAL = 0.5
"""Seconds between looks whether somebody changed rules of iptables, sets, or ports of a switch."""


class Agent(Parts):
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
        super().__init__(
            config, name, instance, store, known=known, around=around, kinds=kinds, contributors=contributors
        )
        self.loop.listeners += [
            self._stepped,
            self.connections.stepped,
            self.crossing.stepped,
            lambda _: self.tunnels.stepped(),
        ]
        self.service = Service(self)
        """What its API does, for who asks here and for other agents: limits are of both together."""
        self.metrics.of_status(lambda: infos.status(self))
        self._held: list[Item] = []
        """What this node held when the agent before this one ended, in this boot of the host."""
        self._boot_checked = False
        self._had = frozenset[str]()
        """Own endpoints before the last listing."""
        self._look = asyncio.Event()
        self._subscribe()

    async def run(self) -> None:
        """For ever; ends by cancellation, which leaves the data plane as it is. Raises Conflict for a taken name, Invalid
        where the settings can never work."""

        def keep(name: str, work: Callable[[], Awaitable[None]]) -> None:
            tasks.create_task(self.supervisor.keep(name, work), name=name)

        try:
            self._held = self.journal.load()
            self.view.renounce(item.key for item in self.journal.removed())
            self.view.recall(self._held)
            await self._learn()
            async with asyncio.TaskGroup() as tasks:
                if self.mesh is not None:
                    keep("mesh", partial(self.mesh.run, self.supervisor))
                keep("follow", lambda: self.follower.run(self._heard, self._expect))
                keep("uplink", self._uplink)
                await self.complete.wait()
                await self._register()
                self._need()
                self.follower.start(tasks, self.supervisor)
                keep("evidence", self.evidence.run)
                keep("locations", Locations(self.cluster).run)
                keep("claims", ClaimedNames(self.cluster).run)
                keep("put back", self.put_back.run)
                keep("presence", lambda: self.membership.keep_alive(lambda: self.node, self._register))
                keep("liveness", self.liveness.run)
                keep("questions", lambda: self.post.run(self.service.asking.answer))
                keep("flannel", self.flannel.run)
                keep("leases", lambda: self.leases.run(self._interval))
                keep("tidy", lambda: self.tidy.run(self._interval, self._tell_again))
                keep("stock", lambda: self.stock.run(self._interval))
                keep("blocks", GiveBack(self.view, self.attachments.blocks, lambda: self.config.block_idle).run)
                keep(
                    "ports",
                    lambda: self.attachments.neutron.leftovers.run(self._interval, lambda: bool(self.known.doubt)),
                )
                await self.follower.complete()
                self._tell_open()
                await self.names.stand()
                await self.host.learnt.wait()  # without an uplink nothing is wanted, and all there is would be removed
                keep("loop", self.loop.run)
                keep("names", self.names.run)
                for target, loop in self.loops.targets.items():
                    keep(f"target {target}", loop.run)
                keep("targets", lambda: self.targets.run(self.supervisor))
                keep("connections", self.connections.run)
                keep("crossing", self.crossing.run)
                keep("unheard", self._unheard)
                keep("encryption", lambda: self.encryption.run(self._look_again, self._secured, self._heard_of))
                keep("routing", self.routing.run)
                keep("paths", self.prober.run)
                keep("tunnels", self.tunnels.supervisor.run)
                keep("policy log", self.policy_log.run)
                keep("health", self.health.run)
                keep("checks", self.checks.run_for_ever)
                keep("drains", self.drains.run)
                keep("following", self.following.run)
                keep("automatic services", self.automatic.run)
                keep("published", lambda: self.published.run(self._interval))
        finally:
            self.loops.end()

    async def take(self, config: Config) -> None:
        """Settings that may change while it runs (`Said.live`) are these from now on. Raises WeftError where this host has no
        such uplink or addresses: then nothing is changed."""
        before = self.config
        if (config.iface, config.address) != (before.iface, before.address):
            await self.loop.in_thread(lambda: self.kernel.facts(config.iface, config.fixed))
        self.config = config
        self.host.take(config)
        self.encryption.interval = config.encrypt_rotation
        self.liveness.may_withdraw(config.withdraw)
        self.loops.pace(config.resync)
        for wake in (self._look, self.tidy.wake, self.stock.wake):
            wake.set()
        if self.complete.is_set():
            await self._look_again()

    def _interval(self) -> float:
        """Seconds between looks at what no event tells of."""
        return self.config.resync

    def _tell_open(self) -> None:
        """Networks of before they were apart."""
        networks = sorted(name for name, n in self.view.networks.items() if REACH not in n.options and not n.internal)
        if networks:
            log.warning(
                "open to all other networks that are open to them, as when they were made: %s; networks made from now on "
                "reach no other unless they say -O reach=…",
                ", ".join(networks),
            )

    def close(self) -> None:
        self.names.close()
        self.flow_watch.close()
        self.loops.close()
        self.targets.close()
        self.kernel.close()

    # The store.

    def _expect(self, _: Synced) -> None:
        """A listing, before the view takes it over. It may be of a store that was put back."""
        if not self.complete.is_set() and self.known.put_back:
            self.view.presume(item for item in self._held if item.key.startswith(keys.NETWORKS))
        self._had = frozenset(self.view.endpoints)

    def _heard(self, event: Event, put_back: bool) -> None:
        """What the store said, once the view has it."""
        match event:
            case Synced(prefixes, _, revision):
                self.reached.now(prefixes, revision)
                if put_back and self.complete.is_set():
                    self.health.look_again()
                    self.tidy.revived = [e for id, e in self.view.endpoints.items() if id not in self._had]
                    self.tidy.wake.set()
                self.put_back.review()
                self._store_is("connected", revision)
                self.membership.attention.interrupted()
                self.membership.hurry.set()
                self.complete.set()
                self.leases.wake.set()
                self.stock.wake.set()
            case Changes(prefix, batch):
                self.reached.now((prefix,), batch.revision)
                self._echoed(batch.revision)
                self._store_is("connected", max(batch.revision, self.store_status.revision))
            case Lost(reason):
                log.warning("store lost, the data plane stays as it is: %s", reason, extra=events.STORE_LOST)
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
            log.info("store is back after %.1f s", since - old.since, extra=events.STORE_BACK)
        self.cluster.away = reason if state == "lost" else ""
        self.store_status = t.StoreStatus(url=old.url, state=state, since=since, reason=reason, revision=revision)

    def _subscribe(self) -> None:
        """Who hears of the model's changes, in this order."""
        subscribe, networks = self.view.subscribe, records.NETWORKS
        subscribe("the journal", self.journal.note, self.journal.kinds)
        subscribe("the compiler", lambda changed: self.loops.touch(self.compiler.touched(changed)))
        subscribe("liveness", lambda _: self.liveness.review(), (records.PRESENCE, records.NODES))
        subscribe("questions", lambda _: self.post.presence_changed(), (records.PRESENCE, records.NODES))
        subscribe("membership", lambda _: self._still_registered(), (records.PRESENCE, records.NODES))
        subscribe("this host", self._numbered, (records.NODES,))
        subscribe("leasing", lambda _: self.leases.wake.set(), (networks, records.LEASES))
        subscribe("stock", lambda _: self.stock.wake.set(), (networks, records.LEASES, records.ENDPOINTS))
        subscribe("flannel", self._flannel_after, (networks, records.LEASES, records.PRESENCE))
        subscribe("following", lambda _: self.following.wake.set(), (networks,))
        subscribe("targets", self._for_targets, (networks, records.LEASES))
        subscribe("the follower", lambda _: self._need(), self.compiler.needs_from)
        subscribe("tidying", self._tidy_after, (networks,))
        subscribe("BGP", lambda _: self.routing.touch(), CONCERNS)
        subscribe("published ports", lambda _: self.published.wake.set(), (SERVICES,))
        subscribe("automatic services", self.automatic.heard, (records.ENDPOINTS, records.LOCATIONS, SERVICES))
        subscribe("drains", self.drains.heard, (SERVICES, records.LOCATIONS))
        subscribe("health", self.health.heard, (SERVICES, CONDITIONS, records.ENDPOINTS))

    def _for_targets(self, changed: Changed) -> None:
        self.targets.wake.set()
        if any(self.view.lease(at.network, at.node) is None for at in changed.of(records.LEASES)):
            self.targets.sweep()

    def _need(self) -> None:
        """What contributors need of what is followed on demand, as the view is now."""
        self.follower.need("contributors", self.compiler.needs())

    def _still_registered(self) -> None:
        if self.node is not None and not self.membership.registered(self.node):
            self.membership.hurry.set()

    def _numbered(self, changed: Changed) -> None:
        """Once this node has its number, the first time."""
        if any(at.node == self.view.me for at in changed.of(records.NODES)) and self._told():
            self.loops.touch(self.compiler.everything())

    def _flannel_after(self, changed: Changed) -> None:
        if changed.of(records.NETWORKS):
            self._look.set()  # containers are kept from a registry as from the store
        self.flannel.review()

    def _tidy_after(self, changed: Changed) -> None:
        """What is left of networks that are no more."""
        if any(at.network not in self.view.networks for at in changed.of(records.NETWORKS)):
            self.tidy.wake.set()

    # This host.

    async def _learn(self) -> bool:
        """Look at the uplink; whether something about this host is new."""
        if not await self.host.learn():
            return False
        self.compiler.host = self.leases.host = self.flannel.host = self.host.host
        self.flannel.review()
        if self.host.node is not None:
            self.targets.at(self.host.node)
            if self.mesh is not None:
                self.mesh.at(self.host.node.addresses)
        self.routing.touch()
        return True

    async def _uplink(self) -> None:
        """Look again when the kernel hints at a change, and in intervals."""
        while True:
            await self._hint(self.config.resync if self.host.learnt.is_set() else IMPATIENCE)
            self._look.clear()
            if await self._learn() and self.complete.is_set():
                log.info("this host's uplink or addresses are not what they were", extra=events.UPLINK_CHANGED)
                await self._look_again(learn=False)

    async def _look_again(self, *, learn: bool = True) -> None:
        """All that depends on what is known of this host."""
        if learn:
            await self._learn()
        self.loops.touch(self.compiler.everything())
        await self._register()
        self.leases.wake.set()

    def _heard_of(self) -> bool:
        return self.store_status.state == "connected"

    async def _secured(self) -> list[str]:
        """What does not stand of what is encrypted between hosts."""
        return await self.loop.settle(self.compiler.of_contributor(encryption.NAME))

    async def _unheard(self) -> None:
        """What hardly any event tells of is looked at all the time: rules in iptables, sets, ports of a switch, programs."""
        while True:
            await asyncio.sleep(UNHEARD_INTERVAL)
            if self.loop.started and (disturbed := await self.loop.in_thread(self.kernel.unheard)):
                self.loop.resync(disturbed)

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
        self.env_files.keep(dict(self._env_texts()))
        if outcome.uplink:
            self._look.set()
        if outcome.failures or outcome.repaired or outcome.altered:
            self.tidy.wake.set()

    def _env_texts(self) -> Iterator[tuple[str, str]]:
        """What files for other programs are to say, by path, once the network stands here."""
        paths, found = (self.config.subnet_env, self.config.docker_opts), self.flannel.subnet()
        bridge = Link(name=bridge_name(found[0]), type=Bridge()) if found and any(paths) else None
        made = self.desired.get(bridge.key) if bridge else None
        if found is None or not isinstance(made, Link):
            return
        network, lease = found
        masquerade = registry.subnet_options(network).masquerade and not network.internal
        texts = subnet_env(network, lease, made.mtu or 0, masquerade), docker_opts(lease, made.mtu or 0, masquerade)
        yield from ((path, text) for path, text in zip(paths, texts, strict=True) if path)

    def _tell_again(self) -> None:
        """Those who could not deal with what they heard."""
        self.journal.note(Changed())
        self.view.tell_again()
        self.automatic.again()
