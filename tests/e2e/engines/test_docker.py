"""Debian's Docker on two hosts, its containers in Weft's networks; everything by the `docker` command."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network

import pytest

from support.docker import IMAGE, Engine
from support.waiting import until
from weft.api import types as t
from weft.lab import Lab
from weft.lab.inside import Inside
from weft.lab.lab import WEFT
from weft.model import Network

CREATE = ("network", "create", "-d", "weft", "--ipam-driver", "weft")
OUTSIDE = "203.0.113.10"


def subnet(engine: Engine, network: str = "blue") -> str:
    """What the host holds."""
    leases = engine.client.network(network).leases
    return next(str(lease.subnets[0]) for lease in leases if lease.node == engine.host.name)


def test_containers_of_two_hosts_reach_each_other(one: Engine, two: Engine) -> None:
    one.run("web")
    two.run("db")
    web, db = one.on("web"), two.on("db")
    assert one.pings("web", db["IPAddress"]) and two.pings("db", web["IPAddress"])
    assert one.pings("web", OUTSIDE)
    assert one.host.run([*WEFT, "plan"]).stdout == ""
    trace = one.host.run([*WEFT, "trace", web["IPAddress"], db["IPAddress"]])
    assert trace.returncode == 0, trace.stdout


def test_containers_of_two_hosts_find_each_other_by_name(one: Engine, two: Engine) -> None:
    """By their names and their aliases in the network; of its own host, Docker's own resolver goes on knowing what it knows."""
    one.run("Web", "--network-alias", "front")
    two.run("db")
    for engine, asking, name in ((two, "db", "web"), (two, "db", "front"), (one, "Web", "db")):
        until(lambda e=engine, a=asking, n=name: e.pings(a, n), 20, f"{name} as {asking} finds it\n{engine.tail()}")
    id = one.inspect("Web")["Id"][:12]
    assert one.pings("Web", id) and two.pings("db", id)
    until(lambda: not _unlike(one), 10, lambda: _unlike(one))
    one.docker("rename", "Web", "shop")
    until(lambda: two.pings("db", "shop") and not two.pings("db", "web"), 20, "the new name")


def _unlike(engine: Engine) -> str:
    """What Weft would still do."""
    return engine.host.run([*WEFT, "plan"]).stdout


def test_names_that_only_docker_knows_stay(one: Engine) -> None:
    """Weft's resolver asks Docker's for what it does not know: here a container of a network of Docker's own."""
    one.docker("network", "create", "plain")
    try:
        one.run("web")
        one.run("lone", network="plain")
        one.docker("network", "connect", "plain", "web")
        until(lambda: one.pings("web", "lone"), 20, one.tail)
        one.docker("rm", "-f", "lone", "web")
    finally:
        one.docker("network", "rm", "plain")


def test_a_container_s_labels_make_a_service(one: Engine, two: Engine) -> None:
    """Which goes with it; a container of the other host finds it by name, and its pings lead to the member."""
    labels = ("weft.service=shop", "weft.service.port=80:8080,443:8443", "weft.service.alias=store")
    one.run("web", *(word for label in labels for word in ("--label", label)))
    two.run("db")
    until(lambda: [m.name for i in two.client.services() for m in i.members], 20, one.tail)
    [info] = two.client.services()
    assert info.service.automatic and info.members[0].node == one.host.name
    for name in ("shop", "store", str(info.service.addresses[0])):
        until(lambda n=name: two.pings("db", n), 20, f"{name} as db finds it\n{two.tail()}")  # type: ignore[misc]
    one.docker("rm", "-f", "web")
    until(lambda: two.client.services() == (), 20, "the service goes with the container")


def test_docker_and_weft_say_the_same(one: Engine) -> None:
    one.run("web")
    web, [held] = one.on("web"), one.held()
    assert [f"{web['IPAddress']}/{web['IPPrefixLen']}"] == [str(a) for a in held.addresses]
    assert ip_address(web["IPAddress"]) in ip_network(subnet(one))
    assert web["Gateway"] == str(ip_network(subnet(one))[1]) == str(held.gateways[0])
    assert web["MacAddress"] == held.mac
    assert held.owner == f"docker/{web['NetworkID']}/{web['EndpointID']}"
    assert (held.interface, held.mtu) == ("eth0", 1450)
    shown = one.docker("exec", "web", "ip", "addr", "show", "eth0")
    assert f"inet {web['IPAddress']}/24 " in shown and web["MacAddress"] in shown and " mtu 1450 " in shown
    assert f"default via {web['Gateway']} dev eth0" in one.docker("exec", "web", "ip", "route")
    assert f"{web['IPAddress']}\t" in one.docker("exec", "web", "cat", "/etc/hosts")


