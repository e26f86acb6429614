"""This host in networks itself."""

from __future__ import annotations

from weft.agent.parts import Parts
from weft.agent.resources import infos
from weft.agent.resources.networks import Networks
from weft.api import types as t
from weft.endpoints.exposing import Exposing


class Exposure:
    def __init__(self, parts: Parts, networks: Networks) -> None:
        self._parts, self._networks = parts, networks
        self._exposing = Exposing(parts.view, parts.attachments)

    async def expose(self, name: str, request: t.Expose) -> t.EndpointInfo:
        network = await self._networks.known(name)
        await self._parts.leases.ensure(network.name, self._parts.ready())
        return infos.endpoint(self._parts, await self._exposing.expose(network, request.addresses))

    async def hide(self, name: str) -> t.Done:
        self._parts.ready()
        await self._networks.known(name)
        gone = await self._exposing.hide(name)
        return t.Done(what=(f"{gone.node} from {gone.network}",))
