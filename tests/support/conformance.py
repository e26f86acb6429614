"""What every data path has to do, whatever it is: one table of drivers, and checks that each of them is put to.

A line of the table says what a driver is able to. What it can is checked; what it cannot must be refused in plain words. A
driver that needs other surroundings than the reference lab (a kernel with modules, a cloud) names in `elsewhere` what makes
them. A module of tests there can put it to the same `CHECKS`:

    @pytest.fixture(scope="module")
    def case() -> Iterator[Case]: yield build(lab, line("ipvlan"))

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_conformance(case: Case, check: Check) -> None: check(case)

`leaves_nothing` is the last: it takes the network down.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from support.policy_own import own
from support.reach import (
    NODES,
    OUTSIDE,
    UNDERLAY,
    Container,
    PeerServer,
    attached,
    client,
    converged,
    make_network,
    namespaces,
    ping,
    refused,
    seen_as,
    weft,
)
from support.snapshot import Snapshot, difference, snapshot
from support.traffic import Pair, Ping
from support.waiting import until
from weft.lab import Lab

SUBNETS = {4: "10.77.0.0/16", 6: "fd00:77::/48"}
INNER = {4: "10.78.0.0/16", 6: "fd00:78::/48"}
SEGMENT = {4: "192.168.1.0/24", 6: "fd00:192:168:1::/64"}
UPLINK_MTU = 1500
PORT = 8077
_HEADERS = {4: 28, 6: 48}
"""Octets of IP and ICMP around what ping sends."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A driver, and what it is able to.

    `options`: of the network, as `-o` takes them; `second`: of another one beside it. `hosts`: where its containers reach
    each other, of node-1, node-2 on the same segment, and node-4 behind a router. `overhead`: octets that it takes of the
    uplink's MTU. `ttl`: that a container sees of one on another host. `host`: whether a host reaches its own containers.
    `masquerade`: whether outside sees the host instead of the container. `places`: where there are containers, besides node-1;
    `prefixes`: of the network.
    `elsewhere`: what tries it instead, in surroundings of its own, if possible by the same checks."""

    driver: str
    options: Mapping[str, str] = field(default_factory=dict)
    second: Mapping[str, str] = field(default_factory=dict)
    hosts: Sequence[str] = ("node-1", "node-2", "node-4")
    families: Sequence[int] = (4, 6)
    overhead: int = 0
    ttl: int = 62
    host: bool = True
    masquerade: bool = True
    places: Sequence[str] = ("node-2", "node-4")
    prefixes: Mapping[int, str] = field(default_factory=lambda: SUBNETS)
    internal: bool = True
    publish: bool = True
    policy: bool = True
    move: bool = False
    elsewhere: str = ""

    def subnets(self, of: Mapping[int, str] | None = None) -> list[str]:
        return [(of or self.prefixes)[family] for family in self.families]


WIRE: Mapping[str, Any] = {
    "prefixes": SEGMENT,
    "options": {"reserve": "192.168.1.128/25"},
    "second": {"reserve": ""},
    "hosts": ("node-1", "node-2"),
    "places": ("node-2",),
    "ttl": 64,
    **dict.fromkeys(("host", "masquerade", "internal", "publish", "policy"), False),
}
"""Where containers are in the hosts' own network, and their packets pass no host."""

TABLE = (
    Line(driver="bridge", hosts=("node-1",)),
    Line(driver="vxlan", overhead=50),
    Line(driver="host-gw", hosts=("node-1", "node-2")),
    Line(driver="udp", overhead=28, ttl=60),
    Line(driver="overlay", overhead=50, ttl=64, host=False),
    Line(driver="mesh", options={"interface": "ethwe0"}, overhead=124, ttl=64, host=False),
    Line(driver="routed", options={"encap": "vxlan-cross-subnet"}, second={"vni": "4097"}, overhead=50, move=True),
    Line(driver="macvlan", **WIRE),
    Line(driver="ipvlan", elsewhere="vm/test_ipvlan.py"),
    Line(driver="host", elsewhere="e2e/test_host_and_none.py"),
    Line(driver="none", elsewhere="e2e/test_host_and_none.py"),
    Line(driver="aws-vpc", options={"route-table-ids": "auto"}, ttl=61, elsewhere="e2e/test_aws_vpc_conformance.py"),
    Line(driver="neutron-routes", ttl=61, elsewhere="e2e/test_neutron_routes.py"),
    Line(driver="neutron", elsewhere="e2e/test_neutron_agent.py"),
)


