"""All parts of one agent, put together. Nothing runs yet: that is `weft.agent.agent`.

What the API's resources and the metrics show, and what they change, they find here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from weft.agent import probing
from weft.agent.as_of import AsOf
from weft.agent.checks import Checks, Spaces
from weft.agent.config import Config, probe_key, store_options
from weft.agent.encryption import Encryption
from weft.agent.fast_counts import FastCounts, ShortWays
from weft.agent.flow_watch import FlowWatch, Tracker, places_of
from weft.agent.host import ThisHost
from weft.agent.mesh import Mesh
from weft.agent.metrics import Metrics
from weft.agent.names import Host as ResolverHost
from weft.agent.names import Naming
from weft.agent.policy_counts import PolicyCounts
from weft.agent.policy_log import PolicyLog
from weft.agent.service_counts import ServiceCounts
from weft.agent.targets import Targets
from weft.api import types as t
from weft.base.errors import Unavailable
from weft.base.net import IPAddress
from weft.cluster.changes import Changed
from weft.cluster.cluster import Cluster
from weft.cluster.drains import Drains
from weft.cluster.follower import Follower
from weft.cluster.journal import Journal
from weft.cluster.kinds import KINDS
from weft.cluster.liveness import Liveness
from weft.cluster.membership import Membership
from weft.cluster.post import Post
from weft.cluster.putback import PutBack
from weft.cluster.reached import Reached
from weft.cluster.secret import ensure_bgp_secret
from weft.cluster.view import View
from weft.compile import foreign, meetings
from weft.compile.compiler import Compiler
from weft.compile.contributor import Contributor
from weft.compile.contributors import CONTRIBUTORS
from weft.compile.isolation import ANEW
from weft.compile.standing import places, standing
from weft.containers import find as containers
from weft.containers.find import Target
from weft.converge.connections import About, Connections, Conntrack
from weft.converge.loops import Loops
from weft.converge.pacing import Pacing, far
from weft.daemons.bird import Bird, signatures
from weft.daemons.routing import BgpSpeaker, Routing
from weft.daemons.tunnels import Tunnels
from weft.datapaths.driver import Host
from weft.endpoints.automatic import Automatic
from weft.endpoints.evidence import Evidence
from weft.endpoints.following import Following
from weft.endpoints.handover import HandoverAttachments
from weft.endpoints.published import Published
from weft.endpoints.services import ServiceWriter
from weft.endpoints.tidy import Tidy, inside
from weft.flannel.members import Members
from weft.flannel.subnet_env import EnvFiles
from weft.health.checker import Ask, Checker
from weft.health.probe import Prober
from weft.hoststate import Key as ObjectKey
from weft.hoststate import Object, Union
from weft.hoststate.union import Source
from weft.ipam.leases import Leases
from weft.ipam.neutron_ports import Place
from weft.ipam.stock import Stock
from weft.ipam.virtual import Virtual
from weft.kernel.host import connections, resolvers, tracked
from weft.kernel.host.facts import HostFacts
from weft.kernel.host.nflog import Ear
from weft.kernel.host.short import Short
from weft.kernel.linux import LinuxKernel
from weft.kernel.plumbing import netns
from weft.model import Node
from weft.model.record import Record
from weft.openstack.cloud import Cloud
from weft.openstack.neutron import Neutron
from weft.paths.prober import Prober as PathProber
from weft.policy.counting import Counts
from weft.reconcile.protocol import Kernel
from weft.services.record import SERVICES
from weft.store.known import KnownStore
from weft.store.memory import Memory
from weft.store.protocol import Store
from weft.store.url import without_secret
from weft.targets.remote import Remote
from weft.targets.table import TARGETS, Make
from weft.tasks import Supervisor


class HostKernel(Kernel, Protocol):
    def facts(self, iface: str = "", fixed: Sequence[IPAddress] = ()) -> HostFacts:
        """Raises WeftError: why this host cannot take part."""

    def answering(self, addresses: Collection[IPAddress], seconds: float) -> set[IPAddress]:
        """Those of these hosts that answer within this time; blocks. Raises Denied, Failed."""

    def unheard(self) -> set[str]:
        """The namespaces where somebody changed rules of which no event tells; blocks. Raises WeftError."""

    def counts(self, ns: str) -> Counts:
        """What the rules of a namespace have counted; in any thread. Raises WeftError."""

    def refused(self, ns: str) -> Counts:
        """And of those on bridges; in any thread. Raises WeftError."""

    def listen(self, group: int, ns: str) -> Ear:
        """To a group of NFLOG in a namespace; in any thread. Raises WeftError."""


MakeKernel = Callable[[Mapping[ObjectKey, Object], Callable[[str], int]], HostKernel]
"""Given what is desired, and the cookie of the namespace that should be at a path; both stay up to date."""


class Surroundings(NamedTuple):
    """What an agent works on. `kernel`, `find`, `cookie`, `bird`: this host's, its containers and their namespaces, and its BGP
    speaker (by default its own BIRD). `remotes`: targets besides the kernel that are there from the start; `targets`: how those
    are made that networks need. `ask`: how a member of a service is asked whether it takes connections. `short`: what takes a
    short way here, by default as this kernel says. `mesh`: this host's part in it, where the store is one."""

    kernel: MakeKernel | None = None
    find: Callable[[str], Target] = containers.find
    cookie: Callable[[str], int] = netns.cookie
    bird: BgpSpeaker | None = None
    remotes: Sequence[Remote] = ()
    targets: Mapping[str, Make] = TARGETS
    conntrack: Conntrack | None = None
    tracker: Tracker = tracked
    short: ShortWays | None = None
    probing: Spaces = probing
    ask: Ask | None = None
    resolvers: ResolverHost = resolvers
    mesh: Mesh | None = None


