"""An endpoint moves: to another host, home again, not where it cannot stand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.agents import FakeHost, agent_on, attach, create, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Conflict, Failed, Invalid, NotFound
from weft.model import Lease, keys


@pytest.fixture
def other_host() -> FakeHost:
    return FakeHost("192.168.1.254/24")


@pytest.fixture
async def other(agent: Agent, other_host: FakeHost, store_file: Path) -> AsyncIterator[Agent]:
    """node-2."""
    await create(agent, "prod", "10.9.0.0/24", "fd09::/64", driver="routed", cooldown=0)
    async with agent_on(other_host, store_file, "node-2") as running:
        await until(lambda: running.view.lease("prod", "node-2") and agent.view.lease("prod", "node-2"))
        yield running


def lease(agent: Agent) -> Lease:
    found = agent.view.lease("prod", agent.view.me)
    assert found is not None
    return found


async def check(agent: Agent) -> None:
    assert (await Service(agent).check_ipam(t.CheckIpam())).faults == ()


async def test_there_and_back(agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost) -> None:
    path, there = host.open("web"), other_host.open("web-2")
    before = await attach(agent, "web", "prod", name="web", labels={"app": "web"}, mac="02:00:00:00:00:07")
    moved = await Service(other).move("web", t.Move(target="web-2"))
    assert (moved.name, moved.node, moved.container) == ("web", "node-2", "web-2")
    assert (moved.addresses, moved.mac, moved.labels) == (before.addresses, before.mac, before.labels)
    assert lease(other).subnets == () and lease(other).hosts == tuple(a.network for a in before.addresses)
    assert other_host.inside(there)
    await until(lambda: not host.inside(path) and not agent.view.endpoints)
    await check(agent)
    home = await Service(agent).move("10.9.0." + str(before.addresses[0].ip).split(".")[3], t.Move(target="web"))
    assert home.addresses == before.addresses and lease(agent).hosts == ()
    await until(lambda: lease(other).hosts == ())
    assert host.inside(path)
    await until(lambda: not other_host.inside(there) and not other.view.endpoints)
    await check(agent)


async def test_detached_there_and_attached_here_with_the_same_wish(
    agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost
) -> None:
    host.open("web")
    other_host.open("web")
    before = await attach(agent, "web", "prod")
    wish = tuple(a.ip for a in before.addresses)
    await Service(agent).detach("web")
    assert (await attach(other, "web", "prod", addresses=wish)).addresses == before.addresses
    assert len(lease(other).hosts) == 2
    await Service(other).detach("web")
    assert (await attach(agent, "web", "prod", addresses=wish)).addresses == before.addresses
    assert lease(agent).hosts == lease(other).hosts == ()
    await check(agent)


async def test_from_one_container_to_another_on_the_same_host(agent: Agent, host: FakeHost, other: Agent) -> None:
    one, two = host.open("one"), host.open("two")
    before = await attach(agent, "one", "prod")
    moved = await Service(agent).move("one", t.Move(target="two", interface="net0"))
    assert moved.addresses == before.addresses and moved.interface == "net0"
    await agent.loop.settle([])
    assert host.inside(two) and not host.inside(one) and lease(agent).hosts == ()
    await check(agent)


async def test_what_the_kernel_refuses_goes_back(
    agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, there = host.open("web"), other_host.open("web-2")
    before = await attach(agent, "web", "prod")
    held = lease(agent)

    async def refuses(_: object) -> None:
        raise Failed("web-2 cannot be attached to prod: no")

    monkeypatch.setattr(other.attachments, "converged", refuses)
    with pytest.raises(Failed):
        await Service(other).move("web", t.Move(target="web-2"))
    await until(lambda: [e.id for e in agent.view.endpoints.values()] == [before.id] and lease(agent) == held)
    # The view may have looked so before it heard of the move at all, so the kernel is asked until it is as it was.
    await until(lambda: host.inside(path) and not other_host.inside(there) and not other.view.endpoints)
    assert lease(other).hosts == ()
    await check(agent)
    await agent.store.revoke(other.cluster.tenure_lease)
    assert await agent.store.get(keys.endpoint("node-1", "prod", before.id)), (
        "it is bound to its own node's tenure again"
    )


async def test_what_cannot_move(agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost) -> None:
    await create(agent, "blue")
    await create(agent, "strict", "10.7.0.0/24", driver="routed", strict_affinity=True)
    for name in ("web", "db", "c"):
        host.open(name)
    other_host.open("web")
    await until(lambda: "strict" in other.view.networks and "blue" in other.view.networks)
    await attach(agent, "web", "prod")
    await attach(agent, "db", "blue")
    await attach(agent, "c", "strict")
    await attach(other, "web", "prod", name="other")
    for ref, target, error, text in (
        ("none", "web", NotFound, "no endpoint none"),
        ("db", "web", Invalid, r"driver vxlan\) addresses belong to"),
        ("node-1/web", "web", Conflict, "web is attached to prod already, by eth0"),
        ("node-1/web", "nowhere", NotFound, "no network namespace"),
        ("c", "web", Conflict, "has strict-affinity: it cannot move there"),
    ):
        with pytest.raises(error, match=text):
            await Service(other).move(ref, t.Move(target=target))
    await check(agent)
    assert len(agent.view.endpoints) == 3 and lease(other).hosts == ()
