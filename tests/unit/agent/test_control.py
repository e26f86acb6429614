"""Which ports of this host containers are kept from, and a host's policies let through."""

from __future__ import annotations

from support.lab import node
from weft.agent.config import Config
from weft.agent.control import Control
from weft.datapaths import guard
from weft.datapaths.driver import Host
from weft.hoststate import NftElement


async def test_those_of_a_mesh() -> None:
    control = Control(Config(store="mesh://10.0.0.1,10.0.0.2", metrics="0.0.0.0:9473"))
    assert await control.look() == ((6785, 6786, 6787, 6788, 9473), frozenset())
    assert control.spoken == (6785,)


async def test_those_of_a_store_that_is_elsewhere_are_not_this_hosts() -> None:
    control = Control(Config(store="etcd://192.0.2.7"))
    own, elsewhere = await control.look()
    assert (own, control.spoken) == ((), ())
    assert {port for _, port in elsewhere} == {2379, 2380}


def test_where_hosts_speak_to_each_other_no_container_does() -> None:
    found = {o.value for o in guard.control(Host(node=node("node-1"), spoken=(6785,))) if isinstance(o, NftElement)}
    assert "6785" in found
    assert "6785" not in {o.value for o in guard.control(Host(node=node("node-1"))) if isinstance(o, NftElement)}
