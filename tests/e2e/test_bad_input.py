"""What is wrong is said in one line on stderr: what, where, what to do about it; and nothing is changed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from support.bgp import established, sessions
from support.reach import NODES, Container, client, make_network, namespaces, refused, run, run_everywhere, shown, weft
from support.snapshot import difference, snapshot
from support.waiting import until
from weft.datapaths.registry import DRIVERS
from weft.lab import Lab
from weft.lab.host import Host


def options(driver: str) -> str:
    """All that there are, as a message lists them."""
    return ", ".join(sorted(field.encode_name for field in msgspec.structs.fields(DRIVERS[driver].options)))


NOBODY = shlex.split("setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all")


@pytest.fixture(scope="module")
def blue(lab: Lab) -> list[Container]:
    """Network `blue`, 10.1.0.0/16 and fd00:1::/48, with a container on each node; a namespace `new` on node-1."""
    make_network(lab, "blue", "vxlan", "10.1.0.0/16", "fd00:1::/48")
    namespaces(lab.host("node-1"), ["new"])
    return run_everywhere(lab, "blue")


# ------------------------------------------------------------------------------------------------------- networks

NETWORKS = {
    "overlap with a network": (
        "x --driver vxlan --subnet 10.1.128.0/17 -O vni=2",
        "network x: 10.1.128.0/17 overlaps 10.1.0.0/16 of network blue: choose another --subnet",
    ),
    "v6 overlap": (
        "x --driver vxlan --subnet fd00:1:0:8000::/49 -O vni=2",
        "network x: fd00:1:0:8000::/49 overlaps fd00:1::/48 of network blue: choose another --subnet",
    ),
    "overlap with a host": (
        "x --driver host-gw --subnet 192.168.0.0/16",
        "network x: 192.168.0.0/16 overlaps node-1's own network 192.168.1.0/24 on eth0: choose another --subnet",
    ),
    "too small": (
        "x --driver host-gw --subnet 10.2.0.0/29",
        "network x: 10.2.0.0/29 is too small: it has to hold four node subnets of /30 at least, choose a /28 or larger",
    ),
    "too small for its node-prefix": (
        "x --driver host-gw --subnet 10.2.0.0/24 -O node-prefix=25",
        "network x: node-prefix=25 does not suit 10.2.0.0/24: choose 26 to 30",
    ),
    "host bits": (
        "x --driver host-gw --subnet 10.2.0.1/16",
        "'10.2.0.1/16' has host bits set: did you mean 10.2.0.0/16?",
    ),
    "no such length": (
        "x --driver host-gw --subnet 10.2.0.0/33",
        "'10.2.0.0/33' is not a prefix: write it like 10.1.0.0/16 or fd00:1::/48",
    ),
    "no prefix at all": (
        "x --driver host-gw --subnet banana",
        "'banana' is not a prefix: write it like 10.1.0.0/16 or fd00:1::/48",
    ),
    "multicast": (
        "x --driver host-gw --subnet 224.0.0.0/8",
        "network x: 224.0.0.0/8 is multicast: choose a private prefix, such as 10.1.0.0/16 or fd00:1::/48",
    ),
    "scope": (
        "x --driver bridge --subnet fd00:77::%x/48",
        "'fd00:77::%x/48' is not a prefix: write it like 10.1.0.0/16 or fd00:1::/48",
    ),
    "reserved": (
        "x --driver bridge --subnet 255.255.255.0/24",
        "network x: 255.255.255.0/24 has addresses of 240.0.0.0/4, which is reserved, and broadcast: choose a private prefix, "
        "such as 10.1.0.0/16 or fd00:1::/48",
    ),
    "two of a family": (
        "x --driver host-gw --subnet 10.2.0.0/16 --subnet 10.3.0.0/16",
        "network x: at most one subnet of each family, got 10.2.0.0/16, 10.3.0.0/16",
    ),
    "taken VNI": (
        "x --driver vxlan --subnet 10.2.0.0/16 -O vni=1",
        "network x: VNI 1 is taken by network blue: choose another, such as -O vni=2, or leave -O vni out and get a free one",
    ),
    "VNI out of range": (
        "x --driver vxlan --subnet 10.2.0.0/16 -O vni=16777216",
        "vni=16777216 is outside 1 to 16777215 (RFC 7348: 24 bits)",
    ),
    "taken name": (
        "blue --driver host-gw --subnet 10.2.0.0/16",
        "network blue exists: choose another name, or remove it first",
    ),
    "unknown driver": (
        "x --driver pigeon --subnet 10.2.0.0/16",
        f"unknown driver 'pigeon': choose one of {', '.join(sorted(DRIVERS))}",
    ),
    "unknown option": (
        "x --driver vxlan --subnet 10.2.0.0/16 -O vnii=2",
        f"driver vxlan has no option 'vnii': did you mean vni? it takes {options('vxlan')}",
    ),
    "another driver's option": (
        "x --driver host-gw --subnet 10.2.0.0/16 -O vni=2",
        f"driver host-gw has no option 'vni': it takes {options('host-gw')}",
    ),
    "ill-typed number": (
        "x --driver vxlan --subnet 10.2.0.0/16 -O vni=two",
        "driver vxlan: option vni=two is not a whole number",
    ),
    "ill-typed switch": (
        "x --driver vxlan --subnet 10.2.0.0/16 -O vni=2 -O direct-routing=maybe",
        "driver vxlan: option direct-routing=maybe is not true or false",
    ),
    "unknown word": (
        "x --driver vxlan --subnet 10.2.0.0/16 -O vni=2 -O underlay=ipx",
        "driver vxlan: option underlay=ipx is not ipv4 or ipv6",
    ),
    "option of a family that it has not": (
        "x --driver host-gw --subnet 10.2.0.0/16 -O node-prefix-v6=64",
        "network x: node-prefix-v6=64 given, but the network has no IPv6 prefix: leave it out, or add one with --subnet",
    ),
    "reservation outside": (
        "x --driver host-gw --subnet 10.2.0.0/16 -O reserve=10.3.0.0/24",
        "network x: reserve=10.3.0.0/24 is not inside 10.2.0.0/16: reserve only what is part of the network",
    ),
    "pools that overlap": (
        "x --driver routed --subnet 10.2.0.0/16 --subnet 10.2.4.0/24",
        "network x: subnets 10.2.0.0/16 and 10.2.4.0/24 overlap: leave one of them out",
    ),
    "pool of another network": (
        "x --driver routed --subnet 10.2.0.0/16 --subnet 10.1.3.0/24",
        "network x: 10.1.3.0/24 overlaps 10.1.0.0/16 of network blue: choose another --subnet",
    ),
    "block larger than its pool": (
        "x --driver routed --subnet 10.2.0.0/28",
        "network x: a block of /26 is larger than 10.2.0.0/28: choose a larger subnet, or block-size of 28 or more",
    ),
    "block size": (
        "x --driver routed --subnet 10.2.0.0/16 -O block-size=12",
        "block-size=12 is outside 20 to 32 (a prefix length)",
    ),
    "IPIP and IPv6 only": (
        "x --driver routed --subnet fd00:2::/48 -O encap=ipip-cross-subnet",
        "network x: encap=ipip-cross-subnet carries IPv4 only, and there is no IPv4 subnet: use -O encap=vxlan-cross-subnet",
    ),
    "IPIP and an IPv6 underlay": (
        "x --driver routed --subnet 10.2.0.0/16 -O encap=ipip -O underlay=ipv6",
        "encap=ipip sends between IPv4 addresses only: underlay=ipv6 takes encap=vxlan",
    ),
    "unknown encapsulation": (
        "x --driver routed --subnet 10.2.0.0/16 -O encap=gre",
        "driver routed: option encap=gre is not never or ipip or ipip-cross-subnet or vxlan or vxlan-cross-subnet",
    ),
    "a share of what shares nothing": (
        "x --driver routed -O share=blue",
        "network x: share=blue is of driver vxlan, not routed: share another one, or give --subnet instead",
    ),
    "MTU": (
        "x --driver host-gw --subnet 10.2.0.0/16 --mtu 100",
        "network x: MTU 100 is outside 576 to 65535",
    ),
    "name": (
        "'X Y' --driver host-gw --subnet 10.2.0.0/16",
        "'X Y' is not a network name: use 1 to 63 of a-z, 0-9, '.', '_', '-', beginning and ending with a letter or digit",
    ),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_networks_that_cannot_be(lab: Lab, blue: list[Container], case: str) -> None:
    words, message = NETWORKS[case]
    assert refused(lab, f"network create {words}") == message


def test_they_left_nothing(lab: Lab, blue: list[Container]) -> None:
    assert [n["name"] for n in json.loads(weft(lab, "node-1", "network", "ls", "-o", "json").stdout)] == ["blue"]
    links = {link["ifname"] for link in shown(lab.host("node-1"), "ip -j link")}
    assert links == {"lo", "eth0", "weft-blue", "weft.1", blue[0].endpoint.host_interface}
    # Not even the names and numbers are taken.
    done = weft(lab, "node-1", "network", "create", "x", "--driver", "vxlan", "--subnet", "10.2.0.0/16", "-O", "vni=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert weft(lab, "node-1", "network", "rm", "x").returncode == 0


def test_a_network_in_use_is_not_removed(lab: Lab, blue: list[Container]) -> None:
    assert refused(lab, "network rm blue") == (
        "network blue has 4 endpoints (blue-1 on node-1, blue-2 on node-2, blue-3 on node-3): detach them first, "
        "or use --force"
    )


def test_a_node_that_lives_is_not_removed(lab: Lab) -> None:
    assert refused(lab, "node rm node-2") == (
        "node-2's agent is running: stop it and `weft agent purge` there, or use --force if the host is gone for good"
    )


# ------------------------------------------------------------------------------------------------------------ BGP

AS_RULE = "choose 1 to 4294967294, but not 23456 or 65535 (RFC 6793, RFC 7300)"
COMMUNITY_RULE = "write 64512:100 (two numbers to 65535, RFC 1997) or 64512:1:100 (three to 4294967295, RFC 8092)"
PEERS = {
    "a node's own address": (
        "--address 192.168.1.68 --asn 65001",
        "bgp peer x: 192.168.1.68 is node-1's own address: nodes peer by themselves; give a router's",
    ),
    "another node's": (
        "--address fd00:192:168::33 --asn 65001",
        "bgp peer x: fd00:192:168::33 is node-4's own address: nodes peer by themselves; give a router's",
    ),
    "no AS": ("--address 192.168.1.9 --asn 0", f"bgp peer x: AS 0 is none: {AS_RULE}"),
    "a reserved AS": ("--address 192.168.1.9 --asn 23456", f"bgp peer x: AS 23456 is none: {AS_RULE}"),
    "no community": (
        "--address 192.168.1.9 --asn 65001 --community 70000:1",
        f"bgp peer x: '70000:1' is no community: {COMMUNITY_RULE}",
    ),
    "no address": (
        "--address banana --asn 65001",
        "'banana' is not an IP address: write it like 10.1.0.5 or fd00::5",
    ),
    "hold time": (
        "--address 192.168.1.9 --asn 65001 --hold-time 2",
        "bgp peer x: hold-time 2 is outside 3 to 65535 seconds (RFC 4271)",
    ),
    "selector": (
        "--address 192.168.1.9 --asn 65001 --nodes rack==a",
        "'rack==a' in selector 'rack==a' is none of KEY=VALUE, KEY!=VALUE, KEY, !KEY",
    ),
    "no such file": (
        "--address 192.168.1.9 --asn 65001 --password-file /nowhere",
        "password file /nowhere: No such file or directory",
    ),
}


@pytest.mark.parametrize("case", PEERS)
def test_routers_that_cannot_be_peered_with(lab: Lab, case: str) -> None:
    words, message = PEERS[case]
    assert refused(lab, f"bgp peer add x {words}") == message
    assert client(lab, "node-1").bgp_peers() == ()


def test_bgp_settings_that_cannot_be(lab: Lab) -> None:
    before = client(lab, "node-1").bgp_settings()
    assert refused(lab, "bgp set --asn 65535") == f"bgp: AS 65535 is none: {AS_RULE}"
    assert refused(lab, "bgp set --hold-time 2") == "bgp: hold-time 2 is outside 3 to 65535 seconds (RFC 4271)"
    assert client(lab, "node-1").bgp_settings() == before


STUBBORN = """#!/bin/sh
# BIRD, given one line more than it can do with when it is to check a configuration.
if [ "$1" = -p ]; then echo "protocol nonsense { }" >>"$3"; fi
exec /run/true-bird "$@"
"""


def test_what_bird_refuses_is_told_in_a_line_and_the_old_stays(lab: Lab, blue: list[Container]) -> None:
    """BIRD's own refusal, brought about in node-3's mount namespace."""
    make_network(lab, "prod", "routed", "10.6.0.0/16")
    established(lab, NODES, 3)
    since = {key: session.since for key, session in sessions(lab, "node-3").items()}
    place = lab.host("node-3")
    place.must("BIRD", ["cp", "/usr/sbin/bird", "/run/true-bird"])
    place.must("script", ["sh", "-c", "cat >/run/bird.sh && chmod 755 /run/bird.sh"], input=STUBBORN)
    place.must("mount", ["mount", "--bind", "/run/bird.sh", "/usr/sbin/bird"])

    def reason() -> str:
        found = client(lab, "node-3").status().bgp
        return found.reason if found else ""

    run(lab, "node-3", "prod-3", "prod")  # its block is new in what BIRD announces
    until(reason, 10, "node-3 to say so")
    try:
        assert reason().startswith("BIRD refuses its configuration: ") and "\n" not in reason(), reason()
        assert "syntax error" in reason()
        assert {k: s.since for k, s in sessions(lab, "node-3").items()} == since
    finally:
        place.must("mount", ["umount", "/usr/sbin/bird"])
    until(lambda: not reason(), 40, lambda: f"node-3 without trouble: {reason()}")
    lab.rm("node-3", "prod-3")
    client(lab, "node-1").remove_network("prod")


# ---------------------------------------------------------------------------------------------------------- pools


def test_pools_that_cannot_be(lab: Lab, blue: list[Container]) -> None:
    make_network(lab, "prod", "routed", "10.6.0.0/16")
    before = client(lab, "node-1").pools("prod")
    for words, message in (
        ("add prod 10.6.3.0/24", "network prod: subnets 10.6.0.0/16 and 10.6.3.0/24 overlap: leave one of them out"),
        (
            "add prod 10.1.3.0/24",
            "network prod: 10.1.3.0/24 overlaps 10.1.0.0/16 of network blue: choose another --subnet",
        ),
        ("add prod 10.7.0.0/16 --nodes a==b", "'a==b' in selector 'a==b' is none of KEY=VALUE, KEY!=VALUE, KEY, !KEY"),
        ("add prod 10.7.0.0/28", "network prod: a block of /26 is larger than 10.7.0.0/28: "),
    ):
        assert refused(lab, f"pool {words}").startswith(message)
    assert (
        refused(lab, "pool set prod 10.7.0.0/16 --disable", 4)
        == "network prod has no pool 10.7.0.0/16: it has 10.6.0.0/16"
    )
    assert client(lab, "node-1").pools("prod") == before
    client(lab, "node-1").remove_network("prod")


# ------------------------------------------------------------------------------------------------------ addresses

ADDRESSES = {
    "another network's": ("172.16.0.1", "172.16.0.1 is outside node-1's subnet {subnet}: choose one from {room}"),
    "the network's own": (
        "{base}0",
        "{base}0 is the network address of node-1's subnet {subnet}: choose one from {room}",
    ),
    "the gateway's": ("{base}1", "{base}1 is the gateway of node-1's subnet {subnet}: choose one from {room}"),
    "broadcast": (
        "{base}255",
        "{base}255 is the broadcast address of node-1's subnet {subnet}: choose one from {room}",
    ),
    "taken": ("{base}2", "{base}2 is taken by blue-1: choose another, or leave the choice to Weft"),
    "none at all": ("banana", "'banana' is not an IP address: write it like 10.1.0.5 or fd00::5"),
    "two of a family": (
        "{base}9 --ip {base}10",
        "{base}9: network blue takes one address of each of 10.1.0.0/16, fd00:1::/48",
    ),
}


@pytest.mark.parametrize("case", ADDRESSES)
def test_addresses_that_cannot_be_had(lab: Lab, blue: list[Container], case: str) -> None:
    subnet = blue[0].subnet(4)
    base = subnet.removesuffix("0/24")
    wish, message = (text.format(subnet=subnet, base=base, room=f"{base}2 to {base}254") for text in ADDRESSES[case])
    assert refused(lab, f"attach new --network blue --ip {wish}") == message


def test_a_v6_address_of_another_node(lab: Lab, blue: list[Container]) -> None:
    wish, subnet = blue[1].address(6), blue[0].subnet(6)
    message = refused(lab, f"attach new --network blue --ip {wish}")
    assert message.startswith(f"{wish} is outside node-1's subnet {subnet}: choose one from {blue[0].address(6)} to ")


def test_a_reserved_address(lab: Lab, blue: list[Container]) -> None:
    """Of a network whose four subnets all go to the four nodes."""
    reserved = [f"10.5.0.{base + 10}/32" for base in (0, 64, 128, 192)]
    make_network(lab, "held", "host-gw", "10.5.0.0/24", subnet_min="10.5.0.0/26", reserve=",".join(reserved))
    network = json.loads(weft(lab, "node-1", "network", "show", "held", "-o", "json").stdout)
    (subnet,) = next(lease["subnets"] for lease in network["leases"] if lease["node"] == "node-1")
    wish = f"10.5.0.{int(subnet.split('.')[3].partition('/')[0]) + 10}"
    assert refused(lab, f"attach new --network held --ip {wish}") == (
        f"{wish} is reserved in this network (reserve={wish}/32): choose one outside {wish}/32"
    )
    assert weft(lab, "node-1", "network", "rm", "held").returncode == 0


def test_they_left_no_endpoint(lab: Lab, blue: list[Container]) -> None:
    found = json.loads(weft(lab, "node-1", "endpoint", "ls", "--node", "node-1", "-o", "json").stdout)
    assert [e["name"] for e in found] == ["blue-1"]
    assert [link["ifname"] for link in shown(lab.host("node-1"), "ip -n new -j link")] == ["lo"]


def test_other_wishes(lab: Lab, blue: list[Container]) -> None:
    assert refused(lab, "attach new --network blue --mac 01:00:00:00:00:01") == (
        "'01:00:00:00:00:01' is a multicast MAC address: the first octet must be even"
    )
    assert refused(lab, "attach new --network blue --interface eth/0") == (
        "'eth/0' is not an interface name: use 1 to 15 characters of ASCII without space, '/', ':' or '%', "
        "and not 'all' or 'default'"
    )
    assert refused(lab, f"attach blue-1 --network blue --ip {blue[0].address(4)[:-1]}77") == (
        f"blue-1 is attached to blue with {blue[0].address(4)}, {blue[0].address(6)}, not {blue[0].address(4)[:-1]}77: "
        "detach it first to change that"
    )


# ------------------------------------------------------------------------------------------------ what is not there

MISSING = {
    "network show nonet": "no network nonet: `weft network ls` shows those there are",
    "network rm nonet": "no network nonet: `weft network ls` shows those there are",
    "attach new --network nonet": "no network nonet: `weft network ls` shows those there are",
    "endpoint show noend": "no endpoint noend: `weft endpoint ls` shows those there are",
    "node show node-9": "no node node-9: `weft node ls` shows those there are",
    "node rm node-9": "no node node-9: `weft node ls` shows those there are",
    "attach /run/netns/gone --network blue": "no network namespace /run/netns/gone: its container may have ended",
    "attach 4194304 --network blue": "no network namespace /proc/4194304/ns/net: its container may have ended",
    "attach /etc/hostname --network blue": "/etc/hostname is not a network namespace (any more)",
}


@pytest.mark.parametrize("words", MISSING)
def test_what_is_not_there(lab: Lab, blue: list[Container], words: str) -> None:
    assert refused(lab, words, status=4) == MISSING[words]


def test_no_such_container(lab: Lab, blue: list[Container]) -> None:
    """Which container engines were asked depends on the machine."""
    message = refused(lab, "attach gone --network blue", status=4)
    assert message.startswith("nothing is called gone here: no namespace /run/netns/gone")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("network frobnicate", "there is no command `weft network frobnicate`"),
        ("attach", "attach needs TARGET"),
        ("attach new", "attach needs --network NETWORK"),
        ("network create x --subnet 10.2.0.0/16", "network create needs --driver DRIVER"),
        ("network create x --driver vxlan --subnet 10.2.0.0/16 -O vni", "'vni' is not KEY=VALUE"),
        ("status --bogus", "status has no option --bogus"),
        ("status -o xml", "'xml' is none of 'table', 'json', 'yaml'"),
        ("agent purge", "nobody can be asked here: give --yes"),
    ],
)
def test_wrong_usage(lab: Lab, words: str, complaint: str) -> None:
    done = weft(lab, "node-1", *words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


# ------------------------------------------------------------------------------------------------------ permission


def test_no_permission(lab: Lab) -> None:
    """The socket is for root and its group."""

    def as_nobody(words: str) -> tuple[int, str, str]:
        done = lab.host("node-1").run([*NOBODY, *lab.weft, *words.split()], timeout=60)
        return done.returncode, done.stdout, done.stderr

    assert lab.host("node-1").must("mode", ["stat", "-c", "%a", "/run/weft/weft.sock"]) == "660\n"
    message = "weft: no access to the agent's socket /run/weft/weft.sock: use sudo, or join the group that owns it\n"
    assert as_nobody("status") == (1, "", message)
    assert as_nobody("attach new --network blue") == (1, "", message)
    assert as_nobody("agent run") == (1, "", "weft: the agent changes the host's network: run it as root\n")


def test_a_fifo_is_no_container_and_keeps_nobody_waiting(lab: Lab) -> None:
    host = lab.host("node-1")
    host.must("fifo", ["mkfifo", "/run/fifo"])
    message = "/run/fifo is not a network namespace (any more)"
    assert refused(lab, "attach /run/fifo --network blue", 4) == message


def test_one_agent_per_host(lab: Lab) -> None:
    message = "an agent is running on this host (/run/weft/agent.lock is locked): stop it first"
    assert refused(lab, "agent run") == message
    assert refused(lab, "agent purge --yes") == message


# ---------------------------------------------------------------------------------------------------- agent, store


@contextmanager
def agent(lab: Lab, *words: str) -> Iterator[Host]:
    """An agent in `outside`, where none is."""
    place = lab.host("outside")
    with place.popen([*lab.weft, "agent", "run", "--node", "outside", "--iface", "eth0", *words]) as process:
        try:
            until(lambda: weft(lab, "outside", "status").returncode == 0, 30, "an agent")
            yield place
        finally:
            process.terminate()
            process.communicate(timeout=20)


def store_status(lab: Lab) -> tuple[str, str]:
    status = json.loads(weft(lab, "outside", "status", "-o", "json").stdout)["store"]
    return status["state"], status["reason"]


def test_no_agent(lab: Lab) -> None:
    assert refused(lab, "status", host="outside") == (
        "no agent answers at /run/weft/weft.sock: start it with `weft agent run`, or give --socket"
    )


def test_no_such_store(lab: Lab) -> None:
    assert refused(lab, "agent run --store mysql://x", host="outside") == (
        "'mysql://x' is not a store's URL: 'mysql' is no kind of store; write sqlite:///var/lib/weft/weft.db or "
        "etcd://HOST:2379,HOST:2379/PREFIX (etcds:// with TLS) or mesh://HOST,HOST,HOST"
    )


def test_the_store_cannot_be_reached(lab: Lab) -> None:
    reason = "etcd at 127.0.0.1:1: Failed to connect to remote host: Connection refused: check that it runs and can be reached"
    with agent(lab, "--store", "etcd://127.0.0.1:1"):
        until(lambda: store_status(lab)[0] == "lost", 30, "the agent to notice")
        assert reason in store_status(lab)[1]
        assert reason in refused(lab, "network create x --driver vxlan --subnet 10.2.0.0/16", host="outside")
        done = weft(lab, "outside", "status", "--check")
        assert done.returncode == 1
        assert done.stderr.startswith("weft: outside is starting: the store is lost: ") and reason in done.stderr


def test_the_store_is_corrupt(lab: Lab) -> None:
    """It is neither used nor overwritten."""
    file = lab.directory / "store/corrupt.db"
    file.write_bytes(b"no database" * 1000)
    reason = f"store '{file}': file is not a database: restore it from a copy, or move it away"
    with agent(lab, "--store", f"sqlite://{file}"):
        until(lambda: store_status(lab)[0] == "lost", 30, "the agent to notice")
        assert reason in store_status(lab)[1]
        assert reason in refused(lab, "network create x --driver vxlan --subnet 10.2.0.0/16", host="outside")
    assert file.read_bytes() == b"no database" * 1000


# ---------------------------------------------------------------------------------------------- not Weft's devices


@pytest.fixture
def foreign(lab: Lab, blue: list[Container]) -> Iterator[Host]:
    """On node-2 devices of somebody else's, up and with addresses, called as Weft would call its own."""
    place = lab.host("node-2")
    lines = [
        "link add weft.9 type veth peer name far",
        "link add weft-x type bridge",
        *(f"link set {name} up" for name in ("weft.9", "far", "weft-x")),
        "address add 172.30.0.1/24 dev weft.9",
        "address add 172.31.0.1/24 dev weft-x",
    ]
    place.must("foreign devices", ["ip", "-batch", "-"], input="\n".join(lines))
    namespaces(place, ["new"])
    yield place
    for words in ("link del weft.9", "link del weft-x", "netns del new"):
        place.run(["ip", *words.split()])


