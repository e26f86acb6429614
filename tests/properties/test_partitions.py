"""Nothing is given twice, whoever is cut off from the store, for how long, and whatever of what they sent arrives when.

Nodes with one link in strict blocks, each with its own view, its own way to one store, and its own disk. The store carries
transactions out, or not, or later than anybody waits for; tenures end on its clock. All else is the agents' own code.

A host may use what another one has only where the store took its things away: its tenure ended, or somebody removed it.
Once it hears of that, it lets go of what others have, and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from support import linked
from support.allocator import Allocator
from support.plain_store import Memory
from weft.agent.resources import ipam
from weft.base.errors import Conflict, Exhausted, NotFound, Unavailable
from weft.base.net import IPNetwork
from weft.cluster.cluster import tenure_lease
from weft.cluster.journal import FOLDER, Journal
from weft.datapaths.driver import Host
from weft.endpoints.evidence import Evidence
from weft.endpoints.removal import remove_node
from weft.ipam.audit import Audit
from weft.ipam.stock import Stock
from weft.model import Endpoint, Network, encode, keys
from weft.store.protocol import Guard, Item, Listing, Op, Put

NET = "office"
NETWORK = Network(
    name=NET,
    driver=linked.NAME,
    subnets=(ip_network("10.0.0.0/28"),),
    options={"block-size": 30, "cooldown": 0, "vni": 256},
)
NODES = ("node-1", "node-2")
TENURE = 100.0


class World:
    """The store, and its clock, which all nodes share. `late`: what was sent and not answered, and is still under way."""

    def __init__(self) -> None:
        self.memory, self.now = Memory(), 0.0
        self.ends: dict[int, float] = {}
        self.late: list[Callable[[], object]] = []
        self.memory.commit([], [Put(keys.network(NET), encode(NETWORK))])

    def grant(self, lease: int, ttl: float) -> None:
        self.memory.leases.add(lease)
        self.ends[lease] = max(self.ends.get(lease, 0.0), self.now + ttl)

    def pass_by(self, seconds: float) -> set[int]:
        """The leases that end."""
        self.now += seconds
        ended = {lease for lease, end in self.ends.items() if end <= self.now}
        for lease in ended:
            del self.ends[lease]
            self.memory.end(lease)
        return ended


class Way:
    """One node's way to the store. `fate`: of its next transactions: "done" and not answered, "late", or "lost"."""

    def __init__(self, world: World) -> None:
        self.world, self.cut, self.fate = world, False, list[str]()

    def _check(self) -> None:
        if self.cut:
            raise Unavailable("the store does not answer")

    async def get(self, key: str) -> Item | None:
        self._check()
        return self.world.memory.get(key)

    async def list(self, prefix: str) -> Listing:
        self._check()
        return self.world.memory.list(prefix)

    async def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int | None:
        self._check()
        fate = self.fate.pop() if self.fate else ""
        if fate == "late":
            self.world.late.append(lambda: _try(self.world, guards, ops))
        elif fate != "lost":
            revision = self.world.memory.commit(guards, ops)
            if not fate:
                return revision
        raise Unavailable("the store did not answer")

    async def grant(self, lease: int, ttl: float) -> None:
        self._check()
        self.world.grant(lease, ttl)

    async def revoke(self, lease: int) -> None: ...

    async def wrote(self, key: str, revision: int) -> bool | None:
        raise NotImplementedError

    async def close(self) -> None: ...

    def watch(self, prefix: str, revision: int) -> Any:
        raise NotImplementedError


def _try(world: World, guards: Sequence[Guard], ops: Sequence[Op]) -> None:
    with contextlib.suppress(NotFound):  # of a tenure that has ended since
        world.memory.commit(guards, ops)


