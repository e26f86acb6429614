"""Block addresses whatever happens: the pure choice, and several nodes whose steps at the store interleave, fail and end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from support.allocator import Allocator
from support.plain_store import Memory
from weft.agent.resources import ipam
from weft.alloc import blocks
from weft.alloc.blocks import Given, Rules, Situation
from weft.base.errors import Conflict, Exhausted, NotFound, Unavailable, WeftError
from weft.base.net import IPAddress, IPNetwork
from weft.ipam.audit import Audit
from weft.model import Endpoint, Lease, Network, Pool, decode, encode, keys
from weft.store.protocol import (
    Guard,
    Item,
    Listing,
    Op,
    Put,
)

# The pure choice.

WHOLE = ip_network("10.0.0.0/27")
CUT = list(WHOLE.subnets(new_prefix=29))


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    holders = draw(st.lists(st.sampled_from(["", "me", "a", "b"]), min_size=4, max_size=4))
    taken = draw(st.sets(st.integers(0, 31)))
    pools = (
        Pool(
            subnet=WHOLE,
            nodes=draw(st.sampled_from(["", "", "x"])),
            disabled=draw(st.sampled_from([False, False, True])),
        ),
    )
    return Situation(
        network=Network(name="prod", driver="routed", subnets=(WHOLE,), pools=pools),
        node="me",
        labels=draw(st.sampled_from([{}, {"x": "1"}])),
        rules=Rules(
            size={4: 29, 6: 122},
            strict=draw(st.booleans()),
            reserved=draw(st.sampled_from([(), (ip_network("10.0.0.8/29"),), (ip_network("10.0.0.0/30"),)])),
        ),
        own=tuple(b for b, h in zip(CUT, holders, strict=True) if h == "me"),
        others={b: h for b, h in zip(CUT, holders, strict=True) if h in ("a", "b")},
        taken={WHOLE[n]: "someone" for n in taken},
        after=draw(st.sampled_from([{}, {"4": WHOLE[5]}, {"4": WHOLE[31]}])),
    )


def free(s: Situation, block: IPNetwork) -> list[IPAddress]:
    return [a for a in block if a not in s.taken and not any(a in r for r in s.rules.reserved)]


@given(situations())
def test_the_order_of_choice(s: Situation) -> None:
    [pool] = s.network.pools
    may = not pool.disabled and (not pool.nodes or "x" in s.labels)
    own = [b for b in s.own if free(s, b) and not pool.disabled]
    new = [b for b in CUT if b not in s.own and b not in s.others and free(s, b) and may]
    lent = [b for b in s.others if free(s, b) and may and not s.rules.strict]
    try:
        found = blocks.choose(s, 4)
    except Exhausted:
        assert not own and not new and not lent
        return
    assert found is not None and found.address in free(s, WHOLE)
    if own:
        assert found == Given(found.address) and found.address in own[0]
    elif new:
        assert found.block in new and found.address in found.block and not found.host
    else:
        assert found.host and any(found.address in b for b in lent)


@given(st.lists(st.tuples(st.sampled_from(["block", "host", "leave", "gone"]), st.integers(0, 31))))
def test_a_lease_routes_each_address_once(steps: list[tuple[str, int]]) -> None:
    lease = Lease(network="prod", node="me", subnets=())
    for what, n in steps:
        match what:
            case "block":
                lease = blocks.with_given(lease, [Given(WHOLE[n], block=CUT[n // 8])])
                assert not blocks.outside(lease, WHOLE[n])
            case "host":
                lease = blocks.with_given(lease, [Given(WHOLE[n], host=True)])
                assert not blocks.outside(lease, WHOLE[n]) or ip_network(WHOLE[n]) in lease.hosts
            case "leave":
                lease = blocks.without(lease, [CUT[n // 8]])
            case _:
                lease = blocks.without(lease, gone=[WHOLE[n]])
        prefixes = [*lease.subnets, *lease.hosts]
        assert not any(a != b and a.overlaps(b) for a in prefixes for b in prefixes)
        assert list(prefixes) == sorted(lease.subnets) + sorted(lease.hosts)


# Several nodes at one store.


class Killed(BaseException):
    """The process is gone."""


class Turns:
    """Who takes the next step at the store: one call at a time, in the order of `random`. What is chosen to be killed is so
    before its call or after it: the answer never comes."""

    def __init__(self, random: Random, memory: Memory) -> None:
        self.random, self.memory = random, memory
        self.waiting: list[tuple[str, asyncio.Future[None]]] = []
        self.dead: set[str] = set()
        self.deaths: dict[str, int] = {}
        """Node → after how many of its calls it is killed."""

    async def step(self, node: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append((node, turn))
        await turn

    async def run(self, *work: Coroutine[object, object, object]) -> None:
        tasks = [asyncio.create_task(w) for w in work]
        while not all(task.done() for task in tasks):
            for _ in range(10):
                await asyncio.sleep(0)  # each gets as far as its next call
            if self.waiting:
                self.waiting.pop(self.random.randrange(len(self.waiting)))[1].set_result(None)
        await asyncio.gather(*tasks)


class Client:
    """One node's way to the store. Everything it says waits for its turn."""

    def __init__(self, turns: Turns, node: str) -> None:
        self._turns, self._node, self.calls = turns, node, 0

    async def _call(self, what: Callable[[], Any]) -> Any:
        if self._node in self._turns.dead:
            raise Killed
        await self._turns.step(self._node)
        if self._node in self._turns.dead:
            raise Killed
        self.calls += 1
        last = self.calls == self._turns.deaths.get(self._node)
        if last and self._turns.random.random() < 0.5:
            self._turns.dead.add(self._node)
            raise Killed
        found = what()
        if last:
            self._turns.dead.add(self._node)
            raise Killed
        return found

    async def get(self, key: str) -> Item | None:
        return await self._call(lambda: self._turns.memory.get(key))  # type: ignore[no-any-return]

    async def list(self, prefix: str) -> Listing:
        return await self._call(lambda: self._turns.memory.list(prefix))  # type: ignore[no-any-return]

    async def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int | None:
        return await self._call(lambda: self._turns.memory.commit(guards, ops))  # type: ignore[no-any-return]

    async def grant(self, lease: int, ttl: float) -> None:
        await self._call(lambda: self._turns.memory.leases.add(lease))

    async def revoke(self, lease: int) -> None: ...

    async def wrote(self, key: str, revision: int) -> bool | None:
        raise NotImplementedError

    async def close(self) -> None: ...

    def watch(self, prefix: str, revision: int) -> Any:
        raise NotImplementedError


