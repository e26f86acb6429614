"""Audit of virtual addresses: services, their claims and the subnets claimed for them. Pure, as `weft.ipam.audit`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from weft.base.net import IPAddress, IPNetwork, contains
from weft.datapaths import registry
from weft.ipam.audit import Audit, Fault, Fix, as_seen, seen
from weft.ipam.virtual import Room, place
from weft.model import claims, keys
from weft.services.model import Service
from weft.store.protocol import Absent, Delete, Guard, Item, Put

Held = dict[tuple[str, IPAddress], list[tuple[Service, Item]]]
"""(Home, address) → services that have it."""


def faults(audit: Audit) -> Iterator[Fault]:
    held: Held = defaultdict(list)
    for service, item in audit.services:
        for address in service.addresses:
            held[audit.home(service.network), address].append((service, item))
    yield from _of_claims(audit, held)
    for (home, address), found in held.items():
        if len(found) > 1:
            yield _duplicate(home, address, found)
        elif home in audit.networks:
            yield from _of_service(audit, home, address, *found[0])
    yield from _of_subnets(audit, held)


def _of_claims(audit: Audit, held: Held) -> Iterator[Fault]:
    for (network, address), item in audit.addresses.items():
        if claims.is_service(item.value) and (network, address) not in held | audit.living:
            yield Fault(
                network=network,
                kind="claim-without-service",
                subject=str(address),
                node="",
                text=f"claimed for {item.value.decode(errors='replace')}, which has no such address",
                witness=(seen(item),),
                fix=Fix((as_seen(item),), (Delete(item.key),)),
            )


def _duplicate(home: str, address: IPAddress, found: list[tuple[Service, Item]]) -> Fault:
    names = " and ".join(_name(service) for service, _ in found)
    return Fault(
        network=home,
        kind="service-duplicate",
        subject=str(address),
        node="",
        text=f"{names} have the same virtual address: `weft service set --ip` gives one of them another",
        witness=tuple(seen(item) for _, item in found),
    )


def _of_service(audit: Audit, home: str, address: IPAddress, service: Service, own: Item) -> Iterator[Fault]:
    claim, item = keys.address_claim(home, address), audit.addresses.get((home, address))
    said = claims.of_service(service.network, service.name)
    if item is None or item.value != said:
        others = f"which {item.value.decode(errors='replace')} has, too" if item else "that others may be given"
        yield Fault(
            network=home,
            kind="service-without-claim",
            subject=str(address),
            node="",
            text=f"{_name(service)} has a virtual address {others}",
            witness=(seen(own), *([seen(item)] if item else [])),
            fix=None if item else Fix((as_seen(own), Absent(claim)), (Put(claim, said),)),
        )
    if registry.of(audit.networks[home]).addresses.leased:
        yield from _of_its_subnet(audit, home, address, service, own)


def _of_its_subnet(audit: Audit, home: str, address: IPAddress, service: Service, own: Item) -> Iterator[Fault]:
    taken = {s: item for (network, s), item in audit.subnets.items() if network == home}
    found = next((item for s, item in taken.items() if contains(s, address)), None)
    if found is not None and found.value == claims.SERVICES.encode():
        return
    whose = f"in {found.value.decode(errors='replace')}'s subnet" if found else "in a subnet that a node may be given"
    wanted = keys.subnet_claim(home, place(Room(network=audit.networks[home]), address))
    guards: tuple[Guard, ...] = (as_seen(own), Absent(wanted))
    yield Fault(
        network=home,
        kind="service-outside-its-subnet",
        subject=str(address),
        node="",
        text=f"{_name(service)} has a virtual address {whose}",
        witness=(seen(own), *([seen(found)] if found else [])),
        fix=None if found else Fix(guards, (Put(wanted, claims.SERVICES.encode()),)),
    )


def _of_subnets(audit: Audit, held: Held) -> Iterator[Fault]:
    for (network, subnet), item in audit.subnets.items():
        if item.value == claims.SERVICES.encode() and not _used(network, subnet, held):
            yield Fault(
                network=network,
                kind="subnet-without-service",
                subject=str(subnet),
                node="",
                text="claimed for virtual addresses of services, of which none is in it",
                witness=(seen(item),),
                fix=Fix((as_seen(item),), (Delete(item.key),)),
            )


def _used(network: str, subnet: IPNetwork, held: Held) -> bool:
    return any(home == network and contains(subnet, address) for home, address in held)


def _name(service: Service) -> str:
    return f"service {service.network}/{service.name}"
