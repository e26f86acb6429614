"""When open connections are looked at, and what becomes of them; without a kernel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from typing import Any

import pytest

from support.agents import until
from weft.base.errors import Failed, NotFound
from weft.converge import connections as module
from weft.converge.connections import Connections
from weft.converge.stepper import Outcome
from weft.kernel.host.connections import Addresses, Flow
from weft.policy.model import Identity
from weft.policy.render.marks import CUT
from weft.policy.standing import Connection, Place

HERE = ip_address("10.1.0.2")
PLACE = {HERE: Identity(id="a", name="a", network="blue", node="node-1", addresses=(HERE,))}
OTHERS = 0x7


def flow(port: int, mark: int = 0) -> Flow:
    source = ip_address("10.9.0.1").packed
    return Flow(
        tuple=bytes([port]),
        id=b"",
        zone=b"",
        translated=False,
        protocol=6,
        origin=source,
        dst=HERE.packed,
        dport=port,
        src=HERE.packed,
        sport=port,
        back=source,
        mark=mark,
    )


class Conntrack:
    """`flows`: by namespace; changed as told. `looks`: how often it was read."""

    def __init__(self, *flows: Flow) -> None:
        self.flows = {"": list(flows)}
        self.looks, self.error, self.gone = 0, "", False
        self.read = lambda: None

    def find(self, places: Mapping[str, Addresses]) -> dict[str, list[Flow]]:
        self.looks += 1
        if self.error:
            raise Failed(self.error)
        assert {ns: set(addresses) for ns, addresses in places.items()} == {"": {HERE.packed}}
        found = {ns: list(some) for ns, some in self.flows.items()}
        self.read()
        return found

    def put(self, ns: str, bit: int, flows: list[tuple[Flow, bool]]) -> int:
        if self.gone:
            raise NotFound("gone")
        assert bit == CUT
        for it, wanted in flows:
            self.flows[ns].remove(it)
            self.flows[ns].append(flow(it.sport, it.mark | CUT if wanted else it.mark & ~CUT))
        return len(flows)

    @property
    def marks(self) -> dict[int, int]:
        return {it.sport: it.mark for it in self.flows[""]}


class Policy:
    """`denied`: ports."""

    def __init__(self, *denied: int) -> None:
        self.denied = set(denied)
        self.places: dict[str, Place] = {"": PLACE}
        self.had: dict[str, Place] = {}
        self.cut: list[int] = []

    def standing(self) -> Any:
        now = frozenset(self.denied)

        class Now:
            def allows(self, _place: Place, connection: Connection) -> bool:
                return connection.port not in now

        return Now()


def outcome(*contributors: str, repaired: tuple[str, ...] = ()) -> Outcome:
    return Outcome(
        failed={},
        repaired=repaired,
        failures=0,
        writes=0,
        disturbed=frozenset(),
        uplink=False,
        altered=False,
        contributors=frozenset(contributors),
        read=0,
        seconds=0,
    )


@asynccontextmanager
async def running(policy: Policy, conntrack: Conntrack) -> AsyncIterator[Connections]:
    found = Connections(lambda: policy.places, lambda: policy.had, policy.standing, conntrack, policy.cut.append)
    task = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOONEST", 0.01)


async def test_what_is_forbidden_is_cut_off_and_goes_on_when_it_is_allowed() -> None:
    """An agent that starts looks once; then after each step that changed rules of policy. Others' bits stay."""
    policy, conntrack = Policy(80), Conntrack(flow(80, OTHERS), flow(81, OTHERS))
    async with running(policy, conntrack) as found:
        await until(lambda: conntrack.marks == {80: OTHERS | CUT, 81: OTHERS})
        policy.denied = {81}
        found.stepped(outcome("policy-set"))
        await until(lambda: conntrack.marks == {80: OTHERS, 81: OTHERS | CUT})
        assert policy.cut == [1, 1]


@pytest.mark.parametrize(
    ("step", "looks"), [(outcome("network", "peer"), 1), (outcome(repaired=("nft-chain policy",)), 2)]
)
async def test_other_steps_are_no_matter(step: Outcome, looks: int) -> None:
    """But what was put back was away for a moment."""
    policy, conntrack = Policy(), Conntrack()
    async with running(policy, conntrack) as found:
        await until(lambda: conntrack.looks == 1)
        found.stepped(step)
        await asyncio.sleep(0.1)
        assert conntrack.looks == looks


async def test_without_policy_nothing_is_read() -> None:
    policy, conntrack = Policy(80), Conntrack(flow(80))
    policy.places = {}
    async with running(policy, conntrack) as found:
        found.stepped(outcome("policy"))
        await asyncio.sleep(0.05)
    assert conntrack.looks == 0


@pytest.mark.parametrize("restarted", [False, True])
async def test_the_last_policy_goes(restarted: bool) -> None:
    """Nothing stays cut off, also if the agent was away meanwhile."""
    policy, conntrack = Policy(80), Conntrack(flow(80))
    async with running(policy, conntrack) as found:
        await until(lambda: conntrack.marks == {80: CUT})
        if not restarted:
            policy.places = {}
            policy.denied.clear()
            found.stepped(outcome("policy"))
            await until(lambda: conntrack.marks == {80: 0})
            looks = conntrack.looks
            found.stepped(outcome("policy"))
            await asyncio.sleep(0.05)
            assert conntrack.looks == looks
            return
    policy.places, policy.had = {}, {"": PLACE}
    policy.denied.clear()
    async with running(policy, conntrack):
        await until(lambda: conntrack.marks == {80: 0})


async def test_what_policy_says_is_asked_after_connections_are_read() -> None:
    """One that begins as soon as it is allowed is not judged by what was said before."""
    policy, conntrack = Policy(80), Conntrack(flow(80))
    conntrack.read = policy.denied.clear
    async with running(policy, conntrack):
        await until(lambda: conntrack.looks == 1)
        await asyncio.sleep(0.05)
    assert conntrack.marks == {80: 0}


async def test_after_a_failure_it_looks_again() -> None:
    policy, conntrack = Policy(80), Conntrack(flow(80))
    conntrack.error = "no conntrack"
    found = Connections(lambda: policy.places, lambda: policy.had, policy.standing, conntrack)
    with pytest.raises(Failed):
        await found.run()
    conntrack.error = ""
    task = asyncio.create_task(found.run())
    await until(lambda: conntrack.marks == {80: CUT})
    task.cancel()


async def test_a_namespace_may_be_gone_meanwhile() -> None:
    policy, conntrack = Policy(80), Conntrack(flow(80))
    conntrack.gone = True
    async with running(policy, conntrack) as found:
        await until(lambda: conntrack.looks == 1)
        found.stepped(outcome("policy"))
        await until(lambda: conntrack.looks == 2)


async def test_a_look_that_takes_long_leaves_time_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARE", 1000)
    policy, conntrack = Policy(), Conntrack()
    async with running(policy, conntrack) as found:
        await until(lambda: conntrack.looks == 1)
        for _ in range(20):
            found.stepped(outcome("policy"))
            await asyncio.sleep(0.01)
        assert conntrack.looks == 1
