"""What fails beneath the agent is told in status and tried again; everything else goes on meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from errno import EIO, ENOSPC

import pytest

from support.agents import FakeHost, network, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Failed
from weft.kernel.fake import FakeWatcher
from weft.model import encode, keys
from weft.reconcile.protocol import Unread
from weft.store.protocol import Put


def broken(number: int, text: str) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, text)

    return fail


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that fail are started again soon."""
    monkeypatch.setattr("weft.tasks.backoff", lambda **_: itertools.repeat(0.05))


async def told(service: Service) -> list[tuple[str, str]]:
    return [(x.object, x.reason) for x in (await service.status()).troubles]


@pytest.mark.parametrize("what", ["read", "apply"])
async def test_a_kernel_that_cannot_be_used_is_told_and_used_again(
    agent: Agent, host: FakeHost, service: Service, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    await service.create_network(t.CreateNetwork(network=network("blue")))
    victim = next(o.key for o in host.ours().values() if o.kind == "link")
    path = host.open("c1")
    with monkeypatch.context() as damage:
        damage.setattr(host, what, broken(EIO, "Input/output error"))
        await agent.loop.in_thread(lambda: host.destroy(victim))
        agent.loop.resync()
        await until(lambda: agent.loop.troubles())
        assert ("the kernel", "[Errno 5] Input/output error") in await told(service)
        with pytest.raises(Failed, match="Input/output error"):
            await asyncio.wait_for(service.attach(t.Attach(target=path, network="blue")), 20)
        status = await service.status()
        assert status.state == "degraded" and status.store.state == "connected"
        assert any("task loop failed" in p.text for p in status.problems)
        red = network("red", "10.9.0.0/16")
        await agent.store.commit([], [Put(keys.network("red"), encode(red))])
        await until(lambda: agent.view.lease("red", "node-1"))
    await until(lambda: not agent.loop.troubles())
    assert victim in host.objects
    await asyncio.wait_for(service.attach(t.Attach(target=path, network="blue")), 20)


async def test_events_that_cannot_be_heard_cost_a_look(
    agent: Agent, host: FakeHost, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.create_network(t.CreateNetwork(network=network("blue")))
    await service.attach(t.Attach(target=host.open("c1"), network="blue"))
    victim = next(o.key for o in host.ours().values() if o.kind == "address")
    with monkeypatch.context() as damage:
        damage.setattr(FakeWatcher, "drain", broken(EIO, "Input/output error"))
        await agent.loop.in_thread(lambda: host.destroy(victim))
        await until(lambda: agent.loop.troubles())
    await until(lambda: victim in host.objects)
    await until(lambda: not agent.loop.troubles())
    await agent.loop.in_thread(lambda: host.destroy(victim))
    await until(lambda: victim in host.objects)


async def test_who_hears_of_steps_and_fails_costs_nobody_else(
    agent: Agent, host: FakeHost, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[object] = []
    agent.loop.listeners.insert(0, broken(EIO, "nobody listens"))
    agent.loop.listeners.append(heard.append)
    await service.create_network(t.CreateNetwork(network=network("blue")))
    await asyncio.wait_for(service.attach(t.Attach(target=host.open("c1"), network="blue")), 20)
    assert heard and "nobody listens" in caplog.text and not agent.loop.troubles()


async def test_one_namespace_that_cannot_be_read_costs_only_that(
    agent: Agent, host: FakeHost, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.create_network(t.CreateNetwork(network=network("blue")))
    sick, well = host.open("sick"), host.open("well")
    await service.attach(t.Attach(target=sick, network="blue"))
    await service.attach(t.Attach(target=well, network="blue"))
    host.unreadable = [Unread(sick, "addresses", frozenset({"address"}), "Input/output error")]
    agent.loop.resync()
    await until(lambda: agent.loop.troubles())
    assert [name for name, _ in await told(service)] == [f"reading {host.unreadable[0].what} of {sick}"]
    lost = [o.key for o in host.inside(well) if o.kind == "address"]
    kept = [o.key for o in host.inside(sick)]
    await agent.loop.in_thread(lambda: host.destroy(lost[0]))
    await until(lambda: lost[0] in host.objects)
    assert all(key in host.objects for key in kept)
    host.unreadable = []
    await until(lambda: not agent.loop.troubles())


async def test_a_full_disk_keeps_bird_as_it_is_and_nothing_else(
    agent: Agent, host: FakeHost, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(host.bird, "configure", broken(ENOSPC, "No space left on device"))
        await service.create_network(t.CreateNetwork(network=network("prod", "197.19.0.0/16", driver="routed")))
        await service.create_network(t.CreateNetwork(network=network("blue")))
        await asyncio.wait_for(service.attach(t.Attach(target=host.open("c1"), network="blue")), 20)
        await asyncio.wait_for(service.attach(t.Attach(target=host.open("c2"), network="prod")), 20)
        await until(lambda: "No space left on device" in agent.routing.trouble)
        assert any("No space left on device" in p.text for p in (await service.status()).problems)
        assert not host.bird.running and not agent.loop.troubles()
    await until(lambda: host.bird.running and not agent.routing.trouble)
