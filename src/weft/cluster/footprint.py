"""What an endpoint is in the store: its own record, and all that is written beside it.

This is the one place that knows. Attaching, moving, floating, detaching and writing back are all the same step here, from
what an endpoint was (or nothing) to what it is to be (or nothing): keys that are new or say something else are put, keys
that nobody needs any more are deleted. Whoever gives endpoints a record of another kind adds a function to `PARTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from weft.alloc.addresses import mac_for
from weft.cluster.view import View
from weft.datapaths.traits import Switched
from weft.model import Endpoint, Location, encode, keys
from weft.model.identity import selectable
from weft.store.checks import MAX_PARTS
from weft.store.protocol import Absent, Delete, Guard, Op, Put, Unchanged


class Place(msgspec.Struct, frozen=True):
    """What of an endpoint's network decides on its records. `home`: the network whose addresses it has. `claimed`: each of
    these is claimed. `switched`: how far its containers' frames go."""

    home: str
    claimed: bool
    switched: Switched


def place(view: View, network: str) -> Place:
    """Of a network that is gone nothing is known, and its endpoints may have left all there can be."""
    if network not in view.networks:
        return Place(network, claimed=True, switched=Switched.EVERYWHERE)
    driver = view.driver(network)
    return Place(view.home(network), claimed=driver.addresses.claimed, switched=driver.switched)


def key_of(endpoint: Endpoint) -> str:
    """Of its own record."""
    return keys.endpoint(endpoint.node, endpoint.network, endpoint.id)


def holder(endpoint: Endpoint) -> bytes:
    """What a claim says."""
    return f"{endpoint.name} on {endpoint.node}".encode()


def mac_claim(endpoint: Endpoint, at: Place) -> str:
    """Key of the claim; "" where this endpoint needs none: its MAC address is the usual one, which is made of its address
    and as unique as that, it is alone on its link, or others see to it."""
    usual = not endpoint.addresses or endpoint.mac == mac_for(endpoint.addresses[0].ip)
    if at.switched in (Switched.NOWHERE, Switched.ELSEWHERE) or usual:
        return ""
    return keys.mac_claim(endpoint.network, "" if at.switched is Switched.EVERYWHERE else endpoint.node, endpoint.mac)


def location(endpoint: Endpoint) -> Location:
    return Location(
        node=endpoint.node,
        mac=endpoint.mac,
        addresses=tuple(a.ip for a in endpoint.addresses),
        name=endpoint.name,
        namespace=endpoint.policy_namespace,
        labels=selectable(endpoint.labels),
        ports=endpoint.named_ports,
        aliases=endpoint.aliases,
    )


TOGETHER = MAX_PARTS - 8
"""Operations that removals may take of one transaction."""

Records = Iterator[tuple[str, bytes]]


def _record(endpoint: Endpoint, at: Place) -> Records:
    yield key_of(endpoint), encode(endpoint)


def _location(endpoint: Endpoint, at: Place) -> Records:
    yield keys.location(endpoint.network, endpoint.id), encode(location(endpoint))


def _addresses(endpoint: Endpoint, at: Place) -> Records:
    for address in endpoint.addresses if at.claimed else ():
        yield keys.address_claim(at.home, address.ip), holder(endpoint)


def _floating(endpoint: Endpoint, at: Place) -> Records:
    for address in endpoint.floating:
        yield keys.floating_claim(address), holder(endpoint)


def _mac(endpoint: Endpoint, at: Place) -> Records:
    if key := mac_claim(endpoint, at):
        yield key, holder(endpoint)


def _name(endpoint: Endpoint, at: Place) -> Records:
    if endpoint.name_claimed:
        yield keys.name_claim(endpoint.network, endpoint.name), holder(endpoint)


PARTS: tuple[Callable[[Endpoint, Place], Records], ...] = (_record, _location, _addresses, _floating, _mac, _name)


def of(endpoint: Endpoint | None, at: Place) -> dict[str, bytes]:
    """All its records: key → value."""
    return {key: value for part in PARTS for key, value in part(endpoint, at)} if endpoint else {}


def together(endpoints: Iterable[Endpoint]) -> Iterator[list[Endpoint]]:
    """So many at a time as one transaction can remove, with some to spare for what else it has to do."""
    some, parts = list[Endpoint](), 0
    for endpoint in endpoints:
        most = 4 + len(endpoint.addresses) + len(endpoint.floating)  # itself, its location, its MAC address, its name
        if some and parts + most > TOGETHER:
            yield some
            some, parts = [], 0
        some.append(endpoint)
        parts += most
    if some:
        yield some


def step(
    old: Endpoint | None, new: Endpoint | None, at: Place, tenure: int, over: Mapping[str, int] = {}
) -> tuple[list[Guard], list[Op]]:
    """What makes one into the other, and what has to hold for that: whatever of `new` must be unique is nobody's yet.
    `tenure`: the store lease of the new one's node. `over`: claims that are there and may be taken over, with their revisions.
    That `old` is still so is the caller's to guard."""
    before, after = of(old, at), of(new, at)
    fresh = [key for key in after if key not in before and not key.startswith(keys.LOCATIONS)]
    guards: list[Guard] = [Unchanged(key, over[key]) if key in over else Absent(key) for key in fresh]
    ops: list[Op] = [Put(key, value, tenure) for key, value in after.items() if before.get(key) != value]
    return guards, [*ops, *(Delete(key) for key in before if key not in after)]


def removal(endpoint: Endpoint, at: Place) -> list[Op]:
    """What takes it out of the store."""
    return step(endpoint, None, at, 0)[1]