class Machine:
    """A host. `agent`: None while it is stopped, or has not heard from the store since its start. `lapsed`: the store took
    away what it had, and it has not heard of that yet; `ended`: because its tenure was over. `carries`: what its data plane
    is made for: address → container."""

    def __init__(self, world: World, name: str, disk: Path) -> None:
        self.world, self.name, self.disk, self.way = world, name, disk, Way(world)
        self.agent: Allocator | None = None
        self.lapsed = self.ended = False
        self.running, self.number = set[str](), 0
        self._carried: dict[str, str] = {}

    @property
    def carries(self) -> dict[str, str]:
        if self.agent is not None:
            found = self.agent.view.endpoints.values()
            self._carried = {str(a.ip): e.container for e in found for a in e.addresses}
        return {address: name for address, name in self._carried.items() if name in self.running}

    @property
    def blocks(self) -> tuple[IPNetwork, ...]:
        """As far as it knows."""
        lease = self.agent.view.lease(NET, self.name) if self.agent else None
        return lease.subnets if lease else ()

    async def start(self) -> None:
        """Until the store has told everything. Raises Unavailable."""
        agent = Allocator(self.way, self.name, TENURE, lambda: self.world.now)  # type: ignore[arg-type]
        journal = Journal(self.disk / self.name, agent.view)
        agent.cluster.owed.ledger = journal
        agent.view.subscribe("the journal", journal.note, journal.kinds)
        held = journal.load()
        agent.view.renounce(item.key for item in journal.removed())
        agent.view.recall(held)
        self.stock = Stock(agent.cluster, agent.attachments.blocks)
        self.evidence = Evidence(agent.cluster, self._inside)
        await agent.look()
        self.agent = agent
        await agent.membership.register(agent.node)
        await self.settle()

    async def settle(self) -> None:
        """It hears from the store, and does what comes of it. Raises Unavailable."""
        assert self.agent is not None
        await self.agent.cluster.begin_tenure()
        await self.agent.look()
        await self.agent.membership.register(self.agent.node)
        before = self.carries
        await self.evidence.write_back()
        told = [text for _, text in self.evidence.problems()]
        for address, name in before.items() - self.carries.items():
            assert any(text.startswith(f"container {name} ") for text in told), f"{name} lost {address} in silence"
        self.lapsed = self.ended = False
        gone = [e for e in self.agent.view.endpoints.values() if e.container not in self.running]
        await self.agent.attachments.remove(gone)
        await self.agent.leases.acquire(NET, Host(node=self.agent.node))

    def _inside(self, endpoint: Endpoint) -> tuple[str, ...] | None:
        return (endpoint.interface,) if endpoint.container in self.running else None

    def stop(self) -> None:
        _ = self.carries
        self.agent = None


Nodes = st.sampled_from(NODES)


class Partitions(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.runner, self.world = asyncio.Runner(), World()
        self.disk = Path(tempfile.mkdtemp(dir="/dev/shm"))
        self.machines = {name: Machine(self.world, name, self.disk) for name in NODES}
        for name in NODES:
            self.do(self.machines[name].start())
            self.tend(name)

    def do(self, work: Coroutine[Any, Any, object]) -> bool:
        """Whether it could be done."""

        async def done() -> None:
            with linked.linked():
                await work

        try:
            self.runner.run(done())
        except (Exhausted, Conflict, Unavailable, NotFound):
            return False
        return True

    def at(self, node: str, work: Callable[[Machine, Allocator], Awaitable[object]]) -> None:
        machine = self.machines[node]
        agent = machine.agent
        if agent is not None:

            async def done() -> None:
                await work(machine, agent)

            self.do(done())

    # What containers do.

    @rule(node=Nodes, many=st.integers(1, 5))
    def attach(self, node: str, many: int) -> None:
        machine = self.machines[node]
        for _ in range(many):
            machine.number += 1
            container = f"c{NODES.index(node) + 1}{machine.number:03}"
            machine.running.add(container)
            self.at(node, lambda _, agent, c=container: agent.attach(c, NET))  # type: ignore[misc]
            assert not (machine.ended and container in machine.carries.values()), "given after the tenure's end"

    @rule(node=Nodes, many=st.integers(1, 5), which=st.integers(0, 9), ends=st.booleans())
    def detach(self, node: str, many: int, which: int, ends: bool) -> None:
        machine = self.machines[node]
        for _ in range(min(many, len(machine.running))):
            here = sorted(machine.running)
            container = here[which % len(here)]
            self.at(node, lambda _, agent, c=container: agent.attachments.detach(c, NET))  # type: ignore[misc]
            if ends:
                machine.running.discard(container)

    # What agents do by themselves.

    @rule(node=Nodes)
    def tend(self, node: str) -> None:
        self.at(node, lambda machine, _: machine.stock.tend(NET))

    @rule(node=Nodes, fate=st.sampled_from(["", "done", "late"]))
    def give_back(self, node: str, fate: str) -> None:
        if fate:
            self.tamper(node, fate)
        self.at(node, lambda _, a: a.attachments.blocks.give_back(NET, a.attachments.blocks.idle(NET)))

    @rule(node=Nodes)
    def renew(self, node: str) -> None:
        self.at(node, lambda _, agent: agent.cluster.begin_tenure())

    @rule(node=Nodes)
    def hear(self, node: str) -> None:
        self.at(node, lambda machine, _: machine.settle())

    # What happens to them.

    @rule(node=Nodes, known=st.booleans())
    def cut(self, node: str, known: bool) -> None:
        machine = self.machines[node]
        machine.way.cut = True
        if machine.agent is not None and known:
            machine.agent.cluster.away = "the store does not answer"

    @rule(node=Nodes)
    def mend(self, node: str) -> None:
        machine = self.machines[node]
        machine.way.cut, machine.way.fate = False, []
        if machine.agent is not None:
            machine.agent.cluster.away = ""

    @rule(node=Nodes, fate=st.sampled_from(["done", "late", "late", "lost"]))
    def tamper(self, node: str, fate: str) -> None:
        self.machines[node].way.fate.append(fate)

    @rule(which=st.integers(0, 9))
    def arrive(self, which: int) -> None:
        if late := self.world.late:
            late.pop(which % len(late))()

    @rule(seconds=st.sampled_from([1.0, 40.0, 70.0]))
    def pass_by(self, seconds: float) -> None:
        ended = self.world.pass_by(seconds)
        for machine in self.machines.values():
            if tenure_lease(machine.name, machine.name) in ended:
                machine.lapsed = machine.ended = True

    @rule(node=Nodes)
    def stop(self, node: str) -> None:
        self.machines[node].stop()

    @rule(node=Nodes)
    def crash(self, node: str) -> None:
        """The host, with all that runs on it."""
        machine = self.machines[node]
        machine.stop()
        machine.running.clear()
        shutil.rmtree(self.disk / node / FOLDER, ignore_errors=True)

    @rule(node=Nodes)
    def start(self, node: str) -> None:
        machine = self.machines[node]
        if machine.agent is None and not self.do(machine.start()):
            machine.stop()

    @rule(node=Nodes, by=Nodes)
    def remove(self, node: str, by: str) -> None:
        """By an operator, who says that it is no more."""
        machine, other = self.machines[node], self.machines[by].agent
        if node != by and other is not None and (machine.agent is None or machine.way.cut):
            machine.lapsed = True
            self.do(remove_node(other.cluster, node))

    # What has to be so.

    @invariant()
    def nothing_is_given_twice(self) -> None:
        holders: dict[str, list[Machine]] = {}
        for machine in getattr(self, "machines", {}).values():
            for address in machine.carries:
                holders.setdefault(address, []).append(machine)
        for address, some in holders.items():
            sure = [machine.name for machine in some if not machine.lapsed]
            assert len(sure) <= 1, f"{address} is used on {sure}"

    def teardown(self) -> None:
        if not hasattr(self, "machines"):
            return
        for name in (*NODES, *NODES):  # late ones may have got what an earlier one could have had
            self.mend(name)
            self.start(name)
            self.hear(name)
        while self.world.late:
            self.arrive(0)
        for name in NODES:
            self.hear(name)
        self.nothing_is_given_twice()
        assert not any(machine.lapsed for machine in self.machines.values())
        audit = self.runner.run(self._audit())
        assert [fault.text for fault in audit] == []
        self.runner.close()
        shutil.rmtree(self.disk)

    async def _audit(self) -> list[Any]:
        with linked.linked():
            return list(Audit(await ipam.snapshot(Way(self.world))).faults())  # type: ignore[arg-type] # it lists only


TestPartitions = Partitions.TestCase
TestPartitions.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)


