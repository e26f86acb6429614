"""The API's operations about a mesh."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.agents import FakeHost, agent_on, until
from support.mesh_parts import Scene
from weft.agent.agent import Agent
from weft.agent.resources.mesh_checkup import findings
from weft.agent.resources.service import Service
from weft.base.errors import Conflict, Unsupported
from weft.mesh.membership import Standing


@pytest.mark.parametrize("operation", ["mesh", "recover_mesh", "leave_mesh"])
async def test_without_one_it_is_said_what_the_store_is(operation: str, agent: Agent, service: Service) -> None:
    with pytest.raises(Unsupported, match=r"^this agent's store is sqlite:///.*: there is no mesh$"):
        await getattr(service, operation)()


async def test_members_and_voters_are_shown(agent: Agent, service: Service) -> None:
    scene = Scene(1, 3)
    agent.mesh = scene.mesh
    assert (await service.mesh()).waiting.startswith("this host has no address yet")
    scene.begin()
    scene.stand(2, standing=Standing.DEAD, reached=False)
    scene.keeper.silent = {3}  # it hangs on a host that lives
    found = await service.mesh()
    assert [(one.name, one.standing, one.reached, one.voter) for one in found.members] == [
        ("node-1", "alive", True, True),
        ("node-2", "dead", False, False),
        ("node-3", "alive", True, True),
        ("node-4", "alive", True, False),
    ]
    assert [one.name for one in found.members if one.this] == ["node-1"]
    assert [(one.name, one.state, one.port) for one in found.voters] == [
        ("node-1", "voter", 6786),
        ("node-3", "silent", 6786),
    ]
    assert found.problems == ("node-9 has another secret",)


async def test_a_node_that_members_hear_is_removed_by_force_only(
    agent: Agent, service: Service, store_file: Path
) -> None:
    async with agent_on(FakeHost("192.168.1.2/24"), store_file, "node-2") as other:
        await until(lambda: "node-2" in agent.view.present)
        lease = other.membership.presence_lease
    await agent.store.revoke(lease)
    await until(lambda: "node-2" not in agent.view.present)
    scene = Scene(1)
    scene.begin()
    agent.mesh = scene.mesh
    with pytest.raises(Conflict, match="node-2 is heard by hosts of the mesh"):
        await service.remove_node("node-2")
    scene.stand(2, standing=Standing.DEAD)
    assert "node-2" in (await service.remove_node("node-2")).what


def test_what_the_doctor_says() -> None:
    scene = Scene(1)
    scene.begin()
    found = {(one.check, one.result): one.detail for one in findings(scene.mesh, scene.supervisor)}
    assert found["mesh", "warning"] == "node-9 has another secret"