def test_a_foreign_device_of_our_name_is_told_and_not_touched(lab: Lab, foreign: Host) -> None:
    before = snapshot(foreign)
    message = refused(lab, "network create nine --driver vxlan --subnet 10.9.0.0/16 -O vni=9", host="node-2")
    assert message == (
        "network nine cannot be set up here: link weft.9: device weft.9 exists and is not Weft's: rename or remove it"
    )
    message = refused(lab, "network create x --driver host-gw --subnet 10.9.0.0/16", host="node-2")
    assert message == (
        "network x cannot be set up here: link weft-x: device weft-x exists and is not Weft's: rename or remove it"
    )
    until(lambda: not difference(before, snapshot(foreign)), 20, lambda: difference(before, snapshot(foreign)))


def test_nor_where_the_network_comes_from_elsewhere(lab: Lab, foreign: Host) -> None:
    """Then that node says so, has nothing of it on the device, and mends it by itself when the device has gone."""
    before = snapshot(foreign)

    def troubles() -> dict[str, str]:
        status = json.loads(weft(lab, "node-2", "status", "-o", "json").stdout)
        return {t["object"]: t["reason"] for t in status["troubles"]}

    for words in ("nine --driver vxlan --subnet 10.9.0.0/16 -O vni=9", "x --driver host-gw --subnet 10.8.0.0/16"):
        done = weft(lab, "node-1", "network", "create", *words.split())
        assert done.returncode == 0, done.stderr
        # By then node-4 may have its subnet in x, which driver host-gw does not reach.
        assert all(": node-4 is on another segment" in line for line in done.stderr.splitlines()), done.stderr
    until(lambda: {"link weft.9", "link weft-x"} <= troubles().keys(), 20, "node-2 to see it")
    assert "device weft.9 exists and is not Weft's" in troubles()["link weft.9"]
    assert "device weft-x exists and is not Weft's" in refused(lab, "attach new --network x", host="node-2")
    assert shown(foreign, "ip -j link show master weft-x") == []

    after = snapshot(foreign)
    lost, added = ({x for x in some if not x.startswith("nft ")} for some in (before - after, after - before))
    added = {line for line in added if "weft.9" in line or "weft-x" in line}
    assert (lost, added) == (set(), set())

    foreign.must("removal", ["ip", "link", "del", "weft.9"])
    foreign.must("removal", ["ip", "link", "del", "weft-x"])
    until(lambda: not troubles(), 90, lambda: f"node-2 without trouble: {troubles()}")
    done = weft(lab, "node-2", "attach", "new", "--network", "x")
    assert (done.returncode, done.stderr) == (0, "")
    assert weft(lab, "node-2", "detach", "new").returncode == 0
    for name in ("nine", "x"):
        assert weft(lab, "node-1", "network", "rm", name).returncode == 0