def line(driver: str) -> Line:
    """Its line of the table."""
    return next(line for line in TABLE if line.driver == driver)


@dataclass
class Case:
    """A network of the driver, and containers in it: `web` and `near` on node-1, `others` elsewhere by host. `bare`: the hosts
    as they were before there was a network, and as they were before there was an agent."""

    lab: Lab
    line: Line
    bare: Mapping[str, Snapshot]
    web: Container
    near: Container
    others: dict[str, Container]

    @property
    def reached(self) -> list[Container]:
        """Those of other hosts that `web` is to reach."""
        return [self.others[host] for host in self.line.hosts if host in self.others]

    @property
    def network(self) -> str:
        return self.line.driver


Check = Callable[[Case], None]


def build(lab: Lab, line: Line) -> Case:
    """Returns when all reach all that they are to reach."""
    bare = {host: state(lab, host) for host in NODES}
    options = {key.replace("-", "_"): value for key, value in line.options.items()}
    make_network(lab, line.driver, line.driver, *line.subnets(), **options)
    publish = ("--publish", f"{PORT}:{PeerServer.PORT}") if line.publish else ()
    web = attached(lab, "node-1", "web", line.driver, "--label", "app=web", *publish)
    near = attached(lab, "node-1", "near", line.driver, "--label", "app=near")
    others = {h: attached(lab, h, "far", line.driver, "--label", "app=far") for h in line.places}
    case = Case(lab, line, bare, web, near, others)

    def silent() -> str:
        pairs = [(one.name, one.host, f) for one in case.reached for f in line.families if not _meet(web, one, f)]
        return ", ".join(f"{name} on {host} over IPv{family}" for name, host, family in pairs)

    until(lambda: not silent(), 40, lambda: f"{line.driver}: answers of {silent()}")
    return case


def _meet(one: Container, other: Container, family: int) -> bool:
    return ping(one.inside, other.address(family), wait=1).ok and ping(other.inside, one.address(family), wait=1).ok


# ------------------------------------------------------------------------------------------------------------- checks


def reaches(case: Case) -> None:
    """On the same host, on others, and the hosts reach their own. Elsewhere it is told at once that there is no way."""
    for family in case.line.families:
        assert ping(case.web.inside, case.near.address(family)).ok
        assert ping(case.lab.host("node-1"), case.web.address(family), wait=1).ok == case.line.host
        for other in case.reached:
            for source, target in ((case.web, other), (other, case.web)):
                assert ping(source.inside, target.address(family)).ttl == case.line.ttl, f"{source} to {target}"
        for host in case.others.keys() - set(case.line.hosts):
            said = ping(case.web.inside, case.others[host].address(family), wait=20).text
            assert "Unreachable" in said or "No route" in said or "prohibited" in said, said


def keeps_addresses(case: Case) -> None:
    """Nobody is masqueraded on the way to another container; everyone is on the way out, if anybody."""
    for family in case.line.families:
        for target in (case.near, *case.reached):
            with PeerServer(target.inside):
                assert seen_as(case.web.inside, target.address(family)) == case.web.address(family)
        with PeerServer(case.lab.host("outside")):
            for container in (case.web, *case.others.values()):
                own, host = container.address(family), UNDERLAY[container.host][family]
                assert seen_as(container.inside, OUTSIDE[family]) == (host if case.line.masquerade else own)


def carries_its_mtu(case: Case) -> None:
    """All of it, in one piece, to every host; and one octet more is refused."""
    mtu = UPLINK_MTU - case.line.overhead
    for family in case.line.families:
        size = mtu - _HEADERS[family]
        for target in (case.near, *case.reached):
            assert ping(case.web.inside, target.address(family), "-M", "do", "-s", str(size)).ok, target
        more = ping(case.web.inside, target.address(family), "-M", "do", "-s", str(size + 1), "-W", "0.2")
        assert not more.ok and "too long" in more.text.lower(), more.text


def has_its_families(case: Case) -> None:
    for container in (case.web, case.near, *case.others.values()):
        assert sorted(a.version for a in container.endpoint.addresses) == sorted(case.line.families)
    for family in {4, 6} - set(case.line.families):
        words = f"network create other --driver {case.line.driver} --subnet {INNER[family]}"
        assert f"IPv{family}" in refused(case.lab, _with_options(case, words))


