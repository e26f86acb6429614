"""Services, in the words of `weft service create`. Members that are being drained are no part of a document, and stay so.

Virtual addresses and ports of hosts that are left to Weft stay what they are where the service is there already.
"""

from __future__ import annotations

import msgspec

from weft.api import services as s
from weft.base.net import IPAddress
from weft.declared.item import Item, Spec
from weft.declared.own import own
from weft.services import health, publish
from weft.services.model import Health, Service, parse_port

NAME = "Service"


class HealthSpec(Spec, frozen=True, kw_only=True):
    """`check`: as `--health` takes it: tcp[:PORT], http[:PORT]/PATH or api. `interval`, `timeout`: seconds."""

    check: str
    interval: float = 5.0
    timeout: float = 2.0
    rise: int = 1
    fall: int = 3


class ServiceSpec(Spec, frozen=True, kw_only=True):
    """`ports`, `publish`: as `--port` and `--publish` take them. `drain`: seconds."""

    ports: tuple[str, ...] = ()
    select: str = ""
    members: tuple[str, ...] = ()
    namespace: str = ""
    addresses: tuple[IPAddress, ...] = ()
    publish: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    affinity: s.Affinity = "none"
    mode: s.Mode = "vip"
    traffic: s.Traffic = "local-first"
    drain: float = 30.0
    health: HealthSpec | None = None


def to_request(item: Item) -> s.CreateService:
    """Raises Invalid."""
    values = msgspec.structs.asdict(item.spec)
    values["ports"] = tuple(parse_port(text) for text in item.spec.ports)
    values["health"] = _health(item.spec.health)
    return s.CreateService(name=item.name, network=item.scope, labels=item.labels, **values)


def to_changes(item: Item) -> s.SetService:
    """All of it, whatever there is."""
    wanted = msgspec.structs.asdict(to_request(item))
    values = {name: value for name, value in wanted.items() if name not in ("name", "network")}
    return s.SetService(**{**values, "no_health": item.spec.health is None})


def from_service(service: Service) -> Item:
    check = service.health
    same = ("select", "members", "namespace", "addresses", "aliases", "affinity", "mode", "traffic", "drain")
    return Item(
        kind=NAME,
        name=service.name,
        scope=service.network,
        labels=service.labels,
        spec=ServiceSpec(
            **{name: getattr(service, name) for name in same},
            ports=tuple(map(str, service.ports)),
            publish=tuple(map(str, service.published)),
            health=_shown(check) if check else None,
        ),
    )


def settled(wanted: Item, found: Service) -> Item:
    """What is wanted, with what it leaves to Weft as it is of the service that was `found`."""
    spec: ServiceSpec = wanted.spec
    ports = tuple(parse_port(text) for text in spec.ports)
    kept, fresh = publish.settled(tuple(publish.read(text, ports) for text in spec.publish), found.published)
    published = found.published if not fresh and len(kept) == len(found.published) else (*kept, *fresh)
    asked = {address.version for address in spec.addresses}
    left = tuple(a for a in found.addresses if a.version not in asked) if spec.mode == "vip" else ()
    addresses = (*spec.addresses, *left)
    if set(addresses) == set(found.addresses):
        addresses = found.addresses
    return msgspec.structs.replace(
        wanted, spec=msgspec.structs.replace(spec, publish=tuple(map(str, published)), addresses=addresses)
    )


def _health(spec: HealthSpec | None) -> Health | None:
    if spec is None:
        return None
    return health.parse(spec.check, interval=spec.interval, timeout=spec.timeout, rise=spec.rise, fall=spec.fall)


def _shown(check: Health) -> HealthSpec:
    return HealthSpec(
        check=health.shown(check), interval=check.interval, timeout=check.timeout, rise=check.rise, fall=check.fall
    )


def _settle(item: Item) -> Item:
    """Raises Invalid."""
    request = to_request(item)
    wishes = tuple(publish.read(text, request.ports) for text in request.publish)
    model = Service(
        name=request.name,
        network=request.network,
        namespace=request.namespace,
        ports=request.ports,
        select=request.select,
        members=request.members,
        addresses=request.addresses,
        published=tuple(wish for wish in wishes if not wish.open),
        mode=request.mode,
        aliases=request.aliases,
        drain=request.drain,
        health=request.health,
    )
    spec = msgspec.structs.replace(
        item.spec,
        ports=tuple(map(str, model.ports)),
        publish=tuple(map(str, wishes)),
        health=_shown(model.health) if model.health else None,
    )
    return msgspec.structs.replace(item, spec=spec)


KIND = own(NAME, ServiceSpec, _settle, rank=50, scope="network", labelled=True)
