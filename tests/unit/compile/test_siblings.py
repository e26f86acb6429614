"""A container in two networks may send by one with its address in the other, for as long as it has both."""

from __future__ import annotations

from support.agents import FakeHost, attach, create
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.hoststate import NftElement
from weft.hoststate.firewall import BRIDGE


def taken(host: FakeHost) -> set[tuple[str, str]]:
    """(port, IPv4 address) of the elements about what ports take."""
    found = [o for o in host.objects.values() if isinstance(o, NftElement) and o.table == BRIDGE and o.set == "own4"]
    return {(e.value.split()[0].strip('"'), e.value.split()[-1]) for e in found}


def own(*endpoints: t.EndpointInfo) -> set[tuple[str, str]]:
    return {(e.host_interface, str(e.addresses[0].ip)) for e in endpoints}


async def test_each_port_takes_the_addresses_of_both(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    await create(agent, "red", "10.2.0.0/16")
    host.open("web")
    host.open("other")
    one, other = await attach(agent, "web"), await attach(agent, "other")
    assert taken(host) == own(one, other)
    two = await attach(agent, "web", "red")
    both = {(a.host_interface, str(b.addresses[0].ip)) for a in (one, two) for b in (one, two)}
    assert taken(host) == both | own(other)
    await Service(agent).detach("web", "red")
    assert taken(host) == own(one, other)


async def test_what_may_send_in_any_name_needs_no_more(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    await create(agent, "red", "10.2.0.0/16")
    host.open("web")
    one = await attach(agent, "web", spoofing="allow")
    two = await attach(agent, "web", "red")
    assert taken(host) == own(two) | {(two.host_interface, str(one.addresses[0].ip))}
