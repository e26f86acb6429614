"""How services are shown: `weft service ls|show`, and what is told after a change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from weft.api import services as s
from weft.cli.columns import Column, Table
from weft.cli.output import blocks, complain, due, listed, say
from weft.cli.table import Cell, Page, Styled
from weft.services import health as checks
from weft.services.model import Health, Service


def told(done: str, info: s.ServiceInfo) -> None:
    service = info.service
    parts = [f"{service.name} in network {service.network}"]
    parts += [f"address {listed(service.addresses)}"] if service.addresses else ["without a virtual address"]
    parts += [f"published {listed(service.published)}"] if service.published else []
    say(f"{done} service {', '.join(parts)}: {_members(info)}")
    if not info.members:
        complain(f"warning: service {service.name} has no member yet: {_chosen(service)}")
    for text in info.problems:
        complain(f"warning: service {service.name}: {text}")


def _chosen(service: Service) -> str:
    """In a sentence."""
    where = f" of namespace {service.namespace}" if service.namespace else ""
    if service.select:
        return f"no container{where} of network {service.network} has labels {service.select}"
    return f"no container{where} of network {service.network} is called {' or '.join(service.members)}"


def _members(info: s.ServiceInfo) -> str:
    states = Counter(member.state for member in info.members)
    if not info.members:
        return "no members"
    return f"{states['ready']} of {len(info.members)} members ready"


def _counted(info: s.ServiceInfo) -> Cell:
    ready = sum(member.state == "ready" for member in info.members)
    return Styled(f"{ready} of {len(info.members)} ready" if info.members else "none", "" if ready else "warn")


SERVICES: Table[s.ServiceInfo] = Table(
    Column("SERVICE", lambda info: info.service.name),
    Column("NETWORK", lambda info: info.service.network),
    Column("ADDRESSES", lambda info: listed(info.service.addresses), whole=True),
    Column("PORTS", lambda info: listed(info.service.ports), spare=2),
    Column("PUBLISHED", lambda info: listed(info.service.published), spare=1),
    Column("MEMBERS", _counted),
    Column("CHOSEN BY", lambda info: info.service.select or listed(info.service.members), shown=False),
    Column("ALIASES", lambda info: listed(info.service.aliases), shown=False),
    Column("HEALTH", lambda info: checks.shown(info.service.health) if info.service.health else "", shown=False),
    Column("PROBLEMS", lambda info: len(info.problems), shown=False),
    name=lambda info: f"{info.service.network}/{info.service.name}",
    tells=("services",),
)

_TRAFFIC = {
    "local-first": "by published ports to members on the host that is asked, if it has any",
    "any": "by published ports to any member",
}


def details(page: Page, info: s.ServiceInfo) -> Iterator[str]:
    service = info.service
    return blocks(
        page.pairs(
            [
                ("service", service.name),
                ("network", service.network),
                ("aliases", listed(service.aliases)),
                ("addresses", listed(service.addresses) or "none: its name says those of the members"),
                ("ports", listed(service.ports)),
                ("published", listed(service.published)),
                ("members", service.select or f"called {listed(service.members)}"),
                ("namespace", service.namespace),
                ("affinity", "" if service.affinity == "none" else "a client keeps its member"),
                ("traffic", _TRAFFIC[service.traffic] if service.published else ""),
                ("health check", _check(service.health)),
                ("drain", f"{service.drain:g} s"),
                ("made by", "containers' labels" if service.automatic else ""),
            ]
        ),
        _rows(page, info),
        _problems(page, info),
    )


def _check(health: Health | None) -> str:
    if health is None:
        return ""
    if health.kind == "api":
        return "as `weft service report` says"
    return (
        f"{checks.shown(health)} every {health.interval:g} s, answered within {health.timeout:g} s; "
        f"ready after {health.rise}, no longer after {health.fall}"
    )


def _rows(page: Page, info: s.ServiceInfo) -> Iterator[str]:
    if not info.members:
        yield from page.paragraph(f"No members: {_chosen(info.service)}.", "", "warn")
        return
    yield from page.table(
        ("MEMBER", "NODE", "ADDRESSES", "STATE", "CONNECTIONS HERE"),
        [
            (
                member.name,
                member.node,
                listed(member.addresses),
                _state(member),
                "-" if member.connections is None else str(member.connections),
            )
            for member in info.members
        ],
        whole=["ADDRESSES"],
    )


def _state(member: s.MemberInfo) -> Cell:
    if member.state == "ready" and not member.reason:
        return Styled("ready", "good")
    why = f"ends {due(member.until)}" if member.state == "draining" and member.until else member.reason
    return Styled(f"{member.state}: {why}" if why else member.state, "warn")


def _problems(page: Page, info: s.ServiceInfo) -> Iterator[str]:
    if info.problems:
        yield page.paint("PROBLEMS ON THIS NODE", "head")
    for text in info.problems:
        yield from page.paragraph(text, "  ", "warn")
