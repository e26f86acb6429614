"""What other hosts know of a container: written with it, completed where an earlier version wrote less, gone with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from support.agents import FakeHost, agent_on, attach, create, settled, until
from weft.agent.agent import Agent
from weft.agent.resources import infos
from weft.agent.resources.service import Service
from weft.base.errors import Conflict
from weft.cluster.footprint import location
from weft.endpoints.locations import Locations
from weft.model import Endpoint, Location, decode, encode, keys, records
from weft.policy.record import identity
from weft.store.protocol import Delete, Item, Put

DRIVERS = ("bridge", "vxlan", "overlay", "routed", "host-gw")


async def located(agent: Agent) -> dict[str, Item]:
    return {item.key: item for item in (await agent.store.list(keys.LOCATIONS)).items}


async def networks(agent: Agent) -> None:
    for n, driver in enumerate(DRIVERS):
        await create(agent, driver, f"10.{n}.0.0/16", driver=driver)


async def test_every_endpoint_of_every_driver_is_known_until_it_is_detached(
    agent: Agent, host: FakeHost, service: Service
) -> None:
    await networks(agent)
    host.open("c1")
    made = {driver: await attach(agent, "c1", driver) for driver in DRIVERS}
    found = await located(agent)
    assert found.keys() == {keys.location(driver, made[driver].id) for driver in DRIVERS}
    for driver, endpoint in made.items():
        key = keys.location(driver, endpoint.id)
        at = keys.LOCATION.parse(key)
        assert at is not None
        told = identity(at, decode(Location, found[key].value))
        assert (told.id, told.name, told.network, told.node) == (endpoint.id, "c1", driver, "node-1")
        assert (told.addresses, told.namespace) == (tuple(a.ip for a in endpoint.addresses), "default")
    await service.detach("c1")
    assert await located(agent) == {}


async def test_an_agent_completes_what_an_earlier_version_wrote(host: FakeHost, store_file: Path) -> None:
    """One record is missing, one says less, one says more than this version knows; the rest is as it is to be."""
    async with agent_on(host, store_file) as agent:
        await networks(agent)
        for n in range(30):  # more than one transaction takes
            host.open(f"c{n}")
            await attach(agent, f"c{n}", "bridge")
        for driver in DRIVERS[1:]:
            await attach(agent, "c0", driver)
        before = await located(agent)
        of = {item.key.split("/")[1]: item for item in before.values()}
        less = msgspec.json.encode(
            {k: v for k, v in _plain(of["overlay"]).items() if k in ("node", "mac", "addresses")}
        )
        more = msgspec.json.encode({**_plain(of["routed"]), "colour": "red"})
        missing = [Delete(key) for key in before if key.startswith("locations/bridge/")]
        await agent.store.commit([], [*missing, Put(of["overlay"].key, less), Put(of["routed"].key, more)])
    async with agent_on(host, store_file) as agent:
        wanted = {key: item.value for key, item in before.items()} | {of["routed"].key: more}
        now = await told(agent, wanted)
        assert now[of["vxlan"].key].revision == of["vxlan"].revision, "what is right is not written again"
        assert len({now[op.key].revision for op in missing}) == 2


async def told(agent: Agent, wanted: dict[str, bytes]) -> dict[str, Item]:
    """The records, once they say this."""
    deadline = asyncio.get_running_loop().time() + 20
    while {key: item.value for key, item in (await located(agent)).items()} != wanted:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    return await located(agent)


def _plain(item: Item) -> dict[str, object]:
    found: dict[str, object] = msgspec.json.decode(item.value)
    return found


async def test_one_that_changes_meanwhile_is_told_as_it_is_then(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    host.open("c1")
    made = await attach(agent, "c1")
    await agent.store.commit([], [Delete(keys.location("blue", made.id))])
    key = keys.endpoint("node-1", "blue", made.id)
    work = Locations(agent.cluster)
    get = agent.store.get

    async def get_while_it_changes(wanted: str) -> Item | None:
        agent.cluster.store.get = get  # type: ignore[method-assign]
        item = await get(key)
        assert item is not None
        new = msgspec.structs.replace(decode(Endpoint, item.value), labels={"role": "db"})
        await agent.store.commit([], [Put(key, encode(new))])
        return await get(wanted)

    agent.cluster.store.get = get_while_it_changes  # type: ignore[method-assign]
    await work.complete()
    [found] = (await located(agent)).values()
    assert decode(Location, found.value).labels == {"role": "db"}


async def test_labels_that_no_selector_can_name_stay_at_home() -> None:
    """Earlier versions took any text; it may be long, and many hosts read a location."""
    old = decode(
        Endpoint,
        b'{"id":"a1","name":"web","network":"blue","node":"n1","container":"c","namespace":{"path":"","cookie":1},'
        b'"interface":"eth0","mac":"02:42:0a:00:00:02","addresses":["10.0.0.2/24"],'
        b'"labels":{"role":"db","a/b/c":"x","files":"/one,/two","":"y","long":"' + b"x" * 64 + b'","empty":""}}',
    )
    assert (old.policy_namespace, old.named_ports) == ("default", ())
    assert location(old).labels == {"role": "db", "empty": ""}


# Following where containers are, for policy alone.


@pytest.fixture
async def other(agent: Agent, other_host: FakeHost, store_file: Path) -> AsyncIterator[Agent]:
    async with agent_on(other_host, store_file, "node-2") as running:
        await until(lambda: "node-2" in agent.view.present and "node-1" in running.view.present)
        yield running


@pytest.fixture
def other_host() -> FakeHost:
    return FakeHost("192.168.1.254/24")


@pytest.mark.parametrize("driver", ["overlay", "vxlan", "bridge"])
async def test_a_network_that_is_followed_for_policy_is_not_here_by_that(
    agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost, driver: str
) -> None:
    await create(agent, "blue", driver=driver)
    await until(lambda: "blue" in other.view.networks)
    host.open("c1")
    mac = "02:00:00:00:00:07" if driver == "bridge" else ""  # each host has a bridge of its own
    await attach(agent, "c1", mac=mac)
    if driver != "overlay":
        await until(lambda: len(other.view.leases["blue"]) == 2)
    await settled(other)
    before = other_host.ours()
    async with other.follower.held(records.LOCATIONS, "blue"):
        assert {at.name for at in other.view.locations["blue"].values()} == {"c1"}
        await settled(other)
        assert other_host.ours() == before
        await until(lambda: infos.status(other).state == "converged")  # what it hears of the other node may come yet
        assert not infos.status(other).troubles and other_host.ours() == before
        [status] = [n for n in infos.status(other).networks if n.name == "blue"]
        assert status.endpoints == 0 and status.peers == (
            0 if driver == "overlay" else len(other.view.leases["blue"]) - 1
        )
        other_host.open("c2")
        await attach(other, "c2", mac=mac)
        await Service(other).detach("c2")
        await settled(other)
        assert other_host.ours() == before


async def test_what_keeps_a_network_away_from_a_host_counts_while_it_is_followed(
    other: Agent, other_host: FakeHost, store_file: Path
) -> None:
    async with agent_on(FakeHost("192.168.1.3/24", "fd00:1::3/64"), store_file, "node-3") as third:
        await create(third, "blue", driver="overlay", underlay="ipv6")
        await until(lambda: "blue" in other.view.networks)
    async with other.follower.held(records.LOCATIONS, "blue"):
        other.loops.touch(other.compiler.everything())
        await settled(other)
        assert [p.text for p in infos.status(other).problems if "has no IPv6 address on eth0" in p.text]
        other_host.open("c2")
        with pytest.raises(Conflict, match="has no IPv6 address on eth0"):
            await attach(other, "c2")
