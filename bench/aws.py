"""EC2's API as driver `aws-vpc` uses it: calls of a node that joins and leaves, and many nodes that join at once where EC2
takes only so many calls from all of them together. EC2 is moto, made as strict (tests/support/ec2.py); the nodes are
targets with their loops, as agents run them, in one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, ip_interface, ip_network
from pathlib import Path
from unittest.mock import patch

import msgspec

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from bench.figures import Figure, Goal, Named, beside, single
from support import ec2
from support.ec2 import KEYS, Metadata, Strict, Vpc
from weft.base.errors import WeftError
from weft.converge.loop import Loop
from weft.converge.pacing import far
from weft.converge.stepper import Outcome
from weft.hoststate import Contribution, Union
from weft.hoststate.cloud import VpcInterface, VpcRoute
from weft.hoststate.union import Source
from weft.model import Node
from weft.targets import ec2 as api
from weft.targets.aws import LIMITS, Aws
from weft.targets.remote import Remote
from weft.targets.routes import Territory
from weft.tasks import backoff

Progress = Callable[[str], None]
GROUP = "aws-vpc: calls of EC2's API"
NETWORK = ip_network("40.15.0.0/16")
RATE, BURST = 5.0, 50.0
"""What EC2 takes of calls that change something, from one account in one region (EC2 API Reference, "Request throttling"):
here of all calls, which is less."""
CALLS = 3
"""Of a node that joins: it reads, makes its route, and switches the check off."""
SOURCE = Source("network", "blue")


class Effort(msgspec.Struct, frozen=True):
    nodes: int = 50
    rounds: int = 3


QUICK = Effort(nodes=20, rounds=1)


class Member:
    """A node's target with its loop."""

    def __init__(self, number: int, vpc: Vpc, holders: dict[str, str]) -> None:
        name = f"node-{number}"
        self._me, self._vpc = vpc.instances[name], vpc
        self._node = Node(name=name, addresses=(ip_interface(f"{self._me.address}/20"),), uplink="eth0")
        self.subnet = next(s for s, n in holders.items() if n == name)
        known = {ip_network(s): n for s, n in holders.items()}
        territory = Territory(me=name, subnets=(NETWORK,), holders=known)
        self._target = Aws(lambda: territory, time.monotonic)
        self._remote = Remote(self._target, LIMITS)
        self._wants, self._there = True, asyncio.Event()
        self.loop: Loop | None = None

    async def join(self) -> float:
        """Until the node's route is there; the seconds."""
        began, delays = time.monotonic(), backoff(first=1.0, last=60.0)
        while True:
            try:
                await asyncio.to_thread(self._remote.learn, self._node)
                break
            except WeftError:
                await asyncio.sleep(next(delays))
        self.loop = Loop(self._remote, Union(), self._wanted, far(), always=self._target.places)
        self.loop.listeners.append(self._stepped)
        self.loop.touch([SOURCE])
        self._task = asyncio.create_task(self.loop.run())
        await self._there.wait()
        return time.monotonic() - began

    def _stepped(self, outcome: Outcome) -> None:
        assert self.loop is not None
        counts = self.loop.counts().values()
        if counts and all(count.actual == count.desired and not count.failed for count in counts):
            self._there.set()

    async def leave(self) -> None:
        assert self.loop is not None
        self._wants = False
        await self.loop.settle([SOURCE])

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        await asyncio.to_thread(self._remote.close)
        assert self.loop is not None
        self.loop.close()

    def _wanted(self, _: Source) -> Contribution | None:
        if not self._wants:
            return None
        eni = self._me.interface
        route = VpcRoute(place=self._vpc.id, table=self._vpc.tables["a"], destination=self.subnet, interface=eni)
        return Contribution(objects=(VpcInterface(place=eni), route))


