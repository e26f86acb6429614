"""Services in the reference lab: by their virtual addresses, on drivers of each kind and in both families. Three members on two
hosts, clients on three."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from support.answering import ask, serving
from support.policy_own import own
from support.reach import Container, attached, client, make_network, ping, weft
from support.services import Spread, echoing, is_even, line, spread
from support.waiting import until
from weft.api import services as s
from weft.lab import Lab
from weft.services.model import ServicePort

NETWORKS = {"vx": ("vxlan", 21), "over": ("overlay", 22), "pure": ("routed", 23)}
"""By name: driver, and a number for the prefixes."""
MEMBERS = {"a": "node-1", "b": "node-1", "c": "node-2"}
CLIENTS = ("node-1", "node-2", "node-3")
CONNECTIONS = 1000
"""Of each client."""
KEPT = 9000
PORTS = (
    ServicePort(port=80, target=8080),
    ServicePort(port=53, target=5353, protocol="udp"),
    ServicePort(port=KEPT),
    ServicePort(port=KEPT, protocol="udp"),
)
BY_HOST = ("vx", "pure")
"""Networks whose packets pass in the host's namespace, so that the host itself reaches them."""
FAMILIES = (4, 6)
REFUSED = {"ConnectionRefusedError", "PermissionError"}
EACH = pytest.mark.parametrize("network", NETWORKS)
BOTH = pytest.mark.parametrize("family", FAMILIES)


class World:
    """Containers of a network, by name: members `a`, `b`, `c`, and a client on each host by the host's name."""

    def __init__(self, lab: Lab, network: str, stack: ExitStack) -> None:
        self.lab, self.network = lab, network
        self.containers: dict[str, Container] = {}
        for name, host in MEMBERS.items():
            # Somebody else's door is no way in for services.
            publish = ("--publish", f"18{NETWORKS[network][1]}:8080") if name == "a" else ()
            found = self.containers[name] = attached(
                lab, host, f"{network}-{name}", network, "--label", "app=web", *publish
            )
            stack.enter_context(serving(found.inside, name, "tcp/8080", "udp/5353"))
            stack.enter_context(echoing(found.inside, name, KEPT))
        for host in CLIENTS:
            self.containers[host] = attached(lab, host, f"{network}-{host}", network, "--label", f"at={host}")

    def vip(self, family: int, service: str = "web") -> str:
        found = client(self.lab, "node-1").service(f"{self.network}/{service}").service
        return str(next(a for a in found.addresses if a.version == family))

    def spreads(self, family: int, protocol: str = "tcp", count: int = CONNECTIONS) -> dict[str, Spread]:
        """From the client on each host, two at once."""
        vip, port = self.vip(family), 80 if protocol == "tcp" else 53
        with ThreadPoolExecutor(2) as pool:
            found = pool.map(lambda h: spread(self.containers[h].inside, vip, port, count, protocol), CLIENTS)
            return dict(zip(CLIENTS, found, strict=True))

    def answering(self, host: str, family: int, service: str = "web") -> Spread:
        """What thirty connections say. Of three members, one is left out by them once in 60,000 times."""
        return spread(self.containers[host].inside, self.vip(family, service), 80, 30)

    def settled(self, *names: str, service: str = "web") -> None:
        """Waits until clients of all hosts reach these members and no others, by both families."""
        for host in CLIENTS:
            for family in FAMILIES:
                until(
                    lambda h=host, f=family: set(self.answering(h, f, service).by) == set(names),  # type: ignore[misc]
                    30,
                    f"{', '.join(names)} alone to answer {host}",
                )


def create(lab: Lab, network: str, name: str, select: str = "app=web", **more: Any) -> None:
    values: dict[str, Any] = {"ports": PORTS, "select": select, **more}
    client(lab, "node-1").create_service(s.CreateService(name=name, network=network, **values))


@contextmanager
def service(world: World, name: str, select: str = "app=web", *members: str, **more: Any) -> Iterator[None]:
    """As long as it is needed. `members`: who answers everywhere before it begins."""
    create(world.lab, world.network, name, select, **more)
    try:
        world.settled(*members, service=name)
        yield
    finally:
        client(world.lab, "node-1").remove_service(f"{world.network}/{name}")


@pytest.fixture(scope="module")
def worlds(lab: Lab) -> Iterator[dict[str, World]]:
    """In each network a service `web`."""
    with ExitStack() as stack:
        found = {}
        for name, (driver, number) in NETWORKS.items():
            subnets = f"10.{number}.0.0/16", f"fd00:{number}::/48" if driver == "routed" else f"fd00:{number}::/56"
            make_network(lab, name, driver, *subnets)
            found[name] = World(lab, name, stack)
            create(lab, name, "web")
        for world in found.values():
            world.settled(*MEMBERS)
        yield found


# --------------------------------------------------------------------------------------------------------- who answers