def is_internal(case: Case) -> None:
    """Such a network has no way out and none in, but within itself."""
    lab, line = case.lab, case.line
    words = " ".join(f"--subnet {subnet}" for subnet in line.subnets(INNER))
    create = _with_options(case, f"network create inner --driver {line.driver} --internal {words}")
    if not line.internal:
        assert "internal" in refused(lab, create)
        return
    done = weft(lab, "node-1", *create.split())
    assert done.returncode == 0, done.stderr
    converged(lab)
    mine = attached(lab, "node-1", "inner", "inner")
    other = attached(lab, "node-1" if len(line.hosts) == 1 else "node-2", "inner2", "inner")
    for family in line.families:
        until(lambda f=family: _meet(mine, other, f), 20, f"{line.driver}: inside of it, over IPv{family}")
        with PeerServer(other.inside):
            assert seen_as(mine.inside, other.address(family)) == mine.address(family)
        for target in (OUTSIDE[family], case.web.address(family)):
            assert not ping(mine.inside, target, wait=1).ok
    for container in (mine, other):
        _end(lab, container)
    _must(lab, "node-1", "network", "rm", "inner")


def publishes(case: Case) -> None:
    """A port of the host leads to the container, for outside and for other hosts, who are seen as what they are."""
    lab = case.lab
    if not case.line.publish:
        namespaces(lab.host("node-1"), ["web2"])
        assert "publish" in refused(lab, f"attach web2 --network {case.network} --publish {PORT + 1}:80")
        lab.host("node-1").must("end", ["ip", "netns", "del", "web2"])
        return
    with PeerServer(case.web.inside):
        for family in case.line.families:
            assert _connected(case, "outside", family) == OUTSIDE[family]
            assert _connected(case, "node-2", family) == UNDERLAY["node-2"][family]


def _connected(case: Case, source: str, family: int) -> str:
    """Whom the published port's server sees."""
    script = f"exec 3<>/dev/tcp/{UNDERLAY['node-1'][family]}/{PORT} && cat <&3"
    return case.lab.host(source).run(["timeout", "5", "bash", "-c", script], timeout=20).stdout


def obeys_policy(case: Case) -> None:
    """A denial closes the container to its neighbours and to other hosts'; a permission opens it to whom it names."""
    if not case.line.policy:
        _refuses_policy(case)
        return
    sources = [case.near, *case.reached]
    with PeerServer(case.web.inside):
        try:
            _apply(case, [{"action": "Deny"}])
            _await_reach(case, sources, [])
            allowed = [s for s in sources if s.name == "far"] or sources
            _apply(case, [{"action": "Allow", "source": {"selector": f"app == '{allowed[0].name}'"}}])
            _await_reach(case, sources, allowed)
        finally:
            _must(case.lab, "node-1", "policy", "rm", "conformance")
        _await_reach(case, sources, sources)


def _refuses_policy(case: Case) -> None:
    """Where none can be kept, nobody is taken in whom one selects."""
    namespaces(case.lab.host("node-1"), ["closed"])
    _apply(case, [{"action": "Deny"}], "closed")
    try:
        said = refused(case.lab, f"attach closed --network {case.network} --label app=closed")
        assert "conformance selects closed" in said, said
    finally:
        _must(case.lab, "node-1", "policy", "rm", "conformance")
        case.lab.host("node-1").must("end", ["ip", "netns", "del", "closed"])


def _apply(case: Case, ingress: list[dict[str, Any]], app: str = "web") -> None:
    document = own("conformance", selector=f"app == '{app}'", ingress=ingress)
    said = case.lab.host("node-1").run(
        [*case.lab.weft, "policy", "apply", "-f", "-"], input=json.dumps(document), timeout=60
    )
    assert said.returncode == 0, said.stderr


def _await_reach(case: Case, sources: Sequence[Container], wanted: Sequence[Container]) -> None:
    pairs = [(source, family) for source in sources for family in case.line.families]

    def wrong() -> list[str]:
        with ThreadPoolExecutor(len(pairs)) as pool:
            seen = pool.map(lambda pair: _asks(pair[0], case.web.address(pair[1])), pairs)
        expected = [source.address(family) if source in wanted else "" for source, family in pairs]
        found = zip(pairs, seen, expected, strict=True)
        return [
            f"{s.name} on {s.host} is seen as {got or 'nobody'} over IPv{f}" for (s, f), got, e in found if got != e
        ]

    until(lambda: not wrong(), 20, lambda: f"{case.line.driver}: policy: {wrong()}")


def _asks(source: Container, address: str) -> str:
    script = f"exec 3<>/dev/tcp/{address}/{PeerServer.PORT} && cat <&3"
    return source.inside.run(["timeout", "0.5", "bash", "-c", script], timeout=20).stdout


