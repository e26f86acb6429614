"""Running containers are evidence: what the store has lost of them is written back, and their interfaces stay."""

from __future__ import annotations

import shutil
from ipaddress import ip_network
from pathlib import Path

import pytest

from support.agents import FakeHost, agent_on, attach, create, until
from weft.agent.agent import Agent
from weft.agent.resources import infos
from weft.agent.resources.service import Service
from weft.base.names import stable_id
from weft.cluster import journal
from weft.cluster.changes import Changed
from weft.cluster.journal import Journal
from weft.cluster.view import View
from weft.hoststate import Link
from weft.model import Network, decode, encode, keys
from weft.model.lease import Lease
from weft.reconcile.protocol import Remove
from weft.store.protocol import Change, Delete, Put
from weft.store.sqlite import SqliteStore

NETWORKS = {"bridge": "10.1.0.0/16", "vxlan": "10.2.0.0/16", "overlay": "10.4.0.0/16", "routed": "10.5.0.0/16"}
TENURE = stable_id("tenure", "instance-of-node-1", "node-1")
OWN = (keys.endpoints("node-1"), keys.LEASES, keys.LOCATIONS, "claims/")


async def populate(agent: Agent, host: FakeHost) -> None:
    for driver, subnet in NETWORKS.items():
        await create(agent, driver, subnet, driver=driver)
        host.open(f"in-{driver}")
        await attach(agent, f"in-{driver}", driver)


async def records(agent: Agent) -> dict[str, bytes]:
    listings = [await agent.store.list(prefix) for prefix in OWN]
    return {item.key: item.value for listing in listings for item in listing.items}


def cut(host: FakeHost, since: int = 0) -> list[str]:
    """Devices of containers that were removed."""
    gone = [op.obj for op in host.log[since:] if isinstance(op, Remove)]
    return [o.name for o in gone if isinstance(o, Link)]


async def written_back(agent: Agent, before: dict[str, bytes]) -> None:
    await until(lambda: not agent.view.lost)
    assert await records(agent) == before