NETWORK = Network(
    name="prod",
    driver="routed",
    subnets=(ip_network("10.0.0.0/28"), ip_network("fd00::/124")),
    options={"block-size": 30, "block-size-v6": 126},
)
NODES = ("node-1", "node-2", "node-3")


async def live(me: Allocator, random: Random, deeds: int) -> None:
    """One node's requests, two at a time now and then."""
    try:
        await me.join("prod")
        number = 0
        for _ in range(deeds):
            match random.choice(["attach", "attach", "both", "wish", "detach", "detach", "give", "look", "move"]):
                case "attach":
                    number += 1
                    await expected(me.attach(f"c{number}", "prod"))
                case "both":
                    number += 2
                    more = me.attach(f"c{number}", "prod") if random.random() < 0.5 else give_back(me)
                    await asyncio.gather(expected(me.attach(f"c{number - 1}", "prod")), expected(more))
                case "wish":
                    number += 1
                    wish = (ip_address("10.0.0.0") + random.randrange(16),)
                    await expected(me.attach(f"c{number}", "prod", addresses=wish))
                case "detach" if number:
                    await expected(me.attachments.detach(f"c{random.randint(1, number)}", "prod"))
                case "move":
                    items = (await me.store.list(keys.ENDPOINTS)).items
                    if items:
                        number += 1
                        chosen = decode(Endpoint, random.choice(items).value)
                        await expected(me.move(chosen, f"c{number}"))
                case "give":
                    await expected(give_back(me))
                case "look":
                    await me.look()
    except Killed:
        pass


