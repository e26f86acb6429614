"""What every data path owes, whatever it is made of. The whole of what each yields is in tests/golden."""

from __future__ import annotations

from ipaddress import ip_interface

import msgspec
import pytest

from support import lab
from support.parts import all_of_endpoint
from weft.compile import isolation
from weft.datapaths.driver import gather
from weft.datapaths.options import subnet_rules
from weft.datapaths.registry import DRIVERS, driver, parse_options
from weft.hoststate import Bridge, Contribution, IptablesChain, Link, NftElement, Route, Sysctl, Union
from weft.hoststate.links import GATEWAY_ALIAS
from weft.model import Endpoint, Location, Namespace, Network
from weft.model.endpoint import endpoint_id
from weft.reconcile.kinds.table import is_ours

NAMES = sorted(name for name, used in DRIVERS.items() if not used.addresses.bare)
LEASED = sorted(name for name, used in DRIVERS.items() if used.addresses.leased)
ROUTED = ("host-gw", "vxlan")


def endpoint(number: int = 2) -> Endpoint:
    return Endpoint(
        id=endpoint_id("blue", "node-1", number, "eth0"),
        name=f"c{number}",
        network="blue",
        node="node-1",
        container=f"c{number}",
        namespace=Namespace(path=f"/run/netns/c{number}", cookie=number),
        data={"port": f"5a5b2ee2-0{number}2a-4bb4-9c0a-2d6f2f3b8a11"},
        interface="eth0",
        mac=f"02:42:28:0f:2b:{number:02x}",
        addresses=(ip_interface(f"40.15.43.{number}/24"),),
    )


def location(net: Network, number: int) -> Location:
    whole = [subnet[9 + number] for subnet in net.subnets]
    return Location(node=f"node-{number}", mac=f"02:42:28:0f:00:0{number}", addresses=tuple(whole))


def compiled(net: Network, **facts: object) -> dict[tuple[str, ...], Contribution]:
    """All that node-1 contributes: for the network, three peers, two endpoints."""
    site, used = lab.site(net, lab.node("node-1"), **facts), driver(net.driver)
    found: dict[tuple[str, ...], Contribution] = {("network", net.name): gather(used.network(site))}
    for name, node in lab.nodes().items():
        if name != "node-1":
            found["peer", net.name, name] = gather(used.peer(site, node, lab.lease(net, node)))
            found["location", net.name, name] = gather(used.location(site, node, location(net, int(name[-1]))))
    found["segment", net.name] = gather(used.segment(site))
    for ep in (endpoint(2), endpoint(3)):
        found["endpoint", net.name, ep.id] = gather(all_of_endpoint(site, ep))
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("families", [(4,), (6,), (4, 6)])
def test_the_parts_fit_together(name: str, families: tuple[int, ...]) -> None:
    """No two ask for one key otherwise; each object carries our mark; devices named are made or the uplink."""
    whole = Union()
    for source, contribution in compiled(lab.network(name, families)).items():
        assert len({o.key for o in contribution.objects}) == len(contribution.objects)
        whole.set(source, contribution)
    assert whole.conflicts() == []
    assert all(is_ours(obj) for obj in whole.desired.values())
    made = {(o.ns, o.name) for o in whole.desired.values() if isinstance(o, Link)}
    made |= {("", "eth0"), ("", "lo"), ("", "")}
    assert {(o.ns, o.dev) for o in whole.desired.values() if hasattr(o, "dev")} <= made


@pytest.mark.parametrize("name", NAMES)
def test_v4_and_v6_alone_make_up_dual_stack(name: str) -> None:
    def peers_and_rules(families: tuple[int, ...]) -> set[object]:
        found = compiled(lab.network(name, families))
        return {o for c in found.values() for o in c.objects if o.ns == "" and not isinstance(o, Link)}

    assert peers_and_rules((4, 6)) == peers_and_rules((4,)) | peers_and_rules((6,))


@pytest.mark.parametrize("name", LEASED)
def test_an_internal_network_has_no_way_out(name: str) -> None:
    net = lab.network(name, (4, 6), internal=True)
    objects = [
        *isolation.answer({net.name: net}, lambda _: None),
        *(o for c in compiled(net).values() for o in c.objects),
    ]
    assert not any(isinstance(o, Route) and o.prefix in ("0.0.0.0/0", "::/0") for o in objects)
    sets = {o.set for o in objects if isinstance(o, NftElement)}
    assert {"internal4", "internal6", "within4", "within6"} <= sets
    assert not {"masquerade4", "masquerade6"} & sets


@pytest.mark.parametrize("name", LEASED)
def test_no_device_of_a_network_that_is_apart_comes_before_the_rules_for_it(name: str) -> None:
    def guarded(reach: str) -> set[bool]:
        objects = [o for c in compiled(lab.network(name, options={"reach": reach})).values() for o in c.objects]
        links = (o for o in objects if isinstance(o, Link) and o.alias != GATEWAY_ALIAS)
        into = [link for link in links if not link.ns and link.name.startswith("weft") and link.guards]
        assert into
        return {("nft-chain", "", "inet weft", "isolation") in o.guards for o in into}

    assert (guarded("self"), guarded("all")) == ({True}, {False})


@pytest.mark.parametrize("name", NAMES)
def test_an_mtu_asked_for_holds_on_every_device_of_the_containers_way(name: str) -> None:
    objects = [o for c in compiled(lab.network(name, mtu=1400)).values() for o in c.objects]
    assert {o.mtu for o in objects if isinstance(o, Link) and o.alias != "weft:gateway"} == {1400}


