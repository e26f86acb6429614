"""Agents without a kernel: the agent's own view, followers, compiler and attachments on the real client of the store.

Runs inside a host of a lab, several in one process: `python -m bench.simulated PLAN`, the plan as JSON, after `python -m
bench.simulated fill STORE COUNT` has written to the store what so many agents with a container each would have. It says "ready"
once all of its agents follow the network, waits for the moment to start on its standard input (seconds of the monotonic
clock, which all processes share), and prints what it saw as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from weft.agent.config import Config
from weft.alloc.addresses import mac_for
from weft.api.types import Attach
from weft.base.errors import WeftError
from weft.base.net import parse_address, parse_interface, parse_network
from weft.cluster.changes import Changed
from weft.cluster.cluster import Cluster
from weft.cluster.follower import Follower
from weft.cluster.view import View
from weft.compile import location
from weft.compile.compiler import Compiler
from weft.containers.find import Target
from weft.datapaths.driver import Host
from weft.endpoints.attach import Attachments
from weft.hoststate import Union
from weft.hoststate.union import Source
from weft.ipam.neutron_ports import Place
from weft.model import Endpoint, Location, Namespace, Network, Node, decode, encode, keys
from weft.model.endpoint import endpoint_id
from weft.store.follow import Event, Synced
from weft.store.known import KnownStore
from weft.store.memory import Memory
from weft.store.protocol import Put
from weft.store.url import StoreOptions, open_store
from weft.tasks import Supervisor

NETWORK = Network(name="blue", driver="overlay", subnets=(parse_network("10.20.0.0/16"),), options={"vni": 256})
_INSTANCE = "simulated"
_LEASE, _LEASE_SECONDS = 4_712, 3_600.0
_PATIENCE = 20.0
"""Seconds after the last attach for what is still on its way."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`agents` in all, of which this process has those from `first` on, `count` of them. `rate`: attaches in a second, by
    all; `attaches`: how many of them."""

    url: str
    agents: int
    first: int
    count: int
    rate: float
    attaches: int


class Seen(msgspec.Struct, kw_only=True):
    """By attach number: when it was `called` and when it `replied`, of those made here; `compiled`: when each agent here had
    it (64-bit floats: there are a million of them). `cpu`: seconds that this process has computed from the start on."""

    called: dict[int, float] = {}
    replied: dict[int, float] = {}
    compiled: dict[int, bytes] = {}
    failures: list[str] = []
    cpu: float = 0.0

    def times(self, number: int) -> array[float]:
        return array("d", self.compiled.get(number, b""))


def name_of(number: int) -> str:
    return f"node-{number:03d}"


def node(number: int) -> Node:
    address = parse_interface(f"172.16.{number // 250}.{number % 250 + 1}/16")
    return Node(name=name_of(number), addresses=(address,), uplink="eth0", instance=_INSTANCE, mtu=1500)


def standing(number: int) -> Iterator[tuple[str, bytes]]:
    """What the store holds of an agent that is there and has a container in the network: so it follows it."""
    me = node(number)
    address = NETWORK.subnets[0].network_address + 60_000 + number
    container = Endpoint(
        id=endpoint_id(NETWORK.name, me.name, number + 1, "eth0"),
        name="first",
        network=NETWORK.name,
        node=me.name,
        container="first",
        namespace=Namespace(path="/run/netns/first", cookie=number + 1),
        interface="eth0",
        mac=mac_for(address),
        addresses=(parse_interface(f"{address}/16"),),
    )
    place = Location(node=me.name, mac=container.mac, addresses=(parse_address(str(address)),))
    yield keys.node(me.name), encode(me)
    yield keys.presence(me.name), _INSTANCE.encode()
    yield keys.endpoint(me.name, NETWORK.name, container.id), encode(container)
    yield keys.location(NETWORK.name, container.id), encode(place)
    yield keys.address_claim(NETWORK.name, address), f"first on {me.name}".encode()


async def fill(url: str, agents: int) -> None:
    """The network, and agents that all have a container in it: so each of them follows it."""
    store = open_store(url, StoreOptions())
    await store.grant(_LEASE, _LEASE_SECONDS)
    try:
        await store.commit([], [Put(keys.network(NETWORK.name), encode(NETWORK))])
        items = (item for number in range(agents) for item in standing(number))
        while some := list(islice(items, 100)):
            await store.commit([], [Put(key, value, _LEASE) for key, value in some])
    finally:
        await store.close()


class SimulatedAgent:
    """As `weft.agent.agent.Agent`, as far as the store, the compiler and attachments go."""

    def __init__(self, url: str, number: int, compiled: Callable[[str], None], place: Place | None = None) -> None:
        """`compiled`: told the id of each container elsewhere whose entries this agent now wants. `place`: in OpenStack."""
        self._compiled = compiled
        self.store = open_store(url, StoreOptions())
        self.view = View(name_of(number))
        self.view.subscribe("the simulated agent", self._changed)
        self.compiler = Compiler(self.view)
        self.compiler.host = Host(node=node(number))
        config = Config()
        self.cluster = Cluster(self.store, self.view, _INSTANCE, config.tenure)
        self.follower = Follower(self.store, self.view, KnownStore(self.store, Memory()))
        self._union = Union()
        self.attachments = Attachments(
            self.cluster, self.follower, self._converge, _find, config.gateway_subnets, place
        )
        self.synced = asyncio.Event()

    def _changed(self, changed: Changed) -> None:
        for source in self.compiler.touched(changed):
            self._compile(source)
            if source.contributor == location.NAME and source in self._union.sources:
                self._compiled(source.name)
        if changed.any(self.compiler.needs_from):
            self.follower.need("contributors", self.compiler.needs())

    def _compile(self, source: Source) -> None:
        self._union.set(source, self.compiler.contribution(source))

    async def _converge(self, sources: object) -> list[str]:
        return []

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Until it knows all there is."""
        tasks.create_task(self.follower.run(self._heard))
        await self.synced.wait()
        self.follower.start(tasks, Supervisor())
        await self.follower.complete()

    def _heard(self, event: Event, _put_back: bool) -> None:
        if isinstance(event, Synced):
            self.synced.set()

    async def attach(self, number: int) -> Endpoint:
        network = self.view.networks[NETWORK.name]
        request = Attach(target=str(number), network=NETWORK.name)
        return await self.attachments.attach(request, network)


