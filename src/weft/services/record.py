"""The records of services. All nodes follow services; what is known of their members' health, those that follow the network."""

from __future__ import annotations

from typing import NamedTuple

from weft.model.record import Follow, Pattern, Record, reads
from weft.services.model import Condition, Service


class At(NamedTuple):
    network: str
    name: str


class Of(NamedTuple):
    """`id`: of the endpoint."""

    network: str
    service: str
    id: str


SERVICE = Pattern("services/{network}/{name}", At)
CONDITION = Pattern("conditions/{network}/{service}/{id}", Of)

SERVICES = Record("services", SERVICE, reads(Service, "network", "name"), by=(("network", "name"),))
CONDITIONS = Record(
    "conditions", CONDITION, reads(Condition), by=(("network", "service", "id"),), follow=Follow.ON_DEMAND
)
