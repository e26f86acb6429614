from __future__ import annotations

import ast
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest

import weft
from support import lab
from weft.base.errors import Invalid
from weft.datapaths.driver import nothing
from weft.datapaths.registry import DRIVERS, driver, of, parse_options
from weft.datapaths.traits import KnownBy
from weft.datapaths.vxlan import VxlanOptions
from weft.model import Network
from weft.model.network import OptionValue

COMMON = "dns, fast, masquerade, node-prefix, node-prefix-v6, "
BOUNDS = "offload, reach, reserve, spoofing, subnet-max, subnet-max-v6, subnet-min, subnet-min-v6"


def test_unknown_driver() -> None:
    with pytest.raises(Invalid) as caught:
        driver("flanel")
    assert str(caught.value) == f"unknown driver 'flanel': choose one of {', '.join(sorted(DRIVERS))}"


BAD: list[tuple[str, dict[str, OptionValue], str]] = [
    (
        "host-gw",
        {"vni": 7},
        f"driver host-gw has no option 'vni': it takes {COMMON.replace('fast', 'fast, flannel')}{BOUNDS}",
    ),
    (
        "vxlan",
        {"direct_routing": True},
        "driver vxlan has no option 'direct_routing': did you mean direct-routing? it takes direct-routing, ",
    ),
    ("vxlan", {"vni": "many"}, "driver vxlan: option vni=many is not a whole number"),
    ("vxlan", {"vni": 1.5}, "driver vxlan: option vni=1.5 is not a whole number"),  # type: ignore[dict-item]
    ("vxlan", {"direct-routing": "perhaps"}, "driver vxlan: option direct-routing=perhaps is not true or false"),
    ("vxlan", {"underlay": "ipx"}, "driver vxlan: option underlay=ipx is not ipv4 or ipv6"),
    ("vxlan", {"reserve": 5}, "driver vxlan: option reserve=5 is not text"),
    ("vxlan", {"fast": "yes"}, "driver vxlan: option fast=yes is not checked or bypass"),
    (
        "macvlan",
        {"fast": "bypass"},
        "network blue: fast=bypass: packets of containers of driver macvlan pass no rules of their host in any case: leave -O "
        "fast out",
    ),
    ("vxlan", {"vni": 1 << 24}, "vni=16777216 is outside 1 to 16777215 (RFC 7348: 24 bits)"),
    ("vxlan", {"vni": 0}, "vni=0 is outside 1 to 16777215 (RFC 7348: 24 bits)"),
    ("vxlan", {"port": 65536}, "port=65536 is outside 1 to 65535"),
    ("mesh", {"port": 6783}, "port=6783 is where the sleeve listens: choose another"),
    ("udp", {"port": 6785}, "port=6785 is where hosts tell each other who is there: choose another"),
    ("overlay", {"port": 6789}, "port=6789 is where WireGuard itself listens: choose another"),
    ("bridge", {"subnet-min": "10.1.5.1/24"}, "'10.1.5.1/24' has host bits set: did you mean 10.1.5.0/24?"),
    ("bridge", {"reserve": "10.1.0.0/24, x"}, "'x' is not a prefix: write it like 10.1.0.0/16 or fd00:1::/48"),
    (
        "bridge",
        {"reserve": "10.1.0.0/24"},
        "network blue: reserve=10.1.0.0/24 is not inside 40.15.0.0/16: reserve only what is part of the network",
    ),
    ("bridge", {"node-prefix": "17"}, "network blue: node-prefix=17 does not suit 40.15.0.0/16: choose 18 to 30"),
    (
        "bridge",
        {"subnet-min-v6": "fd40:15:0:9::/64"},
        "network blue: subnet-min-v6=fd40:15:0:9::/64 given, but the network has no IPv6 prefix: "
        "leave it out, or add one with --subnet",
    ),
    (
        "bridge",
        {"subnet-max": "40.15.9.0/25"},
        "network blue: subnet-max=40.15.9.0/25 is not a node's subnet: did you mean 40.15.9.0/24?",
    ),
]


BAD += [
    (
        "routed",
        {"encap": "gre"},
        "driver routed: option encap=gre is not never or ipip or ipip-cross-subnet or vxlan or vxlan-cross-subnet",
    ),
    (
        "routed",
        {"encap": "ipip", "underlay": "ipv6"},
        "encap=ipip sends between IPv4 addresses only: underlay=ipv6 takes encap=vxlan",
    ),
    ("routed", {"vni": 0}, "vni=0 is outside 1 to 16777215 (RFC 7348: 24 bits)"),
    ("routed", {"block-size": 33}, "block-size=33 is outside 20 to 32 (a prefix length)"),
    (
        "routed",
        {"block-size-v6": 64},
        "block-size-v6=64 is outside 116 to 128 (a prefix length)",
    ),
]


