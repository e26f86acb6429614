"""Flannel's config, and what it makes of a network. (What is refused: tests/e2e/test_flannel_registry.py.)"""

from __future__ import annotations

import json
from typing import Any

import pytest

from weft.base.errors import Invalid
from weft.base.net import parse_network
from weft.datapaths import registry
from weft.datapaths.options import FlannelOptions
from weft.flannel import config
from weft.model import Network
from weft.model.network import OptionValue

URL = "etcd://192.168.1.1:2379"


def made(told: dict[str, Any], driver: str = "vxlan", **options: OptionValue) -> Network:
    network = Network(name="blue", driver=driver, subnets=(), options={"flannel": URL, **options})
    return config.completed(network, config.parse(json.dumps(told).encode()))


def test_flannels_defaults() -> None:
    network = made({"Network": "40.15.0.0/16", "Backend": {"Type": "vxlan"}})
    assert network.subnets == (parse_network("40.15.0.0/16"),) and network.mtu is None
    assert network.options == {
        "flannel": URL,
        "node-prefix": 24,
        "subnet-min": "40.15.1.0/24",
        "subnet-max": "40.15.255.0/24",
        "vni": 1,
        "port": 8472,
        "underlay": "ipv4",
        "direct-routing": False,
    }
    registry.parse_options(network)


def test_all_that_it_says() -> None:
    backend = {"Type": "VXLAN", "VNI": 7, "Port": 4789, "DirectRouting": True, "MTU": 1400, "Learning": True}
    told = {
        "Network": "10.5.0.0/16",
        "SubnetLen": 26,
        "SubnetMin": "10.5.8.0",
        "SubnetMax": "10.5.9.192",
        "Backend": backend,
    }
    network = made(told)
    options: Any = registry.parse_options(network)
    assert (options.vni, options.port, options.direct_routing, options.node_prefix) == (7, 4789, True, 26)
    assert (options.subnet_min, options.subnet_max, network.mtu) == ("10.5.8.0/26", "10.5.9.192/26", 1350)


def test_what_the_user_says_as_well() -> None:
    asked: dict[str, OptionValue] = {"subnet-min": "10.5.1.0", "vni": 1, "reach": "all"}
    network = made({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}}, **asked)
    assert (network.options["reach"], network.options["subnet-min"]) == ("all", "10.5.1.0/24")


def test_names_in_any_case_and_host_bits_are_taken_as_go_takes_them() -> None:
    network = made({"network": "10.5.3.4/16", "backend": {"type": "host-gw"}}, "host-gw")
    assert network.subnets == (parse_network("10.5.0.0/16"),)


def test_both_families() -> None:
    told = {"EnableIPv6": True, "Network": "10.5.0.0/16", "IPv6Network": "fd00:5::/56", "Backend": {"Type": "host-gw"}}
    network = made(told, "host-gw")
    assert network.subnets == (parse_network("10.5.0.0/16"), parse_network("fd00:5::/56"))
    assert (network.options["node-prefix-v6"], network.options["subnet-min-v6"]) == (64, "fd00:5:0:1::/64")


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"Network": "10.5.0.0/30", "Backend": {"Type": "vxlan"}}, "10.5.0.0/30 is too small"),
        ({"Network": "10.5.0.0/16", "SubnetLen": 17, "Backend": {"Type": "vxlan"}}, "node-prefix=17 does not suit"),
        (
            {"Network": "10.5.0.0/16", "SubnetLen": "24", "Backend": {"Type": "vxlan"}},
            "SubnetLen is '24', which is no number",
        ),
        (
            {"Network": "10.5.0.0/16", "SubnetMin": "10.6.0.0", "Backend": {"Type": "vxlan"}},
            "is not inside 10.5.0.0/16",
        ),
        (
            {"Network": "10.5.0.0/16", "SubnetMin": "x", "Backend": {"Type": "vxlan"}},
            "SubnetMin is 'x', which is no address",
        ),
        ({"Network": "fd00::/16", "Backend": {"Type": "vxlan"}}, "which is no prefix of IPv4"),
        ({"Network": 7, "Backend": {"Type": "vxlan"}}, "which is no prefix of IPv4"),
        ({"Network": 7.5, "Backend": {"Type": "vxlan"}}, "which is no prefix of IPv4"),
        ({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "GBP": True}}, "GBP is on"),
        ({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "VNI": 0}}, "vni=0 is outside"),
        ({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "VNI": "many"}}, "VNI is 'many', which is no number"),
        ({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "MTU": "many"}}, "MTU is 'many', which is no number"),
        ({"Network": "10.5.0.0/16", "Backend": "vxlan"}, "its Backend is no JSON object"),
        ({"Network": "10.5.0.0/16", "EnableIPv6": "yes"}, "EnableIPv6 is 'yes', neither true nor false"),
        ({"Network": "10.5.0.0/16", "EnableIPv4": False}, "EnableIPv4 is false"),
    ],
)
def test_what_cannot_be_a_network(told: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid) as caught:
        made(told)
    assert why in str(caught.value)


@pytest.mark.parametrize("name", sorted(registry.DRIVERS))
def test_a_driver_takes_the_option_if_it_says_how_it_looks_to_flannel(name: str) -> None:
    driver = registry.DRIVERS[name]
    assert issubclass(driver.options, FlannelOptions) is (driver.flannel is not None)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (
            "http://192.168.1.1:2379",
            "flannel=http://192.168.1.1:2379 is no registry: write etcd://HOST:2379/coreos.com/network",
        ),
        ("192.168.1.1", "is no registry"),
        ("etcd://user:secret@192.168.1.1", "flannel=… has a password in it"),
    ],
)
def test_bad_urls(url: str, why: str) -> None:
    network = Network(name="blue", driver="vxlan", subnets=(parse_network("10.5.0.0/16"),), options={"flannel": url})
    with pytest.raises(Invalid) as caught:
        registry.parse_options(network)
    assert why in str(caught.value) and "secret" not in str(caught.value)