@EACH
@BOTH
def test_connections_are_spread_evenly(worlds: dict[str, World], network: str, family: int) -> None:
    """And members see clients by their own addresses. Each network has a service of this name."""
    world, total = worlds[network], Counter[str]()
    for host, found in world.spreads(family).items():
        assert not found.failed
        assert found.seen == {world.containers[host].address(family)}, host
        assert is_even(found.by, 3), (host, found.by)
        total += found.by
    assert is_even(total, 3), total


def test_on_one_host(lab: Lab) -> None:
    """The driver `bridge`: members of the client's own host only."""
    make_network(lab, "lone", "bridge", "10.24.0.0/16", "fd00:24::/48")
    with ExitStack() as stack:
        for name in ("a", "b"):
            member = attached(lab, "node-4", f"lone-{name}", "lone", "--label", "app=web")
            stack.enter_context(serving(member.inside, name, "tcp/8080"))
        elsewhere = attached(lab, "node-3", "lone-c", "lone", "--label", "app=web")
        stack.enter_context(serving(elsewhere.inside, "c", "tcp/8080"))
        near = attached(lab, "node-4", "lone-client", "lone")
        create(lab, "lone", "web")
        for address in client(lab, "node-4").service("lone/web").service.addresses:
            until(lambda a=address: len(spread(near.inside, str(a), 80, 30).by) == 2, 20, "both members")  # type: ignore[misc]
            found = spread(near.inside, str(address), 80, 300)
            assert not found.failed and is_even(found.by, 2), found
            assert found.seen == {near.address(address.version)}


@EACH
@BOTH
def test_udp(worlds: dict[str, World], network: str, family: int) -> None:
    world = worlds[network]
    for host, found in world.spreads(family, "udp", 200).items():
        assert not found.failed and found.seen == {world.containers[host].address(family)}, host
        assert is_even(found.by, 3), (host, found.by)


@EACH
@BOTH
def test_a_member_may_call_its_own_service(worlds: dict[str, World], network: str, family: int) -> None:
    """Others see it as it is; it sees itself come from somewhere else, or the answer would not find its way."""
    world = worlds[network]
    for name in ("a", "c"):
        member = world.containers[name]
        found = spread(member.inside, world.vip(family), 80, 60)
        assert not found.failed and set(found.by) == set(MEMBERS)
        assert member.address(family) in found.seen and len(found.seen) == 2


@EACH
@BOTH
def test_ping(worlds: dict[str, World], network: str, family: int) -> None:
    world = worlds[network]
    assert all(ping(world.containers[host].inside, world.vip(family)).ok for host in CLIENTS)


@pytest.mark.parametrize("network", BY_HOST)
@BOTH
def test_hosts_themselves(worlds: dict[str, World], lab: Lab, network: str, family: int) -> None:
    world = worlds[network]
    for host in ("node-1", "node-3"):
        found = spread(lab.host(host), world.vip(family), 80, 30)
        assert not found.failed and set(found.by) == set(MEMBERS), host


@pytest.mark.parametrize("network", ("over", "pure"))
def test_a_client_keeps_its_member(worlds: dict[str, World], network: str) -> None:
    """Also when another one goes."""
    world = worlds[network]
    create(world.lab, network, "sticky", affinity="client-ip")
    try:
        kept = {}
        for host in CLIENTS:
            for family in FAMILIES:
                until(lambda h=host, f=family: not world.answering(h, f, "sticky").failed, 30, "an answer")  # type: ignore[misc]
                found = world.answering(host, family, "sticky").by
                assert len(found) == 1, (host, family, found)
                kept[host, family] = next(iter(found))
        gone = kept["node-1", 4]
        assert weft(world.lab, "node-1", "service", "drain", f"{network}/sticky", f"{network}-{gone}").returncode == 0
        until(lambda: gone not in world.answering("node-1", 4, "sticky").by, 10, f"{gone} to be drained")
        for (host, family), member in kept.items():
            if member != gone:
                assert set(world.answering(host, family, "sticky").by) == {member}, (host, family)
    finally:
        client(world.lab, "node-1").remove_service(f"{network}/sticky")


@EACH
def test_without_a_member_it_refuses_at_once(worlds: dict[str, World], lab: Lab, network: str) -> None:
    world = worlds[network]
    create(lab, network, "empty", "app=nobody")
    try:
        places = [world.containers[host].inside for host in CLIENTS]
        places += [lab.host("node-3")] if network in BY_HOST else []
        targets = [
            f"{proto},{world.vip(family, 'empty')},{port}"
            for family in FAMILIES
            for proto, port in (("tcp", 80), ("udp", 53))
        ]
        for place in places:
            # What a host itself would send is rejected before it is sent.
            until(lambda p=place: set(ask(p, *targets)) <= REFUSED, 10, lambda p=place: f"refusal: {ask(p, *targets)}")  # type: ignore[misc]
        other = [f"tcp,{world.vip(family)},81" for family in FAMILIES]  # a port that it does not have
        assert ask(places[0], *other) == ["ConnectionRefusedError"] * 2
    finally:
        client(lab, "node-1").remove_service(f"{network}/empty")


