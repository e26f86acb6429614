"""Whose port takes what. That it does is seen in tests/e2e/test_spoofing.py."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest
from msgspec.structs import replace

from support import lab
from support.parts import all_of_endpoint
from weft.base.errors import Invalid
from weft.base.net import link_local
from weft.datapaths.driver import gather
from weft.datapaths.registry import DRIVERS, driver
from weft.datapaths.traits import Switched
from weft.hoststate import Contribution, Link, NftChain, NftElement
from weft.hoststate.firewall import BRIDGE
from weft.hoststate.links import CHECKED, UNCHECKED
from weft.model import Endpoint, Gateway, Namespace

CHECKED_HERE = sorted(name for name, used in DRIVERS.items() if used.switched is not Switched.ELSEWHERE and used.passed)
BRIDGED = sorted(set(CHECKED_HERE) - {"routed"})
MAC = "02:42:28:0f:2b:02"


def endpoint(spoofing: str = "", *, second: bool = False) -> Endpoint:
    gateway = Gateway(interface="eth1", addresses=(ip_interface("172.30.0.2/16"),)) if second else None
    return Endpoint(
        id="0123456789abcdef",
        name="c1",
        network="blue",
        node="node-1",
        container="c1",
        namespace=Namespace(path="/run/netns/c1", cookie=4711),
        interface="eth0",
        mac=MAC,
        addresses=(ip_interface("40.15.43.2/24"), ip_interface("fd40:15:0:43::2/64")),
        gateway=gateway,
        spoofing=spoofing,
    )


def wanted(name: str, ep: Endpoint, option: str = "drop", **facts: object) -> tuple[Contribution, list[NftElement]]:
    """All that the container wants, and what of it is about what it may send."""
    network = lab.network(name, (4, 6), options={"spoofing": option}, internal=bool(facts.pop("internal", False)))
    found = gather(all_of_endpoint(lab.site(network, lab.node("node-1"), **facts), ep))
    return found, [o for o in found.objects if isinstance(o, NftElement) and o.table == BRIDGE]


@pytest.mark.parametrize("name", BRIDGED)
def test_a_port_takes_the_containers_own_addresses(name: str) -> None:
    ep = endpoint()
    _, elements = wanted(name, ep)
    own = {e.value for e in elements if e.set in ("own4", "own6")}
    addresses = [*(a.ip for a in ep.addresses), link_local(MAC)]
    assert own == {f'"{ep.host_interface}" . {MAC} . {address}' for address in addresses}
    targets = {int(e.value.rpartition(" ")[2], 16) for e in elements if e.set == "own-target"}
    assert targets == {int(address) for address in addresses if address.version == 6}
    assert [e.value for e in elements if e.set == "own-mac"] == [f'"{ep.host_interface}" . 0x242280f2b02']
    assert {e.ns for e in elements} == ({"/run/netns/weft-blue"} if name == "overlay" else {""})


def test_the_second_interface_has_its_own() -> None:
    _, elements = wanted("overlay", endpoint(second=True))
    outer = [e.value for e in elements if not e.ns and e.set == "own4"]
    assert [value.rpartition(" ")[2] for value in outer] == ["172.30.0.2"]
    assert {value.split()[0] for value in outer}.isdisjoint({f'"{endpoint().host_interface}"'})


@pytest.mark.parametrize("name", BRIDGED)
@pytest.mark.parametrize(
    ("option", "own", "may"),
    [
        ("drop", "", False),
        ("drop", "drop", False),
        ("drop", "allow", True),
        ("allow", "", True),
        ("allow", "drop", False),
    ],
)
def test_the_containers_word_comes_before_the_networks(name: str, option: str, own: str, may: bool) -> None:
    _, elements = wanted(name, endpoint(own), option)
    port = f'"{endpoint().host_interface}"'
    assert ([e.value for e in elements] == [port]) is may
    assert any(e.set == "spoofers" for e in elements) is may


@pytest.mark.parametrize(
    ("own", "internal", "group"),
    [("", False, CHECKED), ("allow", False, UNCHECKED), ("allow", True, CHECKED)],
)
def test_a_routed_device_is_checked_by_its_group(own: str, internal: bool, group: int) -> None:
    found, elements = wanted("routed", endpoint(own), internal=internal)
    (device,) = [o for o in found.objects if isinstance(o, Link) and o.name == endpoint().host_interface]
    assert device.group == group and not elements


@pytest.mark.parametrize("name", BRIDGED)
def test_no_port_is_made_before_the_rules(name: str) -> None:
    found, _ = wanted(name, endpoint())
    (port,) = [o for o in found.objects if isinstance(o, Link) and o.name == endpoint().host_interface]
    site = lab.site(lab.network(name), lab.node("node-1"))
    for obj in gather(driver(name).segment(site) if name == "overlay" else driver(name).network(site)).objects:
        if isinstance(obj, NftChain) and obj.table == BRIDGE and obj.ns == port.ns and "gateway" not in obj.name:
            assert obj.key in port.guards


@pytest.mark.parametrize("name", BRIDGED)
def test_a_kernel_that_cannot_check_is_told_of(name: str) -> None:
    """Unless nothing is to be checked."""
    facts = {"lacking": frozenset({"nft-bridge"})}
    _, elements = wanted(name, endpoint(), **facts)
    assert not elements
    told = gather(driver(name).network(lab.site(lab.network(name), lab.node("node-1"), **facts))).problems
    assert [text for text in told if "in each other's names" in text and "node-1" in text]
    free = lab.network(name, options={"spoofing": "allow"})
    assert not gather(driver(name).network(lab.site(free, lab.node("node-1"), **facts))).problems


@pytest.mark.parametrize("name", CHECKED_HERE)
def test_policy_is_asked_for_all_addresses_that_it_may_send_from(name: str) -> None:
    """Else what it sends from the others would be asked for nobody."""
    ep = replace(endpoint(), floating=(ip_address("203.0.113.7"),) if name == "routed" else ())
    asked = {address for gate in driver(name).gates(lab.network(name), ep) for address in gate.addresses}
    _, elements = wanted(name, ep)
    may = {ip_address(e.value.rpartition(" ")[2]) for e in elements if e.set in ("own4", "own6")}
    assert asked == may | {*(a.ip for a in ep.addresses), *ep.floating}


def test_what_it_may_is_one_of_two_words() -> None:
    with pytest.raises(Invalid, match="neither allow nor drop"):
        replace(endpoint(), spoofing="yes")
