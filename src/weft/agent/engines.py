"""What container engines ask beyond attaching and detaching: interfaces that they take over, addresses kept for endpoints
to come, ports that change while a container runs."""

from __future__ import annotations

import msgspec

from weft.agent import handover
from weft.agent.attach import Attachments
from weft.api import types as t
from weft.base.errors import Failed, Invalid, NotFound, Unavailable
from weft.base.net import IPInterface
from weft.model import Endpoint, Lease, Network, PublishedPort, encode, keys
from weft.model.endpoint import handover_id
from weft.store.protocol import Guard, Put, Unchanged


class EngineAttachments(Attachments):
    async def _attach(self, request: t.Attach, network: Network, lease: Lease) -> Endpoint:
        if request.handover:
            return await self._hand_over(request, network, lease)
        return await super()._attach(request, network, lease)

    async def _hand_over(self, request: t.Attach, network: Network, lease: Lease) -> Endpoint:
        """The container's namespace is not there yet, or not Weft's matter: nothing is looked for in it."""
        if not request.owner:
            raise Invalid("an interface that is handed over needs an owner")
        id = handover_id(network.name, self._view.me, request.owner)
        present = self._view.endpoints.get(id)
        if present is None and not request.addresses:
            raise Invalid(f"{request.owner}: an interface that is handed over needs its addresses told")
        if present is not None:
            return await self._told(request, self._same(request, present))
        addresses = self._choose(request, network, lease)
        try:
            made = self._placed(handover.endpoint(id, request, self._view.me, addresses), request.target)
            async with self._ports.taking(made, network):
                return await self._make(made, network)
        finally:
            self._promised[network.name].difference_update(a.ip for a in addresses)
            for address in addresses:
                self.promises.drop(network.name, address.ip, "")

    async def _told(self, request: t.Attach, present: Endpoint) -> Endpoint:
        """The same, with the place of its namespace."""
        if not request.target or request.target == present.namespace.path:
            return await self._standing(present)
        return await self._rewrite(self._placed(present, request.target))

    async def publish(self, owner: str, ports: tuple[PublishedPort, ...]) -> Endpoint:
        """These ports lead to the owner's endpoint, instead of those that do. Raises NotFound, Invalid, Conflict, Failed."""
        async with self._turn(owner):
            present = next((e for e in self._view.endpoints.values() if owner and e.owner == owner), None)
            network = self._view.networks.get(present.network) if present else None
            if present is None or network is None:
                raise NotFound(f"no endpoint of owner {owner} here: it was never attached, or is detached")
            endpoint = msgspec.structs.replace(present, ports=ports)
            async with self._ports.taking(endpoint, network):
                try:
                    return await self._rewrite(endpoint)
                except Failed:
                    await self._rewrite(present)
                    raise

    async def _rewrite(self, endpoint: Endpoint) -> Endpoint:
        """Of what is in the store already."""
        key = keys.endpoint(endpoint.node, endpoint.network, endpoint.id)
        guards: list[Guard] = [Unchanged(key, self._view.revision(key))]
        if not await self._membership.write(guards, [Put(key, encode(endpoint), self._membership.tenure_lease)]):
            raise Unavailable(f"endpoint {endpoint.name} was just changed by someone else: try again")
        return await self._standing(endpoint)

    def _placed(self, endpoint: Endpoint, path: str) -> Endpoint:
        others = (e for e in self._view.endpoints.values() if e.id != endpoint.id)
        return handover.placed(endpoint, path, others) if path else endpoint

    def reserve(self, request: t.Reserve, network: Network, lease: Lease) -> IPInterface:
        """An address kept for an endpoint to come. Raises Invalid, Conflict, Exhausted."""
        subnet = next((s for s in lease.subnets if s.version == request.family), None)
        if subnet is None:
            raise Invalid(
                f"network {network.name} has no IPv{request.family} addresses: it has {', '.join(map(str, network.subnets))}"
            )
        wishes = () if request.address is None else (request.address,)
        wanted = t.Attach(target="", network=network.name, addresses=wishes)
        chosen = self._pick(wanted, network, [subnet])[0]
        self.promises.keep(network.name, chosen.ip, request.owner, request.seconds)
        return chosen