# ------------------------------------------------------------------------------------------------- who may, who may not


def test_other_networks_do_not_come_in_by_it(worlds: dict[str, World]) -> None:
    """Also to members that have published ports."""

    def heard(network: str, family: int) -> list[list[str] | str]:
        other = worlds[next(name for name in BY_HOST if name != network)]
        return ask(other.containers["node-1"].inside, *[f"tcp,{worlds[network].vip(family)},80"] * 6)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(heard, BY_HOST * 2, (4, 4, 6, 6)):
            assert found == ["TimeoutError"] * 6


def test_policy_sees_both_ends(worlds: dict[str, World], lab: Lab) -> None:
    """Members that may not be reached from one client are not reached by way of the service either."""
    denied = {"action": "Deny", "source": {"selector": "at == 'node-1'"}}
    document = own("closed", "default", "app == 'web'", ingress=[denied, {"action": "Allow"}])
    done = lab.host("node-1").run([*lab.weft, "policy", "apply", "-f", "-"], input=json.dumps(document), timeout=60)
    assert done.returncode == 0, done.stderr
    places = [(world, family) for world in worlds.values() for family in FAMILIES]

    def is_closed(world: World, family: int) -> bool:
        near, vip = world.containers["node-1"].inside, world.vip(family)
        for member in ("b", "c"):
            direct = f"tcp,{world.containers[member].address(family)},8080"
            until(lambda to=direct: ask(near, to) == ["TimeoutError"], 20, "a closed member")  # type: ignore[misc]
        return ask(near, *[f"tcp,{vip},80"] * 3) == ["TimeoutError"] * 3

    try:
        with ThreadPoolExecutor(len(places)) as pool:
            assert all(pool.map(is_closed, *zip(*places, strict=True)))
        assert not any(world.answering("node-3", family).failed for world, family in places)
    finally:
        assert weft(lab, "node-1", "policy", "rm", "policy/default/closed").returncode == 0
    for world, family in places:
        until(lambda w=world, f=family: not w.answering("node-1", f).failed, 20, "an open service")  # type: ignore[misc]


# ----------------------------------------------------------------------------------------------- what becomes of members


@pytest.mark.parametrize("network", ("vx", "over"))
def test_connections_of_a_drained_member(worlds: dict[str, World], network: str) -> None:
    """They go on until its time is over, those of others beyond that; what has no end moves at once."""
    world = worlds[network]
    drain = "service", "drain", f"{network}/some", f"{network}-a"
    with service(world, "some", "app=web", *MEMBERS, drain=300.0), ExitStack() as stack:
        lines = [
            (proto, stack.enter_context(line(world.containers[host].inside, world.vip(family, "some"), KEPT, proto)))
            for host in CLIENTS
            for family in FAMILIES
            for proto in ("tcp", "tcp", "tcp", "udp")
        ]
        first = [found.asked() for _, found in lines]
        assert set(first) <= set(MEMBERS)
        assert weft(world.lab, "node-2", *drain).returncode == 0
        world.settled("b", "c", service="some")
        for (proto, found), before in zip(lines, first, strict=True):
            now = found.asked()
            assert now == before or (proto == "udp" and before == "a" and now in ("b", "c")), (proto, before, now)
        mine = [(found, before) for (proto, found), before in zip(lines, first, strict=True) if proto == "tcp"]
        for words in ((*drain, "--back"), ("service", "set", f"{network}/some", "--drain", "1"), drain):
            assert weft(world.lab, "node-2", *words).returncode == 0
        of_a = [found for found, before in mine if before == "a"]
        until(lambda: all(found.asked() != "a" for found in of_a), 15, "the end of drained connections")
        assert all(found.asked() == before for found, before in mine if before != "a")


@pytest.mark.parametrize("network", ("over", "pure"))
def test_connections_of_a_member_that_is_gone_are_ended(worlds: dict[str, World], network: str) -> None:
    world = worlds[network]
    names = [f"{network}-{name}" for name in ("b", "c")]
    with service(world, "few", "", "b", "c", members=tuple(names)), ExitStack() as stack:
        lines = [
            stack.enter_context(line(world.containers[host].inside, world.vip(family, "few"), KEPT))
            for host in CLIENTS
            for family in FAMILIES
            for _ in range(3)
        ]
        first = [found.asked() for found in lines]
        assert weft(world.lab, "node-1", "service", "set", f"{network}/few", "--member", names[0]).returncode == 0
        world.settled("b", service="few")
        for found, before in zip(lines, first, strict=True):
            assert found.asked() == ("b" if before == "b" else "ConnectionResetError"), before
