"""Containers come and go while the store is away, in networks whose blocks are strict; the store is told when it is back."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import linked
from support.agents import FakeHost, Tap, agent_on, attach, create, make_agent, running, until
from weft.agent.agent import Agent
from weft.agent.resources import infos
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Unavailable, WeftError
from weft.base.names import stable_id
from weft.base.net import IPAddress, parse_address
from weft.hoststate import Link
from weft.model import keys
from weft.store.protocol import Guard, Op
from weft.store.sqlite import SqliteStore

NET = "office"
TENURE = stable_id("tenure", "instance-of-node-1", "node-1")


@pytest.fixture(autouse=True)
def driver() -> Iterator[None]:
    with linked.linked():
        yield


@pytest.fixture
async def agent(host: FakeHost, store_file: Path) -> AsyncIterator[Agent]:
    """In a network of four blocks, of which it has one with a container c1."""
    async with agent_on(host, store_file) as running:
        await office(running)
        await connect(running, host, "c1")
        yield running


async def office(agent: Agent, **options: Any) -> None:
    await create(agent, NET, "172.111.222.0/26", driver=linked.NAME, **{"block_size": 28, "cooldown": 0, **options})
    await until(lambda: NET in agent.attachments.blocks.certain)


async def connect(agent: Agent, host: FakeHost, name: str, **more: Any) -> t.EndpointInfo:
    host.open(name)
    return await attach(agent, name, NET, **more)


async def lose(agent: Agent) -> None:
    tap(agent).lose("etcd 192.168.1.1:2379 does not answer")
    await until(lambda: agent.cluster.away)


async def restore(agent: Agent) -> None:
    tap(agent).restore()
    await until(lambda: not agent.cluster.away and not agent.view.lost and not agent.view.renounced)


def tap(agent: Agent) -> Tap:
    assert isinstance(agent.store, Tap)
    return agent.store


def address(made: t.EndpointInfo) -> IPAddress:
    return made.addresses[0].ip


def interfaces(host: FakeHost, name: str) -> list[str]:
    return [o.name for o in host.inside(f"/run/netns/{name}") if isinstance(o, Link)]


async def in_store(agent: Agent) -> dict[str, str]:
    """Address → whose it is, where endpoint, location and claim agree."""
    assert not (await Service(agent).check_ipam(t.CheckIpam())).faults
    return {str(address(e)): e.name for e in await Service(agent).endpoints(network=NET)}


def told(agent: Agent) -> list[str]:
    return [p.text for p in infos.problems(agent)]


async def test_a_container_comes_and_the_store_is_told_when_it_is_back(agent: Agent, host: FakeHost) -> None:
    await lose(agent)
    commits = tap(agent).commits
    made = await connect(agent, host, "c2", labels={"app": "web"})
    assert any(address(made) in b for b in agent.attachments.blocks.lease(NET).subnets)
    assert "eth0" in interfaces(host, "c2") and tap(agent).commits == commits
    assert (await attach(agent, "c2", NET)).id == made.id  # attaching again is harmless
    assert any("(1 attached) are not in it yet" in text for text in told(agent))
    await restore(agent)
    assert (await in_store(agent))[str(address(made))] == "c2"
    assert not any("not in it yet" in text for text in told(agent))


async def test_what_is_not_in_the_kernel_yet_is_no_container_that_ended(
    agent: Agent, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store may be back before the interface is made."""
    await lose(agent)
    monkeypatch.setattr(agent.evidence, "_inside", lambda _: ())
    made = await connect(agent, host, "c2")
    await restore(agent)
    assert (await in_store(agent))[str(address(made))] == "c2" and "eth0" in interfaces(host, "c2")


