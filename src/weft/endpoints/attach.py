"""Containers come and go.

An attachment is an `Endpoint` in the store; its interface follows from that by compile and converge like everything else.
So a killed agent finds the record and completes or clears away what it stands for, and attaching twice finds the first.
If the kernel refuses, the record is taken back: all or nothing.

How it gets its addresses is `weft.ipam.addresses`: chosen here, and had once the store takes them with the endpoint. Who
comes second chooses again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Protocol
from weakref import WeakValueDictionary

import msgspec

from weft.alloc import addresses as alloc
from weft.api import types as t
from weft.base.errors import Conflict, Failed, NotFound, Unavailable, WeftError
from weft.base.names import check_ifname
from weft.base.net import IPAddress, IPInterface, IPNetwork, parse_interface, parse_mac
from weft.cluster.cluster import Cluster, Refused
from weft.cluster.follower import Follower
from weft.compile import policy
from weft.compile.compiler import beneath, sources_of
from weft.containers.find import Target
from weft.datapaths import registry
from weft.datapaths.driver import LOOPBACK
from weft.datapaths.traits import (
    BLOCKS,
    HOSTS_OWN,
    NO_ADDRESSES,
    ONE_SUBNET,
    OWN_SUBNET,
    PHYSICAL,
    PORTS,
    SHARED_IN_BLOCKS,
    Addresses,
)
from weft.endpoints import again, naming, passing, resolving
from weft.endpoints.change import Changes
from weft.endpoints.naming import Naming
from weft.endpoints.ports import Ports
from weft.hoststate.union import Source
from weft.ipam import floating, macs
from weft.ipam.addresses import Ask, Bare, Choice, HostsOwn, OwnSubnet, Physical, Shared, Way
from weft.ipam.blocks import Blocks
from weft.ipam.neutron_ports import NeutronPorts, Place
from weft.ipam.passing import PassingClaims
from weft.ipam.promises import Promises
from weft.kernel.host import loopback
from weft.model import Endpoint, Gateway, Network, keys
from weft.model.endpoint import endpoint_id
from weft.model.identity import DEFAULT_NAMESPACE
from weft.store.protocol import Guard

log = logging.getLogger(__name__)

GATEWAY = "/gateway"
"""Under this instead of a network's name are the promised addresses of second interfaces."""


class Converge(Protocol):
    """Recompute these sources and bring them to the kernel; what failed, a line each."""

    async def __call__(self, sources: Iterable[Source]) -> Sequence[str]: ...


