"""Endpoints: containers in networks, of this node and of all others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from functools import partial

import msgspec

from weft.agent.parts import Parts
from weft.agent.resources import infos
from weft.agent.resources.networks import Networks
from weft.agent.resources.nodes import Nodes
from weft.api import types as t
from weft.base.errors import Invalid, NotFound, Overtaken, Unavailable, Unsupported
from weft.base.nearby import did_you_mean, unknown
from weft.base.net import parse_address
from weft.cluster import records
from weft.cluster.cluster import Refused
from weft.compile.compiler import beneath, sources_of
from weft.datapaths import registry
from weft.endpoints.floating import Floating
from weft.endpoints.labels import Labels
from weft.endpoints.move import Moves
from weft.model import Bandwidth, Endpoint, keys
from weft.model.bandwidth import labelled
from weft.model.identity import selectable
from weft.policy.selector import check, matches

SETTLING = 2.0
"""Seconds in which drift is repaired, with some to spare."""


class Endpoints:
    def __init__(self, parts: Parts, networks: Networks, nodes: Nodes) -> None:
        self._parts, self._networks, self._nodes = parts, networks, nodes
        self._floating = Floating(parts.cluster, parts.attachments)
        self._labels = Labels(parts.cluster, parts.attachments)
        self._moves = Moves(parts.cluster, parts.attachments)

    async def endpoints(
        self, network: str = "", node: str = "", owner: str = "", selector: str = "", policy_namespace: str = ""
    ) -> tuple[t.EndpointInfo, ...]:
        """`owner`: this node's own whose owner begins so; an owner is a matter of its host. `selector`: as policies have it."""
        check(selector)
        if network:
            await self._networks.known(network)
        if node:
            await self._nodes.node(node)
        held: list[Endpoint | t.EndpointInfo]
        if owner or node == self._parts.view.me:
            self._parts.ready()
            held = [e for e in self._parts.view.endpoints.values() if e.owner.startswith(owner)]
        else:
            held = await self._known(network, node)
        found = [e for e in held if network in ("", e.network) and node in ("", e.node)]
        if policy_namespace:
            found = [e for e in found if e.policy_namespace == policy_namespace]
        if selector:
            found = [e for e in found if matches(selector, selectable(e.labels))]
        return tuple(map(self._info, sorted(found, key=lambda e: (e.network, e.node, e.name))))

    def _info(self, found: Endpoint | t.EndpointInfo) -> t.EndpointInfo:
        return infos.endpoint(self._parts, found) if isinstance(found, Endpoint) else found

    async def _known(self, network: str = "", node: str = "") -> list[Endpoint | t.EndpointInfo]:
        """Those of the store; while it is away, those that this host knows: its own, and what it follows of others."""

        async def ask() -> list[Endpoint | t.EndpointInfo]:
            return [*await self._records(node)]

        def here() -> list[Endpoint | t.EndpointInfo]:
            return [*self._parts.view.endpoints.values(), *infos.located(self._parts)]

        return await self._parts.as_of.read(ask, here, lambda: infos.unfollowed(self._parts.view, network, node))

    async def _records(self, node: str = "") -> list[Endpoint]:
        """Of one node, or of the whole cluster. Tens of thousands are read in a thread: the agent has other things to do."""
        listing = await self._parts.store.list(keys.endpoints(node) if node else keys.ENDPOINTS)
        return await asyncio.to_thread(records.readable, Endpoint, listing.items)

    async def endpoint(self, ref: str) -> t.EndpointInfo:
        """By id, name, NODE/NAME, container or address."""
        held = await self._known()
        found = [e for e in held if ref in _references(e)]
        if not found:
            raise NotFound(unknown("endpoint", ref, names_of(held), "weft endpoint ls"))
        if len(found) > 1:
            where = ", ".join(f"{e.node}/{e.name} in {e.network} (id {e.id})" for e in found[:4])
            raise Invalid(f"{ref} is more than one endpoint: {where}: name one by its id")
        return self._info(found[0])

    async def attach(self, request: t.Attach) -> t.EndpointInfo:
        with self._parts.metrics.attach.time():
            request = msgspec.structs.replace(request, bandwidth=self._limits(request))
            again = Unavailable(f"network {request.network} is changed by others all the time: try again")
            attempt = partial(self._attached, request)
            endpoint = await self._parts.cluster.change(attempt, request.network, at_last=again)
        return infos.endpoint(self._parts, endpoint)

    async def _attached(self, request: t.Attach) -> Endpoint:
        """Decided by the network as it is now. Raises Refused where it was changed meanwhile."""
        wanted, networks = request.definition, self._networks
        network = await (networks.ensure(wanted, request.network) if wanted else networks.known(request.network))
        try:
            await self._parts.leases.ensure(network.name, self._parts.ready())
            return await self._parts.attachments.attach(request, network)
        except Overtaken:
            raise Refused from None

    async def move(self, ref: str, request: t.Move) -> t.EndpointInfo:
        self._parts.ready()
        found = await self.endpoint(ref)
        network = await self._networks.known(found.network)
        await self._parts.leases.ensure(network.name, self._parts.ready())
        return infos.endpoint(self._parts, await self._moves.move(found, request))

    async def label(self, ref: str, request: t.Label) -> t.EndpointInfo:
        self._parts.ready()
        found = await self.endpoint(ref)
        await self._networks.known(found.network)
        return infos.endpoint(self._parts, await self._labels.change(found, request))

    async def add_floating(self, ref: str, request: t.Float) -> t.EndpointInfo:
        self._parts.ready()
        found = await self.endpoint(ref)
        await self._networks.known(found.network)
        return infos.endpoint(self._parts, await self._floating.add(found, request.addresses))

    async def remove_floating(self, ref: str, addresses: str = "") -> t.EndpointInfo:
        self._parts.ready()
        found = await self.endpoint(ref)
        await self._networks.known(found.network)
        wanted = tuple(parse_address(text) for text in addresses.split(",") if text)
        return infos.endpoint(self._parts, await self._floating.remove(found, wanted))

    def _limits(self, request: t.Attach) -> Bandwidth | None:
        """As asked, or by labels. Raises Invalid, Unsupported."""
        found = labelled(request.labels, request.bandwidth)
        if found is None:
            return None
        self._parts.ready()
        for wanted, features in ((found.ingress, registry.TO_CONTAINER), (found.egress, registry.FROM_CONTAINER)):
            missing = [f for f in features if f not in self._parts.features] if wanted else []
            if missing:
                raise Unsupported(
                    f"{request.target}: this host's kernel lacks {', '.join(missing)}, which a limit of bandwidth needs: "
                    "`weft doctor` says what to do"
                )
        return found

    async def detach(self, target: str = "", network: str = "", owner: str = "") -> t.Done:
        if not target and not owner:
            raise Invalid("detach: say which container: target=NAME")
        if owner and (target or network):
            raise Invalid("detach: an owner says all: leave out target and network")
        self._parts.ready()
        if network:
            await self._networks.known(network)
        attachments = self._parts.attachments
        removed = await (attachments.detach_owned(owner) if owner else attachments.detach(target, network))
        if target and not removed:
            raise NotFound(await self._not_attached(target, network))
        return t.Done(what=tuple(f"{e.name} from {e.network}" for e in removed))

    async def _not_attached(self, target: str, network: str) -> str:
        """Why there is nothing to detach, and what to do instead."""
        me, held = self._parts.view.me, await self._known()
        there = [e for e in held if target in _references(e)]
        if here := [e for e in there if e.node == me]:
            others = ", ".join(sorted({e.network for e in here}))
            return f"{target} is not attached to {network}, but to {others}: name that with --network, or leave it out"
        if elsewhere := sorted({e.node for e in there if network in ("", e.network)}):
            return f"{target} is attached on {', '.join(elsewhere)}, not here on {me}: run `weft detach` there"
        meant = did_you_mean(target, names_of(e for e in held if e.node == me))
        what = f"{target} is not attached{f' to {network}' if network else ''}"
        return f"{what}: {meant}{' ' if meant else ''}`weft endpoint ls --node {me}` shows what is attached here"

    async def publish(self, request: t.Publish) -> t.EndpointInfo:
        self._parts.ready()
        return infos.endpoint(self._parts, await self._parts.attachments.publish(request.owner, request.ports))

    async def check(self, owner: str = "") -> t.EndpointCheck:
        """What someone has just disturbed gets the time that it takes to be put right."""
        self._parts.ready()
        endpoint = next((e for e in self._parts.view.endpoints.values() if owner and e.owner == owner), None)
        if endpoint is None:
            raise NotFound(f"no endpoint of owner {owner} here: it was never attached, or is detached")
        sources = {beneath(endpoint.network)[0], *sources_of(self._parts.view, endpoint)}
        faults = await self._parts.loop.faults(sources)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLING):
                while faults:
                    await asyncio.sleep(SETTLING / 10)
                    faults = await self._parts.loop.faults(sources)
        return t.EndpointCheck(endpoint=infos.endpoint(self._parts, endpoint), faults=tuple(faults))


def names_of(endpoints: Iterable[Endpoint | t.EndpointInfo]) -> list[str]:
    """What somebody may have meant to type."""
    return sorted({name for e in endpoints for name in (e.name, e.container) if name})


def _references(e: Endpoint | t.EndpointInfo) -> set[str]:
    return {
        e.id,
        e.name,
        f"{e.node}/{e.name}",
        e.container,
        f"{e.node}/{e.container}",
        *(str(a.ip) for a in e.addresses),
        *map(str, e.floating),
    }
