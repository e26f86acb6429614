"""All nodes of the cluster."""

from __future__ import annotations

from weft.agent.parts import Parts
from weft.agent.resources import infos
from weft.agent.resources.flags import yes
from weft.api import types as t
from weft.base.errors import Conflict, NotFound
from weft.base.nearby import unknown
from weft.endpoints import removal


class Nodes:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def nodes(self) -> tuple[t.NodeInfo, ...]:
        """With hosts of others that are in networks of ours."""
        self._parts.as_of.look()
        ours = (infos.node(self._parts, n) for _, n in sorted(self._parts.view.nodes.items()))
        return (*ours, *infos.foreign_nodes(self._parts))

    async def node(self, name: str) -> t.NodeInfo:
        view = self._parts.view
        self._parts.as_of.look()
        if found := next((n for n in infos.foreign_nodes(self._parts) if n.name == name), None):
            return found
        if name not in view.nodes:
            self._parts.ready()
            raise NotFound(unknown("node", name, view.nodes, "weft node ls"))
        return infos.node(self._parts, view.nodes[name])

    async def remove_node(self, name: str, force: str = "") -> t.Done:
        view = self._parts.view
        if (await self.node(name)).foreign:
            raise Conflict(f"{name} runs no agent of Weft's: it goes when its key in flannel's registry does")
        if name in view.present and not yes(force):
            raise Conflict(
                f"{name}'s agent is running: stop it and `weft agent purge` there, or use --force if the host is gone for good"
            )
        if self._parts.mesh is not None and self._parts.mesh.heard(name) and not yes(force):
            raise Conflict(
                f"{name} is heard by hosts of the mesh, though its agent does not reach the store: stop it and `weft agent "
                "purge` there, or use --force if the host is gone for good"
            )
        await self._parts.flannel.forget(name)
        freed = await removal.remove_node(self._parts.cluster, name)
        return t.Done(what=(name, *freed))