class Attachments:
    def __init__(
        self,
        cluster: Cluster,
        follower: Follower,
        converge: Converge,
        find: Callable[[str], Target],
        gateways: tuple[IPNetwork, ...],
        place: Place | None = None,
    ) -> None:
        """`gateways`: this host's subnets for containers' second interface. `place`: this host in OpenStack."""
        self._cluster, self._view, self.converge, self.find = cluster, cluster.view, converge, find
        self._gateways, self.ports = gateways, Ports(cluster.view)
        self._changes, self._naming = Changes(cluster, self), Naming(cluster)
        self._promised: dict[str, set[IPAddress]] = {}
        """Network → addresses chosen for endpoints that are not in the store yet."""
        self.promises, self._passing = Promises(time.monotonic), PassingClaims(cluster)
        common = cluster, self._promised, self.promises, self._passing
        self.blocks, self._shared = Blocks(*common), Shared(*common, follower)
        self.neutron = NeutronPorts(*common, place)
        self._ways: dict[Addresses, Way] = {
            OWN_SUBNET: OwnSubnet(*common),
            ONE_SUBNET: self._shared,
            BLOCKS: self.blocks,
            SHARED_IN_BLOCKS: self.blocks,
            PORTS: self.neutron,
            PHYSICAL: Physical(*common, follower),
            NO_ADDRESSES: Bare(*common),
            HOSTS_OWN: HostsOwn(*common),
        }
        self._busy: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        """By namespace: two requests for one container take turns."""
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By owner: who detaches what it is still attaching (its caller was killed) waits for the end of that."""

    def _turn(self, owner: str) -> asyncio.Lock:
        return self._turns.setdefault(owner, asyncio.Lock()) if owner else asyncio.Lock()

    async def attach(self, request: t.Attach, network: Network) -> Endpoint:
        """The endpoint, as it was or newly made. Raises NotFound, Invalid, Conflict, Exhausted, Unavailable, Failed."""
        async with self._turn(request.owner):
            return await self._attach(request, network)

    async def _attach(self, request: t.Attach, network: Network) -> Endpoint:
        target = await self.locate(request.target)
        passing.check_place(request.target, target, network)
        resolving.check(self._view, request, target)
        passing.check(request, network)
        async with self.busy(target):
            present = self._present(request, target)
            if present is not None and request.exclusive:
                raise Conflict(f"{request.target} is attached to {network.name} already, by {present.interface}")
            if present is not None:
                return await self._again(request, present, network)
            await self.remove(self._leftovers(target))
            if self._given(network) == LOOPBACK:
                await asyncio.to_thread(loopback.bring_up, target.namespace.path)
            return await self.take(request, network, target)

    async def locate(self, reference: str) -> Target:
        """A container's namespace, by the path under which it is known already: under another one its devices would be taken
        for strays. Raises NotFound, Invalid, Denied."""
        target = await asyncio.to_thread(self.find, reference)
        known = [endpoint.namespace.path for endpoint in self._in(target)]
        path = known[-1] if known else target.namespace.path
        return msgspec.structs.replace(target, namespace=msgspec.structs.replace(target.namespace, path=path))

    def busy(self, target: Target) -> asyncio.Lock:
        """One request for a container at a time."""
        return self._busy.setdefault(target.namespace.cookie, asyncio.Lock())

    def way(self, network: str) -> Way:
        """How its addresses are given."""
        return self.by(self._view.driver(network).addresses)

    def by(self, addresses: Addresses) -> Way:
        return self._ways[addresses]

    async def take(self, request: t.Attach, network: Network, target: Target) -> Endpoint:
        """Where others want the same addresses, whoever comes second tries again."""
        # An engine that gives the addresses itself tells all that there are to be.
        families = {a.version for a in request.addresses} if request.handover else set(network.families)
        ask = Ask(
            network=network,
            wishes=request.addresses,
            ranges=request.ranges,
            families=tuple(sorted(families)),
            owner=request.owner,
            id=self._id(request, target, self._named(request, network, target)),
            name=request.name or target.name,
            mac=request.mac,
            exposed=request.exposed,
        )
        way = self.way(network.name)

        async def attempt() -> Endpoint:
            async with way.choosing(ask) as choice:
                made = await self._try(request, network, target, choice)
            if made is None:
                await way.refused(ask, choice)
                raise Refused
            return made

        async with way.held(network.name):
            made = await way.race(attempt, network.name)
        return await self._stand(made)

    async def _try(self, request: t.Attach, network: Network, target: Target, choice: Choice) -> Endpoint | None:
        """The endpoint, in the store; None if others wrote in between."""
        gateway: Gateway | None = None
        try:
            interface = self._named(request, network, target)
            kind = "gw" if request.interface else "eth"  # who names interfaces will name others, too: eth1, eth2 …
            gateway = None if network.internal else self._gateway(network, target, interface, kind)
            settled = self.ports.settled(request.ports, {a.version for a in choice.addresses})
            request = msgspec.structs.replace(request, ports=settled)
            endpoint = self._new(request, network, target, choice, interface, gateway)
            async with contextlib.aclosing(self._naming.tries(endpoint, asked=naming.asked_for(request))) as tries:
                async for named in tries:
                    async with self.ports.taking(named, network):
                        if await self._write(named, network, choice):
                            return named
            return None
        finally:
            self._promised.get(GATEWAY, set()).difference_update(a.ip for a in (gateway.addresses if gateway else ()))

    def _present(self, request: t.Attach, target: Target) -> Endpoint | None:
        for endpoint in self._in(target):
            if endpoint.network == request.network and request.interface in ("", endpoint.interface):
                return endpoint
        return None

    async def _again(self, request: t.Attach, present: Endpoint, network: Network) -> Endpoint:
        """What is attached already, with what else is asked for. Raises Conflict, Invalid, Unavailable, Failed."""
        again.check_fixed(request, present)
        wishes = again.missing_ports(request.ports, present.ports)
        again.check_ports(wishes, present)
        request = msgspec.structs.replace(request, ports=self.ports.settled(tuple(wishes), present.families))
        wanted = again.merged(request, present)
        if wanted == present:
            return await self.standing(present)
        async with self.ports.taking(wanted, network):
            return await self._changes.change(present, lambda now: again.merged(request, now), self._may_float)

    async def _may_float(self, old: Endpoint, new: Endpoint, network: Network) -> list[Guard]:
        return await floating.taking(self._cluster, new, network, [a for a in new.floating if a not in old.floating])

    async def standing(self, endpoint: Endpoint) -> Endpoint:
        if failures := await self.converge(sources_of(self._view, endpoint)):
            raise Failed(f"{endpoint.container} is attached to {endpoint.network}, but {failures[0]}")
        return endpoint

    def _leftovers(self, target: Target) -> list[Endpoint]:
        """Endpoints of an earlier namespace at the same path."""
        path, cookie = target.namespace.path, target.namespace.cookie
        return [e for e in self._view.endpoints_at_path(path) if not e.handover and e.namespace.cookie != cookie]

    def _id(self, request: t.Attach, target: Target, interface: str) -> str:
        which = target.namespace.path if target.host else interface
        return endpoint_id(request.network, self._view.me, target.namespace.cookie, which)

    def _new(
        self,
        request: t.Attach,
        network: Network,
        target: Target,
        choice: Choice,
        interface: str,
        gateway: Gateway | None,
    ) -> Endpoint:
        mac = choice.mac or self._mac(request, network, choice.addresses)
        return Endpoint(
            id=self._id(request, target, interface),
            name=request.name or target.name,
            network=request.network,
            node=self._view.me,
            container=request.target,
            namespace=target.namespace,
            interface=interface,
            mac=mac,
            addresses=choice.addresses,
            data=dict(choice.data),
            labels=request.labels,
            policy_namespace=request.policy_namespace or DEFAULT_NAMESPACE,
            named_ports=request.named_ports,
            aliases=request.aliases,
            resolv_conf=request.resolv_conf,
            ports=request.ports,
            floating=request.floating,
            bandwidth=request.bandwidth,
            spoofing=request.spoofing,
            offload=request.offload,
            owner=request.owner,
            default_route=not network.internal,
            rank=self.rank(target),
            gateway=gateway,
            name_claimed=True,
        )

    def _mac(self, request: t.Attach, network: Network, addresses: tuple[IPInterface, ...]) -> str:
        if not registry.of(network).own_mac or not addresses:
            return ""  # the parent's
        return parse_mac(request.mac) if request.mac else alloc.mac_for(addresses[0].ip)

    @contextlib.asynccontextmanager
    async def way_out(self, endpoint: Endpoint, network: Network) -> AsyncIterator[Gateway | None]:
        """The second interface of a container that is attached already, as it would be if it were attached now. Within, nobody
        else gets its addresses. Raises NotFound where the container has ended."""
        gateway: Gateway | None = None
        try:
            if not (network.internal or endpoint.handover or endpoint.of_host):
                target = await self.locate(endpoint.namespace.path)
                gateway = self._gateway(network, target, endpoint.interface, "gw" if endpoint.owner else "eth")
            yield gateway
        finally:
            self._promised.get(GATEWAY, set()).difference_update(a.ip for a in (gateway.addresses if gateway else ()))

    def _gateway(self, network: Network, target: Target, interface: str, kind: str) -> Gateway | None:
        """The container's second interface, where it is to have one. `kind`: how its name begins."""
        way_out = registry.of(network).way_out
        if not way_out.second_interface or (way_out.only_way and target.routed):
            return None
        promised = self._promised.setdefault(GATEWAY, set())
        held = [e.gateway for e in self._view.endpoints.values() if e.gateway]
        taken = {a.ip for gateway in held for a in gateway.addresses} | promised
        subnets = [subnet for subnet in self._gateways if subnet.version in network.families]
        addresses = [parse_interface(f"{alloc.choose(subnet, taken)}/{subnet.prefixlen}") for subnet in subnets]
        promised.update(a.ip for a in addresses)
        return Gateway(interface=next(self._free(target, interface, kind=kind)), addresses=tuple(addresses))

    def rank(self, target: Target) -> int:
        """Of one more interface of the container: behind those that it has."""
        behind = max((e.rank + 1 for e in self._in(target)), default=0)
        return max(behind, 1) if target.routed else behind

    def _in(self, target: Target) -> list[Endpoint]:
        """In the host's own namespace each container is found by its own path."""
        if target.host:
            return list(self._view.endpoints_at_path(target.namespace.path))
        return self._view.endpoints_in(target.namespace.cookie)

    def interface(self, wish: str, name: str, target: Target) -> str:
        """The device's name in the container called `name`: as asked, else the first free of eth0, eth1 …"""
        if wish and check_ifname(wish) in self._taken(target):
            raise Conflict(f"{name} has a device {wish} already: choose another with --interface")
        return wish or next(self._free(target))

    def _named(self, request: t.Attach, network: Network, target: Target) -> str:
        """The same, or what is there anyway."""
        wish = request.interface or registry.parse_options(network).interface
        return self._given(network) or self.interface(wish, request.target, target)

    def _given(self, network: Network) -> str:
        me = self._view.nodes.get(self._view.me)
        return registry.of(network).interface(me) if me else ""

    def _taken(self, target: Target) -> set[str]:
        here = self._in(target)
        taken = {e.interface for e in here} | {e.gateway.interface for e in here if e.gateway}
        return taken.union(target.links)  # as they were before others, who had their turn first, made theirs

    def _free(self, target: Target, *but: str, kind: str = "eth") -> Iterator[str]:
        taken = self._taken(target).union(but)
        return (name for n in range(len(taken) + 1) if (name := f"{kind}{n}") not in taken)

    async def _write(self, endpoint: Endpoint, network: Network, choice: Choice) -> bool:
        """If the network is still as it was seen, and the addresses can be had. While the store is away it is told later, where
        that is allowed. Raises Unavailable."""
        try:
            self._check_reached(network.name)
            await self._cluster.owed.settle()  # it may have been detached without the store before
            return await self._commit(endpoint, network, choice)
        except Unavailable as error:
            self.way(network.name).alone(endpoint, choice, error)
            self._cluster.owed.attach(endpoint)
            return True

    async def _commit(self, endpoint: Endpoint, network: Network, choice: Choice) -> bool:
        guards, ops = self.way(network.name).writes(choice, endpoint)
        guards += await floating.taking(self._cluster, endpoint, network, endpoint.floating)
        await macs.check(self._cluster, endpoint, network)
        guards.append(self._cluster.unchanged(keys.network(network.name)))
        written = await self._cluster.write(guards, ops)
        if not written:
            await macs.check(self._cluster, endpoint, network)  # tells it where that is the reason
        return written

    async def _stand(self, endpoint: Endpoint) -> Endpoint:
        """Raises Failed if the kernel does not take it, or whoever else has to: then it is taken out of the store again."""
        try:
            await self.converged(endpoint)
            await self.way(endpoint.network).wait(endpoint)
        except BaseException:
            await asyncio.shield(self._take_back(endpoint))
            raise
        return endpoint

    async def converged(self, endpoint: Endpoint) -> None:
        """Raises Failed, Conflict."""
        failures = await self.converge(sources_of(self._view, endpoint))
        if failures:
            # Where the network itself does not stand, that is the reason, and the endpoint only waits for it.
            home = self._view.home(endpoint.network)
            failures = [*await self.converge(beneath(home)), *failures]
            raise Failed(f"{endpoint.container} cannot be attached to {endpoint.network}: {failures[0]}")
        for why in policy.unasked(self._view, endpoint):
            raise Conflict(why)

    async def _take_back(self, endpoint: Endpoint) -> None:
        try:
            await self.remove([endpoint])
        except WeftError as error:
            log.warning("%s is not taken out of %s yet: %s", endpoint.name, endpoint.network, error)

    async def detach(self, reference: str, network: str) -> list[Endpoint]:
        """The endpoints removed: of one container (or of one endpoint by its id or name), in one network or in all ("")."""
        own = list(self._view.endpoints.values())
        found = [e for e in own if reference in (e.container, e.id, e.namespace.path)]
        if not found:
            with contextlib.suppress(NotFound):
                found = self._in(await asyncio.to_thread(self.find, reference))
        found = [e for e in found or own if network in ("", e.network) and (found or e.name == reference)]
        await self.remove(found)
        return found

    async def detach_owned(self, owner: str) -> list[Endpoint]:
        """The endpoints removed: the owner's own."""
        async with self._turn(owner):
            found = [e for e in self._view.endpoints.values() if e.owner == owner]
            await self.remove(found)
        return found

    async def remove(self, endpoints: Sequence[Endpoint]) -> None:
        """Take endpoints out of the store and the kernel."""
        if not endpoints:
            return
        await self.forget(endpoints)
        for line in await self.converge([source for e in endpoints for source in sources_of(self._view, e)]):
            log.warning("while detaching: %s (will be tried again)", line)
        for way in self._ways.values():  # of a network that is gone nobody knows which it was
            await way.part(endpoints)

    async def forget(self, endpoints: Sequence[Endpoint]) -> None:
        """Take endpoints out of the store; the kernel follows."""
        of_way: dict[Way, list[Endpoint]] = {}
        for endpoint in endpoints:
            gone = endpoint.network not in self._view.networks
            of_way.setdefault(self._shared if gone else self.way(endpoint.network), []).append(endpoint)
        for way, some in of_way.items():
            try:
                for endpoint in some:
                    self._check_reached(endpoint.network)
                await way.forget(some)
            except Unavailable as error:
                way.forget_alone([e for e in some if e.id in self._view.endpoints], error)

    def _check_reached(self, network: str) -> None:
        """Raises Unavailable where the store is known to be away, and is not needed."""
        if self._view.driver(network).addresses.strict:
            self._cluster.check_reached()
