"""The API's operations about a store mesh:// (`weft.api.operations`)."""

from __future__ import annotations

import time
from collections.abc import Collection

from weft.agent.mesh import Mesh as MeshHere
from weft.agent.parts import Parts
from weft.api import mesh as m
from weft.api import types as t
from weft.base.errors import Unsupported
from weft.mesh.membership import Member
from weft.mesh.voters import Voter, state


class Mesh:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def mesh(self) -> m.MeshStatus:
        return _status(self._here())

    async def recover_mesh(self) -> t.Done:
        return t.Done(what=tuple(await self._here().recover()))

    async def leave_mesh(self) -> t.Done:
        return t.Done(what=tuple(await self._here().leave()))

    def _here(self) -> MeshHere:
        """Raises Unsupported."""
        if self._parts.mesh is None:
            raise Unsupported(f"this agent's store is {self._parts.store_status.url}: there is no mesh")
        return self._parts.mesh


def _status(here: MeshHere) -> m.MeshStatus:
    part = here.part
    if part is None:
        return m.MeshStatus(node=here.name, named=here.named, waiting=here.waiting())
    members, voters = {member.name: member for member in part.membership.members()}, part.keeper.voters()
    return m.MeshStatus(
        node=here.name,
        named=here.named,
        cluster=part.keeper.status().cluster,
        waiting="" if here.through else here.waiting(),
        through=here.through,
        members=tuple(_member(here, member, {voter.name for voter in voters}) for member in members.values()),
        voters=tuple(_voter(here, voter, members.get(voter.name)) for voter in voters),
        problems=tuple(here.problems()),
    )


def _member(here: MeshHere, member: Member, voters: Collection[str]) -> m.MeshMember:
    return m.MeshMember(
        name=member.name,
        address=member.address,
        standing=member.standing.value,
        since=time.time() - max(0.0, time.monotonic() - member.since),
        reached=here.is_reached(member),
        this=member.name == here.name,
        voter=member.name in voters,
    )


def _voter(here: MeshHere, voter: Voter, member: Member | None) -> m.MeshVoter:
    return m.MeshVoter(
        name=voter.name,
        address=voter.address,
        port=voter.port,
        state=state(voter),
        standing=member.standing.value if member else "unknown",
        reached=member is not None and here.is_reached(member),
    )
