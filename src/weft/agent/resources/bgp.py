"""The API's operations about BGP (`weft.api.operations`)."""

from __future__ import annotations

import msgspec

from weft.agent.parts import Parts
from weft.agent.resources import infos
from weft.api import types as t
from weft.base.errors import Conflict, NotFound, Unavailable
from weft.base.nearby import unknown
from weft.base.net import parse_address, parse_network
from weft.model import BgpPeer, BgpSettings, encode, keys, to_builtins
from weft.model.codec import convert
from weft.store.protocol import Delete, Put

BUSY = "was just changed by someone else: look, and try again"


class Bgp:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    # This node.

    async def bgp_sessions(self) -> tuple[t.BgpSession, ...]:
        self._parts.ready()
        return tuple(infos.bgp_session(state) for state in await self._parts.routing.look())

    async def bgp_routes(self, prefix: str = "") -> tuple[t.BgpRoute, ...]:
        self._parts.ready()
        wanted = str(parse_network(prefix) if "/" in prefix else parse_address(prefix)) if prefix else ""
        return tuple(infos.bgp_route(self._parts, route) for route in await self._parts.routing.routes(wanted))

    # The cluster.

    async def bgp_settings(self) -> BgpSettings:
        self._parts.ready()
        return self._parts.view.bgp

    async def set_bgp(self, request: t.SetBgp) -> BgpSettings:
        self._parts.ready()
        changed = {name: value for name, value in to_builtins(request).items() if value is not None}
        wanted = convert(BgpSettings, {**to_builtins(self._parts.view.bgp), **changed})
        guard = self._parts.cluster.as_seen(keys.BGP_SETTINGS)
        if not await self._parts.cluster.write([guard], [Put(keys.BGP_SETTINGS, encode(wanted))]):
            raise Unavailable(f"bgp: {BUSY}")
        return wanted

    async def bgp_peers(self) -> tuple[t.BgpPeerInfo, ...]:
        self._parts.ready()
        return tuple(_info(peer) for _, peer in sorted(self._parts.view.bgp_peers.items()))

    async def add_bgp_peer(self, request: t.AddBgpPeer) -> t.BgpPeerInfo:
        self._parts.ready()
        peer = request.peer
        self.check_peer(peer)
        if peer.name in self._parts.view.bgp_peers and not request.replace:
            raise Conflict(f"bgp peer {peer.name} exists: choose another name, or use --replace")
        key = keys.bgp_peer(peer.name)
        if not await self._parts.cluster.write([self._parts.cluster.as_seen(key)], [Put(key, encode(peer))]):
            raise Unavailable(f"bgp peer {peer.name}: {BUSY}")
        return _info(peer)

    def check_peer(self, peer: BgpPeer) -> None:
        """Raises Conflict where it is no router, but a node."""
        for _, node in sorted(self._parts.view.nodes.items()):
            if peer.address in (a.ip for a in node.addresses):
                raise Conflict(
                    f"bgp peer {peer.name}: {peer.address} is {node.name}'s own address: nodes peer by themselves; give a "
                    "router's"
                )

    async def remove_bgp_peer(self, name: str) -> t.Done:
        self._parts.ready()
        view, key = self._parts.view, keys.bgp_peer(name)
        if name not in view.bgp_peers:
            raise NotFound(unknown("bgp peer", name, view.bgp_peers, "weft bgp peer ls"))
        if not await self._parts.cluster.write([self._parts.cluster.unchanged(key)], [Delete(key)]):
            raise Unavailable(f"bgp peer {name}: {BUSY}")
        return t.Done(what=(name,))


def _info(peer: BgpPeer) -> t.BgpPeerInfo:
    values = {**msgspec.structs.asdict(peer), "password": bool(peer.password)}
    return t.BgpPeerInfo(**values)
