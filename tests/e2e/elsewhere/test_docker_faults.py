"""Faults on a host with Docker's bridge networks and no agent: each is injected by a script, `weft trace` names it, and what it
says mends it, run as it stands, does. On healthy paths it names none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.elsewhere import Fault, Plain, ending
from support.waiting import until

OUTSIDE = "203.0.113.10"


@pytest.fixture(scope="module")
def one(hosts: dict[str, Plain]) -> Plain:
    host = hosts["node-1"]
    docker = host.engine.docker
    docker("network", "create", "back")
    docker("network", "create", "--internal", "inner")
    docker("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "apart")
    for name, options in {
        "web": (),
        "db": ("-p", "8080:80"),
        "other": ("--network", "back"),
        "shut": ("--network", "inner"),
        "shut2": ("--network", "inner"),
        "n1": ("--network", "apart"),
        "n2": ("--network", "apart"),
    }.items():
        host.run(name, *options)
    return host


def faults(one: Plain) -> dict[str, Fault]:
    web, db, other, n2 = (
        one.address("web"),
        one.address("db"),
        one.address("other", "back"),
        one.address("n2", "apart"),
    )
    in_web, veth, back = one.inside("web"), one.veth("db"), one.bridge("back")
    to_db, out = lambda: one.pings("web", db), lambda: one.pings("web", OUTSIDE)
    saved = "iptables-nft-restore < /run/saved"
    made = [
        Fault("veth down", f"ip link set {veth} down", ("web", "db"), ("link-down",), to_db, f"ip link set {veth} up"),
        Fault(
            "port out of its bridge",
            f"ip link set {veth} nomaster; {in_web} ip neigh flush dev eth0",
            ("web", "db"),
            ("not-in-bridge",),
            to_db,
            f"ip link set {veth} master docker0",
        ),
        Fault(
            "bridge down", "ip link set docker0 down", ("web", "db"), ("bridge-down",), to_db, "ip link set docker0 up"
        ),
        Fault(
            "ports isolated",
            f"bridge link set dev {veth} isolated on; bridge link set dev {one.veth('web')} isolated on",
            ("web", "db"),
            ("port-isolated",),
            to_db,
            f"bridge link set dev {veth} isolated off; bridge link set dev {one.veth('web')} isolated off",
        ),
        Fault(
            "wrong neighbour entry",
            f"{in_web} ip neigh replace {db} lladdr 02:42:ac:11:00:99 dev eth0 nud permanent",
            ("web", "db"),
            ("stale-neighbour",),
            to_db,
            f"{in_web} ip neigh del {db} dev eth0 || true",
        ),
        Fault(
            "container without a default route",
            f"{in_web} ip route del default",
            ("web", OUTSIDE),
            ("no-route-in-container",),
            out,
            f"{in_web} ip route replace default via 172.17.0.1",
        ),
        Fault(
            "forwarding off",
            "sysctl -qw net.ipv4.ip_forward=0",
            ("web", OUTSIDE),
            ("forwarding-off",),
            out,
            "sysctl -qw net.ipv4.ip_forward=1",
        ),
        Fault(
            "blackhole route",
            "ip route add blackhole 203.0.113.0/24",
            ("web", OUTSIDE),
            ("blackhole",),
            out,
            "ip route del blackhole 203.0.113.0/24 || true",
        ),
        Fault(
            "somebody's rule in DOCKER-USER",
            f"iptables-nft -I DOCKER-USER -s {web} -d {OUTSIDE} -j DROP",
            ("web", OUTSIDE),
            ("rule-drops",),
            out,
            saved,
            says=f"-A DOCKER-USER -s {web}/32 -d {OUTSIDE}/32 -j DROP",
        ),
        Fault(
            "a rule in the other iptables",
            f"iptables-legacy -t raw -I PREROUTING -s {web} -p icmp -m comment --comment 'no pings' -j DROP",
            ("web", OUTSIDE),
            ("rule-drops",),
            out,
            "iptables-legacy -t raw -F",
            says=f'-A PREROUTING -s {web}/32 -p icmp -m comment --comment "no pings" -j DROP',
        ),
        Fault(
            "rules flushed, policy drop stays",
            "iptables-nft -F FORWARD",
            ("web", OUTSIDE),
            ("forward-policy",),
            out,
            saved,
            says="-P FORWARD DROP",
        ),
        Fault(
            "two networks are apart",
            "true",
            ("web", "other"),
            ("rule-drops", "network-isolated"),
            lambda: one.pings("web", other),
            saved,
            says="DOCKER-ISOLATION-STAGE-2",
        ),
        Fault(
            "a network without icc",
            "true",
            ("n1", "n2"),
            ("bridge-nf", "rule-drops"),
            lambda: one.pings("n1", n2),
            saved,
            says=f"-i {one.bridge('apart')} -o {one.bridge('apart')} -j DROP",
        ),
        Fault(
            "no masquerade",
            "iptables-nft -t nat -D POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
            ("web", OUTSIDE),
            ("no-masquerade",),
            out,
            saved,
        ),
        Fault(
            "reverse path filter",
            f"ip route add {web}/32 dev {back}; sysctl -qw net.ipv4.conf.docker0.rp_filter=1",
            ("web", OUTSIDE),
            ("rp-filter",),
            lambda: "bytes from" in one.sh(f"{in_web} ping -c1 -W1 {OUTSIDE} || true"),
            f"ip route del {web}/32 dev {back}; sysctl -qw net.ipv4.conf.docker0.rp_filter=0",
        ),
    ]
    return {fault.name: fault for fault in made}


NAMES = (
    "veth down",
    "port out of its bridge",
    "bridge down",
    "ports isolated",
    "wrong neighbour entry",
    "container without a default route",
    "forwarding off",
    "blackhole route",
    "somebody's rule in DOCKER-USER",
    "a rule in the other iptables",
    "rules flushed, policy drop stays",
    "two networks are apart",
    "a network without icc",
    "no masquerade",
)


@pytest.fixture(scope="module")
def known(one: Plain) -> dict[str, Fault]:
    one.sh("iptables-nft-save > /run/saved")
    return faults(one)


@pytest.fixture
def fault(request: pytest.FixtureRequest, one: Plain, known: dict[str, Fault]) -> Iterator[Fault]:
    found = known[request.param]
    one.sh(found.inject)
    try:
        yield found
    finally:
        one.sh(found.undo)


@pytest.mark.parametrize("fault", NAMES, indirect=True)
def test_a_fault_is_named_and_what_mends_it_does(one: Plain, fault: Fault) -> None:
    assert not fault.works(), "the fault does no harm"
    told = ending(one.trace(*fault.trace))
    assert told["fault"] in fault.kinds, told
    assert fault.says in told["text"], told
    assert told["host"] == "node-1"
    one.sh(told["fix"])
    until(fault.works, 20, f"it works: {told}")
    after = ending(one.trace(*fault.trace))
    assert after["ending"] in ("delivered", "left"), after


@pytest.mark.parametrize(
    "words",
    [
        ("web", "db"),
        ("web", "db", "--port", "80"),
        ("db", "web"),
        ("web", OUTSIDE),
        ("other", OUTSIDE, "--port", "443"),
        ("shut", "shut2"),
        ("node-1", "web"),
        ("web", "node-1"),
        ("n1", OUTSIDE),
        ("db", "192.168.1.12"),
    ],
    ids=" ".join,
)
def test_nothing_is_named_where_packets_get_through(one: Plain, words: tuple[str, ...]) -> None:
    found = one.trace(*words)
    assert ending(found)["ending"] in ("delivered", "left"), found
    assert not found["there"]["outcome"].get("fault")
