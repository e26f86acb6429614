"""Containers come and go.

An attachment is an `Endpoint` in the store; its interface follows from that by compile and converge like everything else.
So a killed agent finds the record and completes or clears away what it stands for, and attaching twice finds the first.
If the kernel refuses, the record is taken back: all or nothing.

An address of a node's own subnet is the agent's to give. Of a subnet that all hosts share it is had by creating its claim
in the same transaction (docs/adr/0002): each node begins elsewhere and walks on, so two rarely want the same one, and who
comes second takes the next.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol
from weakref import WeakValueDictionary

import msgspec

from weft.agent.locations import Locations
from weft.agent.membership import Membership
from weft.agent.ports import Ports
from weft.agent.promises import Promises
from weft.agent.view import View
from weft.alloc import addresses as alloc
from weft.api import types as t
from weft.base.errors import Conflict, Exhausted, Failed, Invalid, NotFound, Unavailable, WeftError
from weft.base.names import check_ifname
from weft.base.net import IPAddress, IPInterface, IPNetwork, parse_interface, parse_mac
from weft.datapaths import registry
from weft.hoststate.union import Source
from weft.kernel.containers import Target
from weft.model import AddressRange, Endpoint, Gateway, Lease, Location, Network, PublishedPort, encode, keys
from weft.model.endpoint import endpoint_id
from weft.store.protocol import Absent, Delete, Guard, Op, Put, Unchanged

log = logging.getLogger(__name__)

ATTEMPTS = 50
"""How often to try for an address while other nodes are quicker: each failure means that one of them got one."""
GATEWAY = "/gateway"
"""Under this instead of a network's name are the promised addresses of second interfaces."""


class Converge(Protocol):
    """Recompute these sources and bring them to the kernel; what failed, a line each."""

    async def __call__(self, sources: Iterable[Source]) -> Sequence[str]: ...


