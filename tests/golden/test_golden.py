"""What each data path makes of a small model, as the commands an operator knows.

A case is a folder `<datapath>/<case>/` with an `input.toml` (network, host, nodes, endpoints; see `_read`) and the
`expected.txt` that goes with it. `UPDATE_GOLDEN=1 pytest tests/golden` writes them anew: read the difference.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import lab
from support.parts import all_of_endpoint
from weft.base.net import parse_network
from weft.cluster import footprint
from weft.compile import isolation, services
from weft.datapaths import _encryption, guard
from weft.datapaths.driver import MEANS, Site, gather
from weft.datapaths.driver import Path as Way
from weft.datapaths.registry import DRIVERS, driver
from weft.datapaths.traits import KnownBy
from weft.hoststate import Contribution, Object
from weft.model import Endpoint, Location, Network, Node
from weft.model.codec import convert
from weft.reconcile.kinds.table import KINDS
from weft.reconcile.protocol import Create
from weft.reconcile.render import script
from weft.services.index import Member
from weft.services.model import Service

HERE = Path(__file__).parent
CASES = sorted(path.parent for path in HERE.glob("*/*/input.toml"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.name}")
def test_commands(case: Path) -> None:
    given = tomllib.loads((case / "input.toml").read_text())
    model = _read(given)
    got = _text([*_sections(*model), *_services(given, *model)])
    expected = case / "expected.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(got)
    assert got == expected.read_text()


def test_every_driver_has_cases() -> None:
    assert {case.parent.name for case in CASES} == set(DRIVERS)


def _read(given: dict[str, Any]) -> tuple[Site, list[Node], list[Endpoint], list[Location]]:
    """`network`: a Network. `nodes`: who takes part, of those in `support.lab`, the first being this host. `node.NAME`:
    what is different about one. `host`: facts about this one; `fast`: which means for the short
    way its kernel has. `endpoints`: its own. `locations`: of others' containers.
    `services`: see `_services`."""
    network = convert(Network, given["network"])
    changed = given.get("node", {})
    nodes = [lab.node(name, **changed.get(name, {})) for name in given["nodes"]]
    facts = dict(given.get("host", {}))
    facts["iptables"] = frozenset(map(tuple, facts.get("iptables", ())))
    facts["advertised"] = frozenset(facts.get("advertised", ()))
    facts["trusted"] = tuple(map(parse_network, facts.get("trusted", ())))
    facts["lacking"] = frozenset({*MEANS, *facts.get("lacking", ())} - set(facts.pop("fast", ())))
    facts["paths"] = convert(dict[str, Way], facts.get("paths", {}))
    endpoints = [convert(Endpoint, values) for values in given.get("endpoints", ())]
    locations = [convert(Location, values) for values in given.get("locations", ())]
    return lab.site(network, nodes[0], **facts), nodes[1:], endpoints, locations


def _text(sections: Iterable[tuple[str, Contribution]]) -> str:
    problems: list[str] = []
    lines: list[str] = []
    for title, contribution in sections:
        ops = [Create(obj) for obj in sorted(contribution.objects, key=_order)]
        lines += [f"# {title}", *script(ops), ""]
        problems += [f"{title}: {problem}" for problem in contribution.problems]
    return "\n".join([*lines, "# problems", *problems, ""])


def _order(obj: Object) -> int:
    """The kernel's kinds first, then those of targets."""
    kinds = list(KINDS)
    return kinds.index(obj.kind) if obj.kind in KINDS else len(kinds)


def _sections(
    site: Site, peers: list[Node], endpoints: list[Endpoint], locations: list[Location]
) -> Iterator[tuple[str, Contribution]]:
    used = driver(site.network.driver)
    yield "network", gather(used.network(site))
    if apart := list(isolation.answer({site.network.name: site.network}, lambda _: site)):
        yield "all networks", gather(iter(apart))
    for peer in peers[:1]:
        yield f"node {peer.name}", gather(guard.known_node(site.host.node, peer))
    if site.options.secured is not None:
        for peer in peers:
            yield f"encryption {peer.name}", gather(_encryption.pair(site.host, peer, [site.options.secured]))
    if used.known_by is KnownBy.LOCATIONS:
        yield "segment", gather(used.segment(site))
    else:
        for peer in peers:
            yield f"peer {peer.name}", gather(used.peer(site, peer, lab.lease(site.network, peer)))
    for found in locations:
        node = next(peer for peer in peers if peer.name == found.node)
        yield f"location {found.addresses[0]}", gather(used.location(site, node, found))
    for endpoint in endpoints:
        yield f"endpoint {endpoint.name}", gather(all_of_endpoint(site, endpoint))


def _services(
    given: dict[str, Any], site: Site, _peers: list[Node], endpoints: list[Endpoint], locations: list[Location]
) -> Iterator[tuple[str, Contribution]]:
    """`services`: each with all containers as its members, ready."""
    at = driver(site.network.driver).balancer(site)
    found = [*map(footprint.location, endpoints), *locations]
    members = [Member(str(number), where, "ready") for number, where in enumerate(found)]
    for values in given.get("services", ()):
        assert at is not None
        service = convert(Service, values)
        yield "all services", gather(services.common(site, at))
        virtual = services.virtual(service, members, site.host.node.name)
        yield f"service {service.name}", gather(services.answer(site, at, virtual))