async def test_a_tenure_that_ends_while_the_agent_lives_costs_no_interface(
    agent: Agent, host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    await populate(agent, host)
    before, kernel, since = await records(agent), dict(host.objects), len(host.log)
    await agent.store.revoke(TENURE)  # frozen, or cut off from the store, for longer than it lasts
    await until(lambda: "wrote back endpoint in-routed in network routed" in caplog.text)
    await written_back(agent, before)
    assert host.objects == kernel and not cut(host, since)


async def test_a_tenure_that_ends_while_the_agent_is_stopped_costs_no_interface(
    host: FakeHost, store_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with agent_on(host, store_file) as agent:
        await populate(agent, host)
        before, kernel, since = await records(agent), dict(host.objects), len(host.log)
        ended = next(iter(agent.view.endpoints.values()))
    store = SqliteStore(store_file)
    await store.revoke(TENURE)
    await store.close()
    async with agent_on(host, store_file) as agent:
        await written_back(agent, before)
        assert host.objects == kernel and not cut(host, since)
    store = SqliteStore(store_file)
    await store.revoke(TENURE)
    await store.close()
    host.vanish(ended.namespace.path)  # this one's container has ended meanwhile
    async with agent_on(host, store_file) as agent:
        await until(lambda: not agent.view.lost)
        assert keys.endpoint("node-1", ended.network, ended.id) in before.keys() - (await records(agent)).keys()
        assert ended.id not in agent.view.endpoints and len(agent.view.endpoints) == len(NETWORKS) - 1


async def test_a_store_restored_from_before_they_were_attached_costs_no_interface(
    host: FakeHost, store_file: Path, tmp_path: Path
) -> None:
    async with agent_on(host, store_file) as agent:
        for driver, subnet in NETWORKS.items():
            await create(agent, driver, subnet, driver=driver)
    shutil.copy(store_file, tmp_path / "backup")
    async with agent_on(host, store_file) as agent:
        for driver in NETWORKS:
            host.open(f"in-{driver}")
            await attach(agent, f"in-{driver}", driver)
        before, since = await records(agent), len(host.log)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{store_file}{suffix}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup", store_file)
    async with agent_on(host, store_file) as agent:
        await written_back(agent, before)
        assert not cut(host, since)


async def test_only_what_somebody_else_has_by_now_is_cut_and_said_aloud(
    host: FakeHost, store_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with agent_on(host, store_file) as agent:
        await populate(agent, host)
        for name in ("second", "third"):
            host.open(name)
        second = await attach(agent, "second", "overlay")
        third = await attach(agent, "third", "routed")
        lease = agent.view.lease("vxlan", "node-1")
    assert lease
    store = SqliteStore(store_file)
    await store.revoke(TENURE)
    theirs = Lease(network="vxlan", node="node-9", subnets=lease.subnets, data=lease.data)
    taken = [keys.address_claim("overlay", second.addresses[0].ip), keys.address_claim("routed", third.addresses[0].ip)]
    await store.commit([], [Put(claim, b"web on node-9") for claim in taken])
    await store.commit([], [Put(keys.lease("vxlan", "node-9"), encode(theirs))])
    await store.commit([], [Put(keys.subnet_claim("vxlan", lease.subnets[0]), b"node-9")])
    await store.close()
    async with agent_on(host, store_file) as agent:
        await until(lambda: not agent.view.lost)
        assert {e.name for e in agent.view.endpoints.values()} == {"in-bridge", "in-overlay", "in-routed"}
        ip = second.addresses[0].ip
        said = f"container second lost its interface eth0: {ip} belongs to web on node-9 by now: detach it and attach it again"
        assert ("overlay", said) in [(p.network, p.text) for p in infos.problems(agent)] and said in caplog.text
        assert "in a subnet that another node has by now" in caplog.text
        await until(lambda: not host.inside("/run/netns/second"))
        assert host.inside("/run/netns/in-overlay") and host.inside("/run/netns/in-routed")
        await attach(agent, "second", "overlay")
        assert not [p for p in infos.problems(agent) if p.network == "overlay"]
        other = agent.view.lease("vxlan", "node-1")
        assert other and other.subnets != lease.subnets


async def test_what_somebody_removes_on_purpose_while_we_watch_is_obeyed(
    agent: Agent, host: FakeHost, store_file: Path
) -> None:
    await populate(agent, host)
    async with agent_on(FakeHost("192.168.1.9/24"), store_file, "node-2") as other:
        await Service(other).remove_network("routed", force="1")
        await until(lambda: not host.inside("/run/netns/in-routed"))
    one = next(e for e in agent.view.endpoints.values() if e.network == "bridge")
    await agent.store.commit([], [Delete(keys.endpoint("node-1", "bridge", one.id))])
    await until(lambda: one.id not in agent.view.endpoints and not agent.view.lost)
    assert not await agent.store.get(keys.endpoint("node-1", "bridge", one.id))


async def test_a_host_under_another_name_keeps_its_containers(host: FakeHost, store_file: Path, tmp_path: Path) -> None:
    async with agent_on(host, store_file, state_dir=str(tmp_path / "state"), instance="same") as agent:
        await populate(agent, host)
        held, since = {e.name: e.addresses for e in agent.view.endpoints.values()}, len(host.log)
    async with agent_on(host, store_file, "node-9", state_dir=str(tmp_path / "state"), instance="same") as agent:
        await until(lambda: not agent.view.lost)
        assert {e.name: e.addresses for e in agent.view.endpoints.values()} == held and not cut(host, since)
        assert not [i.key for i in (await agent.store.list("")).items if "/node-1" in i.key]


# What is written down here.


async def test_what_is_held_is_written_down_and_goes_with_it(agent: Agent, host: FakeHost, tmp_path: Path) -> None:
    folder = tmp_path / "node-1" / journal.FOLDER
    await populate(agent, host)
    assert len(list(folder.glob("endpoints%2F*"))) == len(NETWORKS)
    assert len(list(folder.glob("leases%2F*"))) == 3 and len(list(folder.glob("networks%2F*"))) == len(NETWORKS)
    for driver in NETWORKS:
        await Service(agent).detach(f"in-{driver}")
        await Service(agent).remove_network(driver)
    await until(lambda: not list(folder.glob("*%2F*")))


def test_a_full_disk_is_told_and_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = View("node-1")
    kept = Journal(tmp_path, view)
    kept.load()
    view.subscribe("the journal", kept.note)
    blue = Network(name="blue", driver="vxlan", subnets=(ip_network("10.1.0.0/16"),))
    view.apply([Change(keys.network("blue"), encode(blue), 1)])
    lease = Lease(network="blue", node="node-1", subnets=())
    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        view.apply([Change(keys.lease("blue", "node-1"), encode(lease), 2)])
        assert kept.trouble.startswith(f"No space left on device ({tmp_path}/holdings): if the store loses")
        assert [i.key for i in kept.load()] == ["networks/blue"]
    kept.note(Changed())
    assert not kept.trouble and [decode(Lease, i.value) for i in kept.load() if i.key.startswith("leases")] == [lease]
    (tmp_path / journal.FOLDER / "endpoints%2Fnode-1%2Fblue%2Fx").write_text("{")
    assert len(kept.load()) == 2
