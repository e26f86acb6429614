"""What a user says of a container for policy, by options of its endpoint: Docker hands those to a driver, and no labels of
containers."""

from __future__ import annotations

import msgspec

from weft.base.errors import Invalid
from weft.docker.messages import Options
from weft.docker.networks import PREFIX
from weft.model import NamedPort
from weft.model.identity import check_labels, check_namespace, parse_port
from weft.services.labels import others

LABEL, NAMESPACE, PORT = "weft.label.", "weft.namespace", "weft.port-name."


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """`namespace`: "" where nothing is said of it."""

    labels: dict[str, str] = {}
    namespace: str = ""
    ports: tuple[NamedPort, ...] = ()


def said(options: Options | None) -> Said:
    """Raises Invalid."""
    given = {key: str(value) for key, value in (options or {}).items() if key.startswith(PREFIX)}
    namespace = given.pop(NAMESPACE, "")
    labels = {key.removeprefix(LABEL): value for key, value in given.items() if key.startswith(LABEL)}
    ports = [(key.removeprefix(PORT), value) for key, value in given.items() if key.startswith(PORT)]
    if unknown := [key for key in given if not key.startswith((LABEL, PORT))]:
        raise Invalid(
            f"unknown option {unknown[0]} of an endpoint: there are {LABEL}KEY=VALUE, {NAMESPACE}=NAME and "
            f"{PORT}NAME=PORT[/PROTO]"
        )
    check_labels("option weft.label", others(labels))
    return Said(
        labels=labels,
        namespace=check_namespace(namespace) if namespace else "",
        ports=tuple(parse_port(f"{name}={port}") for name, port in ports),
    )
