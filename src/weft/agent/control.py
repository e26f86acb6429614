"""What controls the cluster from this host, and where its store is: the TCP ports that containers are kept from."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable

from weft.agent.config import Config
from weft.base.net import IPAddress, parse_address
from weft.mesh import ports
from weft.store import url

ETCD_PEERS = 2380
"""etcd's usual port for its own members, which no store URL names."""
PATIENCE = 2.0
"""Seconds for a name of a store's host to be resolved."""

Place = tuple[IPAddress, int]


class Control:
    def __init__(self, config: Config) -> None:
        self.metrics = config.metrics
        self._store = url.places(config.store)
        self._mesh = ports.TCP if url.is_mesh(config.store) else ()
        self.spoken = (ports.MEMBERS,) if self._mesh else ()
        """UDP ports at which hosts speak to each other."""
        self._resolved: dict[str, tuple[IPAddress, ...]] = {}
        """What each of the store's hosts was resolved to last: a name server may be away."""

    async def look(self, registries: Iterable[str] = ()) -> tuple[tuple[int, ...], frozenset[Place]]:
        """Ports of this host's own, and of the store where it is elsewhere. `registries`: URLs of flannel's, which are to be
        kept as the store is."""
        stores = {*self._store, *(place for registry in registries for place in url.places(registry))}
        for host in {host for host, _ in stores}:
            if found := await _resolve(host):
                self._resolved[host] = found
        places = {
            (address, number)
            for host, port in stores
            for address in self._resolved.get(host, ())
            for number in (port, ETCD_PEERS)
        }
        here = {place for place in places if is_local(place[0])}
        own = {port for _, port in here} | set(_listening(self.metrics)) | set(self._mesh)
        return tuple(sorted(own)), frozenset(places - here)


def _listening(metrics: str) -> Iterable[int]:
    """On the loopback device nobody else reaches it."""
    host, _, port = metrics.rpartition(":")
    if not port.isascii() or not port.isdigit():
        return
    try:
        if ipaddress.ip_address(host.strip("[]")).is_loopback:
            return
    except ValueError:
        pass
    yield int(port)


async def _resolve(host: str) -> tuple[IPAddress, ...]:
    """Nothing where it cannot be resolved now."""
    try:
        async with asyncio.timeout(PATIENCE):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return ()
    return tuple(sorted({parse_address(str(where[0]).partition("%")[0]) for *_, where in found}, key=str))


def is_local(address: IPAddress) -> bool:
    """Whether it is one of this host's: to itself a host sends from that very address. Nothing is sent for it. (To bind to
    an address says less: `ip_nonlocal_bind` allows that with any.)"""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))
        except OSError:
            return False
        return bool(probe.getsockname()[0] == str(address))