class Attachments:
    def __init__(
        self,
        view: View,
        membership: Membership,
        locations: Locations,
        converge: Converge,
        find: Callable[[str], Target],
        gateways: tuple[IPNetwork, ...],
    ) -> None:
        """`gateways`: this host's subnets for containers' second interface."""
        self._view, self._membership, self._converge, self._find = view, membership, converge, find
        self._locations, self._gateways, self._ports = locations, gateways, Ports(view)
        self._promised: dict[str, set[IPAddress]] = {}
        """Network → addresses chosen for endpoints that are not in the store yet."""
        self.promises = Promises(time.monotonic)
        self._busy: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        """By namespace: two requests for one container take turns."""
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By owner: who detaches what it is still attaching (its caller was killed) waits for the end of that."""

    def _turn(self, owner: str) -> asyncio.Lock:
        return self._turns.setdefault(owner, asyncio.Lock()) if owner else asyncio.Lock()

    async def attach(self, request: t.Attach, network: Network, lease: Lease) -> Endpoint:
        """The endpoint, as it was or newly made. Raises NotFound, Invalid, Conflict, Exhausted, Unavailable, Failed."""
        async with self._turn(request.owner):
            return await self._attach(request, network, lease)

    async def _attach(self, request: t.Attach, network: Network, lease: Lease) -> Endpoint:
        target = await asyncio.to_thread(self._find, request.target)
        async with self._busy.setdefault(target.namespace.cookie, asyncio.Lock()):
            present = self._present(request, target)
            if present is not None and request.exclusive:
                raise Conflict(f"{request.target} is attached to {network.name} already, by {present.interface}")
            if present is not None:
                return await self._standing(self._same(request, present))
            await self.remove(self._leftovers(target))
            return await self._take(request, network, target, lease)

    async def _take(self, request: t.Attach, network: Network, target: Target, lease: Lease) -> Endpoint:
        if not self._view.shared(network.name):
            made = await self._try(request, network, target, lease, {})
            if isinstance(made, Endpoint):
                return made
            raise Unavailable(f"network {network.name} was just changed by someone else: try again")
        async with self._locations.held(network.name):
            return await self._race(request, network, target, lease)

    async def _race(self, request: t.Attach, network: Network, target: Target, lease: Lease) -> Endpoint:
        """With other nodes, for addresses of one subnet."""
        lost: dict[IPAddress, str] = {}
        for _ in range(ATTEMPTS):
            made = await self._try(request, network, target, lease, lost)
            if isinstance(made, Endpoint):
                return made
            holders = await self._claimed(network, made, request.owner)
            if not holders:
                raise Unavailable(f"network {network.name} was just changed by someone else: try again")
            lost |= holders
        raise Exhausted(f"network {network.name}: other nodes took every address tried, {ATTEMPTS} times: try again")

    async def _try(
        self, request: t.Attach, network: Network, target: Target, lease: Lease, lost: Mapping[IPAddress, str]
    ) -> Endpoint | tuple[IPInterface, ...]:
        """The endpoint; or the addresses chosen for it, if others wrote in between. `lost`: addresses with holders."""
        addresses = self._choose(request, network, lease, lost)
        gateway: Gateway | None = None
        try:
            interface = self._interface(request, target)
            default_route = self._to_be_routed(network, target)
            kind = "gw" if request.interface else "eth"  # who names interfaces will name others, too: eth1, eth2 …
            gateway = self._gateway(network, target, interface, kind) if default_route else None
            settled = self._ports.settled(request.ports, {a.version for a in addresses})
            request = msgspec.structs.replace(request, ports=settled)
            endpoint = self._new(request, target, addresses, interface, gateway, default_route=default_route)
            async with self._ports.taking(endpoint, network):
                return endpoint if await self._make(endpoint, network) else addresses
        finally:
            self._promised[network.name].difference_update(a.ip for a in addresses)
            self._promised.get(GATEWAY, set()).difference_update(a.ip for a in (gateway.addresses if gateway else ()))

    async def _claimed(self, network: Network, addresses: Iterable[IPInterface], owner: str) -> dict[IPAddress, str]:
        """Those of the addresses that have a holder by now, other than a promise to `owner`."""
        found = {}
        for ip in [a.ip for a in addresses]:
            item = await self._membership.claim(keys.address_claim(network.name, ip))
            promise = self.promises.to(network.name, ip, owner)
            if item is not None and (promise is None or item.revision != promise.revision):
                found[ip] = item.value.decode(errors="replace")
        return found

    def _present(self, request: t.Attach, target: Target) -> Endpoint | None:
        for endpoint in self._view.endpoints_of(request.network):
            same_place = endpoint.namespace.cookie == target.namespace.cookie
            if same_place and request.interface in ("", endpoint.interface):
                return endpoint
        return None

    def _same(self, request: t.Attach, present: Endpoint) -> Endpoint:
        """Attaching again is harmless, unless it asks for something else than there is."""
        wishes = (
            ("name", request.name, present.name),
            ("MAC address", request.mac and parse_mac(request.mac), present.mac),
        )
        for what, wish, fact in wishes:
            if wish and wish != fact:
                raise Conflict(f"{request.target} is attached to {request.network} with {what} {fact}: detach it first")
        held = {a.ip for a in present.addresses}
        if not held.issuperset(request.addresses):
            has = _join(a.ip for a in present.addresses)
            raise Conflict(
                f"{request.target} is attached to {request.network} with {has}: detach it first to change that"
            )
        if request.ports and not _granted(request.ports, present.ports):
            ports = _join(present.ports) or "none"
            raise Conflict(
                f"{request.target} is attached to {request.network} with published ports {ports}: detach it first"
            )
        if request.bandwidth is not None and request.bandwidth != present.bandwidth:
            limits = f"with {present.bandwidth}" if present.bandwidth else "without limits of bandwidth"
            raise Conflict(f"{request.target} is attached to {request.network} {limits}: detach it first")
        return present

    async def _standing(self, endpoint: Endpoint) -> Endpoint:
        if failures := await self._converge([_source(endpoint)]):
            raise Failed(f"{endpoint.container} is attached to {endpoint.network}, but {failures[0]}")
        return endpoint

    def _leftovers(self, target: Target) -> list[Endpoint]:
        """Endpoints of an earlier namespace at the same path."""
        path, cookie = target.namespace.path, target.namespace.cookie
        there = [e for e in self._view.endpoints.values() if e.namespace.path == path and not e.handover]
        return [e for e in there if e.namespace.cookie != cookie]

    def _new(
        self,
        request: t.Attach,
        target: Target,
        addresses: tuple[IPInterface, ...],
        interface: str,
        gateway: Gateway | None,
        *,
        default_route: bool,
    ) -> Endpoint:
        node = self._view.me
        return Endpoint(
            id=endpoint_id(request.network, node, target.namespace.cookie, interface),
            name=request.name or target.name,
            network=request.network,
            node=node,
            container=request.target,
            namespace=target.namespace,
            interface=interface,
            mac=parse_mac(request.mac) if request.mac else alloc.mac_for(addresses[0].ip),
            addresses=addresses,
            labels=request.labels,
            ports=request.ports,
            bandwidth=request.bandwidth,
            owner=request.owner,
            default_route=default_route,
            gateway=gateway,
        )

    def _gateway(self, network: Network, target: Target, interface: str, kind: str) -> Gateway | None:
        """The container's second interface, where it is to have one. `kind`: how its name begins."""
        if not registry.driver(network.driver).gateway:
            return None
        promised = self._promised.setdefault(GATEWAY, set())
        held = [e.gateway for e in self._view.endpoints.values() if e.gateway]
        taken = {a.ip for gateway in held for a in gateway.addresses} | promised
        subnets = [subnet for subnet in self._gateways if subnet.version in network.families]
        addresses = [_on(subnet, alloc.choose(subnet, taken)) for subnet in subnets]
        promised.update(a.ip for a in addresses)
        return Gateway(interface=next(self._free(target, interface, kind=kind)), addresses=tuple(addresses))

    def _to_be_routed(self, network: Network, target: Target) -> bool:
        """Whether the container is to have its way out by this network."""
        return not network.internal and not target.routed and not any(e.default_route for e in self._in(target))

    def _in(self, target: Target) -> list[Endpoint]:
        return [e for e in self._view.endpoints.values() if e.namespace.cookie == target.namespace.cookie]

    def _interface(self, request: t.Attach, target: Target) -> str:
        """The device's name in the container: as asked, else the first free of eth0, eth1 …"""
        wish = request.interface and check_ifname(request.interface)
        if wish in self._taken(target):
            raise Conflict(f"{request.target} has a device {wish} already: choose another with --interface")
        return wish or next(self._free(target))

    def _taken(self, target: Target) -> set[str]:
        here = self._in(target)
        taken = {e.interface for e in here} | {e.gateway.interface for e in here if e.gateway}
        return taken.union(target.links)  # as they were before others, who had their turn first, made theirs

    def _free(self, target: Target, *but: str, kind: str = "eth") -> Iterator[str]:
        taken = self._taken(target).union(but)
        return (name for n in range(len(taken) + 1) if (name := f"{kind}{n}") not in taken)

    def _choose(
        self, request: t.Attach, network: Network, lease: Lease, lost: Mapping[IPAddress, str]
    ) -> tuple[IPInterface, ...]:
        """One address of each family: the one wished for, or the next free one. Promised until `attach` ends. Where the
        engine gives the addresses itself, those that it asks for."""
        families = {a.version for a in request.addresses}
        subnets = [s for s in lease.subnets if not request.handover or s.version in families]
        chosen = self._pick(request, network, subnets, lost)
        self._promised.setdefault(network.name, set()).update(a.ip for a in chosen)
        return chosen

    def _pick(
        self, request: t.Attach, network: Network, subnets: Sequence[IPNetwork], lost: Mapping[IPAddress, str]
    ) -> tuple[IPInterface, ...]:
        shared = self._view.shared(network.name)
        holders: Mapping[IPAddress, str] = ChainMap(
            {a.ip: e.name for e in self._view.endpoints_of(network.name) for a in e.addresses},
            dict.fromkeys(self._promised.get(network.name, ()), "another container just now"),
            dict.fromkeys(self.promises.of_others(network.name, request.owner), "a container to come"),
            {**lost},
            self._view.located.get(network.name, {}),
        )
        node = "" if shared else self._view.me
        reserved = registry.parse_options(network).reserved
        wishes = {a.version: a for a in request.addresses}
        for address in request.addresses:
            if not any(address.version == s.version for s in subnets) or wishes[address.version] != address:
                raise Invalid(
                    f"{address}: network {network.name} takes one address of each of {_join(network.subnets)}"
                )
        if strange := [r for r in request.ranges if r.subnet.version not in {s.version for s in subnets}]:
            raise Invalid(f"range {strange[0]}: network {network.name} has only {_join(network.subnets)}")
        cursors = self._view.cursors.setdefault(network.name, {})
        within = {s.version: _within(request, s) for s in subnets}
        chosen = []
        for subnet in subnets:
            family, wish = str(subnet.version), wishes.get(subnet.version)
            if wish is not None:
                address = alloc.wish(subnet, wish, holders, reserved, within=within[subnet.version], node=node)
            else:
                after = cursors.get(family) or (alloc.beginning(subnet, self._view.me) if shared else None)
                address = alloc.choose(subnet, holders, reserved, after, within=within[subnet.version], node=node)
                cursors[family] = address
            chosen.append(_on(subnet, address))
        return tuple(chosen)

    async def _write(self, endpoint: Endpoint, network: Network) -> bool:
        """If network and lease are still as they were seen, and the addresses nobody's."""
        name, tenure = network.name, self._membership.tenure_lease
        key, network_key, lease_key = _key(endpoint), keys.network(name), keys.lease(name, endpoint.node)
        guards: list[Guard] = [Unchanged(network_key, self._view.revision(network_key)), Absent(key)]
        ops: list[Op] = [
            Put(key, encode(endpoint), tenure),
            Put(keys.cursor(endpoint.node, name), encode(self._view.cursors[name]), tenure),
        ]
        if self._view.shared(name):
            claims = [keys.address_claim(name, a.ip) for a in endpoint.addresses]
            guards += [self._free_for(endpoint, a.ip) for a in endpoint.addresses]
            ops += [Put(claim, f"{endpoint.name} on {endpoint.node}".encode(), tenure) for claim in claims]
            found = Location(node=endpoint.node, mac=endpoint.mac, addresses=tuple(a.ip for a in endpoint.addresses))
            ops.append(Put(keys.location(name, endpoint.id), encode(found), tenure))
        else:
            guards.append(Unchanged(lease_key, self._view.revision(lease_key)))
        return await self._membership.write(guards, ops)

    def _free_for(self, endpoint: Endpoint, address: IPAddress) -> Guard:
        claim = keys.address_claim(endpoint.network, address)
        promise = self.promises.to(endpoint.network, address, endpoint.owner)
        return Unchanged(claim, promise.revision) if promise is not None and promise.revision else Absent(claim)

    async def _make(self, endpoint: Endpoint, network: Network) -> bool:
        """False if the store does not take it. Raises Failed if the kernel does not: then it is taken back."""
        if not await self._write(endpoint, network):
            return False
        try:
            failures = await self._converge([_source(endpoint)])
            if failures:
                # Where the network itself does not stand, that is the reason, and the endpoint only waits for it.
                failures = [*await self._converge([("network", network.name), ("segment", network.name)]), *failures]
                raise Failed(f"{endpoint.container} cannot be attached to {network.name}: {failures[0]}")
        except BaseException:
            await asyncio.shield(self._take_back(endpoint))
            raise
        return True

    async def _take_back(self, endpoint: Endpoint) -> None:
        try:
            await self.remove([endpoint])
        except WeftError as error:
            log.warning("%s is not taken out of %s yet: %s", endpoint.name, endpoint.network, error)

    async def detach(self, reference: str, network: str) -> list[Endpoint]:
        """The endpoints removed: of one container (or of one endpoint by its id), in one network or in all ("")."""
        found = [
            e
            for e in self._view.endpoints.values()
            if network in ("", e.network) and reference in (e.container, e.id, e.namespace.path)
        ]
        if not found:
            try:
                target = await asyncio.to_thread(self._find, reference)
            except NotFound:
                return []
            cookie = target.namespace.cookie
            found = [
                e for e in self._view.endpoints.values() if network in ("", e.network) and e.namespace.cookie == cookie
            ]
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
        for line in await self._converge([_source(e) for e in endpoints]):
            log.warning("while detaching: %s (will be tried again)", line)

    async def forget(self, endpoints: Sequence[Endpoint]) -> None:
        """Take endpoints out of the store; the kernel follows."""
        simple = [e for e in endpoints if not self._with_claims(e)]
        for some in _chunks(simple, 100):
            await self._membership.write([], [op for e in some for op in removal(e, shared=False)])
        for some in _chunks([e for e in endpoints if self._with_claims(e)], 25):
            if not await self._membership.write(
                self._as_seen(some), [op for e in some for op in removal(e, shared=True)]
            ):
                for endpoint in some:
                    await self._forget_one(endpoint)

    async def _forget_one(self, endpoint: Endpoint) -> None:
        """Where somebody else has removed it already, its addresses may be somebody else's by now."""
        if not await self._membership.write(self._as_seen([endpoint]), removal(endpoint, shared=True)):
            await self._membership.write([], removal(endpoint, shared=False))

    def _with_claims(self, endpoint: Endpoint) -> bool:
        return endpoint.network not in self._view.networks or self._view.shared(endpoint.network)

    def _as_seen(self, endpoints: Iterable[Endpoint]) -> list[Guard]:
        return [Unchanged(_key(e), self._view.revision(_key(e))) for e in endpoints]


