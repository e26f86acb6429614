"""Names of devices are made of networks' names, and two long ones can be cut to the same."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from support.agents import FakeHost, agent_on, create, settled
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.alloc.bridges import bridge_name, named_apart
from weft.api import types as t
from weft.base.errors import Invalid
from weft.base.names import IFNAMSIZ, device
from weft.hoststate import Bridge, Link
from weft.model import Network
from weft.model.codec import decode, encode


def twins() -> tuple[str, str]:
    """Two names of networks that are cut to one name of a device: 20 bits of hash are soon used up."""
    seen: dict[str, str] = {}
    for number in range(1 << 16):
        name = f"customer-{number:05}"
        other = seen.setdefault(device("weft-", name), name)
        if other != name:
            return other, name
    raise AssertionError("a hash of 20 bits without a clash?")


def made(name: str, bridge: str = "") -> Network:
    return Network(name=name, driver="bridge", subnets=(ip_network("10.1.0.0/16"),), bridge=bridge)


async def test_two_networks_whose_names_are_cut_to_the_same_have_a_bridge_each(
    agent: Agent, host: FakeHost, store_file: Path
) -> None:
    one, other = twins()
    await create(agent, one, "10.1.0.0/16", driver="bridge")
    await create(agent, other, "10.2.0.0/16", driver="bridge")
    first, second = (bridge_name(agent.view.networks[name]) for name in (one, other))
    assert first == device("weft-", one) != second
    bridges = {o.name: o.alias for o in host.ours().values() if isinstance(o, Link) and isinstance(o.type, Bridge)}
    assert bridges == {first: f"weft:network/{one}", second: f"weft:network/{other}"}
    # Another host, or this one after a restart, finds the same names in the store.
    far = FakeHost("192.168.1.254/24")
    async with agent_on(far, store_file, "node-2") as running:
        await settled(running)
        assert {bridge_name(running.view.networks[n]) for n in (one, other)} == {first, second}
    await Service(agent).remove_network(one)
    assert bridge_name(agent.view.networks[other]) == second


def test_a_name_stays_as_it_is_where_nobody_else_has_it() -> None:
    one, other = twins()
    for name in ("blue", one):
        assert named_apart(made(name), [made("red")]) == made(name)
    apart = named_apart(made(other), [made(one)])
    assert apart.bridge and len(apart.bridge) <= IFNAMSIZ and named_apart(made(other), [made(one)]) == apart
    third = named_apart(made(other), [made(one), made("x", apart.bridge)])
    assert third.bridge not in (apart.bridge, bridge_name(made(one)))


def test_a_short_name_that_looks_like_a_cut_one() -> None:
    long = "customer-00001"
    short = device("weft-", long).removeprefix("weft-")
    assert bridge_name(named_apart(made(short), [made(long)])) != bridge_name(made(long))


async def test_the_name_of_a_bridge_is_not_for_users_to_choose(agent: Agent) -> None:
    await Service(agent).create_network(t.CreateNetwork(network=made("blue", "weft-red")))
    assert agent.view.networks["blue"].bridge == ""
    with pytest.raises(Invalid, match="its bridge cannot be called eth0"):
        made("blue", "eth0")


def test_what_older_versions_wrote_has_no_such_name() -> None:
    older = encode(made("blue")).replace(b'"bridge":"",', b"")
    assert decode(Network, older) == made("blue")