NAMES_PATIENCE = 1.0
"""Seconds for which a container that is attached waits until the store has told where the others of its network are."""


class Parts:
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
        conntrack = around.conntrack or connections.Here(Path(config.run_dir))
        self.config, self.started, self.store, self.mesh = config, time.time(), store, around.mesh
        self.known = known or (store if isinstance(store, KnownStore) else KnownStore(store, Memory()))
        self.store_status = t.StoreStatus(url=without_secret(config.store), state="connecting", since=time.time())
        self.complete = asyncio.Event()
        """Set once the view is."""
        self.reached = Reached()
        self.supervisor = Supervisor()

        # What the cluster says.
        self.view = View(name, kinds)
        self.cluster = Cluster(store, self.view, instance, config.tenure)
        self.membership = Membership(self.cluster, config.presence_ttl)
        self.follower = Follower(store, self.view, self.known)
        self.as_of = AsOf(self.cluster, lambda: self.store_status, self.complete)
        self.liveness = Liveness(
            self.view, self.membership.attention, self._answering, self._died_or_came_back, withdraw=config.withdraw
        )
        self.post = Post(self.cluster)
        self.virtual = Virtual(self.cluster)
        self.put_back = PutBack(self.cluster, {SERVICES: self.virtual.back})
        self.journal = self.cluster.owed.ledger = Journal(Path(config.state_dir), self.view)

        # What comes of it, and how that gets to the kernel.
        self.encryption = Encryption(config)
        self.compiler = Compiler(self.view, self.liveness.dead, contributors)
        union = Union()
        make = around.kernel or (
            lambda desired, cookies: LinuxKernel(desired, Path(config.run_dir), cookies, keys=self.encryption.keys)
        )
        self.desired: Mapping[ObjectKey, Object] = union.desired
        self.kernel = make(union.desired, self.view.cookie)
        pacing = Pacing(interval=config.resync)
        self.loops = Loops(self.kernel, union, self.compiler.contribution, pacing, around.remotes, far(config.resync))
        self.loop = self.loops.kernel
        self.targets = Targets(
            self.view,
            self.loops,
            around.targets,
            lambda: self.store_status.state == "connected",
            self._look_again,
            config.openstack_cloud,
        )
        self.prober = PathProber(
            self.view, lambda: self.compiler.host, Path(config.run_dir), probe_key(config), self._rerouted
        )
        self.host = ThisHost(
            config,
            self.cluster,
            self._facts,
            lambda: self.targets.known,
            self.prober.machine.paths,
            self.encryption,
        )
        self.connections = Connections(
            partial(places, self.view),
            partial(places, self.view, all=True),
            partial(standing, self.view),
            conntrack,
            lambda cut: self.metrics.cut_off.inc(cut),
        )
        self.crossing = Connections(
            partial(meetings.places, self.view),
            partial(meetings.places, self.view, all=True),
            partial(meetings.standing, self.view),
            conntrack,
            about=About("isolation", ANEW),
        )
        """Those between networks."""
        speaker, secret = around.bird or Bird(Path(config.run_dir)), partial(ensure_bgp_secret, self.cluster)
        self.routing = Routing(self.view, lambda: self.node, speaker, signatures, secret)
        self.tunnels = Tunnels(Path(config.run_dir), _key_of_sleeves(config))

        # Services.
        self.drains = Drains(self.cluster, self.follower, lambda: self.loops.touch(self.compiler.touched(Changed())))
        self.published = Published(self.view)
        self.service_counts = ServiceCounts(self.compiler.known, conntrack.find, lambda ns: self.kernel.counts(ns))

        # Addresses and containers.
        self.flannel = Members(
            self.cluster,
            Path(config.state_dir),
            store_options(config),
            lambda network, keys: self.loops.touch(foreign.sources(self.view, network, keys)),
            self.supervisor,
        )
        self.env_files = EnvFiles(Path(config.state_dir))
        self.leases = Leases(self.cluster, self.flannel.acquire)
        self.attachments = HandoverAttachments(
            self.cluster, self.follower, self._settle, around.find, config.gateway_subnets, self._in_openstack(name)
        )
        self.following = Following(self.cluster, self.attachments)
        self.checks = Checks(self.compiler.known, self.attachments, around.probing)
        self.stock = Stock(self.cluster, self.attachments.blocks)
        self.services = ServiceWriter(self.cluster, self.virtual, self.attachments.ports)
        self.automatic = Automatic(self.cluster, self.services, self.virtual)
        self.evidence = Evidence(self.cluster, partial(inside, around.find))
        self.tidy = Tidy(self.cluster, self.attachments, self.evidence, around.cookie, lambda: self.loop.altered)
        self.health = Checker(self.cluster, self.follower, self.supervisor, around.ask or Prober().ask)
        self.names = Naming(
            self.view,
            around.resolvers,
            self.loops.touch,
            self.tidy.wake.set,
            config.dns_domain,
            self.liveness.dead,
            config.dns_also,
        )
        self.compiler.known.resolvers = self.names.resolvers
        self.policy_log = PolicyLog(self.view, lambda group, ns: self.kernel.listen(group, ns))
        self.tracker = around.tracker
        self.flow_watch = FlowWatch(partial(places_of, self.view), around.tracker.follow)
        self.short = around.short or Short(Path(config.run_dir))
        self.fast_counts = FastCounts(partial(places, self.view, all=True), lambda: self.features, self.short)
        self.policy_counts = PolicyCounts(self.view, lambda: self.compiler.host, lambda ns: self.kernel.counts(ns))
        self.metrics = Metrics(
            self.view,
            self.loops,
            self.routing,
            lambda: self.store_status,
            self.policy_counts,
            self.policy_log,
            self.health,
            self.service_counts,
            self.fast_counts,
        )
        self.metrics.of_names(self.names)
        self.metrics.of_tunnels(self.tunnels)
        self.metrics.of_paths(self.prober)
        if self.mesh is not None:
            self.metrics.of_mesh(self.mesh)

    def _in_openstack(self, node: str) -> Place:
        neutron = Neutron(Cloud(self.config.openstack_cloud))
        return Place(neutron, self.config.openstack_host or node, lambda: self.known.cluster)

    async def _settle(self, sources: Iterable[Source]) -> list[str]:
        """As `Loop.settle`; and a container asks for names when those of its networks are known."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NAMES_PATIENCE):
                await self.follower.complete()
        await self.names.stand()
        return await self.loop.settle(sources)

    async def _look_again(self) -> None:
        """At this host: a target says something else of it, or is driven from now on."""
        raise NotImplementedError

    @property
    def node(self) -> Node | None:
        return self.host.node

    @property
    def features(self) -> frozenset[str]:
        """What this host's kernel can do (`weft.kernel.host.facts`)."""
        return self.host.features

    @property
    def waiting_for(self) -> str:
        """Why this node cannot take part yet, in one line."""
        return self.host.waiting_for

    @property
    def why(self) -> str:
        """Why it is this uplink, and these addresses."""
        return self.host.why

    def ready(self) -> Host:
        """What is known of this host. Raises Unavailable while too little is known to change anything."""
        if self.known.doubt:
            raise Unavailable(self.known.doubt)
        if not self.complete.is_set():
            reason = self.store_status.reason or "try again in a moment"
            raise Unavailable(f"the agent has not heard from the store since its start: {reason}")
        if self.compiler.host is None:
            raise Unavailable(self.waiting_for or "the agent is still starting: try again in a moment")
        return self.compiler.host

    async def _facts(self) -> HostFacts:
        return await self.loop.in_thread(lambda: self.kernel.facts(self.config.iface, self.config.fixed))

    def _answering(self, addresses: Collection[IPAddress], seconds: float) -> set[IPAddress]:
        return self.kernel.answering(addresses, seconds)

    def _rerouted(self, nodes: set[str]) -> None:
        """Packets to these nodes go by another way from now on."""
        if self._told():
            self.loops.touch(self.compiler.of_nodes(nodes))

    def _told(self) -> bool:
        """What this host is told of itself; whether it is new."""
        new = self.host.told()
        self.compiler.host = self.leases.host = self.flannel.host = self.host.host
        return new

    def _died_or_came_back(self, nodes: set[str]) -> None:
        self.loops.touch(self.compiler.of_nodes(nodes))


def _key_of_sleeves(config: Config) -> bytes:
    """None without a secret. Raises Invalid, Denied."""
    if not config.mesh_secret:
        return b""
    from weft.mesh import secret  # with what is of an extra

    return secret.read(config.mesh_secret).key("sleeve")
