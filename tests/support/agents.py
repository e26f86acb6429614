"""Agents in this process: each on a host in memory and on a store of its own, all stores of one SQLite file.

host = FakeHost("192.168.1.68/24")
async with agent_on(host, store_file) as agent:
    path = host.open("c1")
    await Service(agent).attach(Attach(target="c1", network="blue"))
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from ipaddress import ip_interface, ip_network
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec

from support.birds import FakeBird
from support.hoststates import FOREIGN
from weft.agent.agent import Agent
from weft.agent.config import Config
from weft.agent.parts import Surroundings
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.api.checks import Test, Tested
from weft.base.errors import Conflict, NotFound, Unavailable, WeftError
from weft.base.net import IPAddress
from weft.cluster.kinds import KINDS
from weft.compile.contributor import Contributor
from weft.compile.contributors import CONTRIBUTORS
from weft.containers.find import Target
from weft.documents.text import documents
from weft.health.checks import Check
from weft.hoststate import HOST, Link, Object
from weft.kernel.fake import FakeKernel
from weft.kernel.host.connections import Addresses, Flow
from weft.kernel.host.facts import HostFacts
from weft.kernel.host.nflog import Heard
from weft.kernel.host.resolvers import Sockets
from weft.kernel.host.short import Count, Direction
from weft.kernel.host.tracked import Listing as TrackedListing
from weft.kernel.host.tracked import Tracked, concerns, has_end
from weft.model import Namespace, Network
from weft.model.network import OptionValue
from weft.model.record import Record
from weft.policy.counting import Counts
from weft.store.known import KnownStore
from weft.store.memory import remembered
from weft.store.protocol import Batch, Guard, Item, Listing, Op, Store
from weft.store.sqlite import SqliteStore
from weft.targets.remote import Remote
from weft.targets.table import TARGETS, Make

FEATURES = frozenset(
    [
        "veth",
        "bridge",
        "vxlan",
        "nftables",
        "nft-bridge",
        "br_netfilter",
        "address-mark",
        "tbf",
        "ifb",
        "mirred",
        "bird",
        "tcp-md5",
        "openvswitch",
        "macvlan",
        "ipvlan",
        "vlan",
        "tun",
    ]
)
_cookies = itertools.count(4096)


class FakeConntrack:
    """`flows`: by namespace. `looks`: what addresses were asked for, each time."""

    def __init__(self) -> None:
        self.flows: dict[str, list[Flow]] = {}
        self.looks: list[dict[str, set[bytes]]] = []
        self.marked: list[tuple[str, int, list[tuple[Flow, bool]]]] = []

    def find(self, places: Mapping[str, Addresses]) -> dict[str, list[Flow]]:
        self.looks.append({ns: set(some) for ns, some in places.items()})
        return {ns: list(self.flows.get(ns, ())) for ns in places}

    def put(self, ns: str, bit: int, flows: list[tuple[Flow, bool]]) -> int:
        self.marked += [(ns, bit, flows)] if flows else []
        return len(flows)


class FakeEar:
    """What rules log in a namespace (`weft.kernel.host.nflog.Ear`), as a test says it."""

    def __init__(self) -> None:
        self._here, self._there = socket.socketpair()
        self._waiting: list[Heard] = []
        self.lost, self.closed = 0, False

    def say(self, *heard: Heard) -> None:
        self._waiting += heard
        self._there.send(b"x")

    def fileno(self) -> int:
        return self._here.fileno()

    def read(self, most: int) -> list[Heard]:
        found, self._waiting = self._waiting[:most], self._waiting[most:]
        if not self._waiting:
            self._here.recv(4096)
        return found

    def close(self) -> None:
        self._here.close()
        self._there.close()
        self.closed = True


class FakeTracker:
    """`found`: connections by namespace (`weft.kernel.host.tracked`). `looks`: what was asked for."""

    def __init__(self) -> None:
        self.found: dict[str, list[Tracked]] = {}
        self.looks: list[tuple[str, frozenset[bytes], int]] = []

    def listing(self, ns: str, addresses: frozenset[bytes], most: int, ends: frozenset[bytes]) -> TrackedListing:
        self.looks.append((ns, addresses, most))
        found = [each for each in self.found.get(ns, ()) if concerns(each, addresses) and has_end(each, ends)]
        found.sort(key=lambda each: each.weight, reverse=True)
        return TrackedListing(found[:most], len(found), accounting=True, timestamps=True)

    def follow(self, ns: str) -> Any:
        raise NotFound("nobody is told of connections here")


class FakeShort:
    """What takes a short way on this host, as a test says it (`weft.kernel.host.short`)."""

    def __init__(self) -> None:
        self.counted: dict[str, dict[str, Count]] = {}
        self.cached: dict[str, dict[Direction, str]] = {}
        self.in_flowtable: list[Tracked] = []
        self.trouble: WeftError | None = None

    def spaces(self) -> list[str]:
        return sorted(self.counted.keys() | self.cached.keys())

    def counts(self, ns: str) -> dict[str, Count]:
        return self.counted.get(ns, {})

    def repeated(self, ns: str) -> dict[Direction, str]:
        if self.trouble is not None:
            raise self.trouble
        return self.cached.get(ns, {})

    def offloaded(self, ns: str) -> list[Tracked]:
        return self.in_flowtable if ns == HOST else []


class FakeAnswers:
    def __init__(self) -> None:
        self.tcp, self.udp, self.closed = 40_001, 40_002, False

    def close(self) -> None:
        self.closed = True


class FakeProbing:
    """Namespaces of `weft check` on a host in memory (`weft.agent.probing`). `answers`: by path. `fails`: what a test meets."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host
        self.there: set[str] = set()
        self.answers: dict[str, FakeAnswers] = {}
        self.asked: list[tuple[str, Test]] = []
        self.fails = ""

    def path(self, name: str) -> str:
        return f"/run/netns/weftcheck-{name}"

    def make(self, name: str) -> str:
        path = self._host.open(f"weftcheck-{name}")
        self.there.add(path)
        return path

    def unmake(self, where: str) -> None:
        if where in self.there:
            self.there.remove(where)
            self._host.vanish(where)

    def left(self) -> list[str]:
        return sorted(self.there)

    async def answer(self, where: str) -> FakeAnswers:
        self.answers[where] = FakeAnswers()
        return self.answers[where]

    async def run(
        self, where: str, tests: Iterable[Test], seconds: float, at_once: int, rate: int
    ) -> tuple[Tested, ...]:
        self.asked += [(where, test) for test in tests]
        return tuple(Tested(ms=1.0, error=self.fails) for _ in tests)


