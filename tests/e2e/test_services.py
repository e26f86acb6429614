"""Services in the reference lab: by their virtual addresses, on drivers of each kind and in both families. Three members on two
hosts, clients on three."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from support.answering import serving
from support.reach import Container, client, make_network, weft
from support.services import Spread, is_even, spread
from support.waiting import until
from weft.base.net import parse_address
from weft.lab import Lab
from weft.model.codec import encode
from weft.services.model import Service, ServicePort
from weft.services.record import SERVICE
from weft.store.protocol import Delete, Put
from weft.store.url import StoreOptions, open_store

NETWORKS = {"vx": ("vxlan", 21), "over": ("overlay", 22), "pure": ("routed", 23)}
"""By name: driver, and a number for the prefixes."""
MEMBERS = {"a": "node-1", "b": "node-1", "c": "node-2"}
CLIENTS = ("node-1", "node-2", "node-3")
CONNECTIONS = 1000
"""Of each client."""
PORTS = (ServicePort(port=80, target=8080), ServicePort(port=53, target=5353, protocol="udp"))
FAMILIES = (4, 6)
EACH = pytest.mark.parametrize("network", NETWORKS)
BOTH = pytest.mark.parametrize("family", FAMILIES)


def vip(network: str, family: int, number: int = 1) -> str:
    prefix = NETWORKS[network][1]
    return f"10.{prefix}.250.{number}" if family == 4 else f"fd00:{prefix}:0:fa::{number}"


def record(network: str, name: str = "web", number: int = 1, **more: Any) -> Service:
    addresses = tuple(parse_address(vip(network, family, number)) for family in FAMILIES)
    values: dict[str, Any] = {"select": "app=web", "ports": PORTS, "addresses": addresses, **more}
    return Service(name=name, network=network, **values)


def put(lab: Lab, *services: Service, gone: tuple[Service, ...] = ()) -> None:
    async def commit() -> None:
        store = open_store(lab.store, StoreOptions())
        try:
            ops: list[Put | Delete] = [Put(SERVICE.key(s.network, s.name), encode(s)) for s in services]
            ops += [Delete(SERVICE.key(s.network, s.name)) for s in gone]
            await store.commit([], ops)
        finally:
            await store.close()

    asyncio.run(commit())


class World:
    """Containers of a network, by name: members `a`, `b`, `c`, and a client on each host by the host's name."""

    def __init__(self, lab: Lab, network: str, stack: ExitStack) -> None:
        self.lab, self.network = lab, network
        self.containers: dict[str, Container] = {}
        for name, host in MEMBERS.items():
            self.containers[name] = attached(lab, host, f"{network}-{name}", network, "app=web")
            ports = ("tcp/8080", "udp/5353")
            stack.enter_context(serving(self.containers[name].inside, name, *ports))
        for host in CLIENTS:
            self.containers[host] = attached(lab, host, f"{network}-{host}", network)

    def spreads(self, family: int, protocol: str = "tcp", count: int = CONNECTIONS) -> dict[str, Spread]:
        """From the client on each host, all at once."""
        port = 80 if protocol == "tcp" else 53
        with ThreadPoolExecutor(2) as pool:
            found = pool.map(
                lambda host: spread(self.containers[host].inside, vip(self.network, family), port, count, protocol),
                CLIENTS,
            )
            return dict(zip(CLIENTS, found, strict=True))

    def ready(self, number: int = 1, members: int = 3) -> None:
        """Waits until clients of all hosts and families reach so many."""
        for host in CLIENTS:
            for family in FAMILIES:
                until(lambda h=host, f=family: len(self.few(h, f, number).by) == members, 30, f"members by {host}")  # type: ignore[misc]

    def few(self, host: str, family: int, number: int = 1) -> Spread:
        return spread(self.containers[host].inside, vip(self.network, family, number), 80, 30)


def attached(lab: Lab, host: str, name: str, network: str, *labels: str) -> Container:
    lab.host(host).run(["ip", "netns", "add", name], check=True)
    lab.host(host).run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    said = weft(lab, host, "attach", name, "--network", network, *(w for label in labels for w in ("--label", label)))
    assert said.returncode == 0, said.stderr
    return Container(name, host, lab.host(host).container(name), client(lab, host).endpoint(f"{host}/{name}"))


@pytest.fixture(scope="module")
def worlds(lab: Lab) -> Iterator[dict[str, World]]:
    with ExitStack() as stack:
        found = {}
        for name, (driver, number) in NETWORKS.items():
            subnets = f"10.{number}.0.0/16", f"fd00:{number}::/48" if driver == "routed" else f"fd00:{number}::/56"
            make_network(lab, name, driver, *subnets)
            found[name] = World(lab, name, stack)
        put(lab, *map(record, NETWORKS))
        for world in found.values():
            world.ready()
        yield found


@EACH
@BOTH
def test_connections_are_spread_evenly(worlds: dict[str, World], network: str, family: int) -> None:
    """And members see clients by their own addresses."""
    world, total = worlds[network], Counter[str]()
    for host, found in world.spreads(family).items():
        assert not found.failed
        assert found.seen == {world.containers[host].address(family)}, host
        assert is_even(found.by, 3), (host, found.by)
        total += found.by
    assert is_even(total, 3), total
