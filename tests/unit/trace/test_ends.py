from __future__ import annotations

from ipaddress import ip_address, ip_interface

import msgspec
import pytest

from support.canned import ENDPOINTS, NODES
from weft.api.services import ServiceInfo
from weft.base.errors import Invalid, NotFound
from weft.services.model import Service
from weft.trace import ends
from weft.trace.ends import End, choose_family

WEB = ENDPOINTS[0]


@pytest.mark.parametrize("ref", ["web", "node-1/web", "0011223344556677", "f" * 64])
def test_endpoint(ref: str) -> None:
    found = ends.origin(ref, ENDPOINTS, NODES)
    assert (found.name, found.node, found.ns) == ("node-1/web", "node-1", "/proc/4711/ns/net")
    assert found.families == (4, 6)


@pytest.mark.parametrize("ref", ["fd00:40:15:2b::2", "fd00:40:15:2b:0::2"])
def test_endpoint_by_one_of_its_addresses(ref: str) -> None:
    found = ends.target(ref, ENDPOINTS, NODES)
    assert found.name == "node-1/web"
    assert found.addresses == (ip_address("fd00:40:15:2b::2"),)


@pytest.mark.parametrize(
    ("ref", "families"), [("node-1", (4, 6)), ("192.168.1.68", (4,)), ("fd00:192:168:1::68", (6,))]
)
def test_node(ref: str, families: tuple[int, ...]) -> None:
    found = ends.origin(ref, ENDPOINTS, NODES)
    assert (found.name, found.node, found.ns, found.families) == ("node-1", "node-1", "", families)


def test_stranger() -> None:
    assert ends.target("203.0.113.10", ENDPOINTS, NODES) == End(
        name="203.0.113.10", addresses=(ip_address("203.0.113.10"),)
    )
    with pytest.raises(NotFound, match=r"203.0.113.10 is no endpoint and no node: `weft endpoint ls`"):
        ends.origin("203.0.113.10", ENDPOINTS, NODES)


def test_unknown() -> None:
    with pytest.raises(NotFound, match="nobody is no endpoint, node, service or address"):
        ends.target("nobody", ENDPOINTS, NODES)


@pytest.mark.parametrize("ref", ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"])
def test_many_receivers_and_none_are_no_target(ref: str) -> None:
    with pytest.raises(Invalid, match=f"{ref} is not the address of one receiver"):
        ends.target(ref, ENDPOINTS, NODES)


def test_ambiguous() -> None:
    twin = msgspec.structs.replace(WEB, id="ff", node="node-4", addresses=(ip_interface("40.15.65.9/24"),))
    with pytest.raises(
        Invalid, match=r"web is more than one: endpoint node-1/web in blue \(id 0011223344556677\), endp"
    ):
        ends.origin("web", (WEB, twin), NODES)
    assert ends.origin("node-4/web", (WEB, twin), NODES).node == "node-4"


def test_family() -> None:
    def end(*addresses: str) -> End:
        return End(name=addresses[0], addresses=tuple(map(ip_address, addresses)))

    both, v4, v6 = end("10.0.0.1", "fd00::1"), end("10.0.0.2"), end("fd00::2")
    assert choose_family(both, both, None) == 4
    assert choose_family(both, both, 6) == 6
    assert choose_family(both, v6, None) == 6
    with pytest.raises(Invalid, match=r"10.0.0.2 has no IPv6 address: leave --family out"):
        choose_family(both, v4, 6)
    with pytest.raises(Invalid, match=r"10.0.0.2 has only IPv4 and fd00::2 has only IPv6: no packet"):
        choose_family(v4, v6, None)


def test_a_service_by_name_and_address() -> None:
    service = Service(name="shop", network="blue", select="app=web", addresses=(ip_address("40.15.255.7"),))
    found = (ServiceInfo(service=service),)
    for ref in ("shop", "blue/shop", "40.15.255.7"):
        end = ends.target(ref, ENDPOINTS, NODES, found)
        assert (end.name, end.addresses, end.service) == ("service blue/shop", service.addresses, service)
    green = ServiceInfo(service=Service(name="shop", network="green", select="app=web"))
    with pytest.raises(Invalid, match="shop is more than one service: blue/shop, green/shop"):
        ends.target("shop", ENDPOINTS, NODES, (*found, green))
    with pytest.raises(Invalid, match="service green/shop has no virtual address"):
        ends.target("green/shop", ENDPOINTS, NODES, (*found, green))