class FakeResolvers:
    """No container asks for names."""

    def identity(self, path: str) -> int:
        return 0

    def open_all(self, places: Mapping[str, int]) -> dict[str, Sockets | WeftError]:
        return {}

    def others(self, places: Mapping[str, int]) -> dict[str, int]:
        return {}

    def write_files(self, wanted: Collection[str], search: str) -> list[str]:
        return []


class FakeHost(FakeKernel):
    """A host with an uplink eth0, the kernel's other things, and containers: namespaces that may end."""

    def __init__(self, *addresses: str, mtu: int = 1500) -> None:
        super().__init__()
        self.shaken: set[str] = set()
        """Namespaces where somebody changed rules of which no event tells."""
        self.plant(*FOREIGN)
        self.cookies: dict[str, int] = {}
        self.reads = 0
        self.no_uplink = ""
        self.bird = FakeBird()
        self.conntrack = FakeConntrack()
        self.tracker = FakeTracker()
        self.short = FakeShort()
        self.probing = FakeProbing(self)
        self.resolvers = FakeResolvers()
        self.answers: set[IPAddress] = set()
        """Hosts that answer this one's probes."""
        self.counted: dict[str, Counts] = {}
        """What rules have counted, by namespace."""
        self.ears: dict[str, FakeEar] = {}
        self.deaf = ""
        """Why it cannot be listened to what rules log."""
        self.says: dict[str, str] = {}
        """What members of services answer, by their addresses: "" for a good answer. All others refuse."""
        self.found = HostFacts(
            uplink="eth0",
            addresses=tuple(map(ip_interface, addresses or ("192.168.1.68/24",))),
            mtu=mtu,
            iptables=frozenset(),
            advertised=frozenset(),
            ipv6=True,
            kernel="6.1.0",
            features=FEATURES,
        )

    def read(self, *args: Any) -> Any:
        self.reads += 1
        return super().read(*args)

    def facts(self, *_: object) -> HostFacts:
        if self.no_uplink:
            raise NotFound(self.no_uplink)
        return self.found

    def answering(self, addresses: Collection[IPAddress], seconds: float) -> set[IPAddress]:
        """As `weft.kernel.host.probe.answering`, without waiting for those that do not."""
        return self.answers.intersection(addresses)

    def unheard(self) -> set[str]:
        found, self.shaken = self.shaken, set()
        return found

    def counts(self, ns: str) -> Counts:
        return self.counted.get(ns, {})

    def refused(self, ns: str) -> Counts:
        return self.counts(ns)

    def listen(self, group: int, ns: str) -> Any:
        if self.deaf:
            raise Conflict(self.deaf)
        return self.ears.setdefault(ns, FakeEar())

    async def ask(self, check: Check) -> str:
        return self.says.get(str(check.addresses[0]), f"connection refused at {check.addresses[0]}:{check.port}")

    def change(self, **facts: object) -> None:
        self.found = msgspec.structs.replace(self.found, **facts)

    # Containers.

    def open(self, name: str) -> str:
        """A new namespace, also where one of this name was before."""
        path = f"/run/netns/{name}"
        if path in self.cookies:
            self.vanish(path)
        self.namespaces.add(path)
        self.cookies[path] = next(_cookies)
        return path

    def vanish(self, ns: str) -> None:
        super().vanish(ns)
        self.cookies.pop(ns, None)

    def find(self, reference: str) -> Target:
        path = reference if reference.startswith("/") else f"/run/netns/{reference}"
        cookie = self.cookie(path)
        links = tuple(o.name for o in tuple(self.objects.values()) if isinstance(o, Link) and o.ns == path)
        own = cookie == self.cookies.get(HOST)
        found = Namespace(path=path, cookie=cookie)
        return Target(name=path.rsplit("/", 1)[-1], namespace=found, links=links, host=own)

    def cookie(self, path: str) -> int:
        if path not in self.cookies:
            raise NotFound(f"no network namespace {path}: its container may have ended")
        return self.cookies[path]

    def inside(self, path: str) -> list[Object]:
        return [o for o in tuple(self.objects.values()) if o.ns == path]