@pytest.mark.parametrize("name", ROUTED)
def test_an_endpoint_changes_nothing_for_peers(name: str) -> None:
    """What a host yields for a peer is made of that node and lease alone: no endpoint is even passed."""
    net = lab.network(name)
    found = compiled(net)
    assert all(found["peer", "blue", n].objects or found["peer", "blue", n].problems for n in ("node-2", "node-4"))
    ours = {o.ns for o in found["endpoint", "blue", endpoint(2).id].objects}
    assert ours == {"", "/run/netns/c2"}


def test_forwarding_keeps_the_hosts_own_default_routes() -> None:
    """With forwarding on, accept_ra=1 would mean that router advertisements are no longer heeded."""
    objects = compiled(lab.network("vxlan", (6,)), advertised=frozenset({"eth0", "eth1"}))["network", "blue"].objects
    for dev in ("eth0", "eth1"):
        assert Sysctl(name=f"net/ipv6/conf/{dev}/accept_ra", value="2") in objects
    without = compiled(lab.network("vxlan", (6,)))["network", "blue"].objects
    assert not any(isinstance(o, Sysctl) and "accept_ra" in o.name and o.value == "2" for o in without)


@pytest.mark.parametrize("name", [name for name, used in DRIVERS.items() if used.passed])
def test_no_device_of_ours_brings_the_host_a_router_advertisement(name: str) -> None:
    """Also in a network of IPv4 only: the host then forwards no IPv6, and would take them by default."""
    objects = [o for found in compiled(lab.network(name)).values() for o in found.objects]
    deaf = {o.name for o in objects if isinstance(o, Sysctl) and o.value == "0"}
    links = {o.name for o in objects if isinstance(o, Link) and not o.ns}
    assert links
    assert {f"net/ipv6/conf/{dev}/accept_ra" for dev in links} <= deaf


def test_where_there_is_no_ipv6_there_is_no_such_sysctl() -> None:
    """A kernel without it, and a device whose MTU is too small for it."""
    small = Link(name="weft-blue", type=Bridge(), mtu=1279)
    assert gather(iter([small])).objects == (small,)
    link = msgspec.structs.replace(small, mtu=1280)
    assert gather(iter([link]), ipv6=False).objects == (link,)
    assert len(gather(iter([link])).objects) == 2


def test_forward_is_accepted_where_iptables_is_in_use() -> None:
    facts = {"iptables": frozenset({(4, "legacy"), (6, "nft")})}
    objects = compiled(lab.network("host-gw"), **facts)["network", "blue"].objects
    chains = {(o.family, o.backend) for o in objects if isinstance(o, IptablesChain)}
    assert chains == {(4, "legacy"), (6, "nft")}


@pytest.mark.parametrize("underlay", ["ipv4", "ipv6"])
def test_the_vtep_mac_is_the_same_after_a_reboot_and_tells_hosts_and_networks_apart(underlay: str) -> None:
    macs = [
        lab.lease(lab.network("vxlan", name=net, options={"underlay": underlay}), lab.node(node)).data["vtep-mac"]
        for net in ("blue", "green")
        for node in ("node-1", "node-2", "node-1")
    ]
    assert macs[0] == macs[2]
    assert len(set(macs)) == 4


def test_a_host_without_the_tunnels_family_is_refused() -> None:
    net = lab.network("vxlan", options={"underlay": "ipv6"})
    site = lab.site(net, lab.node("node-1", (4,)))
    refusal = driver("vxlan").refusal(site.host, net, site.options)
    assert refusal == "node-1 has no IPv6 address on eth0: give it one, or make network blue with -O underlay=ipv4"
    assert driver("vxlan").refusal(lab.site(net, lab.node("node-1")).host, net, site.options) == ""


def test_a_peer_that_has_not_told_its_mac_is_a_problem() -> None:
    net = lab.network("vxlan")
    peer = lab.node("node-2")
    lease = lab.lease(net, peer)
    lease.data.clear()
    got = gather(driver("vxlan").peer(lab.site(net, lab.node("node-1")), peer, lease))
    assert {o.kind for o in got.objects} <= {"nft-element"}
    assert got.problems == ("node-2 has not told its VTEP's MAC address: VXLAN cannot reach it; restart its agent",)


def test_host_gw_says_which_side_lacks_an_address() -> None:
    net = lab.network("host-gw", (6,))
    for mine, theirs, who in (((4,), (4, 6), "node-1"), ((4, 6), (4,), "node-2")):
        site, peer = lab.site(net, lab.node("node-1", mine)), lab.node("node-2", theirs)
        (problem,) = gather(driver("host-gw").peer(site, peer, lab.lease(net, peer))).problems
        assert problem.startswith(f"{who} has no IPv6 address on eth0")


def test_options_become_rules_for_subnets() -> None:
    options = {"node-prefix": 26, "subnet-min": "40.15.9.0/26", "node-prefix-v6": 72, "reserve": "40.15.9.0/30"}
    rules = subnet_rules(parse_options(lab.network("bridge", (4, 6), options=options)))
    assert (rules.v4.node_prefix, str(rules.v4.first), rules.v4.last) == (26, "40.15.9.0/26", None)
    assert (rules.v6.node_prefix, rules.v6.first) == (72, None)
    assert [str(p) for p in rules.reserved] == ["40.15.9.0/30"]
