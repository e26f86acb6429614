"""Requests and replies of the agent's API about services. The rules of `weft.api.types` hold here, too."""

from __future__ import annotations

from typing import Literal

import msgspec

from weft.api import limits
from weft.api.types import Reply, Request
from weft.base.errors import Invalid
from weft.base.net import IPAddress
from weft.services.model import Health, Service, ServicePort, check_drain

Affinity = Literal["none", "client-ip"]
Mode = Literal["vip", "names"]
Traffic = Literal["local-first", "any"]

MEMBERS = 1_024
"""Named by one service."""
PUBLISHED = 256
"""Of one service."""
ALIASES = 64
"""Of one service."""
LONGEST_REASON = 200
"""Characters: why a member is not ready."""


class CreateService(Request, frozen=True, kw_only=True):
    """As `weft.services.model.Service`, but: `addresses` are wishes, one of each family at most; what is left out is chosen.
    `publish`: `[HOSTIP:][HOSTPORT][:PORT][/PROTOCOL]`; without HOSTPORT one is chosen, without PORT it leads to the service's
    port of the same number, or its only one. Exactly one of `select` and `members` says which containers are meant."""

    name: str
    network: str
    namespace: str = ""
    ports: tuple[ServicePort, ...] = ()
    select: str = ""
    members: tuple[str, ...] = ()
    addresses: tuple[IPAddress, ...] = ()
    publish: tuple[str, ...] = ()
    affinity: Affinity = "none"
    mode: Mode = "vip"
    traffic: Traffic = "local-first"
    drain: float = 30.0
    health: Health | None = None
    aliases: tuple[str, ...] = ()
    labels: dict[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self)


class SetService(Request, frozen=True, kw_only=True):
    """What is None stays as it is; a list that is given takes the place of the one before. Of `select` and `members` one takes
    the place of the other. `no_health`: there is to be no health check any more."""

    namespace: str | None = None
    ports: tuple[ServicePort, ...] | None = None
    select: str | None = None
    members: tuple[str, ...] | None = None
    addresses: tuple[IPAddress, ...] = ()
    publish: tuple[str, ...] | None = None
    affinity: Affinity | None = None
    mode: Mode | None = None
    traffic: Traffic | None = None
    drain: float | None = None
    health: Health | None = None
    no_health: bool = False
    aliases: tuple[str, ...] | None = None
    labels: dict[str, str] | None = None

    def __post_init__(self) -> None:
        _check(self)
        if self.health and self.no_health:
            raise Invalid("service: a health check is given, and none is wanted: say one of them")


class Drain(Request, frozen=True, kw_only=True):
    """`member`: a container's name, or the id of its endpoint. `back`: it takes new connections again."""

    member: str
    back: bool = False

    def __post_init__(self) -> None:
        limits.check_text("member", self.member)


class ReportHealth(Request, frozen=True, kw_only=True):
    """`member`: as for `Drain`. `reason`: why it is not ready, in one line."""

    member: str
    ready: bool
    reason: str = ""

    def __post_init__(self) -> None:
        limits.check_text("member", self.member)
        if len(self.reason) > LONGEST_REASON or not self.reason.isprintable():
            raise Invalid(f"health of {self.member}: the reason is one line of at most {LONGEST_REASON} characters")
        if self.ready and self.reason:
            raise Invalid(f"health of {self.member}: a reason says why it is not ready: leave it out")


class MemberInfo(Reply, frozen=True, kw_only=True):
    """`state`: "ready", "unready", "draining" or "out". `reason`: why it is not ready; of one that is, which of its ports the
    service looks for and it does not have. `connections`: open ones from or by way of the node that answers;
    None where they were not counted. `until`: when one that is drained has its connections ended."""

    id: str
    name: str
    node: str
    addresses: tuple[IPAddress, ...]
    state: str
    reason: str = ""
    until: float | None = None
    connections: int | None = None


class ServiceInfo(Reply, frozen=True, kw_only=True):
    """`members`: in the order of their names. `problems`: what cannot be had of it on the node that answers."""

    service: Service
    members: tuple[MemberInfo, ...] = ()
    problems: tuple[str, ...] = ()


def _check(request: CreateService | SetService) -> None:
    """Raises Invalid."""
    limits.at_most("service: members", request.members or (), MEMBERS)
    limits.at_most("service: published ports", request.publish or (), PUBLISHED)
    limits.at_most("service: aliases", request.aliases or (), ALIASES)
    limits.at_most("service: addresses", request.addresses, limits.ADDRESSES)
    if len({address.version for address in request.addresses}) < len(request.addresses):
        raise Invalid(f"service: {', '.join(map(str, request.addresses))}: at most one virtual address of each family")
    if request.drain is not None:
        check_drain(request.drain)
    for text in (*(request.publish or ()), request.select or ""):
        limits.check_text("service", text)
    if request.select and request.members:
        raise Invalid("service: select members by labels or name them, not both")
