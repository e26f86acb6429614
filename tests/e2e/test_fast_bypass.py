"""Networks with `fast=bypass` in the reference lab: with bridges and routes, and one L2 subnet over all hosts. They pass those
checks of every driver that are about rules; then what is theirs alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from support import conformance
from support.answering import ask, serving
from support.conformance import Case, Check, build, clear, line
from support.policy_own import own
from support.reach import UNDERLAY, Container, PeerServer, client, converged, weft
from support.services import spread
from support.talk import HELD, Held, Path, Server
from support.waiting import until
from weft.api import services as s
from weft.api import types as t
from weft.bpf.layout import ANY_FLOW
from weft.lab import Lab
from weft.services.model import ServicePort

CHECKS = (conformance.reaches, conformance.keeps_addresses, conformance.publishes, conformance.obeys_policy)
DRIVERS = ("host-gw", "overlay")
FAMILIES = (4, 6)
PORT = HELD[0]
PUBLISHED = conformance.PORT


@pytest.fixture(scope="module", params=DRIVERS)
def case(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Case]:
    """`web` on node-1 publishes a port, `near` there and `far` on node-2 do not."""
    found = line(request.param)
    try:
        yield build(
            lab,
            dataclasses.replace(
                found, options={**found.options, "fast": "bypass"}, hosts=("node-1", "node-2"), places=("node-2",)
            ),
        )
    finally:
        clear(lab)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(case: Case, check: Check) -> None:
    check(case)


def path(lab: Lab, host: str, name: str) -> str:
    return f"/proc/{lab.host(host).holder.pid}/root/run/netns/{name}"


@contextmanager
def held(case: Case, source: Container, target: Container) -> Iterator[list[Held]]:
    """A connection in each family that is kept."""
    lab = case.lab
    with closing(Server(path(lab, target.host, target.name))) as server:
        source_ns = path(lab, source.host, source.name)
        some = [Path(f"IPv{f}", source_ns, server, target.address(f)).held(PORT) for f in FAMILIES]
        try:
            yield some
        finally:
            for each in some:
                each.close()


def tracked(case: Case, host: str, one: Container, other: Container) -> list[str]:
    """What the host's conntrack knows of connections between the two."""
    found = []
    for family in FAMILIES:
        words = ["conntrack", "-L", "-f", f"ipv{family}", "-p", "tcp", "--dport", str(PORT)]
        listed = case.lab.host(host).must("conntrack", words)
        ends = one.address(family), other.address(family)
        found += [each for each in listed.splitlines() if all(f"={end} " in each for end in ends)]
    return found


def test_nothing_is_tracked_but_who_needs_it(case: Case) -> None:
    """Only one of the two networks passes the host's own rules."""
    far = case.others["node-2"]
    with held(case, case.near, far) as some:
        assert all(each.passes() for each in some)
        for host in ("node-1", "node-2"):
            assert not tracked(case, host, case.near, far)
    with held(case, case.web, far) as some:
        assert all(each.passes() for each in some)
        wanted = len(FAMILIES) if case.network == "host-gw" else 0
        assert len(tracked(case, "node-1", case.web, far)) == wanted
        assert not tracked(case, "node-2", case.web, far)


COUNTER = """
table {family} count {{
  chain forward {{ type filter hook forward priority 10; {ip} saddr {source} {ip} daddr {target} counter; }}
}}
"""


@pytest.mark.parametrize("family", FAMILIES)
def test_new_connections_go_past_the_hosts_rules(case: Case, family: int) -> None:
    """One that somebody adds sees one packet in five seconds each way."""
    lab, far = case.lab, case.others["node-2"]
    if not client(lab, "node-1").network(case.network).fast.startswith("bypass"):
        pytest.skip("the kernel has no tcx")
    inside, table = (["ip", "netns", "exec", "weft-overlay"], "bridge") if case.network == "overlay" else ([], "inet")
    ends = {"source": case.near.address(family), "target": far.address(family), "ip": "ip" if family == 4 else "ip6"}
    host = lab.host("node-1")
    host.must("counting", [*inside, "nft", "-f", "-"], input=COUNTER.format(family=table, **ends))
    try:
        with serving(far.inside, "far", f"tcp/{8100 + family}"):
            found = spread(case.near.inside, far.address(family), 8100 + family, 300)
        assert found.by["far"] == 300, found.failed
        told = host.must("counting", [*inside, "nft", "-j", "list", "table", table, "count"])
    finally:
        host.must("counting", [*inside, "nft", "delete", "table", table, "count"])
    rules = (each["rule"]["expr"] for each in json.loads(told)["nftables"] if "rule" in each)
    (packets,) = [part["counter"]["packets"] for expr in rules for part in expr if "counter" in part]
    assert 0 < packets < 150, packets


def test_a_port_at_the_hosts_address_in_the_network(case: Case) -> None:
    """There, what looks like the network's own traffic is translated."""
    far = case.others["node-2"]
    if case.network != "host-gw":
        return  # hosts have none
    with PeerServer(case.web.inside):
        for family in FAMILIES:
            address = case.web.gateway(family)
            script = f"exec 3<>/dev/tcp/{address}/{PUBLISHED} && cat <&3"
            seen = far.inside.run(["timeout", "5", "bash", "-c", script], timeout=20).stdout
            assert seen == far.address(family)


