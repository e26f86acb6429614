"""A feature with records of its own comes to the host by what it declares, and nothing else is edited for it.

The one here leads prefixes around by another router: a detour is a record, for the whole cluster or of one network, and a
route on every host.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from support.agents import FakeHost, agent_on, create, until
from weft.agent.agent import Agent
from weft.agent.resources import infos
from weft.agent.resources.service import Service
from weft.cluster.changes import Changed
from weft.cluster.kinds import KINDS
from weft.cluster.view import View
from weft.compile.contributor import Contributor, Needs
from weft.compile.contributors import CONTRIBUTORS
from weft.compile.known import Known
from weft.hoststate import Contribution, Route, route
from weft.hoststate.union import Source
from weft.model import encode, keys, records
from weft.model.record import Follow, Pattern, Record, reads
from weft.store.protocol import Delete, Put


class Detour(msgspec.Struct, frozen=True):
    name: str
    prefix: str
    via: str


class OfNetwork(NamedTuple):
    network: str
    name: str


DETOURS = Record(
    "detours", Pattern("detours/{name}", keys.Named), reads(Detour, "name"), by=(("name",), ("via", "name"))
)
OF_NETWORK = Record(
    "detours-of-networks",
    Pattern("network-detours/{network}/{name}", OfNetwork),
    reads(Detour, "name"),
    by=(("network", "name"),),
    follow=Follow.ON_DEMAND,
)


def _touched(_: View, changed: Changed) -> Iterator[Source]:
    yield from (Source("detour", "", at.name) for at in changed.of(DETOURS))
    yield from (Source("detour", at.network, at.name) for at in changed.of(OF_NETWORK))


def _everything(view: View) -> Iterator[Source]:
    return (Source("detour", "", name) for name in view.table(DETOURS).by("name"))


def _of_network(view: View, network: str) -> Iterator[Source]:
    return (Source("detour", network, name) for name in view.table(OF_NETWORK).by("network", "name").get(network, ()))


def _contribute(known: Known, source: Source) -> Contribution | None:
    if source.network:
        found = known.view.table(OF_NETWORK).get(OfNetwork(source.network, source.name))
    else:
        found = known.view.table(DETOURS).get(keys.Named(source.name))
    return Contribution((route(found.prefix, via=found.via, dev="eth0"),)) if found and known.host else None


DETOUR = Contributor(
    name="detour",
    contribute=_contribute,
    touched=_touched,
    of_network=_of_network,
    everything=_everything,
    needs=Needs((records.NETWORKS,), lambda view: ((OF_NETWORK, name) for name in view.networks)),
)
FEATURE = {"kinds": (*KINDS, DETOURS, OF_NETWORK), "contributors": (*CONTRIBUTORS, DETOUR)}


@pytest.fixture
async def agent(host: FakeHost, store_file: Path) -> AsyncIterator[Agent]:
    async with agent_on(host, store_file, **FEATURE) as running:
        yield running


def detour(prefix: str, via: str, name: str = "a") -> bytes:
    return encode(Detour(name, prefix, via))


def ways(host: FakeHost) -> dict[str, str]:
    found = [o for o in tuple(host.objects.values()) if isinstance(o, Route) and o.dev == "eth0" and o.via]
    return {o.prefix: o.via for o in found if o.prefix.startswith("198.51.")}


async def test_its_record_is_an_object_in_the_kernel(agent: Agent, host: FakeHost) -> None:
    await agent.store.commit([], [Put("detours/a", detour("198.51.100.0/24", "192.168.1.9"))])
    await until(lambda: ways(host) == {"198.51.100.0/24": "192.168.1.9"})
    await agent.store.commit([], [Put("detours/a", detour("198.51.100.0/24", "192.168.1.10"))])
    await until(lambda: ways(host) == {"198.51.100.0/24": "192.168.1.10"})
    assert list(agent.view.table(DETOURS).by("via", "name")) == ["192.168.1.10"]
    other = Put("detours/b", detour("198.51.101.0/24", "192.168.1.9", "b"))
    await agent.store.commit([], [other, Put("detours/a", b"{")])
    await until(lambda: ways(host) == {"198.51.101.0/24": "192.168.1.9"})
    assert any(p.text.startswith("detours/a in the store cannot be read") for p in infos.problems(agent))
    await agent.store.commit([], [Delete("detours/a"), Delete("detours/b")])
    await until(lambda: not ways(host) and not list(infos.problems(agent)))
    assert not agent.view.table(DETOURS).by("name") and not agent.view.table(DETOURS).by("via", "name")


async def test_an_agent_that_starts_later_finds_it(host: FakeHost, store_file: Path) -> None:
    async with agent_on(FakeHost(), store_file, "node-2") as plain:
        await plain.store.commit([], [Put("detours/a", detour("198.51.100.0/24", "192.168.1.9"))])
    async with agent_on(host, store_file, **FEATURE):
        assert ways(host) == {"198.51.100.0/24": "192.168.1.9"}
    async with agent_on(host, store_file):
        await until(lambda: not ways(host))  # by one without the feature, what it had made is cleared away


async def test_what_is_followed_on_demand_is_known_as_long_as_it_is_needed(agent: Agent, host: FakeHost) -> None:
    blue = Put("network-detours/blue/a", detour("198.51.100.0/24", "192.168.1.9"))
    red = Put("network-detours/red/a", detour("198.51.101.0/24", "192.168.1.9"))
    await agent.store.commit([], [blue, red])
    await create(agent)
    await until(lambda: ways(host) == {"198.51.100.0/24": "192.168.1.9"})
    assert agent.view.follows(OF_NETWORK, "blue") and not agent.view.follows(OF_NETWORK, "red")
    later = Put("network-detours/blue/b", detour("198.51.102.0/24", "192.168.1.9", "b"))
    await agent.store.commit([], [later])
    await until(lambda: set(ways(host)) == {"198.51.100.0/24", "198.51.102.0/24"})
    await Service(agent).remove_network("blue")
    await until(lambda: not ways(host))
    assert not agent.view.follows(OF_NETWORK, "blue") and not agent.view.table(OF_NETWORK).by("network", "name")


async def test_what_it_cannot_compute_costs_one_source_and_is_tried_again(host: FakeHost, store_file: Path) -> None:
    failing = {"a"}

    def contribute(known: Known, source: Source) -> Contribution | None:
        if source.name in failing:
            raise ZeroDivisionError("by a mistake")
        return _contribute(known, source)

    broken = msgspec.structs.replace(DETOUR, contribute=contribute)
    feature = FEATURE | {"contributors": (*CONTRIBUTORS, broken)}
    async with agent_on(host, store_file, **feature) as agent:
        both = [Put(f"detours/{n}", detour(f"198.51.10{n}.0/24", "192.168.1.9", n)) for n in "12"]
        failing.add("1")
        await agent.store.commit([], both)
        await until(lambda: set(ways(host)) == {"198.51.102.0/24"})
        await until(lambda: [p.text.endswith("by a mistake") for p in infos.problems(agent)] == [True])
        failing.clear()
        await until(lambda: len(ways(host)) == 2)  # nobody touches it, and a full comparison is far away
        await until(lambda: not list(infos.problems(agent)))