def test_address_and_mac_as_wished(one: Engine, two: Engine) -> None:
    wish = str(ip_network(subnet(one))[77])
    one.run("web", "--ip", wish, "--mac-address", "02:42:00:00:00:99")
    web = one.on("web")
    assert (web["IPAddress"], web["MacAddress"]) == (wish, "02:42:00:00:00:99")
    assert "02:42:00:00:00:99" in one.docker("exec", "web", "ip", "link", "show", "eth0")
    two.run("db")
    assert two.pings("db", wish)


def test_what_policy_selects_it_by_is_known_on_other_hosts(one: Engine, two: Engine) -> None:
    """Options of an endpoint, by `docker run` and by `docker network connect`; and changed while it runs."""
    said = ("weft.namespace=shop", "weft.label.tier=front", "weft.label.example.com/team=a", "weft.port-name.http=8080")
    network = ",".join(("name=blue", *(f"driver-opt={option}" for option in said)))
    one.docker("run", "-d", "--name", "web", "--network", network, IMAGE, "sleep", "1000")
    one.docker("run", "-d", "--name", "db", "--network", "none", IMAGE, "sleep", "1000")
    one.docker("network", "disconnect", "none", "db")
    one.docker("network", "connect", "--driver-opt", "weft.label.tier=back", "blue", "db")
    [web] = two.client.endpoints(selector="tier == 'front' && example.com/team == 'a'", policy_namespace="shop")
    assert list(map(str, web.named_ports)) == ["http=8080/tcp"]
    [db] = two.client.endpoints(selector="tier == 'back'")
    assert db.policy_namespace == "default" and str(db.addresses[0].ip) == one.on("db")["IPAddress"]
    two.client.label(web.id, t.Label(labels={"tier": "back"}, remove=("example.com/team",)))
    assert {e.id for e in one.client.endpoints(selector="tier == 'back'")} == {web.id, db.id}
    wrong = "name=blue,driver-opt=weft.label.tier=a/b"
    assert "label tier cannot be 'a/b'" in one.refused("run", "--network", wrong, IMAGE, "true")


@pytest.mark.parametrize(
    ("own", "index", "says"),
    [(True, 77, "is taken by docker-"), (True, 1, "is the gateway of"), (False, 77, "is outside node-1's subnet")],
)
def test_an_address_that_cannot_be_had(one: Engine, two: Engine, own: bool, index: int, says: str) -> None:
    one.run("web", "--ip", str(ip_network(subnet(one))[77]))
    wish = str(ip_network(subnet(one if own else two))[index])
    assert says in one.refused("run", "--network", "blue", "--ip", wish, IMAGE, "true")
    assert len(one.held()) == 1


def test_an_address_is_free_again_after_its_container(one: Engine) -> None:
    wish = str(ip_network(subnet(one))[78])
    for _ in range(2):
        one.docker("run", "--rm", "--network", "blue", "--ip", wish, IMAGE, "true")
    one.run("web", "--ip", wish)
    one.docker("stop", "-t", "0", "web")
    assert one.held() == []
    one.docker("start", "web")
    assert one.on("web")["IPAddress"] == wish


def serve(engine: Engine, name: str, *words: str, network: str = "blue") -> None:
    """A web server on port 80 that says its name."""
    script = f"mkdir -p /www; echo {name} >/www/index.html; exec httpd -f -p 80 -h /www"
    engine.docker("run", "-d", "--name", name, "--network", network, *words, IMAGE, "sh", "-c", script)


def said(place: Inside, address: str) -> str:
    """What a web server says there; "" where none answers."""
    argv = ["curl", "-sS", "--max-time", "2", "--retry", "3", "--retry-connrefused", f"http://{address}/"]
    return place.run(argv, timeout=30).stdout.strip()


def test_published_ports(lab: Lab, one: Engine, two: Engine) -> None:
    serve(one, "web", "-p", "8080:80", "-p", "192.168.1.11:8081:80")
    for place, address in (
        (lab.host("outside"), "192.168.1.11:8080"),
        (two.host, "192.168.1.11:8081"),
        (one.host, "127.0.0.1:8080"),
    ):
        assert said(place, address) == "web"
    assert said(one.host, "127.0.0.1:8081") == ""
    clash = one.refused("run", "--network", "blue", "-p", "8080:80", IMAGE, "true")
    assert "port 8080/tcp leads to docker-" in clash
    assert "say which port of the host" in one.refused("run", "--network", "blue", "-p", "80", IMAGE, "true")
    assert len(one.held()) == len(one.devices()) == 1

    one.docker("stop", "-t", "0", "web")
    assert said(lab.host("outside"), "192.168.1.11:8080") == ""
    one.docker("start", "web")
    assert said(lab.host("outside"), "192.168.1.11:8080") == "web"