def id_of(plan: Plan, number: int) -> str:
    """Of the endpoint that an attach makes."""
    return endpoint_id(NETWORK.name, name_of(number % plan.agents), _cookie(number), "eth0")


def _cookie(number: int) -> int:
    return 1_000_000 + number


def _find(reference: str) -> Target:
    namespace = Namespace(path=f"/run/netns/s{reference}", cookie=_cookie(int(reference)))
    return Target(name=f"s{reference}", namespace=namespace, links=())


class Process:
    """All agents of one process."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._seen = plan, Seen()
        self._ids = [id_of(plan, n) for n in range(plan.attaches)]
        self._compiled: dict[str, array[float]] = {id: array("d") for id in self._ids}
        numbers = range(plan.first, plan.first + plan.count)
        self._agents = {n: SimulatedAgent(plan.url, n, self._note) for n in numbers}
        self._mine = [n for n in range(plan.attaches) if n % plan.agents in self._agents]
        self._left, self._done = plan.attaches * plan.count - len(self._mine), asyncio.Event()

    async def run(self) -> Seen:
        ready = asyncio.Event()
        agents = asyncio.create_task(self._serve(ready))
        await ready.wait()
        say("ready")
        await self._load(float(await asyncio.to_thread(sys.stdin.readline)))
        agents.cancel()
        await asyncio.wait({agents})
        for agent in self._agents.values():
            await agent.store.close()
        self._seen.compiled = {n: self._compiled[id].tobytes() for n, id in enumerate(self._ids)}
        return self._seen

    async def _serve(self, ready: asyncio.Event) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for agent in self._agents.values():
                await agent.start(tasks)
            ready.set()

    async def _load(self, start: float) -> None:
        await asyncio.sleep(start - time.monotonic())
        cpu = time.process_time()
        await asyncio.gather(*(self._attach(n, start + n / self._plan.rate) for n in self._mine))
        await self._all_compiled(start + self._plan.attaches / self._plan.rate + _PATIENCE)
        self._seen.cpu = time.process_time() - cpu

    async def _attach(self, number: int, when: float) -> None:
        await asyncio.sleep(max(0.0, when - time.monotonic()))
        self._seen.called[number] = time.monotonic()
        try:
            await self._agents[number % self._plan.agents].attach(number)
        except WeftError as error:
            self._seen.failures.append(str(error))
        else:
            self._seen.replied[number] = time.monotonic()

    def _note(self, id: str) -> None:
        times = self._compiled.get(id)
        if times is not None:
            times.append(time.monotonic())
            self._left -= 1
            if not self._left:
                self._done.set()

    async def _all_compiled(self, deadline: float) -> None:
        """Each by each agent but its own."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._done.wait()


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        asyncio.run(fill(sys.argv[2], int(sys.argv[3])))
    else:
        found = asyncio.run(Process(decode(Plan, sys.argv[1].encode())).run())
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