@pytest.mark.parametrize("done", [True, False])
async def test_an_answer_that_never_comes_costs_nothing(
    agent: Agent, host: FakeHost, done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store goes away while it is told. Nobody knows whether it has done that."""
    real = tap(agent).store.commit

    async def commit(guards: list[Guard], ops: list[Op]) -> int | None:
        if done:
            await real(guards, ops)
        raise Unavailable("etcd 192.168.1.1:2379 does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(tap(agent).store, "commit", commit)
        made = await connect(agent, host, "c2")
        await Service(agent).detach("c1")
    await restore(agent)
    assert await in_store(agent) == {str(address(made)): "c2"}


async def test_containers_go_and_their_addresses_are_given_again(agent: Agent, host: FakeHost) -> None:
    [old] = await Service(agent).endpoints(node="node-1")
    await lose(agent)
    await Service(agent).detach("c1")
    assert not interfaces(host, "c1") and "1 detached" in " ".join(told(agent))
    other = await connect(agent, host, "c2", addresses=(address(old),))
    again = await attach(agent, "c1", NET)
    assert again.id == old.id and address(again) != address(old) == address(other)
    gone = await connect(agent, host, "c3")
    await Service(agent).detach("c3")
    await restore(agent)
    assert await in_store(agent) == {str(address(other)): "c2", str(address(again)): "c1"}
    assert gone.id not in agent.view.endpoints and "eth0" in interfaces(host, "c1")


async def test_what_came_and_went_is_known_after_a_restart(
    host: FakeHost, store_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with agent_on(host, store_file) as agent:
        await office(agent)
        for name in ("c1", "c2", "c3"):
            await connect(agent, host, name)
        await lose(agent)
        made = await connect(agent, host, "new")
        await Service(agent).detach("c1")
        await Service(agent).detach("c2")
        again = await attach(agent, "c2", NET)
    since = len(host.log)
    agent = make_agent(host, store_file)
    tap(agent).lose()
    async with running(agent):
        await until(lambda: agent.cluster.away)
        assert "eth0" in interfaces(host, "new") and len(host.log) == since  # the data plane stays as it is
        with pytest.raises(
            Unavailable,
            match=r"network office is not known to this host, and the store is away \(store: connection refused\): wait",
        ):
            await attach(agent, "c3", NET)
        await restore(agent)
        await until(lambda: agent.loop.started)
        await agent.loop.settle([])
        found = await in_store(agent)
        assert found[str(address(made))] == "new" and found[str(address(again))] == "c2" and "c1" not in found.values()
        assert interfaces(host, "new") and interfaces(host, "c2") and not interfaces(host, "c1")


async def test_an_engine_keeps_addresses_without_the_store(agent: Agent, host: FakeHost) -> None:
    """As Docker does: an address first, the endpoint with an interface to be taken over, then its namespace."""
    await lose(agent)
    kept = await Service(agent).reserve(NET, t.Reserve(owner="docker/net", seconds=60, family=4))
    owner = {"owner": "docker/net/ep", "handover": True, "addresses": (kept.address.ip,)}
    await attach(agent, "", NET, **owner)
    made = await attach(agent, "/run/docker/netns/x", NET, **owner)
    assert made.container == "/run/docker/netns/x"
    await restore(agent)
    assert list(await in_store(agent)) == [str(address(e)) for e in agent.view.endpoints.values()]
    [stored] = [e for e in await Service(agent).endpoints() if e.owner]
    assert stored.container == "/run/docker/netns/x"


REFUSED = [
    ({"addresses": (parse_address("172.111.222.63"),)}, "is reserved in this network"),
    ({"mac": "02:00:00:00:00:07"}, "only the store knows whether 02:00:00:00:00:07 is anybody else's while the store"),
]


@pytest.mark.parametrize(("asked", "why"), REFUSED)
async def test_what_only_the_store_knows_is_refused(
    agent: Agent, host: FakeHost, asked: dict[str, Any], why: str
) -> None:
    await lose(agent)
    with pytest.raises(WeftError) as caught:
        await connect(agent, host, "c2", **asked)
    assert why in str(caught.value) and "\n" not in str(caught.value)
    assert not interfaces(host, "c2") and len(agent.view.endpoints) == 1


async def test_an_address_outside_and_one_too_many_are_refused(agent: Agent, host: FakeHost) -> None:
    block = agent.attachments.blocks.lease(NET).subnets[0]
    outside = next(a for a in linked_hosts() if a not in block)
    await lose(agent)
    with pytest.raises(Unavailable) as caught:
        await connect(agent, host, "c2", addresses=(outside,))
    assert f"{outside} is in no block of this host ({block}) while the store is away (etcd " in str(caught.value)
    room = sum(a in block for a in linked_hosts()) - 1
    for n in range(room):
        await connect(agent, host, f"more{n}")
    with pytest.raises(Unavailable) as caught:
        await connect(agent, host, "late")
    assert f"no address is left in this host's blocks ({block}), and only the store gives another one" in str(
        caught.value
    )
    assert str(caught.value).endswith("detach some, attach on another host, or wait until it is back")
    await restore(agent)
    assert len(await in_store(agent)) == room + 1


def linked_hosts() -> list[IPAddress]:
    return [parse_address(f"172.111.222.{n}") for n in range(1, 63)]


async def test_other_networks_wait_for_the_store(agent: Agent, host: FakeHost) -> None:
    await create(agent, "vx", "10.1.0.0/16", driver="vxlan")
    await until(lambda: agent.view.lease("vx", "node-1"))
    await lose(agent)
    host.open("c2")
    for network, why in (("vx", "^etcd"), ("unheard-of", r"is not known to this host, and the store is away \(etcd")):
        with pytest.raises(Unavailable, match=rf"{why} 192\.168\.1\.1:2379 does not answer"):
            await attach(agent, "c2", network)


async def test_a_full_disk_is_said_before_anything_happens(
    agent: Agent, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lose(agent)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/var/lib/weft/holdings")

    monkeypatch.setattr(agent.journal, "keep", full)
    monkeypatch.setattr(agent.journal, "renounce", full)
    with pytest.raises(Unavailable, match=r"No space left on device \(/var/lib/weft/holdings\): make room"):
        await connect(agent, host, "c2")
    with pytest.raises(Unavailable, match="No space left"):
        await Service(agent).detach("c1")
    assert interfaces(host, "c1") and not interfaces(host, "c2")


async def test_a_network_that_was_removed_meanwhile_cuts_the_container_off_aloud(
    agent: Agent, host: FakeHost, store_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with agent_on(FakeHost("192.168.1.254/24"), store_file, "node-2") as other:
        await lose(agent)
        await connect(agent, host, "c2")
        await Service(other).remove_network(NET, force="yes")
        tap(agent).restore()
        await until(lambda: NET not in agent.view.networks)
        await until(lambda: not interfaces(host, "c2"))
    said = "container c2 lost its interface eth0: network office was removed while this host could not reach the store"
    assert said in caplog.text and any(said in text for text in told(agent))


async def test_after_its_tenure_a_host_gives_nothing_and_keeps_what_nobody_has_taken(
    agent: Agent, host: FakeHost, store_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One block is another host's by then, the other one is nobody's."""
    other_host = FakeHost("192.168.1.254/24")
    async with agent_on(other_host, store_file, "node-2") as other:
        first = agent.attachments.blocks.lease(NET).subnets[0]
        [kept] = await Service(agent).endpoints(node="node-1")
        made = [await connect(agent, host, f"c{n}") for n in range(2, 18)]
        [second] = [b for b in agent.attachments.blocks.lease(NET).subnets if b != first]
        await lose(agent)
        await connect(agent, host, "fine")
        agent.cluster.held_until = 0.0
        with pytest.raises(Unavailable, match="this host has not reached the store for 24 h"):
            await connect(agent, host, "late")
        await other.store.revoke(TENURE)
        await until(lambda: other.view.lease(NET, "node-1") is None)
        stolen = next(e for e in made if address(e) in second)
        await connect(other, other_host, "thief", addresses=(address(stolen),))
        await restore(agent)
        found = await in_store(agent)
    assert found[str(address(kept))] == "c1" and found[str(address(stolen))] == "thief"
    assert interfaces(host, "c1") and not interfaces(host, stolen.name)
    assert not any(address(e) in second for e in await Service(agent).endpoints(node="node-1"))
    assert f"container {stolen.name} lost its interface eth0: {address(stolen)}" in caplog.text


async def test_a_block_whose_return_was_never_answered_is_not_given_of(
    agent: Agent, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Service(agent).detach("c1")
    blocks, lease = agent.attachments.blocks, agent.attachments.blocks.lease(NET)

    async def unanswered(*_: object) -> int | None:
        raise Unavailable("etcd 192.168.1.1:2379 does not answer")

    monkeypatch.setattr(agent.attachments.blocks, "idle", lambda _: list(lease.subnets))
    with monkeypatch.context() as patch:
        patch.setattr(tap(agent).store, "commit", unanswered)
        with pytest.raises(Unavailable):
            await blocks.give_back(NET, list(lease.subnets))
        host.open("c2")
        with pytest.raises(Unavailable, match="not certain yet that this host's blocks are still its own"):
            await attach(agent, "c2", NET)
    before = agent.view.revision(keys.lease(NET, "node-1"))
    agent.stock.wake.set()
    await until(lambda: NET in blocks.certain)
    assert agent.view.revision(keys.lease(NET, "node-1")) > before  # what was sent then finds the lease changed
    await lose(agent)
    await connect(agent, host, "c3")
    assert await SqliteStore(Path(agent.config.store.removeprefix("sqlite://"))).get(keys.lease(NET, "node-1"))
