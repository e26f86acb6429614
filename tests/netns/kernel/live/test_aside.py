"""Who is looked at is in the sets that keep packets off the short way, for as long as somebody looks."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address

import pytest

from support.namespaces import Home
from weft.base.net import IPAddress
from weft.hoststate import HOST
from weft.hoststate.firewall import WATCHED, WATCHED_FOR
from weft.kernel.live.aside import Aside

FOUR, SIX = ip_address("10.1.0.2"), ip_address("fd00::2")


@pytest.fixture
def ruled(netns: Home) -> Home:
    for family in ("inet", "bridge"):
        netns.run("nft", "add", "table", family, "weft")
        for number, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
            text = f"add set {family} weft {WATCHED[number]} {{ type {kind}; timeout {WATCHED_FOR}s; }}"
            netns.run("nft", text)
    return netns


def inside(ruled: Home, address: IPAddress) -> list[str]:
    """Families of the tables whose set has it."""
    name = WATCHED[4 if address.version == 4 else 6]
    return [f for f in ("inet", "bridge") if str(address) in ruled.run("nft", "list", "set", f, "weft", name)]


def test_until_nobody_looks_any_more(ruled: Home) -> None:
    forgotten: list[str] = []
    aside = Aside(forgotten.append)
    assert aside.put((HOST,), (FOUR, SIX)) == []
    assert forgotten == [HOST]
    assert [inside(ruled, each) for each in (FOUR, SIX)] == [["inet", "bridge"]] * 2
    aside.put((HOST,), (FOUR,))
    aside.back((HOST,), (FOUR, SIX))
    assert [inside(ruled, each) for each in (FOUR, SIX)] == [["inet", "bridge"], []]
    aside.back((HOST,), (FOUR,))
    assert inside(ruled, FOUR) == []


def test_they_end_by_themselves(ruled: Home) -> None:
    Aside(lambda _: None).put((HOST,), (FOUR,))
    assert "expires" in ruled.run("nft", "list", "set", "inet", "weft", WATCHED[4])


def test_where_nothing_takes_a_short_way_nothing_is_done(netns: Home) -> None:
    def never(_: Collection[str]) -> None:
        raise AssertionError("there is nothing to forget")

    aside = Aside(never)  # type: ignore[arg-type]
    assert aside.put((HOST, "/run/netns/weft-nobody"), (FOUR,)) == []
    aside.back((HOST, "/run/netns/weft-nobody"), (FOUR,))
    assert netns.run("nft", "list", "ruleset") == ""
