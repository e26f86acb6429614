"""A routed network in a lab, written into its store as agents would write it: leases with blocks, and containers.

net = plant(lab, "prod", {"node-1": ("197.19.38.128/26",), …}, encap="never")
container = settle(lab, "node-1", "c1", "prod", "197.19.38.139", mac)
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from ipaddress import ip_interface, ip_network

from support.reach import client
from support.waiting import until
from weft.api import types as t
from weft.base.errors import Unavailable
from weft.base.names import stable_mac
from weft.lab import Lab
from weft.lab.inside import Inside
from weft.model import Endpoint, Lease, Namespace, Network, encode, keys
from weft.model.endpoint import endpoint_id
from weft.model.network import OptionValue
from weft.store.protocol import Op, Put
from weft.store.url import StoreOptions, open_store

POOLS = ("197.19.0.0/16", "fd80:24e2:f998:72d6::/64")
BLOCKS = {
    "node-1": ("197.19.38.128/26", "fd80:24e2:f998:72d6::100/122"),
    "node-2": ("197.19.186.192/26", "fd80:24e2:f998:72d6::200/122"),
    "node-3": ("197.19.26.0/26", "fd80:24e2:f998:72d6::300/122"),
    "node-4": ("197.19.65.128/26", "fd80:24e2:f998:72d6::400/122"),
}
_COOKIE = "import sys; from weft.kernel.plumbing import netns; print(netns.cookie(sys.argv[1]))"


def commit(lab: Lab, ops: Sequence[Op]) -> None:
    async def write() -> None:
        store = open_store(lab.store, StoreOptions())
        try:
            assert await store.commit([], ops)
        finally:
            await store.close()

    asyncio.run(write())


def plant(
    lab: Lab,
    name: str,
    blocks: Mapping[str, Sequence[str]],
    hosts: Mapping[str, Sequence[str]] | None = None,
    subnets: Sequence[str] = POOLS,
    **options: OptionValue,
) -> Network:
    """Everyone's lease, then the network: whoever hears of it has one. Again: other leases for the one that is there."""
    network = Network(name=name, driver="routed", subnets=tuple(map(ip_network, subnets)), options=options)
    ops: list[Op] = []
    for node, held in blocks.items():
        alone = tuple(map(ip_network, (hosts or {}).get(node, ())))
        lease = Lease(network=name, node=node, subnets=tuple(map(ip_network, held)), hosts=alone)
        ops.append(Put(keys.lease(name, node), encode(lease)))
    commit(lab, ops)
    commit(lab, [Put(keys.network(name), encode(network))])
    return network


def settle(lab: Lab, host: str, name: str, network: str, *addresses: str) -> Inside:
    """A container with these addresses (no prefix lengths), once it stands in the kernel."""
    place = lab.host(host)
    place.must("container", ["ip", "netns", "add", name])
    place.must("container", ["ip", "-n", name, "link", "set", "lo", "up"])
    path = f"/run/netns/{name}"
    cookie = int(place.must("cookie", [sys.executable, "-c", _COOKIE, path]))
    endpoint = Endpoint(
        id=endpoint_id(network, host, cookie, "eth0"),
        name=name,
        network=network,
        node=host,
        container=name,
        namespace=Namespace(path=path, cookie=cookie),
        interface="eth0",
        mac=stable_mac("test", name),
        addresses=tuple(ip_interface(f"{a}/{128 if ':' in a else 32}") for a in addresses),
    )
    commit(lab, [Put(keys.endpoint(host, network, endpoint.id), encode(endpoint))])
    inside = place.container(name)
    until(lambda: _stands(inside, len(addresses)), 20, f"{host}/{name} with its addresses")
    return inside


def _stands(inside: Inside, count: int) -> bool:
    found = inside.run(["ip", "-j", "addr", "show", "dev", "eth0", "scope", "global"])
    if found.returncode:
        return False
    addresses = [a for link in json.loads(found.stdout or "[]") for a in link.get("addr_info", ()) if "local" in a]
    return len(addresses) == count and not any(a.get("tentative") for a in addresses)


def sessions(lab: Lab, host: str) -> dict[tuple[str, int], t.BgpSession]:
    """By neighbour and family."""
    return {(s.name, s.address.version): s for s in client(lab, host).bgp_sessions()}


def established(lab: Lab, hosts: Sequence[str], count: int, seconds: float = 40) -> float:
    """Waits until each of these hosts has so many sessions, and all are up."""

    def lacking() -> str:
        for host in hosts:
            try:
                found = client(lab, host).bgp_sessions()
            except Unavailable as error:
                return str(error)
            down = [f"{s.name}/{s.address}: {s.state} {s.reason}" for s in found if s.state != "Established"]
            if down or len(found) != count:
                return f"{host} has {len(found)} sessions, down: {down}"
        return ""

    return until(lambda: not lacking(), seconds, lambda: f"sessions: {lacking()}")


def bird_routes(inside: Inside, family: int = 4) -> dict[str, dict[str, object]]:
    """The kernel's routes of protocol bird, by prefix."""
    shown = inside.run(["ip", "-j", "-d", f"-{family}", "route", "show", "proto", "bird"], check=True).stdout
    return {route["dst"]: route for route in json.loads(shown or "[]")}