def moves(case: Case) -> None:
    """An address goes along with its container to another host, and back."""
    lab = case.lab
    namespaces(lab.host("node-2"), ["home"])
    try:
        if not case.line.move:
            assert "cannot move" in refused(lab, "endpoint move near home", host="node-2")
            return
        _must(lab, "node-2", "endpoint", "move", "near", "home")
        moved = lab.host("node-2").container("home")
        for family in case.line.families:
            address = case.near.address(family)
            until(lambda a=address: ping(case.web.inside, a, wait=1).ttl == case.line.ttl, 10, f"{address} on node-2")
            assert ping(moved, case.web.address(family)).ok
        _must(lab, "node-1", "endpoint", "move", "near", "near")
        for family in case.line.families:
            until(lambda f=family: _meet(case.web, case.near, f), 10, "it at home again")
    finally:
        lab.host("node-2").must("end", ["ip", "netns", "del", "home"])


def outlives_its_agent(case: Case) -> None:
    """Killed and started again: no packet is lost, nothing is written to the kernel, nothing is left to be done."""
    lab, agent = case.lab, case.lab.agent("node-1")
    target = (*case.reached, case.near)[0]
    before = snapshot(lab.host("node-1"))
    with TemporaryDirectory() as folder:
        flow = Ping(Pair(case.web.inside, target.inside, target.address(case.line.families[0])), Path(folder) / "ping")
        try:
            until(lambda: flow.answered_after(0), 10, "answers")
            agent.end(signal.SIGKILL)
            agent.start()
            agent.wait_ready()
            converged(lab)
            number = flow.latest()
            until(lambda: flow.answered_after(number), 10, "answers after it")
        finally:
            flow.end()
        loss = flow.loss()
    assert loss.lost == 0, loss
    assert client(lab, "node-1").plan().commands == ()
    assert difference(before, snapshot(lab.host("node-1"))) == ""


def leaves_nothing(case: Case) -> None:
    """What a purge of a host leaves, and what the network's removal leaves on all of them, is what was before."""
    lab, agent = case.lab, case.lab.agent("node-2")
    agent.end(signal.SIGTERM)
    _must(lab, "node-2", "agent", "purge", "--yes")
    assert difference(case.bare["node-2"], state(lab, "node-2")) == ""
    agent.start()
    agent.wait_ready()
    for container in (case.web, case.near, *case.others.values()):
        _end(lab, container)
    _must(lab, "node-1", "network", "rm", case.network)
    for host in case.bare:
        _await_bare(case, host)


def _await_bare(case: Case, host: str) -> None:
    def left() -> str:
        return difference(case.bare[host], state(case.lab, host))

    until(lambda: not left(), 20, lambda: f"{case.line.driver}: nothing left on {host}:\n{left()}")


def state(lab: Lab, host: str) -> Snapshot:
    """All that is comparable of a host: its network, and who listens in it."""
    inside = lab.host(host)
    listens = inside.must("sockets", ["ss", "-Hlntu"]).splitlines()
    return snapshot(inside) | {f"socket {' '.join(line.split()[:1] + line.split()[4:])}" for line in listens}


def clear(lab: Lab) -> None:
    """What is left of a case that was not brought to its end, so that the next one begins with nothing."""
    for host in NODES:
        lab.agent(host).start()
        lab.agent(host).wait_ready()
    for host in NODES:
        for name in lab.host(host).containers():
            lab.host(host).must("end", ["ip", "netns", "del", name])
    for network in client(lab, "node-1").networks():
        client(lab, "node-1").remove_network(network.name, force=True)
    converged(lab)


def _end(lab: Lab, container: Container) -> None:
    _must(lab, container.host, "detach", container.name)
    lab.host(container.host).must("end", ["ip", "netns", "del", container.name])


def _must(lab: Lab, host: str, *words: str) -> None:
    done = weft(lab, host, *words)
    assert done.returncode == 0, done.stderr


def _with_options(case: Case, words: str) -> str:
    """Of a second network."""
    options = {**case.line.options, **case.line.second}
    return " ".join((words, *(f"-O {key}={value}" for key, value in options.items())))


HERE = [line for line in TABLE if not line.elsewhere]
"""Those for which the reference lab will do."""

CHECKS: Sequence[Check] = (
    reaches,
    keeps_addresses,
    carries_its_mtu,
    has_its_families,
    is_internal,
    publishes,
    obeys_policy,
    moves,
    outlives_its_agent,
    leaves_nothing,
)
