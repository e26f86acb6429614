"""Networks with `fast=bypass`: what is left untracked."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from support import lab
from weft.base.errors import Invalid
from weft.datapaths import _bypass
from weft.datapaths.driver import Site
from weft.datapaths.registry import DRIVERS, bypass, parse_options
from weft.hoststate import NftElement


def site(driver: str = "vxlan", fast: str = "bypass", lacking: tuple[str, ...] = (), **more: object) -> Site:
    network = lab.network(driver, (4, 6), options={"fast": fast}, **more)
    return lab.site(network, lab.node("node-1"), lacking=frozenset(lacking))


@pytest.mark.parametrize(
    ("fast", "lacking", "right"),
    [
        ("bypass", (), True),
        ("bypass", ("flowtable",), True),
        ("bypass", ("flowtable", "tcx"), True),
        ("bypass", ("tcx",), False),
        ("checked", (), False),
        ("checked", ("flowtable", "tcx"), False),
    ],
)
def test_a_flowtable_alone_wants_tracked_packets(fast: str, lacking: tuple[str, ...], right: bool) -> None:
    there = site(fast=fast, lacking=lacking)
    assert bool(list(_bypass.rules(there))) is right
    assert bool(list(_bypass.tracked(there, [ip_address("40.15.43.2")]))) is right


@pytest.mark.parametrize(
    ("lacking", "begins"),
    [((), "bypass: "), (("flowtable",), "bypass: "), (("tcx",), "as checked: "), (("flowtable", "tcx"), "untracked: ")],
)
def test_what_it_means_is_said(lacking: tuple[str, ...], begins: str) -> None:
    host = site(lacking=lacking).host
    assert bypass(host, lab.network("vxlan", options={"fast": "bypass"})).startswith(begins)
    assert bypass(host, lab.network("vxlan")) == ""


def test_pairs_are_of_one_family() -> None:
    pairs = {(o.set, o.value) for o in _bypass.rules(site()) if isinstance(o, NftElement)}
    assert pairs == {("bypass4", "40.15.0.0/16 . 40.15.0.0/16"), ("bypass6", "fd40:15::/48 . fd40:15::/48")}


def test_addresses_of_others_need_no_tracking() -> None:
    some = map(ip_address, ("40.15.43.2", "172.30.0.2", "fe80::1", "fd40:15:0:43::2", "40.15.43.2"))
    found = [o.value for o in _bypass.tracked(site(), some) if isinstance(o, NftElement)]
    assert found == ["40.15.43.2", "fd40:15:0:43::2"]


@pytest.mark.parametrize("name", sorted(DRIVERS))
def test_whose_packets_pass_no_rules_cannot_pass_them_by(name: str) -> None:
    network = lab.network(name, options={"fast": "bypass"})
    if name in ("ipvlan", "macvlan", "host", "none", "neutron"):
        with pytest.raises(Invalid, match="pass no rules of their host in any case: leave -O fast out"):
            parse_options(network)
    else:
        assert parse_options(network).fast == "bypass"