# What chance hardly comes upon.


@pytest.fixture
def nodes() -> Iterator[Partitions]:
    made = Partitions()
    made.begin()
    yield made
    made.teardown()


def _blocks(nodes: Partitions, node: str) -> list[IPNetwork]:
    return list(nodes.machines[node].blocks)


@pytest.mark.parametrize("fate", ["done", "late"])
@pytest.mark.parametrize("again", [False, True])
def test_a_block_that_was_given_back_without_an_answer(nodes: Partitions, fate: str, again: bool) -> None:
    """`again`: the host reaches the store once more before that arrives."""
    one, two = NODES
    nodes.attach(one, 3)
    nodes.tend(one)
    nodes.attach(one, 3)
    assert len(_blocks(nodes, one)) == 2
    nodes.detach(one, 5, 9, True)
    nodes.give_back(one, fate)
    assert len(_blocks(nodes, one)) == 2  # as far as it knows
    if again:
        nodes.mend(one)
        nodes.tend(one)
    nodes.cut(one, known=True)
    nodes.attach(one, 6)
    nodes.nothing_is_given_twice()
    while nodes.world.late:
        nodes.arrive(0)
    nodes.attach(two, 16)
    nodes.nothing_is_given_twice()


def test_a_block_that_went_to_another_host_at_the_tenures_end(nodes: Partitions) -> None:
    """Whoever comes back keeps nothing of it, also what has not been given again: it may be at any moment."""
    one, two = NODES
    nodes.attach(one, 3)
    [block] = _blocks(nodes, one)
    nodes.cut(one, known=False)
    nodes.pass_by(70.0)
    nodes.renew(two)
    nodes.pass_by(40.0)
    nodes.hear(two)
    while block not in _blocks(nodes, two):
        nodes.attach(two, 1)
        assert len(nodes.machines[two].carries) == len(nodes.machines[two].running)
    nodes.mend(one)
    nodes.hear(one)
    assert not any(ip_address(address) in block for address in nodes.machines[one].carries)
    nodes.cut(two, known=True)
    nodes.attach(two, 5)
    nodes.nothing_is_given_twice()


def test_a_host_without_the_store_gives_until_its_tenure_is_over(nodes: Partitions) -> None:
    one, _ = NODES
    nodes.cut(one, known=False)
    nodes.attach(one, 1)
    assert len(nodes.machines[one].carries) == 1
    nodes.pass_by(70.0)
    nodes.attach(one, 1)
    assert len(nodes.machines[one].carries) == 2
    nodes.pass_by(40.0)
    nodes.attach(one, 1)
    assert len(nodes.machines[one].carries) == 2
