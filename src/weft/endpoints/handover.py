"""What container engines ask beyond attaching and detaching: interfaces that they take over, addresses kept for endpoints
to come, ports that change while a container runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec

from weft.api import types as t
from weft.base.errors import Conflict, Failed, Invalid, NotFound, Unavailable, WeftError
from weft.base.net import IPAddress, IPInterface, parse_mac
from weft.cluster import footprint
from weft.cluster.footprint import key_of
from weft.containers.find import Target
from weft.endpoints import again, passing
from weft.endpoints.attach import Attachments
from weft.hoststate import Key
from weft.ipam import macs
from weft.ipam.addresses import Ask, Choice
from weft.model import Endpoint, Gateway, Namespace, Network, PublishedPort, keys
from weft.model.endpoint import handover_id

log = logging.getLogger(__name__)


class HandoverAttachments(Attachments):
    """A namespace that the engine will make has the cookie 0, whichever that will be: it is told apart by its path."""

    # Interfaces that are handed over.

    async def _attach(self, request: t.Attach, network: Network) -> Endpoint:
        if not request.handover:
            return await super()._attach(request, network)
        if not request.owner:
            raise Invalid("an interface that is handed over needs an owner")
        id = handover_id(network.name, self._view.me, request.owner)
        present = self._view.endpoints.get(id)
        if present is not None:
            again.check_fixed(request, present)
            if again.missing_ports(request.ports, present.ports) or again.merged(request, present) != present:
                raise Conflict(f"{request.owner} is attached to {network.name} with other wishes: detach it first")
            return await self._told(request, present)
        passing.check(request, network)
        if request.target and not request.addresses:  # only a place is told
            raise NotFound(f"no endpoint of owner {request.owner} here: it was never attached, or is detached")
        if not request.addresses:
            raise Invalid(f"{request.owner}: an interface that is handed over needs its addresses told")
        made = await self.take(request, network, _target(request.target, f"handover-{id}"))
        for address in request.addresses:
            self.promises.drop(self._view.home(network.name), address, "")
        return made

    async def _told(self, request: t.Attach, present: Endpoint) -> Endpoint:
        """The same, with the place of its namespace."""
        path = request.target
        if path in ("", present.namespace.path):
            return await self.standing(present)
        target = _target(path, present.name)
        interface = next(self._free(target))
        return await self._rewrite(
            msgspec.structs.replace(present, container=path, namespace=target.namespace, interface=interface)
        )

    def _new(
        self,
        request: t.Attach,
        network: Network,
        target: Target,
        choice: Choice,
        interface: str,
        gateway: Gateway | None,
    ) -> Endpoint:
        endpoint = super()._new(request, network, target, choice, interface, gateway)
        if not request.handover:
            return endpoint
        return msgspec.structs.replace(endpoint, handover=f"wft{endpoint.id[:12]}")

    def _id(self, request: t.Attach, target: Target, interface: str) -> str:
        if request.handover:
            return handover_id(request.network, self._view.me, request.owner)
        return super()._id(request, target, interface)

    def _in(self, target: Target) -> list[Endpoint]:
        if target.namespace.cookie:
            return super()._in(target)
        path = target.namespace.path
        return list(self._view.endpoints_at_path(path)) if path else []

    def rank(self, target: Target) -> int:
        """By which of its networks a container goes out is the engine's choice, so it is told a way by each."""
        return super().rank(target) if target.namespace.cookie else 0

    def _gateway(self, network: Network, target: Target, interface: str, kind: str) -> Gateway | None:
        """An engine takes one interface; a second one it makes itself."""
        return super()._gateway(network, target, interface, kind) if target.namespace.cookie else None

    # Addresses to come.

    async def reserve(self, request: t.Reserve, network: Network) -> IPInterface:
        """An address kept for an endpoint to come. Raises Invalid, Conflict, Exhausted, Unavailable."""
        if request.family not in network.families:
            has = ", ".join(map(str, network.subnets))
            raise Invalid(f"network {network.name} has no IPv{request.family} addresses: it has {has}")
        wishes = () if request.address is None else (request.address,)
        ask = Ask(network=network, wishes=wishes, families=(request.family,))
        return await self.way(network.name).keep(ask, request.owner, request.seconds)

    async def release(self, home: str, address: IPAddress, owner: str) -> bool:
        """A reserved address that nobody has attached with. Whether there was one. Raises Unavailable."""
        promise = self.promises.drop(home, address, owner)
        if promise is not None and promise.revision:
            await self._passing.give_back(keys.address_claim(home, address), promise.revision)
        network = self._view.networks.get(home)
        if promise is not None and network is not None:
            await self.way(home).let_go(network, address)
        return promise is not None

    # Ports.

    async def publish(self, owner: str, ports: tuple[PublishedPort, ...]) -> Endpoint:
        """These ports lead to the owner's endpoint, instead of those that do. Raises NotFound, Invalid, Conflict, Failed."""
        async with self._turn(owner):
            present = next((e for e in self._view.endpoints.values() if owner and e.owner == owner), None)
            network = self._view.networks.get(present.network) if present else None
            if present is None or network is None:
                raise NotFound(f"no endpoint of owner {owner} here: it was never attached, or is detached")
            if self._view.driver(network.name).addresses.made_elsewhere:
                return present  # its ports are exposed at its own address; engines publish without asking whose network it is
            passing.check_ports(ports, network)
            endpoint = msgspec.structs.replace(present, ports=self.ports.settled(ports, present.families))
            async with self.ports.taking(endpoint, network):
                try:
                    return await self._rewrite(endpoint)
                except Failed:
                    await self._rewrite(present)
                    raise

    # Ports of Neutron's.

    async def replug(self, endpoint: Endpoint) -> Endpoint:
        """With another port, instead of one that somebody removed. Raises NotFound, Conflict, Unavailable, Failed."""
        async with self._turn(endpoint.owner):
            network = self._view.networks.get(endpoint.network)
            if network is None or self._view.endpoints.get(endpoint.id) != endpoint:
                raise NotFound(f"endpoint {endpoint.name} was just detached, or changed")
            new = msgspec.structs.replace(endpoint, data=await self.neutron.again(endpoint, network))
            try:
                return await self._rewrite(new)
            except Unavailable:
                await self.neutron.part([new])
                raise

    # What other plugins of an engine's chain do to an interface.

    async def follow_macs(self, altered: Mapping[Key, str]) -> None:
        """Where an interface has been given another MAC address than it was made with, hosts send there from now on."""
        for endpoint in list(self._view.endpoints.values()) if altered else ():
            mac = altered.get(("link", endpoint.namespace.path, endpoint.interface), endpoint.mac)
            if mac == endpoint.mac:
                continue
            try:
                await self._follow_mac(endpoint, parse_mac(mac))
            except WeftError as error:
                log.warning(
                    "%s in %s has changed its MAC address to %s: %s", endpoint.name, endpoint.network, mac, error
                )

    async def _follow_mac(self, endpoint: Endpoint, mac: str) -> None:
        """Raises Conflict where another container of the network has it: then this one cannot be reached by it."""
        async with self._turn(endpoint.owner):
            network = self._view.networks.get(endpoint.network)
            if network is None or self._view.endpoints.get(endpoint.id) != endpoint:  # detached, or changed meanwhile
                return
            new = msgspec.structs.replace(endpoint, mac=mac)
            await macs.check(self._cluster, new, network)
            await self._rewrite(new)

    async def _rewrite(self, endpoint: Endpoint) -> Endpoint:
        """Of what is in the store already, as the view has it; or is to be."""
        if key_of(endpoint) in self._view.held:
            self._cluster.owed.attach(endpoint)
            return await self.standing(endpoint)
        present, at = self._view.endpoints.get(endpoint.id), footprint.place(self._view, endpoint.network)
        guards, ops = footprint.step(present, endpoint, at, self._cluster.tenure_lease)
        if not await self._cluster.write([self._cluster.unchanged(key_of(endpoint)), *guards], ops):
            raise Unavailable(f"endpoint {endpoint.name} was just changed by someone else: try again")
        return await self.standing(endpoint)


def _target(path: str, name: str) -> Target:
    """A namespace that is not there yet, or not Weft's matter."""
    return Target(name=name, namespace=Namespace(path=path, cookie=0), links=())
