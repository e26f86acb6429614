"""The target `openstack` against a real neutron-server: which calls are made, and what follows from each answer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from ipaddress import ip_interface, ip_network
from pathlib import Path

import msgspec
import pytest

from support import ec2
from support.neutron_server import TENANT, NeutronServer
from support.openstack_hosts import Hosts, Proxy, clouds_yaml, hosts, neutron_error
from weft.base.errors import Invalid, Unavailable, Unsupported
from weft.hoststate import Key, Object, TargetObject
from weft.hoststate.cloud import AddressPair, RouterRoute
from weft.model import Node
from weft.openstack.cloud import Cloud
from weft.reconcile.reconciler import Reconciler
from weft.targets.calls import Limits
from weft.targets.openstack import OpenStack
from weft.targets.remote import Remote
from weft.targets.routes import Territory

PLACES = {"node-1": ["10.61.1.68/24", "fd61:1::68/64"], "node-2": ["10.61.1.254/24"], "node-4": ["10.61.0.33/24"]}
GATEWAYS = {"10.61.1.0/24": "10.61.1.1", "10.61.0.0/24": "10.61.0.1", "fd61:1::/64": "fd61:1::1"}
NETWORKS = (ip_network("40.15.0.0/16"), ip_network("fd40:15::/48"))
MINE, MINE6, THEIRS = "40.15.43.0/24", "fd40:15:0:43::/64", "40.15.26.0/24"
HOP, HOP6, THEIR_HOP = "10.61.1.68", "fd61:1::68", "10.61.1.254"
LIMITS = Limits(rate=1000.0, burst=1000, timeout=30.0, turn=60.0)


class Scene:
    """node-1's target, with a reconciler that drives it by hand."""

    def __init__(self, cloud: Hosts, proxy: Proxy) -> None:
        self.cloud, self.proxy = cloud, proxy
        self.node = Node(name="node-1", addresses=tuple(map(ip_interface, PLACES["node-1"])), uplink="eth0")
        holders = {ip_network(MINE): "node-1", ip_network(MINE6): "node-1", ip_network(THEIRS): "node-2"}
        self.territory = Territory(me="node-1", subnets=NETWORKS, holders=holders)
        self.now = 1000.0
        self.remote = self.desired = self.reconciler = None  # type: ignore[assignment]
        self.begin()

    def begin(self) -> None:
        """As an agent that starts."""
        self.target = OpenStack(lambda: self.territory, lambda: self.now, Cloud("lab"))
        self.remote = Remote(self.target, LIMITS)
        self.desired: dict[Key, Object] = {}

    def learn(self) -> dict[str, str]:
        found = dict(self.remote.learn(self.node))
        self.reconciler = Reconciler(self.remote, self.desired, lambda: self.now, self.target.places)
        self.reconciler.complete = True
        self.proxy.calls.clear()
        return found

    def route(self, destination: str = MINE, hop: str = HOP) -> RouterRoute:
        return RouterRoute(place=self.cloud.router, destination=destination, next_hop=hop)

    def pair(self, prefix: str = MINE) -> AddressPair:
        return AddressPair(place=self.cloud.ports["node-1"], prefix=prefix)

    def want(self, *objects: TargetObject) -> None:
        self.desired.clear()
        self.desired.update((o.key, o) for o in objects)

    def resync(self) -> list[str]:
        """What could not be done, and why."""
        report = self.reconciler.resync()
        unread = [trouble.reason for trouble in self.reconciler.unread.values()]
        return [failure.reason for failure in report.failures] + unread


@pytest.fixture(scope="module")
def api(neutron_server: NeutronServer) -> Iterator[tuple[Hosts, Proxy, str]]:
    proxy = Proxy(neutron_server.url)
    with hosts(neutron_server, PLACES, GATEWAYS) as cloud, ec2.served(proxy, ec2.listening("127.0.0.1")) as url:
        yield cloud, proxy, url