class Tap:
    """A store that can be taken away and given back."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.commits = 0
        self.before_commit: Callable[[], None] = lambda: None
        self._reason = ""
        self._lost = asyncio.Event()

    def lose(self, reason: str = "store: connection refused") -> None:
        self._reason = reason
        self._lost.set()

    def restore(self) -> None:
        self._lost.clear()

    def _check(self) -> None:
        if self._lost.is_set():
            raise Unavailable(self._reason)

    async def get(self, key: str) -> Item | None:
        self._check()
        return await self.store.get(key)

    async def list(self, prefix: str) -> Listing:
        self._check()
        return await self.store.list(prefix)

    async def wrote(self, key: str, revision: int) -> bool | None:
        self._check()
        return await self.store.wrote(key, revision)

    async def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int | None:
        self.before_commit()
        self._check()
        self.commits += 1
        return await self.store.commit(guards, ops)

    async def watch(self, prefix: str, revision: int) -> AsyncGenerator[Batch, None]:
        async with contextlib.aclosing(self.store.watch(prefix, revision)) as batches:
            while True:
                self._check()
                coming, lost = asyncio.create_task(_next(batches)), asyncio.create_task(self._lost.wait())
                try:
                    await asyncio.wait({coming, lost}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    coming.cancel()
                    lost.cancel()
                    await asyncio.wait({coming, lost})
                self._check()
                yield coming.result()

    async def grant(self, lease: int, ttl: float) -> None:
        self._check()
        await self.store.grant(lease, ttl)

    async def revoke(self, lease: int) -> None:
        self._check()
        await self.store.revoke(lease)

    async def close(self) -> None:
        await self.store.close()


async def _next(batches: AsyncGenerator[Batch, None]) -> Batch:
    return await anext(batches)


def make_agent(
    host: FakeHost,
    file: Path,
    name: str = "node-1",
    instance: str = "",
    remotes: Sequence[Remote] = (),
    targets: Mapping[str, Make] = TARGETS,
    kinds: Iterable[Record[Any, Any]] = KINDS,
    contributors: Iterable[Contributor] = CONTRIBUTORS,
    store: Store | None = None,
    **settings: Any,
) -> Agent:
    """Not running yet. Its store is a `Tap`. `store`: another than the SQLite file."""
    state = str(file.parent / name)
    config = Config(store=f"sqlite://{file}", **{"run_dir": str(file.parent), "state_dir": state, **settings})
    known = KnownStore(store or SqliteStore(file), remembered(Path(config.state_dir) / "cluster.json"))
    return Agent(
        config,
        name,
        instance or f"instance-of-{name}",
        Tap(known),
        known=known,
        around=Surroundings(
            kernel=lambda _desired, _cookies: host,
            find=host.find,
            cookie=host.cookie,
            bird=host.bird,
            remotes=tuple(remotes),
            targets=targets,
            conntrack=host.conntrack,
            tracker=host.tracker,
            short=host.short,
            probing=host.probing,
            ask=host.ask,
            resolvers=host.resolvers,
        ),
        kinds=kinds,
        contributors=contributors,
    )


@contextlib.asynccontextmanager
async def running(agent: Agent) -> AsyncIterator[asyncio.Task[None]]:
    """Its task; what it raised is raised at the end, unless it has been awaited."""
    task = asyncio.create_task(agent.run())
    try:
        yield task
    finally:
        ended = task.done()
        task.cancel()
        await asyncio.wait({task})
        agent.close()
        await agent.store.close()
    if not ended and not task.cancelled():
        await task


@contextlib.asynccontextmanager
async def agent_on(host: FakeHost, file: Path, name: str = "node-1", **settings: Any) -> AsyncIterator[Agent]:
    """Running, and converged for the first time."""
    agent = make_agent(host, file, name, **settings)
    async with running(agent) as task:
        await until(lambda: agent.loop.started or task.done())
        if task.done():
            await task
        yield agent


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come about in time")
        await asyncio.sleep(0.002)


async def settled(agent: Agent) -> None:
    """All that the agent knows of is in the kernel."""
    await agent.loop.settle([])


def network(name: str, *subnets: str, driver: str = "vxlan", internal: bool = False, **options: OptionValue) -> Network:
    return Network(
        name=name,
        driver=driver,
        subnets=tuple(ip_network(s) for s in subnets or ("10.1.0.0/16",)),
        options={key.replace("_", "-"): value for key, value in options.items()},
        internal=internal,
    )


async def create(agent: Agent, name: str = "blue", *subnets: str, **more: Any) -> t.NetworkInfo:
    return await Service(agent).create_network(t.CreateNetwork(network=network(name, *subnets, **more)))


async def attach(agent: Agent, target: str, net: str = "blue", **more: Any) -> t.EndpointInfo:
    return await Service(agent).attach(t.Attach(target=target, network=net, **more))


async def apply(agent: Agent, *texts: str) -> None:
    """Policies in YAML."""
    found = (d for text in texts for d in documents(dedent(text), "test.yaml"))
    sources = tuple(t.PolicySource(place=d.place, document=d.value) for d in found)
    await Service(agent).apply_policies(t.ApplyPolicies(documents=sources))
