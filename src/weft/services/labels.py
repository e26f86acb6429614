"""Services that containers ask for by their labels.

weft.service=NAME            it is a member of the service NAME of its network, which is made where there is none
weft.service.port=80:8080    ports of the service, with commas between
weft.service.publish=8000    ports of all hosts that lead to it, with commas between
weft.service.alias=www       further names, with commas between
"""

from __future__ import annotations

from collections.abc import Mapping

from weft.base.errors import Invalid
from weft.services.model import Service, parse_port

LABEL = "weft.service"
PORT, PUBLISH, ALIAS = f"{LABEL}.port", f"{LABEL}.publish", f"{LABEL}.alias"
DETAILS = (PORT, PUBLISH, ALIAS)
"""Their values are no words that one could select by."""


def wanted(network: str, labels: Mapping[str, str]) -> tuple[Service, tuple[str, ...]] | None:
    """The service, without addresses and published ports, and the ports to be published; None where no label asks for one.
    Without a port it has no virtual address, and its name says the members' addresses. Raises Invalid."""
    name = labels.get(LABEL)
    if name is None:
        return None
    if not name:
        raise Invalid(f"{LABEL} says no name: write it like {LABEL}=web, or leave the label out")
    ports = tuple(map(parse_port, _listed(labels, PORT)))
    service = Service(
        name=name,
        network=network,
        ports=ports,
        select=f"{LABEL}={name}",
        mode="vip" if ports else "names",
        aliases=_listed(labels, ALIAS),
        automatic=True,
    )
    return service, _listed(labels, PUBLISH)


def others(labels: Mapping[str, str]) -> dict[str, str]:
    """Without those whose values are lists: what can be selected by."""
    return {key: value for key, value in labels.items() if key not in DETAILS}


def _listed(labels: Mapping[str, str], key: str) -> tuple[str, ...]:
    return tuple(text for part in labels.get(key, "").split(",") if (text := part.strip()))
