"""This host's part in a mesh: where the store is asked, and what is said where it cannot be."""

from __future__ import annotations

import asyncio
from ipaddress import ip_interface

import pytest

from support.agents import until
from support.mesh_parts import Scene, member
from weft.agent.mesh import MEMBERS
from weft.base.errors import Conflict, Unavailable
from weft.mesh.membership import Standing
from weft.mesh.voters import FACT, Cluster, Said


async def test_voters_that_are_reached_are_asked_in_their_order() -> None:
    scene = Scene(1, 2, 3)
    scene.begin()
    scene.stand(2, standing=Standing.DEAD)
    first, second, *relays = await scene.mesh.endpoints()
    assert (first, second) == ("10.0.0.1:6786", "10.0.0.3:6786")
    assert sorted(relays) == ["10.0.0.3:6788", "10.0.0.4:6788"]  # where a firewall is in the way


async def test_where_none_is_reached_members_lead_there_and_then_those_that_others_hear() -> None:
    scene = Scene(2, 3)
    scene.begin()
    scene.stand(2, reached=False)
    scene.stand(3, reached=False)
    assert await scene.mesh.endpoints() == ("10.0.0.4:6788", "10.0.0.2:6786", "10.0.0.3:6786")
    assert list(scene.mesh._own_voters()) == [("10.0.0.2", 6786), ("10.0.0.3", 6786)]  # no relay leads to another


async def test_no_member_of_another_cluster_leads_to_the_voters() -> None:
    scene = Scene(2)
    scene.begin()
    for number in (3, 4):
        scene.stand(number, facts={FACT: Said(cluster=Cluster("bb")).text()})
    assert await scene.mesh.endpoints() == ("10.0.0.2:6786", "10.0.0.2:6788")


async def test_voters_that_are_remembered_are_asked_before_any_member_is_known() -> None:
    scene = Scene(2)
    scene.begin()
    scene.members.all = [member(1)]
    assert await scene.mesh.endpoints() == ("10.0.0.2:6786",)


async def test_the_first_dial_waits_for_a_voter() -> None:
    scene = Scene()
    asked = asyncio.create_task(scene.mesh.endpoints())
    await asyncio.sleep(0)
    scene.begin()
    await asyncio.sleep(0)
    assert not asked.done()
    scene.keeper.hosts.append(1)
    scene.members.change()
    async with asyncio.timeout(5):
        assert (await asked)[0] == "10.0.0.1:6786"


async def test_without_a_voter_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.agent.mesh.FIRST", 0)
    scene = Scene()
    with pytest.raises(Unavailable, match="no address yet"):
        await scene.mesh.endpoints()
    scene.begin()
    with pytest.raises(Unavailable, match="waiting for 1 more"):
        await scene.mesh.endpoints()


async def test_a_minority_says_which_voters_it_misses() -> None:
    scene = Scene(1, 2, 3)
    scene.begin()
    assert scene.mesh.why(["etcd at 10.0.0.1: no leader", "x"]) == "etcd at 10.0.0.1: no leader; x"
    scene.stand(2, standing=Standing.DEAD)
    assert scene.mesh.why(["x"]) == "x"
    scene.stand(3, standing=Standing.SUSPECT)
    assert scene.mesh.why(["x"]) == "x"  # another host suspects it
    scene.stand(3, standing=Standing.SUSPECT, reached=False)
    assert scene.mesh.why(["x"]).startswith("2 of 3 voters of the mesh are not heard from here (node-2, node-3)")


async def test_a_host_that_changes_its_address_begins_anew_under_it() -> None:
    scene = Scene(1)
    running = asyncio.create_task(scene.mesh.run(scene.supervisor))
    scene.mesh.at([ip_interface("192.168.9.9/24"), ip_interface("fd00::3/64"), ip_interface("fd00::9/64")])
    await until(lambda: scene.made)
    scene.mesh.at([ip_interface("fd00::3/64")])
    scene.mesh.at([])  # an uplink that is away for a moment
    scene.mesh.at([ip_interface("192.168.9.8/24"), ip_interface("fd00::8/64")])
    await until(lambda: len(scene.made) > 1)
    assert scene.made == ["fd00::3", "192.168.9.8"]
    await _end(running)


async def test_what_fails_costs_that_one_task() -> None:
    scene = Scene(1)
    scene.members.fails = Conflict("another host is called node-1")
    scene.mesh.at([ip_interface("127.0.0.1/8")])
    running = asyncio.create_task(scene.mesh.run(scene.supervisor))
    await until(lambda: scene.supervisor.failing(MEMBERS))
    assert scene.supervisor.failing(MEMBERS) == "another host is called node-1"
    assert not scene.supervisor.failing("voters of the mesh") and not running.done()
    await _end(running)


async def test_who_has_left_says_so() -> None:
    scene = Scene(1, 2)
    scene.mesh.at([ip_interface("127.0.0.1/8")])
    running = asyncio.create_task(scene.mesh.run(scene.supervisor))
    await until(lambda: scene.made)
    assert await scene.mesh.leave() == ("node-1",)
    assert scene.members.left and scene.keeper.hosts == [2]
    with pytest.raises(Unavailable, match="has left the mesh"):
        await scene.mesh.leave()
    await _end(running)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
