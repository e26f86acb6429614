"""Containers come and go.

An attachment is an `Endpoint` in the store; its interface follows from that by compile and converge like everything else.
So a killed agent finds the record and completes or clears away what it stands for, and attaching twice finds the first.
If the kernel refuses, the record is taken back: all or nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol
from weakref import WeakValueDictionary

from weft.agent.membership import Membership
from weft.agent.ports import Ports
from weft.agent.promises import Promises
from weft.agent.view import View
from weft.alloc import addresses as alloc
from weft.api import types as t
from weft.base.errors import Conflict, Failed, Invalid, NotFound, Unavailable, WeftError
from weft.base.names import check_ifname
from weft.base.net import IPAddress, IPInterface, IPNetwork, parse_interface, parse_mac
from weft.datapaths import registry
from weft.hoststate.union import Source
from weft.kernel.containers import Target
from weft.model import Endpoint, Lease, Network, encode, keys
from weft.model.endpoint import endpoint_id
from weft.store.protocol import Absent, Delete, Guard, Op, Put, Unchanged

log = logging.getLogger(__name__)


class Converge(Protocol):
    """Recompute these sources and bring them to the kernel; what failed, a line each."""

    async def __call__(self, sources: Iterable[Source]) -> Sequence[str]: ...


class Attachments:
    def __init__(self, view: View, membership: Membership, converge: Converge, find: Callable[[str], Target]) -> None:
        self._view, self._membership, self._converge, self._find = view, membership, converge, find
        self._ports = Ports(view)
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
            addresses = self._choose(request, network, lease)
            try:
                endpoint = self._new(request, network, target, addresses)
                async with self._ports.taking(endpoint, network):
                    return await self._make(endpoint, network)
            finally:
                self._promised[network.name].difference_update(a.ip for a in addresses)

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
        if request.ports and set(request.ports) != set(present.ports):
            ports = _join(present.ports) or "none"
            raise Conflict(
                f"{request.target} is attached to {request.network} with published ports {ports}: detach it first"
            )
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

    def _new(self, request: t.Attach, network: Network, target: Target, addresses: tuple[IPInterface, ...]) -> Endpoint:
        interface = self._interface(request, target)
        node = self._view.me
        return Endpoint(
            id=endpoint_id(network.name, node, target.namespace.cookie, interface),
            name=request.name or target.name,
            network=network.name,
            node=node,
            container=request.target,
            namespace=target.namespace,
            interface=interface,
            mac=parse_mac(request.mac) if request.mac else alloc.mac_for(addresses[0].ip),
            addresses=addresses,
            labels=request.labels,
            ports=request.ports,
            owner=request.owner,
            default_route=not network.internal
            and not target.routed
            and not any(e.default_route for e in self._in(target)),
        )

    def _in(self, target: Target) -> list[Endpoint]:
        return [e for e in self._view.endpoints.values() if e.namespace.cookie == target.namespace.cookie]

    def _interface(self, request: t.Attach, target: Target) -> str:
        """The device's name in the container: as asked, else the first free of eth0, eth1 …"""
        taken = {e.interface for e in self._in(target)}
        taken.update(target.links)  # as they were before others, who had their turn first, made theirs
        wish = request.interface and check_ifname(request.interface)
        if wish in taken:
            raise Conflict(f"{request.target} has a device {wish} already: choose another with --interface")
        return wish or next(name for n in range(len(taken) + 1) if (name := f"eth{n}") not in taken)

    def _choose(self, request: t.Attach, network: Network, lease: Lease) -> tuple[IPInterface, ...]:
        """One address of each family: the one wished for, or the next free one. Promised until `attach` ends. Where the
        engine gives the addresses itself, those that it asks for."""
        families = {a.version for a in request.addresses}
        chosen = self._pick(
            request, network, [s for s in lease.subnets if not request.handover or s.version in families]
        )
        self._promised.setdefault(network.name, set()).update(a.ip for a in chosen)
        return chosen

    def _pick(self, request: t.Attach, network: Network, subnets: Sequence[IPNetwork]) -> tuple[IPInterface, ...]:
        holders = {a.ip: e.name for e in self._view.endpoints_of(network.name) for a in e.addresses}
        holders.update(dict.fromkeys(self._promised.get(network.name, ()), "another container just now"))
        holders.update(dict.fromkeys(self.promises.of_others(network.name, request.owner), "a container to come"))
        reserved = registry.parse_options(network).reserved
        wishes = {a.version: a for a in request.addresses}
        for address in request.addresses:
            if not any(address.version == s.version for s in subnets) or wishes[address.version] != address:
                raise Invalid(
                    f"{address}: network {network.name} takes one address of each of {_join(network.subnets)}"
                )
        cursors = self._view.cursors.setdefault(network.name, {})
        chosen = []
        for subnet in subnets:
            family, wish = str(subnet.version), wishes.get(subnet.version)
            if wish is not None:
                address = alloc.wish(subnet, wish, holders, reserved, node=self._view.me)
            else:
                address = alloc.choose(subnet, holders, reserved, cursors.get(family), node=self._view.me)
                cursors[family] = address
            chosen.append(_on(subnet, address))
        return tuple(chosen)

    async def _make(self, endpoint: Endpoint, network: Network) -> Endpoint:
        network_key, lease_key = keys.network(network.name), keys.lease(network.name, endpoint.node)
        key = keys.endpoint(endpoint.node, network.name, endpoint.id)
        guards: list[Guard] = [
            Unchanged(network_key, self._view.revision(network_key)),
            Unchanged(lease_key, self._view.revision(lease_key)),
            Absent(key),
        ]
        tenure = self._membership.tenure_lease
        cursor = encode(self._view.cursors[network.name])
        ops: list[Op] = [
            Put(key, encode(endpoint), tenure),
            Put(keys.cursor(endpoint.node, network.name), cursor, tenure),
        ]
        if not await self._membership.write(guards, ops):
            raise Unavailable(f"network {network.name} was just changed by someone else: try again")
        try:
            failures = await self._converge([_source(endpoint)])
            if failures:
                # Where the network itself does not stand, that is the reason, and the endpoint only waits for it.
                failures = [*await self._converge([("network", network.name)]), *failures]
                raise Failed(f"{endpoint.container} cannot be attached to {network.name}: {failures[0]}")
        except BaseException:
            await asyncio.shield(self._take_back(endpoint))
            raise
        return endpoint

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
        ops: list[Op] = [Delete(keys.endpoint(e.node, e.network, e.id)) for e in endpoints]
        for start in range(0, len(ops), 100):
            await self._membership.write([], ops[start : start + 100])


def _source(endpoint: Endpoint) -> Source:
    return ("endpoint", endpoint.network, endpoint.id)


def _on(subnet: IPNetwork, address: IPAddress) -> IPInterface:
    return parse_interface(f"{address}/{subnet.prefixlen}")


def _join(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