def removal(endpoint: Endpoint, *, shared: bool) -> list[Op]:
    """What takes an endpoint out of the store. `shared`: its network has one subnet for all hosts."""
    ops: list[Op] = [Delete(_key(endpoint))]
    if shared:
        ops.append(Delete(keys.location(endpoint.network, endpoint.id)))
        ops += [Delete(keys.address_claim(endpoint.network, a.ip)) for a in endpoint.addresses]
    return ops


def _key(endpoint: Endpoint) -> str:
    return keys.endpoint(endpoint.node, endpoint.network, endpoint.id)


def _granted(wishes: Sequence[PublishedPort], ports: Sequence[PublishedPort]) -> bool:
    """Whether these ports are what was wished for, each the answer to a wish of its own."""
    left = list(ports)
    for wish in sorted(wishes, key=lambda wish: wish.open):
        granted = next((port for port in left if port.grants(wish)), None)
        if granted is None:
            return False
        left.remove(granted)
    return not left


def _chunks(endpoints: Sequence[Endpoint], size: int) -> Iterator[Sequence[Endpoint]]:
    return (endpoints[start : start + size] for start in range(0, len(endpoints), size))


def _source(endpoint: Endpoint) -> Source:
    return ("endpoint", endpoint.network, endpoint.id)


def _on(subnet: IPNetwork, address: IPAddress) -> IPInterface:
    return parse_interface(f"{address}/{subnet.prefixlen}")


def _within(request: t.Attach, subnet: IPNetwork) -> list[AddressRange]:
    """Those of the subnet's family. Raises Invalid where the caller takes another address for the gateway."""
    found = [r for r in request.ranges if r.subnet.version == subnet.version]
    gateway = alloc.gateway(subnet)
    for wrong in (r.gateway for r in found if r.gateway not in (None, gateway)):
        raise Invalid(f"{wrong} is not the gateway of {subnet}: it is {gateway}, leave it to Weft")
    return found


def _join(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