async def give_back(me: Allocator) -> None:
    await me.attachments.blocks.give_back("prod", me.attachments.blocks.idle("prod"))


async def expected(work: Awaitable[object]) -> None:
    with contextlib.suppress(Exhausted, Conflict, Unavailable, NotFound):
        await work


def check(memory: Memory) -> None:
    """Nobody has what another has, and the audit finds nothing."""

    class Direct:
        async def list(self, prefix: str) -> Listing:
            return memory.list(prefix)

    async def snapshot() -> Audit:
        return Audit(await ipam.snapshot(Direct()))  # type: ignore[arg-type] # it lists only

    audit = asyncio.run(snapshot())
    assert [f.text for f in audit.faults()] == []
    routed = [(p, node) for (_, node), (lease, _) in audit.leases.items() for p in (*lease.subnets, *lease.hosts)]
    held = [p for p, _ in routed]
    assert len(held) == len(set(held)), "a block or an address is routed to two nodes"
    for endpoint, _ in audit.endpoints:
        for address in endpoint.addresses:
            best = max((p for p in held if p.version == address.version and address.ip in p), key=lambda p: p.prefixlen)
            assert dict(routed)[best] == endpoint.node, f"{address} is routed elsewhere"


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.booleans(), st.sampled_from([0, 0, 30]))
def test_no_interleaving_gives_anything_twice(seed: int, killed: bool, cooldown: int) -> None:
    """`killed`: each node but one ends at a step of its own, and one of them comes back and finds what it had."""
    random, memory = Random(seed), Memory()
    network = msgspec.structs.replace(NETWORK, options={**NETWORK.options, "cooldown": cooldown})
    memory.commit([], [Put(keys.network("prod"), encode(network))])
    turns = Turns(random, memory)
    if killed:
        turns.deaths = {node: random.randint(1, 120) for node in NODES[1:]}

    async def run() -> None:
        nodes = [Allocator(Client(turns, node), node) for node in NODES]
        await turns.run(*(live(node, random, random.randint(1, 15)) for node in nodes))
        turns.dead.clear()
        turns.deaths.clear()
        back = Allocator(Client(turns, NODES[1]), NODES[1])
        await turns.run(live(back, random, 5))

    asyncio.run(run())
    check(memory)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_ended_at_each_step(seed: int) -> None:
    """One node's life, ended at its first call, at its second, and so on."""
    calls, end = 1, False
    while not end:
        random, memory = Random(seed), Memory()
        memory.commit([], [Put(keys.network("prod"), encode(NETWORK))])
        turns = Turns(random, memory)
        turns.deaths = {"node-1": calls}

        async def run(turns: Turns = turns, random: Random = random) -> None:
            nodes = [Allocator(Client(turns, node), node) for node in NODES[:2]]
            await turns.run(*(live(node, random, 5) for node in nodes))

        asyncio.run(run())
        check(memory)
        end, calls = "node-1" not in turns.dead, calls + 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_what_an_audit_puts_right_at_work_stays_right(seed: int) -> None:
    """Nodes work while their store is looked at, faults are put right: nothing of theirs is taken."""
    random, memory = Random(seed), Memory()
    memory.commit([], [Put(keys.network("prod"), encode(NETWORK))])
    turns = Turns(random, memory)

    async def audit() -> None:
        store = Client(turns, "auditor")
        for _ in range(4):
            _, found = await ipam.faults(store, "")
            for fix in {fault.fix for fault in found if fault.fix}:
                with contextlib.suppress(WeftError):
                    await store.commit(fix.guards, fix.ops)

    async def run() -> None:
        nodes = [Allocator(Client(turns, node), node) for node in NODES[:2]]
        await turns.run(audit(), *(live(node, random, 8) for node in nodes))

    asyncio.run(run())
    check(memory)