def test_published_ports_follow_the_way_out(lab: Lab, one: Engine) -> None:
    """Docker publishes by the network that has the default route, and changes over when that one is left."""
    one.docker(*CREATE, "--subnet", "10.27.0.0/16", "-o", "weft.driver=host-gw", "alpha")
    serve(one, "web", "-p", "8080:80")
    one.docker("network", "connect", "alpha", "web")
    for _ in range(2):
        assert said(lab.host("outside"), "192.168.1.11:8080") == "web"
        assert sum(len(e.ports) for e in one.held()) == 1
        [leading] = [e.network for e in one.held() if e.ports]
        if len(one.held()) == 1:
            break
        one.docker("network", "disconnect", "blue" if leading == "blue" else "alpha", "web")
    one.docker("rm", "-f", "web")
    one.docker("network", "rm", "alpha")


def test_aliases_are_found_by_name(one: Engine) -> None:
    one.run("db", "--network-alias", "postgres")
    one.run("web")
    assert one.pings("web", "postgres") and one.pings("web", "db")


def test_many_at_once(one: Engine) -> None:
    names = [f"c{n}" for n in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one.run, names))
    addresses = {one.on(name)["IPAddress"] for name in names}
    assert len(addresses) == len(names) == len(one.held())
    assert one.pings("c0", one.on("c7")["IPAddress"])


def test_connected_to_a_second_network_and_back(one: Engine, two: Engine) -> None:
    """Dual stack over host-gw, without a name for Weft's network: the same subnets say that it is the same."""
    subnets = ("--ipv6", "--subnet", "10.21.0.0/16", "--subnet", "fd21::/48")
    for engine in (one, two):
        engine.docker(*CREATE, *subnets, "-o", "weft.driver=host-gw", "--internal", "green")
    one.run("web")
    one.docker("network", "connect", "green", "web")
    two.run("db", network="green")
    web, db = one.on("web", "green"), two.on("db", "green")
    for address in (db["IPAddress"], db["GlobalIPv6Address"]):
        assert one.pings("web", address)
    assert two.pings("db", web["IPAddress"]) and two.pings("db", web["GlobalIPv6Address"])
    routes = one.docker("exec", "web", "ip", "route").splitlines()
    assert [r.split()[4] for r in routes if r.startswith("default ")] == ["eth0"]
    assert [r.split()[4] for r in routes if r.startswith("10.21.0.0/16 ")] == ["eth1"]
    assert {(e.network, e.interface) for e in one.held()} == {("blue", "eth0"), ("docker-10.21.0.0-16", "eth1")}
    # No way out of this one; of the other there is.
    assert one.pings("web", OUTSIDE) and not two.pings("db", OUTSIDE, seconds=1)
    assert "default" not in two.docker("exec", "db", "ip", "route")

    one.docker("network", "disconnect", "green", "web")
    assert [e.network for e in one.held()] == ["blue"] and len(one.devices()) == 1
    assert "eth1" not in one.docker("exec", "web", "ip", "link")
    assert one.pings("web", OUTSIDE)
    two.docker("rm", "-f", "db")
    for engine in (one, two):
        engine.docker("network", "rm", "green")
    assert [n.name for n in one.client.networks()] == ["blue"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            "--ipam-driver weft --subnet 10.23.0.0/16 -o weft.network=blue -o weft.driver=vxlan",
            "network blue exists with subnet 10.20.0.0/16, not 10.23.0.0/16",
        ),
        (
            "--ipam-driver weft --subnet 10.20.0.0/16 -o weft.driver=host-gw",
            "network blue exists with driver vxlan, not host-gw",
        ),
        ("--ipam-driver weft --subnet 10.20.0.0/16 -o weft.vni=99", "network blue exists with vni 1, not 99"),
        ("--ipam-driver weft --subnet 10.20.0.0/16 --internal", "network blue exists with --internal False, not True"),
        ("--subnet 10.20.0.0/16 -o weft.driver=vxlan", "add --ipam-driver weft"),
        ("--ipam-driver weft -o weft.driver=vxlan", "give --subnet"),
        ("--ipam-driver weft --subnet 10.24.0.0/16", "say -o weft.driver=DRIVER"),
        ("--ipam-driver weft --subnet 10.24.0.0/16 -o weft.driver=nosuch", "unknown driver 'nosuch'"),
        ("--ipam-driver weft --subnet 10.24.0.0/16 -o weft.driver=vxlan -o weft.nosuch=1", "has no option 'nosuch'"),
        ("--ipam-driver weft --subnet 10.24.0.0/16 -o weft.driver=vxlan -o colour=red", "unknown option colour"),
        (
            "--ipam-driver weft --subnet 10.24.0.0/16 -o weft.driver=vxlan --gateway 10.24.0.9",
            "leave --gateway out",
        ),
        ("--ipam-driver weft --subnet 10.24.0.0/16 -o weft.driver=vxlan --ip-range 10.24.3.0/24", "--ip-range is not"),
        (
            "--ipam-driver weft --subnet 10.24.0.0/16 -o weft.driver=vxlan --aux-address x=10.24.0.9",
            "--aux-address is not",
        ),
    ],
)
def test_what_cannot_be_created(one: Engine, words: str, says: str) -> None:
    assert says in one.refused("network", "create", "-d", "weft", *words.split(), "other")
    assert [n.name for n in one.client.networks()] == ["blue"]