@contextlib.contextmanager
def _cloud(nodes: int) -> Iterator[tuple[Strict, Vpc]]:
    strict, first = Strict(), IPv4Address("192.168.16.10")
    with contextlib.ExitStack() as stack:
        operator = stack.enter_context(ec2.served(strict.plain, ec2.listening("127.0.0.1")))
        url = stack.enter_context(ec2.served(strict, ec2.listening("127.0.0.1")))
        hosts = {f"node-{n}": ("a", f"{first + n}/20") for n in range(nodes)}
        vpc = ec2.make_vpc(ec2.client_of(operator), hosts)
        metadata = stack.enter_context(ec2.served(Metadata(vpc), ec2.listening("127.0.0.1")))
        told = {**KEYS, "AWS_ENDPOINT_URL": url, "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata}
        stack.enter_context(patch.dict(os.environ, told))
        # To make a client costs half a second of CPU, which each host has for itself.
        stack.enter_context(patch.object(api, "_client", lru_cache(api._client)))
        strict.limit = 1000
        yield strict, vpc


class Joined(msgspec.Struct, frozen=True):
    """Many at once. `seconds`: until the last route was there. `refused`: calls that were too many."""

    seconds: float
    calls: int
    refused: int


def run(effort: Effort, progress: Progress) -> list[Figure]:
    with _cloud(effort.nodes) as (strict, vpc):
        holders = {f"40.15.{n}.0/24": f"node-{n}" for n in range(effort.nodes)}
        progress("one node")
        joins, leaves = asyncio.run(_alone(strict, vpc, holders))
        rounds = []
        for number in range(effort.rounds):
            progress(f"{effort.nodes} nodes at once, round {number + 1} of {effort.rounds}")
            rounds.append(asyncio.run(_at_once(strict, vpc, holders)))
    return list(_figures(effort.nodes, joins, leaves, rounds))


async def _alone(strict: Strict, vpc: Vpc, holders: dict[str, str]) -> tuple[int, int]:
    member = Member(0, vpc, holders)
    strict.forget()
    await member.join()
    joins = len(strict.calls)
    strict.forget()
    await member.leave()
    leaves = len(strict.calls)
    await member.end()
    return joins, leaves


async def _at_once(strict: Strict, vpc: Vpc, holders: dict[str, str]) -> Joined:
    members = [Member(n, vpc, holders) for n in range(len(holders))]
    strict.forget()
    strict.allow(RATE, BURST)
    seconds = max(await asyncio.gather(*(member.join() for member in members)))
    there = vpc.routes("a")
    assert set(there) == set(holders), f"{len(there)} of {len(holders)} routes are there"
    found = Joined(seconds, len(strict.calls), strict.throttled)
    strict.allow(0.0, 0.0)
    await asyncio.gather(*(member.leave() for member in members))
    assert vpc.routes("a") == {}
    await asyncio.gather(*(member.end() for member in members))
    return found


def _figures(nodes: int, joins: int, leaves: int, rounds: Sequence[Joined]) -> Iterator[Figure]:
    yield single(Named(GROUP, "calls of a node that joins", "calls"), joins, [joins], Goal(of="value", most=CALLS))
    yield single(Named(GROUP, "calls of a node that leaves", "calls"), leaves, [leaves], Goal(of="value", most=CALLS))
    at_once = f"{nodes} join at once"
    fewest = max(CALLS * nodes - BURST, 0.0) / RATE
    seconds = sorted(one.seconds for one in rounds)
    middle = seconds[len(seconds) // 2]
    limit = f"the least that {RATE:g} calls a second, {BURST:g} at once, allow"
    named = Named(GROUP, f"{at_once}: until the last route is there", "s", limit)
    yield beside(named, (middle, seconds), (fewest, [fewest])) if fewest else single(named, middle, seconds)
    calls = [one.calls for one in rounds]
    named = Named(GROUP, f"{at_once}: calls", "calls", "without any that is refused")
    yield beside(named, (sorted(calls)[len(calls) // 2], calls), (CALLS * nodes, [CALLS * nodes]))
    refused = [one.refused for one in rounds]
    yield single(
        Named(GROUP, f"{at_once}: of these refused as too many", "calls"), sorted(refused)[len(refused) // 2], refused
    )
