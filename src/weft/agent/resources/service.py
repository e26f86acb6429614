"""The API's operations: one method for each line of `weft.api.operations`, of the same name. No HTTP here."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from weft.agent.parts import Parts
from weft.agent.resources import doctor, infos, ipam
from weft.agent.resources.bgp_service import BgpService
from weft.agent.resources.networks import Networks
from weft.agent.resources.pools import Pools
from weft.api import types as t
from weft.api.dump import HostDump
from weft.base.errors import Conflict, Invalid, NotFound, Unsupported
from weft.base.net import parse_address, parse_network
from weft.cluster import records
from weft.compile.compiler import beneath, sources_of
from weft.datapaths import registry
from weft.endpoints import removal
from weft.endpoints.floating import Floating
from weft.endpoints.move import Moves
from weft.hoststate import netns
from weft.kernel.host.dump import dump
from weft.model import Bandwidth, Endpoint, keys
from weft.model.bandwidth import labelled

SETTLING = 2.0
"""Seconds in which drift is repaired, with some to spare."""


class Service(BgpService):
    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._networks = Networks(parts)
        self._floating, self._moves = (
            Floating(parts.cluster, parts.attachments),
            Moves(parts.cluster, parts.attachments),
        )

    # This node.

    async def status(self) -> t.Status:
        return infos.status(self._parts)

    async def doctor(self) -> tuple[t.Finding, ...]:
        return await doctor.findings(self._parts)

    async def plan(self, network: str = "") -> t.PlanReply:
        if network:
            await self._networks.known(network)
        return t.PlanReply(commands=tuple(await self._parts.loops.dry_run(network)))

    async def kernel(self, namespaces: str = "") -> HostDump:
        """`namespaces`: paths of local endpoints' namespaces and of our own, with commas between; else those of all."""
        view = self._parts.view
        held = {e.namespace.path: e.name for e in view.endpoints.values() if e.namespace.path}
        held |= {netns(name).path: f"weft-{name}" for name in sorted(view.followed)}
        wanted = namespaces.split(",") if namespaces else list(held)
        if strange := [path for path in wanted if path not in held]:
            raise NotFound(f"no endpoint here in namespace {strange[0]}: `weft endpoint ls` shows those there are")
        return await asyncio.to_thread(dump, self._parts.view.me, {path: held[path] for path in wanted})

    # The store.

    async def store(self) -> t.StoreStatus:
        return infos.store(self._parts)

    async def accept_store(self) -> t.StoreStatus:
        """On this host. What it does not say exists no more, as soon as it is listed again."""
        await self._parts.known.accept()
        self._parts.view.let_go()
        return infos.store(self._parts)

    async def restore_store(self) -> t.StoreStatus:
        """By all agents that belong to the cluster whose identity it is given."""
        await self._parts.known.restore()
        return infos.store(self._parts)

    # Nodes.

    async def nodes(self) -> tuple[t.NodeInfo, ...]:
        return tuple(infos.node(self._parts, n) for _, n in sorted(self._parts.view.nodes.items()))

    async def node(self, name: str) -> t.NodeInfo:
        view = self._parts.view
        if name not in view.nodes:
            self._parts.ready()
            raise NotFound(f"no node {name}: `weft node ls` shows those there are")
        return infos.node(self._parts, view.nodes[name])

    async def remove_node(self, name: str, force: str = "") -> t.Done:
        view = self._parts.view
        await self.node(name)
        if name in view.present and not _yes(force):
            raise Conflict(
                f"{name}'s agent is running: stop it and `weft agent purge` there, or use --force if the host is gone for good"
            )
        freed = await removal.remove_node(self._parts.cluster, name)
        return t.Done(what=(name, *freed))

    # Networks.

    async def networks(self, brief: str = "") -> tuple[t.NetworkInfo, ...]:
        """`brief`: without the numbers of endpoints, for which all of the cluster's are looked at."""
        counts = {} if _yes(brief) else await self._endpoint_counts()
        view = self._parts.view
        return tuple(infos.network(self._parts, n, counts.get(n.name, 0)) for _, n in sorted(view.networks.items()))

    async def network(self, name: str, brief: str = "") -> t.NetworkInfo:
        network = await self._networks.known(name)
        counts = {} if _yes(brief) else await self._endpoint_counts()
        return infos.network(self._parts, network, counts.get(name, 0))

    async def create_network(self, request: t.CreateNetwork) -> t.NetworkInfo:
        await self._networks.create(request.network)
        return await self.network(request.network.name, brief="yes")

    async def remove_network(self, name: str, force: str = "") -> t.Done:
        inside = await self._networks.remove(name, force=_yes(force))
        return t.Done(what=(name, *(e.name for e in inside)))

    # Pools and addresses.

    async def pools(self, name: str) -> tuple[t.PoolInfo, ...]:
        return await Pools(self._parts).listed(await self._networks.known(name))

    async def add_pool(self, name: str, request: t.AddPool) -> tuple[t.PoolInfo, ...]:
        self._parts.ready()
        return await Pools(self._parts).listed(await Pools(self._parts).add(name, request))

    async def set_pool(self, name: str, request: t.SetPool) -> tuple[t.PoolInfo, ...]:
        self._parts.ready()
        return await Pools(self._parts).listed(await Pools(self._parts).set(name, request))

    async def remove_pool(self, name: str, subnet: str = "") -> tuple[t.PoolInfo, ...]:
        self._parts.ready()
        return await Pools(self._parts).listed(await Pools(self._parts).remove(name, parse_network(subnet)))

    async def ipam(self, network: str = "") -> tuple[t.IpamInfo, ...]:
        return await ipam.show(self._parts, await self._networks.known(network) if network else None)

    async def check_ipam(self, request: t.CheckIpam) -> t.IpamCheck:
        self._parts.ready()
        network = await self._networks.known(request.network) if request.network else None
        return await ipam.check(self._parts, network, fix=request.fix)

    async def reserve(self, name: str, request: t.Reserve) -> t.Reserved:
        network = await self._networks.known(name)
        await self._parts.leases.ensure(name, self._parts.ready())
        return t.Reserved(address=await self._parts.attachments.reserve(request, network))

    async def release(self, name: str, address: str, owner: str = "") -> t.Done:
        freed = await self._parts.attachments.release(self._parts.view.home(name), parse_address(address), owner)
        return t.Done(what=(address,) if freed else ())

    # Endpoints.

    async def endpoints(self, network: str = "", node: str = "", owner: str = "") -> tuple[t.EndpointInfo, ...]:
        """`owner`: this node's own whose owner begins so; an owner is a matter of its host."""
        if network:
            await self._networks.known(network)
        if node:
            await self.node(node)
        if owner or node == self._parts.view.me:
            self._parts.ready()
            held = [e for e in self._parts.view.endpoints.values() if e.owner.startswith(owner)]
        else:
            held = await self._records(node)
        found = [e for e in held if network in ("", e.network) and node in ("", e.node)]
        return tuple(infos.endpoint(self._parts, e) for e in sorted(found, key=lambda e: (e.network, e.node, e.name)))

    async def _records(self, node: str = "") -> list[Endpoint]:
        """Of one node, or of the whole cluster. Tens of thousands are read in a thread: the agent has other things to do."""
        listing = await self._parts.store.list(keys.endpoints(node) if node else keys.ENDPOINTS)
        return await asyncio.to_thread(records.readable, Endpoint, listing.items)

    async def endpoint(self, ref: str) -> t.EndpointInfo:
        """By id, name, NODE/NAME, container or address."""
        found = [e for e in await self._records() if ref in _references(e)]
        if not found:
            raise NotFound(f"no endpoint {ref}: `weft endpoint ls` shows those there are")
        if len(found) > 1:
            where = ", ".join(f"{e.node}/{e.name} in {e.network} (id {e.id})" for e in found[:4])
            raise Invalid(f"{ref} is more than one endpoint: {where}: name one by its id")
        return infos.endpoint(self._parts, found[0])

    async def attach(self, request: t.Attach) -> t.EndpointInfo:
        with self._parts.metrics.attach.time():
            request = msgspec.structs.replace(request, bandwidth=self._limits(request))
            wanted, networks = request.definition, self._networks
            network = await (networks.ensure(wanted, request.network) if wanted else networks.known(request.network))
            await self._parts.leases.ensure(network.name, self._parts.ready())
            endpoint = await self._parts.attachments.attach(request, network)
        return infos.endpoint(self._parts, endpoint)

    async def move(self, ref: str, request: t.Move) -> t.EndpointInfo:
        self._parts.ready()
        found = await self.endpoint(ref)
        network = await self._networks.known(found.network)
        await self._parts.leases.ensure(network.name, self._parts.ready())
        return infos.endpoint(self._parts, await self._moves.move(found, request))

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
        return t.Done(what=tuple(f"{e.name} from {e.network}" for e in removed))

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

    # Common to several.

    async def _endpoint_counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for item in (await self._parts.store.list(keys.ENDPOINTS)).items:
            match item.key.split("/"):
                case [_, _, network, _]:
                    counts[network] = counts.get(network, 0) + 1
        return counts


def _references(e: Endpoint) -> set[str]:
    return {e.id, e.name, f"{e.node}/{e.name}", e.container, *(str(a.ip) for a in e.addresses), *map(str, e.floating)}


def _yes(text: str) -> bool:
    return text in ("1", "true", "yes")
