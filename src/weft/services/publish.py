"""Published ports of a service, as users write them: `8000`, `8000:80`, `:80`, `192.168.1.5:8000/udp`."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from weft.base.errors import Conflict, Invalid
from weft.model.ports import PortIndex, PublishedPort, parse, says_inner
from weft.services.model import Service, ServicePort

CHOSEN_FROM = 30_000, 32_767
"""Of these a port is chosen where the choice is left to us, as Swarm and Kubernetes do: no kernel gives them to programs that
want any."""


def read(text: str, ports: tuple[ServicePort, ...]) -> PublishedPort:
    """Where it does not say to which port of the service it leads, that is the one of the same number, or the only one of
    its protocol. Its port of the hosts may be left open. Raises Invalid."""
    wish = parse(text)
    mine = [port.port for port in ports if port.protocol == wish.protocol]
    listed = ", ".join(map(str, ports)) or "it has no ports"
    if {inner for _, inner in wish.pairs} <= set(mine):
        return wish
    if says_inner(text):
        raise Invalid(f"published port {text}: it leads to none of the service's ports ({listed})")
    if len(mine) != 1 or wish.count != 1:
        raise Invalid(
            f"published port {text}: say to which of the service's ports it leads ({listed}), as in 8000:80/tcp"
        )
    return msgspec.structs.replace(wish, container_port=mine[0])


def apart(ports: Iterable[PublishedPort], others: Iterable[Service]) -> None:
    """Raises Conflict where another service has one of the ports, at whatever address: a host that packets are handed on to
    tells services apart by the port alone (`weft.datapaths._entries`)."""
    held = PortIndex[str]()
    for service in others:
        for port in service.published:
            held.add(_anywhere(port), port.families, f"service {service.network}/{service.name} ({port})")
    for port in ports:
        if (whose := held.holder(_anywhere(port), port.families)) is not None:
            raise Conflict(
                f"port {port.outer} leads to {whose} at another address, and services share no port: publish another"
            )


def _anywhere(port: PublishedPort) -> PublishedPort:
    return msgspec.structs.replace(port, host_ip=None)


def settled(
    wishes: tuple[PublishedPort, ...], had: tuple[PublishedPort, ...]
) -> tuple[list[PublishedPort], list[PublishedPort]]:
    """What of the wishes is granted by what a service has already, and the other wishes. What may have been chosen grants a
    wish for any port first."""
    first, last = CHOSEN_FROM
    left = sorted(had, key=lambda port: not first <= port.host_port <= last)
    kept, fresh = list[PublishedPort](), list[PublishedPort]()
    for wish in sorted(wishes, key=lambda port: port.open):
        found = next((port for port in left if port.grants(wish)), None)
        if found is None:
            fresh.append(wish)
        else:
            left.remove(found)
            kept.append(found)
    return kept, fresh
