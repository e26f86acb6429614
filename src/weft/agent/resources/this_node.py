"""This node: its state, what would be done, what its kernel has, and its store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec

from weft.agent.parts import Parts
from weft.agent.resources import infos
from weft.agent.resources.networks import Networks
from weft.api import types as t
from weft.api.dump import ALONE, CloudDump, CloudRouteDump, HostDump
from weft.base.errors import NotFound
from weft.base.net import parse_address
from weft.datapaths import registry
from weft.hoststate import netns
from weft.hoststate.cloud import CloudRoute
from weft.kernel.host.dump import carried, dump


class ThisNode:
    def __init__(self, parts: Parts, networks: Networks) -> None:
        self._parts, self._networks = parts, networks

    async def status(self) -> t.Status:
        await self._parts.fast_counts.refresh()
        away = self._parts.store_status.state != "connected"
        return infos.status(self._parts, silent=not away and await self._parts.as_of.silent())

    async def plan(self, network: str = "") -> t.PlanReply:
        if network:
            await self._networks.known(network)
        return t.PlanReply(commands=tuple(await self._parts.loops.dry_run(network)))

    async def kernel(self, namespaces: str = "", addresses: str = "") -> HostDump:
        """`namespaces`: paths of local endpoints' namespaces, with commas between, or ALONE for none of these; else those of
        all. The host's own is always told of, and those of our own networks. `addresses`: with commas between, those of which
        conntrack's entries are told."""
        view = self._parts.view
        ends = [str(parse_address(text)) for text in addresses.split(",")] if addresses else []
        held = {e.namespace.path: e.name for e in view.endpoints.values() if e.namespace.path}
        own = {netns(name).path: f"weft-{name}" for name in sorted(view.joined)}
        wanted = [path for path in namespaces.split(",") if path != ALONE] if namespaces else list(held)
        if strange := [path for path in wanted if path not in held and path not in own]:
            raise NotFound(f"no endpoint here in namespace {strange[0]}: `weft endpoint ls` shows those there are")
        asked = {path: held[path] for path in wanted if path in held}
        found = await asyncio.to_thread(dump, view.me, own | asked, ends, held)
        tunnels = await asyncio.to_thread(carried, Path(self._parts.config.run_dir))
        return msgspec.structs.replace(found, clouds=tuple(self._clouds()), tunnels=tunnels)

    def _clouds(self) -> Iterator[CloudDump]:
        """Of networks on this host that a cloud's router routes."""
        view, node = self._parts.view, self._parts.node
        there = [o for loop in self._parts.loops.targets.values() for o in loop.found() if isinstance(o, CloudRoute)]
        for name, network in sorted(view.networks.items()):
            lease = view.lease(name, view.me)
            if node is None or lease is None or not (table := registry.of(network).table(lease)):
                continue
            own = set(map(str, lease.subnets))
            routes = (CloudRouteDump(o.where, o.destination, o.to) for o in there if o.destination in own)
            yield CloudDump(tuple(map(str, network.subnets)), table, node.uplink, tuple(routes))

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
