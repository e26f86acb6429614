"""Which device is the uplink, and which address the node's: what moves or belongs to an engine is not taken for them."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_interface

import pytest

from weft.base.errors import Conflict, NotFound
from weft.kernel.host.uplink import Assigned, Uplink, choose

HERE: Callable[[str], bool] = lambda name: True  # noqa: E731


def held(*words: str) -> dict[tuple[str, int], list[Assigned]]:
    """ "eth0 10.0.0.1/24" each; with a "-" behind it: temporary, or so."""
    found: dict[tuple[str, int], list[Assigned]] = {}
    for word in words:
        name, text = word.split()
        address = ip_interface(text.rstrip("-"))
        found.setdefault((name, address.version), []).append(Assigned(address, not text.endswith("-")))
    return found


def addresses(choice: Uplink) -> list[str]:
    return [str(a) for a in choice.addresses]


def test_a_virtual_address_of_keepalived_does_not_become_the_nodes() -> None:
    found = held("eth0 10.0.0.100/32", "eth0 10.0.0.5/24", "eth0 fd00::100/128", "eth0 fd00::5/64")
    chosen = choose(found, ["eth0"], HERE)
    assert addresses(chosen) == ["10.0.0.5/24", "fd00::5/64"]
    assert chosen.why == (
        "has the default route; 10.0.0.5/24 before 10.0.0.100/32 (a prefix of one address); "
        "fd00::5/64 before fd00::100/128 (a prefix of one address)"
    )
    first = choose(held("eth0 10.0.0.100/32"), ["eth0"], HERE)  # it was there before DHCP's
    assert addresses(choose(found, ["eth0"], HERE, before=first)) == ["10.0.0.5/24", "fd00::5/64"]


def test_the_address_stays_as_long_as_it_is_there() -> None:
    before = choose(held("eth0 10.0.0.5/24"), ["eth0"], HERE)
    assert addresses(choose(held("eth0 10.0.0.4/24", "eth0 10.0.0.5/24"), ["eth0"], HERE, before=before)) == [
        "10.0.0.5/24"
    ]
    assert addresses(choose(held("eth0 10.0.0.4/24"), ["eth0"], HERE, before=before)) == ["10.0.0.4/24"]
    renumbered = held("eth0 fd00:a::5/64-", "eth0 fd00:b::5/64")
    before = choose(held("eth0 fd00:a::5/64"), ["eth0"], HERE)
    assert addresses(choose(renumbered, ["eth0"], HERE, before=before)) == ["fd00:b::5/64"]
    assert addresses(choose(held("eth0 fd00:a::5/64-"), ["eth0"], HERE)) == [
        "fd00:a::5/64"
    ]  # the last is better than none


@pytest.mark.parametrize(
    "bridge", ["docker0", "docker_gwbridge", "br-0123456789ab", "cni0", "podman1", "virbr0", "weft-x"]
)
def test_an_engines_bridge_is_never_the_uplink(bridge: str) -> None:
    alone = held(f"{bridge} 172.17.0.1/16")
    with pytest.raises(NotFound, match="no uplink"):
        choose(alone, [], HERE)
    assert choose(held(f"{bridge} 172.17.0.1/16", "eth0 10.0.0.5/24"), [bridge], HERE).name == "eth0"
    before = choose(held("eth0 10.0.0.5/24"), [], HERE)
    for _ in range(2):  # the real one has lost its address for a while
        before = choose(alone, [], HERE, before=before)
        assert (before.name, before.addresses) == ("eth0", ())
    assert choose(alone, [], HERE, iface=bridge).name == bridge  # unless somebody says so


def test_the_uplink_stays_while_it_has_a_default_route() -> None:
    found = held("eth0 10.0.0.5/24", "wg0 10.9.0.5/24", "br-ex 10.8.0.5/24")
    before = choose(found, ["eth0"], HERE)
    chosen = choose(found, ["wg0", "eth0"], HERE, before=before)
    assert (chosen.name, chosen.why) == ("eth0", "has a default route, and was the uplink before")
    assert choose(found, ["wg0"], HERE, before=before).name == "wg0"
    with pytest.raises(Conflict, match=r"which is the uplink, br-ex, eth0, wg0\? There is no default route"):
        choose(found, [], lambda name: name != "gone", before=Uplink("gone", (), ""))


def test_what_the_operator_says_counts() -> None:
    found = held("eth0 10.0.0.5/24", "eth0 10.0.0.6/32", "eth1 10.1.0.5/24")
    chosen = choose(found, ["eth0"], HERE, fixed=[ip_address("10.0.0.6")])
    assert (chosen.name, addresses(chosen)) == ("eth0", ["10.0.0.6/32"])
    assert chosen.why == "has 10.0.0.6, given by --address; 10.0.0.6 given by --address"
    assert choose(found, ["eth0"], HERE, fixed=[ip_address("10.1.0.5")]).name == "eth1"
    with pytest.raises(NotFound, match=r"address 10\.7\.7\.7: no device has it"):
        choose(found, ["eth0"], HERE, fixed=[ip_address("10.7.7.7")])
    with pytest.raises(NotFound, match=r"address 10\.0\.0\.5: eth1 does not have it"):
        choose(found, ["eth0"], HERE, iface="eth1", fixed=[ip_address("10.0.0.5")])
