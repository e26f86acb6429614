"""A security group of a container's own, which opens the ports that it exposes to everybody, as Kuryr makes it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import groupby

from weft.base.net import Family
from weft.model import ExposedPort
from weft.openstack.neutron import Neutron, Port


async def open_to_all(
    neutron: Neutron, port: Port, exposed: Iterable[ExposedPort], families: Iterable[Family], mark: str
) -> str:
    """The group's id. `mark`: its description. The port's other groups stay. Raises what Neutron's client raises."""
    group = await neutron.create_group(f"weft-{port.name}", mark)
    try:
        await neutron.create_rules(group, rules(exposed, families))
        what = f"security groups of {port.name or port.id}"
        await neutron.update_port(what, port.id, security_groups=[group, *port.security_groups])
    except BaseException:
        await asyncio.shield(_undo(neutron, port, group))
        raise
    return group


async def _undo(neutron: Neutron, port: Port, group: str) -> None:
    """It may be the port's already, and then goes only after it."""
    await neutron.delete_port(port.id)
    await neutron.delete_group(group)


def rules(exposed: Iterable[ExposedPort], families: Iterable[Family]) -> list[dict[str, object]]:
    """One for each family and each run of neighbouring ports of a protocol."""
    runs = list(_runs(exposed))
    return [
        {
            "direction": "ingress",
            "ethertype": f"IPv{family}",
            "protocol": protocol,
            "port_range_min": first,
            "port_range_max": last,
        }
        for family in families
        for protocol, first, last in runs
    ]


def _runs(exposed: Iterable[ExposedPort]) -> Iterator[tuple[str, int, int]]:
    for protocol, of in groupby(sorted(set(exposed)), key=lambda e: e.protocol):
        for _, run in groupby(enumerate(of), key=lambda pair: pair[1].port - pair[0]):
            ports = [e.port for _, e in run]
            yield protocol, ports[0], ports[-1]
