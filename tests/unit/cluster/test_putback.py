"""A store that lost its data or was put back to an earlier state: what runs goes on, and what it lacks is written back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from support.agents import FakeHost, Tap, agent_on, attach, create, make_agent, running, settled, until
from weft.agent.agent import Agent
from weft.agent.resources import infos
from weft.agent.resources.service import Service
from weft.api.services import CreateService
from weft.base.errors import Unavailable
from weft.cluster import footprint
from weft.hoststate import Object
from weft.model import BgpSettings, Network, decode, encode, keys
from weft.policy.model import Namespace, Policy, Who
from weft.policy.record import NAMESPACE, policy_key
from weft.services.model import ServicePort
from weft.store.protocol import Delete, DeletePrefix, Item, Op, Put
from weft.store.sqlite import SqliteStore

FAR = "192.168.1.2/24"
CLOSED = Policy(id="policy//closed", kind="Policy", name="closed", subject=Who(), ingress=())


@pytest.fixture
async def raw(store_file: Path) -> AsyncIterator[SqliteStore]:
    """The store as its administrator sees it."""
    store = SqliteStore(store_file)
    yield store
    await store.close()


@pytest.fixture
async def other(agent: Agent, store_file: Path) -> AsyncIterator[Agent]:
    """node-2, and network blue with a container on each node."""
    far = FakeHost(FAR)
    async with agent_on(far, store_file, "node-2") as running:
        await create(agent)
        await until(lambda: "blue" in running.view.networks)
        far.open("c2")
        await attach(running, "c2")
        await until(lambda: agent.view.lease("blue", "node-2"))
        yield running


async def everything(raw: SqliteStore, *but: str) -> dict[str, bytes]:
    items = (await raw.list("")).items
    return {i.key: i.value for i in items if not i.key.startswith(("presence/", "cursors/", *but))}


def kernel(host: FakeHost) -> dict[object, Object]:
    return host.ours()


async def restored(raw: SqliteStore, before: dict[str, bytes]) -> None:
    """What the store says is what it said."""
    deadline = asyncio.get_running_loop().time() + 20
    while (now := await everything(raw)) != before:
        assert asyncio.get_running_loop().time() < deadline, {
            k: (before.get(k), now.get(k)) for k in before.keys() | now if before.get(k) != now.get(k)
        }
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def away(*agents: Agent) -> AsyncIterator[None]:
    """The store, for these agents; afterwards they list it again."""
    taps = [agent.store for agent in agents if isinstance(agent.store, Tap)]
    for tap in taps:
        tap.lose()
    for agent in agents:
        await until(lambda agent=agent: agent.store_status.state == "lost")
    yield
    for tap in taps:
        tap.restore()


async def to(raw: SqliteStore, backup: tuple[Item, ...]) -> None:
    """As restored from a backup, though revisions go on: what came since is gone, what was changed is as it was."""
    there = {item.key: item for item in (await raw.list("")).items}
    old = {item.key: item for item in backup}
    ops: list[Op] = [Delete(key) for key in there.keys() - old.keys()]
    ops += [Put(key, item.value) for key, item in old.items() if key not in there or there[key].value != item.value]
    await raw.commit([], ops)


async def wiped(raw: SqliteStore) -> None:
    prefixes = {item.key.partition("/")[0] for item in (await raw.list("")).items} - {keys.CLUSTER}
    await raw.commit([], [*(DeletePrefix(f"{prefix}/") for prefix in prefixes), Delete(keys.CLUSTER)])


async def test_an_emptied_store_takes_nothing_down_and_is_restored_by_the_agents(
    agent: Agent, other: Agent, host: FakeHost, raw: SqliteStore
) -> None:
    host.open("c1")
    await attach(agent, "c1")
    await agent.cluster.write([], [Put(keys.BGP_SETTINGS, encode(BgpSettings(asn=64999)))])
    await agent.cluster.write(
        [], [Put(policy_key(CLOSED), encode(CLOSED)), Put(NAMESPACE.key("a"), encode(Namespace(name="a")))]
    )
    web = CreateService(name="web", network="blue", members=("c1",), ports=(ServicePort(port=80),))
    await Service(agent).create_service(web)
    await settled(agent)
    before, stands = await everything(raw), kernel(host)
    await wiped(raw)
    await until(lambda: agent.known.doubt and other.known.doubt)
    status = infos.status(agent)
    assert (status.state, status.store.state) == ("degraded", "refused")
    assert "it has lost its data" in status.store.reason
    host.open("c3")
    with pytest.raises(Unavailable, match="it has lost its data"):
        await attach(agent, "c3")
    await settled(agent)
    assert kernel(host) == stands
    await Service(other).restore_store()
    await restored(raw, before)
    await until(lambda: not agent.view.kept and not agent.view.lost and agent.store_status.state == "connected")
    await settled(agent)
    assert kernel(host) == stands
    assert infos.status(agent).store.kept == () and agent.known.cluster == other.known.cluster


async def test_accepted_it_counts(agent: Agent, other: Agent, host: FakeHost, raw: SqliteStore) -> None:
    host.open("c1")
    await attach(agent, "c1")
    await wiped(raw)
    await until(lambda: agent.known.doubt)
    old = agent.known.cluster
    assert (await Service(agent).accept_store()).cluster != old
    await until(lambda: not agent.view.networks and kernel(host) == {}, 20)
    await until(
        lambda: (
            "node-1" in agent.view.present and "node-1" in agent.view.nodes and agent.store_status.state == "connected"
        )
    )
    assert await raw.get(keys.node("node-1"))
    with pytest.raises(Unavailable, match=f"it belongs to cluster {agent.known.cluster}"):
        await other.store.get("nodes/node-1")


async def test_what_came_after_the_backup_is_written_back(
    agent: Agent, other: Agent, host: FakeHost, raw: SqliteStore
) -> None:
    """A network, a container of its and an older one's; another container's published port; others go on working meanwhile."""
    host.open("c1")
    one = await attach(agent, "c1")
    backup = (await raw.list("")).items
    await create(agent, "red", "10.2.0.0/16", vni=2)
    for name, net in (("c3", "blue"), ("c4", "red")):
        host.open(name)
        await attach(agent, name, net)
    known = agent.view.endpoints[one.id]
    labelled = msgspec.structs.replace(known, labels={"a": "b"})
    _, ops = footprint.step(known, labelled, footprint.place(agent.view, "blue"), agent.cluster.tenure_lease)
    await agent.cluster.write([], ops)
    await until(lambda: other.view.lease("red", "node-1") and other.view.lease("red", "node-2"))
    await settled(agent)
    before, stands = await everything(raw), kernel(host)
    async with away(agent, other):
        await to(raw, backup)
        for one in (agent, other):
            one.known.contradicted("a test says so")  # SQLite's revisions cannot go back
    await restored(raw, before)
    await until(lambda: not agent.view.kept and not agent.view.lost)
    await settled(agent)
    assert kernel(host) == stands


async def test_what_was_detached_after_the_backup_does_not_come_back(
    agent: Agent, other: Agent, host: FakeHost, raw: SqliteStore
) -> None:
    host.open("c1")
    await attach(agent, "c1")
    await create(agent, "red", "10.2.0.0/16", vni=2)
    backup = (await raw.list("")).items
    await Service(agent).detach("c1")
    host.open("c3")
    await attach(agent, "c3")
    before = await everything(raw)
    async with away(agent, other):
        await to(raw, backup)
        for one in (agent, other):
            one.known.contradicted("a test says so")  # SQLite's revisions cannot go back
    await restored(raw, before)
    await until(lambda: {e.name for e in agent.view.endpoints.values()} == {"c3"} and not agent.view.lost)


async def test_what_nobody_writes_back_is_kept_until_it_is_let_go(
    agent: Agent, host: FakeHost, raw: SqliteStore, store_file: Path
) -> None:
    """Of a node that is not there any more; told in the status."""
    await create(agent)
    async with agent_on(FakeHost(FAR), store_file, "node-2"):
        await until(lambda: agent.view.lease("blue", "node-2"))
    gone = {"nodes/node-2", "leases/blue/node-2"}
    async with away(agent):
        await raw.commit([], [Delete(key) for key in gone])
        agent.known.contradicted("a test says so")
    await until(lambda: agent.view.kept == gone)
    await settled(agent)
    assert any(
        "it lacks leases/blue/node-2, nodes/node-2, by which this node still goes" in p.text
        for p in infos.problems(agent)
    )
    prefix = str(agent.view.leases["blue"]["node-2"].subnets[0])
    assert any(getattr(o, "prefix", "") == prefix for o in kernel(host).values())
    await Service(agent).accept_store()
    await until(lambda: not any(getattr(o, "prefix", "") == prefix for o in kernel(host).values()))
    assert "node-2" not in agent.view.nodes and "blue" in agent.view.networks


async def test_a_network_that_another_one_excludes_by_now_is_told(
    agent: Agent, host: FakeHost, raw: SqliteStore
) -> None:
    await create(agent)
    blue = await raw.get("networks/blue")
    assert blue
    async with away(agent):
        new = Network(**{**_fields(decode(Network, blue.value)), "name": "green"})
        await raw.commit(
            [], [Delete("networks/blue"), Put("networks/green", encode(new)), Put("claims/vni/1", b"green")]
        )
        agent.known.contradicted("a test says so")
    await until(lambda: any("cannot be written back" in p.text for p in infos.problems(agent)))
    assert "blue" in agent.view.networks and await raw.get("networks/blue") is None


async def test_a_restarted_agent_remembers_the_store(host: FakeHost, store_file: Path, raw: SqliteStore) -> None:
    """Emptied while no agent ran: nothing is touched; restored, all is back, networks too."""
    async with agent_on(host, store_file) as agent:
        await create(agent)
        host.open("c1")
        await attach(agent, "c1")
        await settled(agent)
        cluster, stands = agent.known.cluster, kernel(host)
        before = await everything(raw)
    await wiped(raw)
    again = make_agent(host, store_file)
    async with running(again):
        await until(lambda: again.known.doubt)
        assert again.known.cluster == cluster and infos.status(again).state == "degraded"
        with pytest.raises(Unavailable, match="it has lost its data"):
            again.ready()
        assert kernel(host) == stands
        await Service(again).restore_store()
        await restored(raw, before)
        await until(lambda: again.loop.started)
        await settled(again)
        assert kernel(host) == stands


def _fields(value: object) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__struct_fields__}  # type: ignore[attr-defined]
