"""The probes that run all the time: between the containers that nobody touches, and where nothing may pass."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from chaos.model import STEADY
from chaos.probes import Probe, open_socket
from chaos.reach import addresses
from chaos.world import World
from weft.base.net import IPAddress
from weft.lab.process import PROC
from weft.lab.topology import OUTSIDE

PAIRS = tuple((f"{net}-{a}", f"{net}-{b}") for net in STEADY.nets for a, b in ("ab", "ba"))
FORBIDDEN = (
    ("hg-b", "in-a"),  # of one host
    ("rt-b", "in-b"),
    ("vx-a", "in-a"),  # of different hosts
    ("in-a", "hg-b"),
    ("in-b", "rt-b"),
    ("vx-b", "ov-b"),
    ("hg-b", "ov-a"),
    ("vx-a", "hg-b"),  # of networks that are open to outside
    ("rt-a", "vx-b"),
)


def probes(world: World) -> list[Probe]:
    known = addresses(world)
    found = list[Probe]()
    for wanted, pairs in ((True, PAIRS), (False, FORBIDDEN)):
        for source, target in pairs:
            for address in known[target]:
                found.append(_between(world, source, target, address, wanted, len(found)))
    return found + list(_to_outside(world, len(found)))


def _between(world: World, source: str, target: str, address: IPAddress, wanted: bool, number: int) -> Probe:
    a, b = STEADY.boxes[source], STEADY.boxes[target]
    return Probe(
        name=f"{source} → {target}",
        sock=open_socket(world.namespace(a), address.version),
        address=address,
        hosts=frozenset({a.host, b.host}),
        driver=STEADY.nets[b.net].driver,
        wanted=wanted,
        ident=0x1000 + number,
    )


def _to_outside(world: World, number: int) -> Iterator[Probe]:
    """Out of an internal network, and into it."""
    box = STEADY.boxes["in-a"]
    outside = str(PROC / str(world.lab.host(OUTSIDE).holder.pid) / "ns/net")
    places = [(world.namespace(box), i.ip) for i in world.lab.topology.place(OUTSIDE).addresses]
    places += [(outside, address) for address in addresses(world)[box.name]]
    for at, (namespace, address) in enumerate(places):
        yield Probe(
            name=f"{'outside → in-a' if namespace == outside else 'in-a → outside'}",
            sock=open_socket(namespace, address.version),
            address=ip_address(address),
            hosts=frozenset({box.host}),
            driver="vxlan",
            wanted=False,
            ident=0x1000 + number + at,
        )