def apply(case: Case, name: str, selector: str, ingress: list[dict[str, object]]) -> None:
    document = own(name, selector=selector, ingress=ingress)
    said = case.lab.host("node-1").run(
        [*case.lab.weft, "policy", "apply", "-f", "-"], input=json.dumps(document), timeout=60
    )
    assert said.returncode == 0, said.stderr


def remove(case: Case, name: str) -> None:
    assert weft(case.lab, "node-1", "policy", "rm", name).returncode == 0
    converged(case.lab)


FROM_FAR: list[dict[str, object]] = [{"action": "Allow", "source": {"selector": "app == 'far'"}}]


def test_a_policy_comes_and_goes(case: Case) -> None:
    """It holds for connections that are open when it comes: untracked ones end, whoever speaks. Those that begin under it go on
    when it goes, and so do those of others."""
    far = case.others["node-2"]
    with held(case, far, case.web) as bystanders, held(case, case.near, far) as before:
        apply(case, "near", "app == 'near'", FROM_FAR)
        try:
            ends = [not one.passes(server_first=first) for one in before for first in (False, True)]
            assert all(ends), ends
            with pytest.raises(OSError), held(case, case.web, case.near):
                pass
            with held(case, far, case.near) as under:
                assert all(one.passes(server_first=True) and one.passes() for one in under)
                remove(case, "near")
                assert all(one.passes(server_first=True) and one.passes() for one in under)
        finally:
            weft(case.lab, "node-1", "policy", "rm", "near")
        assert all(one.passes() for one in bystanders)
        with held(case, case.web, case.near) as after:
            assert all(one.passes() for one in after)


OTHERS_MARK = f"""
table inet marks {{
  chain last {{ type filter hook postrouting priority 400; meta mark set meta mark | {ANY_FLOW:#x}; }}
}}
"""
"""A bit that says: all that these two addresses send each other."""


def test_a_mark_of_somebody_elses_lets_nothing_pass(case: Case) -> None:
    """Not even where what sets it comes after all rules of ours at the hook forward: other products use these bits, too."""
    open_to, closed_to = 8210, 8211
    host, far = case.lab.host("node-1"), case.others["node-2"]
    inside = ["ip", "netns", "exec", "weft-overlay"] if case.network == "overlay" else []
    allowed: list[dict[str, object]] = [{"action": "Allow", "protocol": "TCP", "destination": {"ports": [open_to]}}]
    apply(case, "one-port", "app == 'near'", allowed)
    host.must("others' rules", [*inside, "nft", "-f", "-"], input=OTHERS_MARK)
    try:
        with serving(case.near.inside, "near", f"tcp/{open_to}", f"tcp/{closed_to}"):
            for source in (case.web, far):
                for family in FAMILIES:
                    address = case.near.address(family)
                    ports = [open_to] * 20 + [closed_to]
                    *heard, refused = ask(source.inside, *(f"tcp,{address},{port}" for port in ports))
                    assert {each[0] for each in heard} == {"near"}
                    assert isinstance(refused, str), f"{source.name} reached {refused}"
    finally:
        host.must("others' rules", [*inside, "nft", "delete", "table", "inet", "marks"])
        remove(case, "one-port")


def test_a_service_in_it(case: Case) -> None:
    """With members on both hosts, asked from both. What is open to members directly goes on when it comes and when it goes."""
    lab, far = case.lab, case.others["node-2"]
    clients = {"node-1": case.web, "node-2": far}
    with (
        held(case, case.web, far) as direct,
        serving(case.near.inside, "near", "tcp/8080"),
        serving(far.inside, "far", "tcp/8080"),
    ):
        made = client(lab, "node-1").create_service(
            s.CreateService(
                name="front",
                network=case.network,
                members=("near", "far"),
                ports=(ServicePort(port=80, target=8080),),
                publish=("8099:80",),
            )
        )
        try:
            virtual = {a.version: str(a) for a in made.service.addresses}

            def answered() -> dict[tuple[str, int], set[str]]:
                targets = {f: [f"tcp,{virtual[f]},80"] * 12 for f in FAMILIES}
                asked = {(h, f): ask(c.inside, *targets[f]) for h, c in clients.items() for f in FAMILIES}
                return {k: {a if isinstance(a, str) else a[0] for a in found} for k, found in asked.items()}

            everywhere = {(host, f): {"near", "far"} for host in clients for f in FAMILIES}
            until(lambda: answered() == everywhere, 20, lambda: f"both members to answer everywhere: {answered()}")
            for host in ("node-1", "node-2"):
                for family in FAMILIES:
                    port = f"tcp,{UNDERLAY[host][family]},8099"
                    (found,) = ask(lab.host("outside"), port)
                    assert found[0] in ("near", "far"), found
                    (found,) = ask(case.web.inside, port)
                    assert found[0] in ("near", "far"), found
            assert all(one.passes() and one.passes(server_first=True) for one in direct)
        finally:
            client(lab, "node-1").remove_service(f"{case.network}/front")
        assert all(one.passes() and one.passes(server_first=True) for one in direct)


def test_switched_under_traffic(case: Case) -> None:
    """Open connections do not notice."""
    far = case.others["node-2"]
    with held(case, case.near, far) as some:
        for fast in ("checked", "bypass"):
            client(case.lab, "node-1").set_network(case.network, t.SetNetwork(options={"fast": fast}))
            converged(case.lab)
            assert all(one.passes() and one.passes(server_first=True) for one in some), fast
