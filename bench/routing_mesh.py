"""What the routing mesh costs: a client outside reaches a service by a host that runs its only member, and by one that
does not, in turns."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack

import msgspec

from bench import labs
from bench.figures import Figure, Named, paired
from bench.traffic import CONNECTS_PORT, IPERF_PORT, PINGPONG_PORT, Pair, serving, taking_connections
from weft.api.services import CreateService
from weft.base.errors import Failed
from weft.lab import Lab, reference
from weft.lab.inside import Inside
from weft.services.model import ServicePort

HOSTS = ("node-1", "node-2")
OUTSIDE, MEMBER = "outside", "member"
DRIVERS = {"vxlan": "10.64.0.0/16", "overlay": "10.65.0.0/16"}
HANDED_ON, DIRECT = "by a host without a member", "by the member's host"
_PORTS = (IPERF_PORT, PINGPONG_PORT, CONNECTS_PORT)
Progress = Callable[[str], None]


class Effort(msgspec.Struct, frozen=True):
    """`rounds` with so many MiB by one stream, new `connections` and round `trips` each."""

    rounds: int = 11
    mib: int = 400
    connections: int = 5_000
    trips: int = 20_000


QUICK = Effort(rounds=3, mib=200, connections=1_500, trips=3_000)


def run(effort: Effort, progress: Progress) -> list[Figure]:
    figures = []
    for driver, subnet in DRIVERS.items():
        progress(f"mesh: {driver}")
        with labs.up(reference(), agents=HOSTS) as lab, ExitStack() as stack:
            labs.create(lab, HOSTS[0], driver, driver, subnet)
            lab.run(HOSTS[1], MEMBER, network=driver)
            member = lab.host(HOSTS[1]).container(MEMBER)
            stack.enter_context(serving(member))
            stack.enter_context(taking_connections(member))
            figures += _measured(driver, _pair(lab, driver, member), effort)
    return figures


def _pair(lab: Lab, driver: str, member: Inside) -> tuple[Pair, Pair]:
    ports, published = tuple(ServicePort(port=port) for port in _PORTS), tuple(f"{port}:{port}" for port in _PORTS)
    wanted = CreateService(name="bulk", network=driver, members=(MEMBER,), ports=ports, publish=published)
    labs.client(lab, HOSTS[0]).create_service(wanted)
    addresses = {node.name: str(node.addresses[0].ip) for node in labs.client(lab, HOSTS[0]).nodes()}
    client = lab.host(OUTSIDE)
    handed_on, direct = (
        Pair(name, client, member, addresses[host]) for name, host in zip((HANDED_ON, DIRECT), HOSTS, strict=True)
    )
    for one in (handed_on, direct):
        _reached(one)
    return handed_on, direct


def _reached(pair: Pair) -> None:
    """Raises Failed where that takes too long."""
    deadline = time.monotonic() + 30
    while True:
        try:
            pair.round_trips(1)
            return
        except Failed:
            if time.monotonic() > deadline:
                raise


def _measured(group: str, pair: tuple[Pair, Pair], effort: Effort) -> list[Figure]:
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    handed_on, direct = pair
    for number in range(effort.rounds):
        for one, rate in zip(pair, handed_on.connections(effort.connections, direct.address), strict=True):
            found["new connections"][one.name].append(rate)
        for one in pair if number % 2 else pair[::-1]:
            found["round trip p50"][one.name].append(one.round_trips(effort.trips)[50])
            found["TCP, 1 stream"][one.name].append(one.throughput(effort.mib, 1))
    units = {"new connections": "1/s", "round trip p50": "µs", "TCP, 1 stream": "Gbit/s"}
    return [
        paired(Named(group, f"{what}, {HANDED_ON}", unit, DIRECT), found[what][HANDED_ON], found[what][DIRECT])
        for what, unit in units.items()
    ]