def test_a_network_of_weft_s_own_is_joined_and_left_alone(one: Engine) -> None:
    one.client.create_network(Network(name="grey", driver="host-gw", subnets=(ip_network("10.25.0.0/16"),)))
    one.docker(*CREATE, "--subnet", "10.25.0.0/16", "grey-of-docker")
    one.run("web", network="grey-of-docker")
    assert [e.network for e in one.held()] == ["grey"]
    one.docker("rm", "-f", "web")
    one.docker("network", "rm", "grey-of-docker")
    assert {n.name for n in one.client.networks()} == {"blue", "grey"}
    one.client.remove_network("grey")


def test_overlay(lab: Lab, one: Engine, two: Engine) -> None:
    """One subnet over both hosts. Weft's overlay leaves the way out to a second interface: here that is Docker's own."""
    words = ("--subnet", "10.28.0.0/16", "-o", "weft.network=over", "-o", "weft.driver=overlay", "over")
    for engine in (one, two):
        engine.docker(*CREATE, *words)
    serve(one, "web", "-p", "8080:80", network="over")
    two.run("db", network="over")
    web, db = one.on("web", "over"), two.on("db", "over")
    assert web["IPPrefixLen"] == 16 and web["IPAddress"] != db["IPAddress"]
    assert one.pings("web", db["IPAddress"]) and two.pings("db", web["IPAddress"])
    assert one.pings("web", OUTSIDE) and two.pings("db", OUTSIDE)
    assert said(lab.host("outside"), "192.168.1.11:8080") == "web"
    assert "is taken by" in two.refused("run", "--network", "over", "--ip", web["IPAddress"], IMAGE, "true")
    one.docker("rm", "-f", "web")
    two.docker("rm", "-f", "db")
    for engine in (one, two):
        engine.docker("network", "rm", "over")
        assert engine.host.run(["ip", "netns", "ls"]).stdout == ""


def test_a_network_stays_while_another_host_uses_it_and_comes_back_for_who_still_has_it(
    one: Engine, two: Engine
) -> None:
    words = ("--subnet", "10.26.0.0/16", "-o", "weft.network=red", "-o", "weft.driver=vxlan", "-o", "weft.vni=7", "red")
    for engine in (one, two):
        engine.docker(*CREATE, *words)
    two.run("db", network="red")
    one.docker("network", "rm", "red")
    assert {n.name for n in one.client.networks()} == {"blue", "red"}
    two.docker("rm", "-f", "db")

    one.docker(*CREATE, *words)
    one.docker("network", "rm", "red")
    assert {n.name for n in one.client.networks()} == {"blue"}
    two.run("db", network="red")
    assert [e.network for e in two.held()] == ["red"]
    two.docker("rm", "-f", "db")
    two.docker("network", "rm", "red")
    assert {n.name for n in one.client.networks()} == {"blue"}


def test_docker_may_come_first_in_iptables_as_often_as_it_likes(one: Engine) -> None:
    """With each network of its own it moves its chains before Weft's; that is no quarrel."""
    for number in range(8):
        one.docker("network", "create", f"own-{number}")
    one.docker(*CREATE, "--subnet", "10.29.0.0/16", "-o", "weft.driver=host-gw", "late")
    until(lambda: one.client.status().state == "converged", 20, lambda: str(one.client.status().troubles))
    one.docker("network", "rm", "late", *(f"own-{number}" for number in range(8)))


def test_beside_docker_s_own_networks(one: Engine) -> None:
    one.docker("run", "--rm", "--network", "none", IMAGE, "true")
    one.docker("run", "-d", "--name", "plain", IMAGE, "sleep", "1000")
    one.docker("network", "connect", "blue", "plain")
    assert {e.network for e in one.held()} == {"blue"}
    assert set(one.inspect("plain")["NetworkSettings"]["Networks"]) == {"bridge", "blue"}
    one.docker("rm", "-f", "plain")
    assert one.held() == []


def test_what_weft_attaches_itself_is_not_docker_s_to_sweep(one: Engine) -> None:
    one.host.run(["ip", "netns", "add", "own"], check=True)
    own = one.client.attach(t.Attach(target="own", network="blue"))
    one.run("web")
    assert one.pings("web", str(own.addresses[0].ip))
    one.docker("rm", "-f", "web")
    assert [e.id for e in one.client.endpoints()] == [own.id]
    one.client.detach("own")
    one.host.run(["ip", "netns", "del", "own"], check=True)
