"""Which other networks a network reaches, as it is made, shown and written down."""

from __future__ import annotations

import logging

import msgspec
import pytest

from support.agents import FakeHost, create, network
from weft.agent.agent import Agent
from weft.agent.resources import doctor
from weft.agent.resources.networks import Networks
from weft.agent.resources.service import Service
from weft.base.errors import Invalid
from weft.hoststate import NftElement
from weft.model import Network, decode, encode, keys
from weft.store.protocol import Put


async def record(agent: Agent, name: str) -> Network:
    item = await agent.store.get(keys.network(name))
    assert item is not None
    return decode(Network, item.value)


async def test_a_new_network_reaches_no_other_and_its_record_says_so(agent: Agent) -> None:
    info = await create(agent)
    assert (await record(agent, "blue")).options["reach"] == "self"
    assert (info.options["reach"], info.reaches, info.one_sided) == ("self", (), ())


async def test_two_that_name_each_other(agent: Agent, service: Service) -> None:
    info = await create(agent, "one", "10.1.0.0/16", reach="two")
    assert info.one_sided == ("reaches two once there is such a network: make that with -O reach=one",)
    assert (await create(agent, "two", "10.2.0.0/16", vni=2, reach="one")).reaches == ("one",)
    info = await service.network("one")
    assert (info.reaches, info.one_sided) == (("two",), ())


async def test_the_doctor_tells_what_only_one_of_two_says(agent: Agent) -> None:
    await create(agent, "one", "10.1.0.0/16", reach="two")
    await create(agent, "two", "10.2.0.0/16", vni=2)
    found = {f.check: f for f in await doctor.findings(agent)}
    assert found["reach of one"].detail == "one does not reach two, though it names it"
    assert found["reach of one"].advice == "both have to name each other; `weft network set two -O reach=one`"
    assert "reach of two" in found


@pytest.mark.parametrize(
    ("reach", "internal", "says"),
    [
        ("Two", False, "'Two'"),
        ("all,two", False, "reach=all,two names networks beside all: leave one of them out"),
        ("two", True, "network blue: reach=two, but an internal network reaches no other: leave -O reach out, or "),
        ("all", True, "network blue: reach=all, but an internal network reaches no other"),
    ],
)
async def test_what_is_refused(agent: Agent, reach: str, internal: bool, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        await create(agent, reach=reach, internal=internal)
    assert says in str(caught.value)


async def test_a_network_of_before_is_open_and_told_once(
    agent: Agent, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    old = Network(name="old", driver="bridge", subnets=network("old", "10.4.0.0/16").subnets)
    inner = msgspec.structs.replace(old, name="inner", subnets=network("inner", "10.5.0.0/16").subnets, internal=True)
    await agent.store.commit([], [Put(keys.network(n.name), encode(n)) for n in (old, inner)])
    assert (await service.network("old")).options["reach"] == "all"
    with caplog.at_level(logging.WARNING, "weft.agent.agent"):
        agent._tell_open()
    (line,) = caplog.messages
    assert line.startswith("open to all other networks that are open to them, as when they were made: old; ")
    assert await Networks(agent).ensure(old, "old") == old, "who defines it so means the same as ever"


async def test_a_definition_that_says_nothing_means_the_network_as_it_is(agent: Agent) -> None:
    await create(agent, reach="two")
    wanted = network("blue")
    assert "reach" not in wanted.options
    await Networks(agent).ensure(wanted, "blue")
    with pytest.raises(Invalid, match="is defined otherwise"):
        await Networks(agent).ensure(network("blue", reach="self"), "blue")


async def test_a_network_that_goes_takes_along_what_it_was_open_to(
    agent: Agent, service: Service, host: FakeHost
) -> None:
    await create(agent, "one", "10.1.0.0/16", reach="two")
    await create(agent, "two", "10.2.0.0/16", vni=2, reach="one")

    def pairs() -> set[str]:
        return {o.value for o in host.objects.values() if isinstance(o, NftElement) and o.set == "within4"}

    assert len(pairs()) == 4
    await service.remove_network("two")
    assert pairs() == {"10.1.0.0/16 . 10.1.0.0/16"}
