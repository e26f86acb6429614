"""What driver `neutron` says of itself, and what it refuses. (What it makes: tests/golden/neutron.)"""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

import msgspec

from support import lab
from weft.datapaths.driver import gather
from weft.datapaths.neutron import DRIVER
from weft.hoststate import Link, OvsPort
from weft.model import Endpoint, Network
from weft.model.endpoint import Namespace

NETWORK = Network(name="blue", driver="neutron", subnets=(ip_network("10.30.0.0/24"),), options={})
SITE = lab.site(NETWORK, lab.node("node-1"))
ENDPOINT = Endpoint(
    id="0123456789abcdef",
    name="c1",
    network="blue",
    node="node-1",
    container="c1",
    namespace=Namespace(path="/run/netns/c1", cookie=1),
    interface="eth0",
    mac="fa:16:3e:00:00:01",
    addresses=(ip_interface("10.30.0.7/24"),),
    data={"port": "5a5b2ee2-0b2a-4bb4-9c0a-2d6f2f3b8a11", "plug": "ovs", "bridge": "br-x"},
)


def with_data(**data: str) -> Endpoint:
    return msgspec.structs.replace(ENDPOINT, data={**ENDPOINT.data, **data})


def test_the_device_is_called_as_neutron_expects() -> None:
    for plug in ("ovs", "hybrid"):
        made = {o.name for o in gather(DRIVER.endpoint(SITE, with_data(plug=plug))).objects if isinstance(o, Link)}
        assert DRIVER.host_end(with_data(plug=plug)) == "tap5a5b2ee2-0b" in made
        assert all(len(name) < 16 for name in made)


def test_the_port_is_on_the_bridge_that_neutron_says() -> None:
    ports = {
        plug: next(o for o in gather(DRIVER.endpoint(SITE, with_data(plug=plug))).objects if isinstance(o, OvsPort))
        for plug in ("ovs", "hybrid")
    }
    assert {plug: (port.bridge, port.name) for plug, port in ports.items()} == {
        "ovs": ("br-x", "tap5a5b2ee2-0b"),
        "hybrid": ("br-x", "qvo5a5b2ee2-0b"),
    }
    (usual,) = (o for o in gather(DRIVER.endpoint(SITE, with_data(bridge=""))).objects if isinstance(o, OvsPort))
    assert usual.bridge == "br-int"


def test_no_rule_of_wefts_is_between() -> None:
    """Security groups and checks of who sends are Neutron's: no firewall object, no gate that policy is asked at."""
    kinds = {o.kind for o in gather(DRIVER.endpoint(SITE, with_data(plug="hybrid"))).objects}
    assert kinds == {"link", "address", "sysctl", "ovs-port"} and DRIVER.gates(NETWORK, ENDPOINT) == ()
    assert list(DRIVER.network(SITE)) == [] and DRIVER.reached(SITE, ENDPOINT) is None


def test_what_cannot_be_plugged_is_told_and_nothing_of_it_made() -> None:
    for data, said in (
        ({"plug": "bridge"}, "bound the port of c1 as 'bridge'"),
        ({"port": ""}, "has no port in Neutron"),
    ):
        found = gather(DRIVER.endpoint(SITE, with_data(**data)))
        (problem,) = found.problems
        assert said in problem and found.objects == ()


def test_a_host_without_a_switch_is_told_before_its_first_container() -> None:
    poor = lab.site(NETWORK, lab.node("node-1"), lacking=frozenset({"openvswitch"}))
    (problem,) = gather(DRIVER.network(poor)).problems
    assert problem == DRIVER.refusal(poor.host, NETWORK, poor.options)
    assert problem.startswith(
        "node-1 has no Open vSwitch that answers, which network blue needs: install and start it there"
    )
    assert gather(DRIVER.endpoint(poor, ENDPOINT)) == gather(DRIVER.endpoint(SITE, ENDPOINT)), "what is there stays"


def test_without_ipv6_in_the_kernel_none_of_its_sysctls_is_wanted() -> None:
    plain = lab.site(NETWORK, lab.node("node-1"), ipv6=False)
    sysctls = {o.key[2] for o in gather(DRIVER.endpoint(plain, ENDPOINT), ipv6=False).objects if o.kind == "sysctl"}
    assert sysctls and not any("ipv6" in name for name in sysctls)