@pytest.fixture
def scene(api: tuple[Hosts, Proxy, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    cloud, proxy, url = api
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(clouds_yaml(tmp_path, url)))
    made = Scene(cloud, proxy)
    yield made
    made.remote.close()
    proxy.well()
    cloud.clear("node-1")


def test_what_a_host_is_there(scene: Scene) -> None:
    assert scene.learn() == {
        "port": scene.cloud.ports["node-1"],
        "port-security": "on",
        "routers": scene.cloud.router,
        "gateway": scene.cloud.router,
        "hidden": "",
        "subnets": " ".join(sorted(GATEWAYS)),
    }
    assert scene.target.places == {scene.cloud.router, scene.cloud.ports["node-1"]}


def test_routes_and_pairs_come_and_go(scene: Scene) -> None:
    scene.learn()
    scene.want(scene.pair(), scene.route(), scene.pair(MINE6), scene.route(MINE6, HOP6))
    assert scene.resync() == []
    assert scene.cloud.routes() == {MINE: {HOP}, MINE6: {HOP6}}
    assert sorted(scene.cloud.pairs("node-1")) == [MINE, MINE6]
    scene.proxy.calls.clear()
    assert scene.resync() == []
    assert len(scene.proxy.calls) == 2 and not scene.proxy.made(), (
        "a look is a call for the router and one for the port"
    )
    scene.cloud.set_routes((MINE6, HOP6))
    scene.cloud.set_pairs("node-1", MINE6)
    assert scene.resync() == []
    assert scene.cloud.routes() == {MINE: {HOP}, MINE6: {HOP6}}
    assert sorted(scene.cloud.pairs("node-1")) == [MINE, MINE6]
    scene.want()
    assert scene.resync() == []
    assert (scene.cloud.routes(), scene.cloud.pairs("node-1")) == ({}, [])


def test_another_next_hop_of_ours_goes_after_ours_is_there(scene: Scene) -> None:
    scene.cloud.set_routes((MINE, THEIR_HOP), ("40.15.43.7/24", HOP))
    scene.learn()
    scene.want(scene.route())
    assert scene.resync() == []
    assert scene.cloud.routes() == {MINE: {HOP}}
    assert [call.rsplit("/", 1)[1] for call in scene.proxy.calls if "extraroutes" in call] == [
        "add_extraroutes",
        "remove_extraroutes",
        "remove_extraroutes",
    ]


def test_what_is_not_ours_is_never_touched(scene: Scene) -> None:
    """Another node's route; one to this very host, but outside of Weft's networks, written with host bits; pairs of the user's,
    one of which holds Weft's, and one inside of them with a MAC address of its own."""
    kept = {THEIRS: {THEIR_HOP}, "10.99.3.7/24": {HOP}}
    scene.cloud.set_routes(*((to, hop) for to, hops in kept.items() for hop in hops))
    listed = [{"ip_address": "0.0.0.0/0"}, {"ip_address": "40.15.43.9", "mac_address": "02:00:00:00:00:09"}]
    scene.cloud.set_port("node-1", allowed_address_pairs=listed)
    scene.territory = msgspec.structs.replace(scene.territory, sweeps=True)
    scene.learn()
    scene.want(scene.pair(), scene.route())
    assert scene.resync() == []
    assert sorted(scene.cloud.pairs("node-1")) == ["0.0.0.0/0", MINE, "40.15.43.9"]
    scene.want()
    for _ in range(2):
        scene.now += 60
        assert scene.resync() == []
    assert scene.cloud.routes() == kept
    assert sorted(scene.cloud.pairs("node-1")) == ["0.0.0.0/0", "40.15.43.9"]


def test_what_a_lease_has_left_goes_by_the_janitor_alone_and_after_a_while(scene: Scene) -> None:
    """Also what is of no port any more, as the host is gone for good; and at once what leads here."""
    dead, here = ("40.15.77.0/24", "10.61.1.99"), ("40.15.78.0/24", HOP)
    scene.cloud.set_routes(dead, here)
    scene.learn()
    for sweeps, later, left in ((False, 0, 1), (False, 100, 1), (True, 0, 1), (True, 31, 0)):
        scene.territory = msgspec.structs.replace(scene.territory, sweeps=sweeps)
        scene.now += later
        assert scene.resync() == []
        assert len(scene.cloud.routes()) == left, (sweeps, later)


def test_what_an_earlier_agent_left_goes_with_a_look(scene: Scene) -> None:
    scene.cloud.set_routes((MINE, HOP))
    scene.cloud.set_pairs("node-1", MINE, "10.99.0.0/16")
    scene.learn()
    assert scene.resync() == []
    assert (scene.cloud.routes(), scene.cloud.pairs("node-1")) == ({}, ["10.99.0.0/16"])


def test_somebody_who_writes_pairs_at_the_same_time_loses_nothing(scene: Scene) -> None:
    scene.learn()
    others = iter(["10.98.0.0/16", "10.99.0.0/16"])

    def meanwhile(call: str) -> None:
        if call.startswith("PUT") and "ports" in call and (other := next(others, "")):
            scene.cloud.set_pairs("node-1", *scene.cloud.pairs("node-1"), other)

    scene.proxy.before = meanwhile
    scene.want(scene.pair())
    assert scene.resync() == []
    assert sorted(scene.cloud.pairs("node-1")) == ["10.98.0.0/16", "10.99.0.0/16", MINE]


def test_a_port_with_all_its_pairs_and_a_router_with_all_its_routes(scene: Scene) -> None:
    """Are told each for itself, and all else is done."""
    scene.cloud.set_pairs("node-1", *(f"10.99.{n}.0/24" for n in range(10)))
    scene.cloud.set_routes(*((f"10.99.{n}.0/24", THEIR_HOP) for n in range(29)))
    scene.learn()
    scene.want(scene.pair(), scene.route(), scene.route(MINE6, HOP6))
    told = sorted(scene.resync())
    assert len(told) == 2
    assert "the port has as many allowed address pairs as Neutron permits" in told[0]
    assert told[1].startswith(f"route to {MINE6} on router {scene.cloud.router}: the router has all the extra routes")
    assert scene.cloud.routes()[MINE] == {HOP}


def test_a_port_without_security_takes_no_pairs(scene: Scene) -> None:
    scene.cloud.set_port("node-1", port_security_enabled=False, security_groups=[], allowed_address_pairs=[])
    assert scene.learn()["port-security"] == "off"
    scene.want(scene.pair(), scene.route())
    [told] = scene.resync()
    assert "the port has port security switched off, so it takes any address" in told
    assert scene.cloud.routes() == {MINE: {HOP}}


def test_a_next_hop_that_is_on_no_subnet_of_the_router(scene: Scene) -> None:
    scene.learn()
    scene.want(scene.route(hop="10.77.0.1"), scene.route(MINE6, HOP6))
    [told] = scene.resync()
    assert told.startswith(f"route to {MINE} on router {scene.cloud.router}: Neutron does not take it (")
    assert scene.cloud.routes() == {MINE6: {HOP6}}


def test_what_the_credentials_may_not_do_is_told_and_the_rest_done(scene: Scene) -> None:
    scene.learn()
    scene.proxy.refuse["extraroutes"] = (
        403,
        neutron_error("PolicyNotAuthorized", "rule:x is disallowed by policy"),
        {},
    )
    scene.want(scene.pair(), scene.route())
    [told] = scene.resync()
    assert told.startswith(
        f"route to {MINE} on router {scene.cloud.router}: these credentials may not do that in OpenStack"
    )
    assert scene.cloud.pairs("node-1") == [MINE]


def test_a_place_that_cannot_be_read_costs_nobody_else_anything(scene: Scene) -> None:
    scene.learn()
    scene.proxy.refuse[f"GET /v2.0/routers/{scene.cloud.router}"] = (404, b"", {})
    scene.want(scene.pair(), scene.route())
    assert any("Neutron has no such thing, or not for these credentials" in line for line in scene.resync())
    assert scene.cloud.pairs("node-1") == [MINE]


def test_another_projects_router_is_hidden(scene: Scene, neutron_server: NeutronServer) -> None:
    """Nobody can write its routes, and it is no place."""
    router = neutron_server.make("router", name="theirs", project_id="somebody")["id"]
    port = neutron_server.make(
        "port", network_id=scene.cloud.network, fixed_ips=[{"subnet_id": scene.cloud.subnets["10.61.1.0/24"]}]
    )
    neutron_server.ask("PUT", f"/v2.0/routers/{router}/add_router_interface", {"port_id": port["id"]})
    try:
        scene.proxy.project = TENANT
        facts = scene.learn()
        assert (facts["routers"], facts["hidden"], facts["gateway"]) == (scene.cloud.router, router, scene.cloud.router)
        assert router not in scene.target.places
        scene.want(scene.pair(), scene.route())
        assert scene.resync() == [], "a member of the project may do all this"
        assert scene.cloud.routes() == {MINE: {HOP}}
    finally:
        neutron_server.ask("PUT", f"/v2.0/routers/{router}/remove_router_interface", {"port_id": port["id"]})
        neutron_server.delete("router", router)


def test_too_many_calls_are_waited_for(scene: Scene) -> None:
    scene.learn()
    scene.proxy.refuse["add_extraroutes"] = (429, b"", {"Retry-After": "0.2"})
    scene.proxy.once.add("add_extraroutes")
    scene.want(scene.route())
    assert scene.resync() == []
    assert scene.cloud.routes() == {MINE: {HOP}}


def test_an_api_that_is_away_is_told_and_found_again(scene: Scene) -> None:
    scene.learn()
    scene.proxy.away = True
    scene.want(scene.pair(), scene.route())
    told = scene.resync()
    assert told and all("OpenStack does not answer" in line or "its turn" in line for line in told), told
    scene.proxy.away = False
    scene.now += 100
    assert scene.resync() == []
    assert scene.cloud.routes() == {MINE: {HOP}}


def test_a_host_that_is_not_in_openstack(scene: Scene) -> None:
    scene.node = Node(name="node-1", addresses=(ip_interface("10.9.9.9/24"),), uplink="eth0")
    with pytest.raises(Unsupported, match=r"^no port in Neutron has 10\.9\.9\.9: is this host a server there"):
        scene.learn()


def test_a_router_is_no_host(scene: Scene) -> None:
    scene.node = Node(name="node-1", addresses=(ip_interface("10.61.1.1/24"),), uplink="eth0")
    with pytest.raises(Unsupported, match=r"^no port in Neutron has 10\.61\.1\.1"):
        scene.learn()


def test_without_a_cloud_it_says_what_to_do(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", "/nonexistent/clouds.yaml")
    remote = Remote(OpenStack(lambda: scene.territory, lambda: 0.0, Cloud()), LIMITS)
    try:
        with pytest.raises((Invalid, Unavailable), match="the agent knows no OpenStack cloud"):
            remote.learn(scene.node)
    finally:
        remote.close()


def test_without_its_library_it_says_what_to_install(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openstack", None)
    with pytest.raises(Unsupported, match=r'^openstacksdk is missing on this host: pip install "weft\[openstack\]"$'):
        scene.learn()


def findings(scene: Scene) -> dict[str, str]:
    return {found.check: found.result for found in scene.remote.checkup()}


def test_the_doctor_counts_routes_and_looks_at_security_groups(scene: Scene, neutron_server: NeutronServer) -> None:
    scene.learn()
    scene.want(scene.route())
    for _ in range(2):
        assert scene.resync() == []
    room, inside, inside6 = (
        f"extra routes of router {scene.cloud.router}",
        *(f"security groups, from {prefix}" for prefix in NETWORKS),
    )
    group, other = (neutron_server.make("security_group", name=name)["id"] for name in ("hosts", "others"))

    def rule(**remote: str) -> None:
        neutron_server.make("security_group_rule", security_group_id=group, direction="ingress", **remote)

    try:
        scene.cloud.set_port("node-1", security_groups=[group])
        rule(remote_ip_prefix="10.0.0.0/8")
        rule(remote_group_id=other)
        assert findings(scene) == {room: "ok", inside: "warning", inside6: "warning"}
        scene.cloud.set_routes((MINE, HOP), *((f"10.99.{n}.0/24", THEIR_HOP) for n in range(25)))
        rule(remote_ip_prefix="40.0.0.0/8")
        assert findings(scene) == {room: "warning", inside: "ok", inside6: "warning"}
        rule(remote_group_id=group, ethertype="IPv6")
        assert findings(scene)[inside6] == "ok", "its members' pairs count as well"
    finally:
        scene.cloud.set_port("node-1", security_groups=[scene.cloud.group])
        for one in (group, other):
            neutron_server.delete("security_group", one)
