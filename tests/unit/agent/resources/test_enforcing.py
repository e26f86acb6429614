"""Who applies policy is told which hosts do not enforce it yet: two agents in this process, on one store."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from textwrap import dedent

import pytest

from support.agents import FakeHost, agent_on, attach, create, until
from support.policies import own_policy
from weft.agent.agent import Agent
from weft.agent.resources import enforcing
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Invalid
from weft.documents.text import documents
from weft.hoststate import NftChain
from weft.kernel.runs import target
from weft.reconcile.protocol import Failure, Op

POLICY = own_policy("{selector: all()}")
KEY = "policies/policy/-/mine"


class SlowHost(FakeHost):
    """Rules of policy take as long as `go` is not set."""

    def __init__(self) -> None:
        super().__init__("192.168.1.254/24")
        self.go = threading.Event()
        self.go.set()

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        if any(map(is_rule, ops)):
            self.go.wait(60)
        return super().apply(ops)


def is_rule(op: Op) -> bool:
    obj = target(op)
    return isinstance(obj, NftChain) and obj.name.startswith("po-")


@pytest.fixture
async def slow() -> AsyncIterator[SlowHost]:
    host = SlowHost()
    yield host
    host.go.set()


@pytest.fixture
async def other(agent: Agent, slow: SlowHost, store_file: Path) -> AsyncIterator[Agent]:
    async with agent_on(slow, store_file, "node-2") as other:
        await until(lambda: "node-2" in agent.view.present and "node-2" in agent.view.nodes)
        await create(agent)
        slow.open("c1")
        await attach(other, "c1")
        yield other


async def notes(agent: Agent, *, dry_run: bool = False, wait: bool = True) -> tuple[str, ...]:
    found = tuple(t.PolicySource(place=d.place, document=d.value) for d in documents(dedent(POLICY), "f.yaml"))
    return (await Service(agent).apply_policies(t.ApplyPolicies(documents=found, dry_run=dry_run, wait=wait))).notes


async def test_it_returns_once_the_other_host_has_its_rules(agent: Agent, other: Agent, slow: SlowHost) -> None:
    slow.go.clear()
    applying = asyncio.create_task(notes(agent))
    await until(lambda: other.loop.busy)
    assert not (await asyncio.wait([applying], timeout=0.3))[0], "its rules are not made yet"
    slow.go.set()
    assert await applying == ()
    assert any(isinstance(o, NftChain) and o.name.startswith("po-") for o in slow.objects.values())


async def test_a_host_that_takes_too_long_is_named(
    agent: Agent, other: Agent, slow: SlowHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enforcing, "PATIENCE", 0.3)
    slow.go.clear()
    (note,) = await notes(agent)
    assert note.startswith("not enforced everywhere yet: node-2 has not answered within 0.3 s")
    assert await notes(agent, wait=False) == (), "who does not want to wait"
    slow.go.set()
    monkeypatch.setattr(enforcing, "PATIENCE", 30.0)
    assert await notes(agent) == (), "the same once more asks again"


async def test_rules_that_a_host_cannot_have_are_told(agent: Agent, other: Agent, slow: SlowHost) -> None:
    slow.fault = lambda _number, op: errno.EOPNOTSUPP if is_rule(op) else 0
    (note,) = await notes(agent)
    assert note.startswith("not enforced on node-2: ") and os.strerror(errno.EOPNOTSUPP) in note


async def test_a_host_without_agent_is_named_and_not_waited_for(agent: Agent, other: Agent) -> None:
    await agent.store.revoke(other.membership.presence_lease)
    await until(lambda: "node-2" not in agent.view.present)
    (note,) = await notes(agent)
    assert note.startswith("not enforced everywhere yet: node-2 cannot be asked: no agent runs there")
    assert await notes(agent, dry_run=True) == ()


async def test_it_is_known_first_and_then_enforced(agent: Agent, service: Service) -> None:
    await notes(agent)
    latest = agent.view.revision(KEY)
    waiting = asyncio.create_task(service.enforced(f"policies/={latest + 1}"))
    await create(agent)
    assert await service.enforced(f"policies/={latest}") == t.Enforced()
    assert not waiting.done(), "a network that was made after it says nothing about it"
    await service.remove_policies(t.RemovePolicies(refs=("mine",)))
    assert await waiting == t.Enforced()


async def test_what_others_do_not_hear_of_is_not_waited_for(agent: Agent, host: FakeHost, other: Agent) -> None:
    """The last that this agent wrote is about a container of its own."""
    await notes(agent)
    host.open("c2")
    await attach(agent, "c2")
    assert await notes(agent) == ()


async def test_what_another_one_wrote_before_is_waited_for(agent: Agent, other: Agent, slow: SlowHost) -> None:
    slow.go.clear()
    await notes(agent, wait=False)
    await until(lambda: other.loop.busy and other.view.revision(KEY) > 0)
    applying = asyncio.create_task(notes(agent))
    assert not (await asyncio.wait([applying], timeout=0.3))[0]
    slow.go.set()
    assert await applying == ()


@pytest.mark.parametrize("wrong", ["7", "policies/", "policies/=x", "policies/=-1"])
async def test_what_is_no_prefix_with_a_revision_is_refused(service: Service, wrong: str) -> None:
    with pytest.raises(Invalid, match=r"^written: "):
        await service.enforced(wrong)