@pytest.mark.parametrize(("name", "options", "message"), BAD)
def test_bad_options(name: str, options: dict[str, OptionValue], message: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_options(lab.network(name, options=options))
    assert str(caught.value).startswith(message)
    assert message.endswith(", ") or str(caught.value) == message


def test_only_blocks_come_from_several_subnets_of_a_family() -> None:
    several = (ip_network("10.1.0.0/16"), ip_network("10.2.0.0/16"))
    with pytest.raises(Invalid, match="at most one subnet of each family, got 10"):
        parse_options(lab.network("vxlan", subnets=several))
    assert parse_options(lab.network("routed", subnets=several))


def test_options_as_the_command_line_gives_them() -> None:
    given = {"vni": "42", "direct-routing": "true", "underlay": "ipv6", "reserve": "40.15.9.0/24, 40.15.10.0/24"}
    options = parse_options(lab.network("vxlan", options=given))
    assert isinstance(options, VxlanOptions)
    assert (options.vni, options.direct_routing, options.underlay_family) == (42, True, 6)
    assert [str(p) for p in options.reserved] == ["40.15.9.0/24", "40.15.10.0/24"]


def test_defaults() -> None:
    options = parse_options(lab.network("vxlan"))
    assert isinstance(options, VxlanOptions)
    assert (options.vni, options.port, options.underlay, options.direct_routing) == (1, 8472, "ipv4", False)


def test_two_networks_of_one_vni_claim_the_same() -> None:
    found = [driver("vxlan").claims(parse_options(lab.network("vxlan", name=name))) for name in ("blue", "green")]
    assert found[0] == found[1] == (("vni/1", "VNI 1"),)
    assert driver("host-gw").claims(parse_options(lab.network("host-gw"))) == ()


def test_every_driver_is_found_by_its_name() -> None:
    assert all(driver(name).name == name for name in DRIVERS)


@pytest.mark.parametrize("name", sorted(DRIVERS))
def test_a_driver_has_the_functions_for_what_it_says(name: str) -> None:
    used = DRIVERS[name]
    by_leases = used.known_by in (KnownBy.LEASES, KnownBy.BGP)
    assert (used.peer is not nothing) == by_leases
    assert (
        (used.location is not nothing)
        == (used.segment is not nothing)
        == (used.known_by is KnownBy.LOCATIONS and not used.addresses.made_elsewhere)
    )
    assert not (used.addresses.made_elsewhere and used.addresses.claimed), "who gives them sees to it"
    assert used.addresses.leased or not by_leases, "no lease tells where its containers are"
    assert used.addresses.leased or not used.addresses.blocks, "blocks belong to a lease"


def test_a_driver_of_another_version_does_nothing() -> None:
    strange = Network(name="x", driver="of-tomorrow", subnets=(ip_network("10.0.0.0/16"),))
    for found in (of(strange), of(None)):
        assert (found.known_by, found.addresses.claimed, found.addresses.leased) == (KnownBy.NOTHING, False, True)


def test_an_option_is_the_same_whichever_driver_has_it() -> None:
    """But for its default. `mode` is the kernel's word for what each kind of device on a parent can do, each its own."""
    found: dict[str, set[object]] = {}
    for used in DRIVERS.values():
        for field in msgspec.structs.fields(used.options):
            found.setdefault(field.encode_name, set()).add(field.type)
    assert {name for name, types in found.items() if len(types) > 1} == {"mode"}
    assert found["vni"] and found["masquerade"]


def test_nobody_else_asks_for_a_driver_by_its_name() -> None:
    """`bridge`, `vxlan`, `macvlan` and `ipvlan` are also what the kernel calls such devices, and `host`, `none`, `udp` and
    `mesh` are words: of these only comparisons with a driver are looked for. The lab makes networks, so it names drivers."""
    words = {"bridge", "vxlan", "macvlan", "ipvlan", "host", "none", "udp", "mesh"}
    source, own = Path(weft.__file__).parent, set(DRIVERS) - words
    found = []
    for path in source.rglob("*.py"):
        if path.relative_to(source).parts[0] in ("datapaths", "lab"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in own:
                found.append(f"{path}:{node.lineno}")
            if isinstance(node, ast.Compare) and any(
                isinstance(side, ast.Attribute) and side.attr == "driver" and isinstance(other, ast.Constant)
                for side, other in ((node.left, node.comparators[0]), (node.comparators[0], node.left))
            ):
                found.append(f"{path}:{node.lineno}")
    assert found == []
