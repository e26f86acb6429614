from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from weft.alloc import addresses
from weft.base.errors import Conflict, Exhausted, Invalid, WeftError
from weft.base.net import IPAddress
from weft.model import AddressRange

SUBNET = ip_network("10.1.3.0/24")
SIX = ip_network("fd00:1:0:3::/64")


def walk(subnet: str, count: int, reserved: tuple[str, ...] = ()) -> list[str]:
    """What is given when nothing is ever freed."""
    taken: list[IPAddress] = []
    prefixes = [ip_network(r) for r in reserved]
    for _ in range(count):
        taken.append(addresses.choose(ip_network(subnet), taken, prefixes, taken[-1] if taken else None))
    return [str(a) for a in taken]


def test_all_that_a_v4_subnet_has_without_its_own_address_gateway_and_broadcast() -> None:
    assert walk("10.1.3.0/29", 5) == [f"10.1.3.{n}" for n in (2, 3, 4, 5, 6)]
    assert walk("10.1.3.0/30", 1) == ["10.1.3.2"]


def test_v6_has_no_broadcast_address() -> None:
    assert walk("fd00::/126", 2) == ["fd00::2", "fd00::3"]


def test_round_again_past_what_is_taken() -> None:
    taken = {ip_address("10.1.3.2"), ip_address("10.1.3.254")}
    assert addresses.choose(SUBNET, taken, after=ip_address("10.1.3.253")) == ip_address("10.1.3.3")
    assert addresses.choose(SUBNET, taken, after=ip_address("10.1.3.254")) == ip_address("10.1.3.3")


def test_a_freed_address_is_not_given_at_once() -> None:
    assert addresses.choose(SUBNET, set(), after=ip_address("10.1.3.2")) == ip_address("10.1.3.3")


@pytest.mark.parametrize("after", ["10.1.4.7", "10.1.3.0", "10.1.3.255", "fd00::7"])
def test_an_after_from_elsewhere_means_the_beginning(after: str) -> None:
    assert addresses.choose(SUBNET, set(), after=ip_address(after)) == ip_address("10.1.3.2")


def test_reserved_prefixes_are_passed_over() -> None:
    assert walk("10.1.3.0/28", 6, ("10.1.3.0/29", "10.1.3.12/32", "fd00::/64")) == [
        f"10.1.3.{n}" for n in (8, 9, 10, 11, 13, 14)
    ]


def test_the_only_free_one_is_found_wherever_it_is() -> None:
    everything: set[IPAddress] = {ip_address(f"10.1.3.{n}") for n in range(1, 255)}
    for last_octet in (2, 100, 254):
        free = ip_address(f"10.1.3.{last_octet}")
        for after in (None, free, ip_address("10.1.3.50")):
            assert addresses.choose(SUBNET, everything - {free}, after=after) == free


def test_exhaustion_names_the_counts() -> None:
    taken = {ip_address(f"10.1.3.{n}") for n in range(16, 256)}
    with pytest.raises(Exhausted) as caught:
        addresses.choose(SUBNET, taken, [ip_network("10.1.3.0/28")], node="node-1")
    assert str(caught.value) == (
        "no address is left in node-1's subnet 10.1.3.0/24: of 253 for containers 239 are in use and 14 reserved: "
        "detach some, or make a network with larger node subnets (-O node-prefix)"
    )


def test_all_reserved_in_v6() -> None:
    with pytest.raises(Exhausted, match="0 are in use and 18446744073709551614 reserved"):
        addresses.choose(SIX, set(), [SIX])


class Asked(set[IPAddress]):
    """A set that counts the questions."""

    questions = 0

    def __contains__(self, item: object) -> bool:
        self.questions += 1
        return super().__contains__(item)


@pytest.mark.parametrize("subnet", ["10.1.0.0/16", "fd00::/64"])
def test_filling_a_large_subnet_asks_once_for_each_address(subnet: str) -> None:
    taken, after = Asked(), None
    for _ in range(2000):
        after = addresses.choose(ip_network(subnet), taken, after=after)
        taken.add(after)
    assert taken.questions == 2000


def test_a_large_reservation_costs_nothing() -> None:
    taken = Asked()
    got = addresses.choose(ip_network("fd00::/64"), taken, [ip_network("fd00::/65")])
    assert (got, taken.questions) == (ip_address("fd00::8000:0:0:0"), 1)


BAD: list[tuple[str, str, type[WeftError], str]] = [
    (
        "10.1.3.0/24",
        "10.2.0.5",
        Invalid,
        "10.2.0.5 is outside node-1's subnet 10.1.3.0/24: choose one from 10.1.3.2 to 10.1.3.254",
    ),
    (
        "10.1.3.0/24",
        "fd00::5",
        Invalid,
        "fd00::5 is outside node-1's subnet 10.1.3.0/24: choose one from 10.1.3.2 to 10.1.3.254",
    ),
    (
        "10.1.3.0/24",
        "10.1.3.0",
        Invalid,
        "10.1.3.0 is the network address of node-1's subnet 10.1.3.0/24: choose one from 10.1.3.2 to 10.1.3.254",
    ),
    (
        "10.1.3.0/24",
        "10.1.3.1",
        Invalid,
        "10.1.3.1 is the gateway of node-1's subnet 10.1.3.0/24: choose one from 10.1.3.2 to 10.1.3.254",
    ),
    (
        "10.1.3.0/24",
        "10.1.3.255",
        Invalid,
        "10.1.3.255 is the broadcast address of node-1's subnet 10.1.3.0/24: choose one from 10.1.3.2 to 10.1.3.254",
    ),
    (
        "fd00::/126",
        "fd00::",
        Invalid,
        "fd00:: is the subnet-router anycast address of node-1's subnet fd00::/126: choose one from fd00::2 to fd00::3",
    ),
    (
        "10.1.3.0/24",
        "10.1.3.130",
        Invalid,
        "10.1.3.130 is reserved in this network (reserve=10.1.3.128/30): choose one outside 10.1.3.128/30",
    ),
    ("10.1.3.0/24", "10.1.3.5", Conflict, "10.1.3.5 is taken by web: choose another, or leave the choice to Weft"),
]


@pytest.mark.parametrize(("subnet", "address", "kind", "message"), BAD)
def test_a_wish_that_cannot_be_had(subnet: str, address: str, kind: type[WeftError], message: str) -> None:
    taken: dict[IPAddress, str] = {ip_address("10.1.3.5"): "web"}
    reserved = [ip_network("10.1.3.128/30")]
    with pytest.raises(WeftError) as caught:
        addresses.wish(ip_network(subnet), ip_address(address), taken, reserved, node="node-1")
    assert (type(caught.value), str(caught.value)) == (kind, message)


def test_a_wish_granted() -> None:
    wanted = ip_address("10.1.3.254")
    assert addresses.wish(SUBNET, wanted, {ip_address("10.1.3.5")}, [ip_network("10.1.3.128/30")]) == wanted


def test_without_names_the_message_does_without() -> None:
    with pytest.raises(Conflict, match=r"^10\.1\.3\.5 is taken: choose another"):
        addresses.wish(SUBNET, ip_address("10.1.3.5"), {ip_address("10.1.3.5")})


def test_gateway_is_the_first_address() -> None:
    assert [str(addresses.gateway(s)) for s in (SUBNET, SIX)] == ["10.1.3.1", "fd00:1:0:3::1"]


def test_mac_of_v4_is_dockers() -> None:
    assert addresses.mac_for(ip_address("10.20.0.3")) == "02:42:0a:14:00:03"


def test_mac_of_v6_is_stable_local_and_unicast() -> None:
    macs = [addresses.mac_for(ip_address(f"fd00::{n:x}")) for n in range(2, 300)]
    assert macs == [addresses.mac_for(ip_address(f"fd00::{n:x}")) for n in range(2, 300)]
    assert len(set(macs)) == len(macs)
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)


def within(*texts: str) -> list[AddressRange]:
    """ "FIRST-LAST" within 10.1.0.0/16 or fd00::/16, or a prefix."""
    found = []
    for text in texts:
        first, dash, last = text.partition("-")
        whole = ip_network("fd00::/16" if ":" in text else "10.1.0.0/16")
        ends = {"first": ip_address(first), "last": ip_address(last)} if dash else {}
        found.append(AddressRange(subnet=whole if dash else ip_network(text), **ends))
    return found


@pytest.mark.parametrize(
    ("ranges", "given"),
    [
        (("10.1.3.9-10.1.3.11",), [9, 10, 11]),
        (("10.1.3.20-10.1.3.21", "10.1.3.9-10.1.3.9"), [9, 20, 21]),
        (("10.1.3.9-10.1.3.12", "10.1.3.11-10.1.3.14"), [9, 10, 11, 12, 13, 14]),
        (("10.1.2.200-10.1.3.3",), [2, 3]),
        (("10.1.3.252-10.1.9.3",), [252, 253, 254]),
        (("10.1.3.0/30",), [2, 3]),
        (("10.1.9.0/24", "10.1.3.64/31"), [64, 65]),
    ],
)
def test_only_within_ranges(ranges: tuple[str, ...], given: list[int]) -> None:
    """As far as they are in the subnet; and then no more is left."""
    taken: list[IPAddress] = []
    for _ in given:
        taken.append(addresses.choose(SUBNET, taken, after=taken[-1] if taken else None, within=within(*ranges)))
    assert [int(a) & 0xFF for a in taken] == given
    with pytest.raises(Exhausted, match=f"no address is left in .*of {len(given)} for containers {len(given)} are"):
        addresses.choose(SUBNET, taken, within=within(*ranges), node="node-1")


def test_a_whole_network_as_range_is_no_limit() -> None:
    for after in (None, ip_address("10.1.3.17")):
        limited = addresses.choose(SUBNET, set(), after=after, within=within("10.1.0.0/16"))
        assert limited == addresses.choose(SUBNET, set(), after=after)


def test_what_is_reserved_within_a_range_is_passed_over() -> None:
    reserved = [ip_network("10.1.3.8/30")]
    assert addresses.choose(SUBNET, set(), reserved, within=within("10.1.3.9-10.1.3.13")) == ip_address("10.1.3.12")


def test_ranges_in_v6() -> None:
    assert addresses.choose(SIX, set(), within=within("fd00:1:0:3::a-fd00:1:0:3::f")) == ip_address("fd00:1:0:3::a")


@pytest.mark.parametrize("text", ["10.1.2.0/24", "10.1.3.0-10.1.3.1", "10.1.3.255-10.1.4.9", "fd00::/16"])
def test_ranges_that_are_elsewhere(text: str) -> None:
    with pytest.raises(
        Invalid, match=r"for containers in node-1's subnet 10\.1\.3\.0/24: choose a range from 10\.1\.3\.2 to"
    ):
        addresses.choose(SUBNET, set(), within=within(text), node="node-1")


def test_a_wish_outside_of_the_ranges() -> None:
    with pytest.raises(Invalid, match=r"10\.1\.3\.7 is not within 10\.1\.3\.9-10\.1\.3\.11"):
        addresses.wish(SUBNET, ip_address("10.1.3.7"), set(), within=within("10.1.3.9-10.1.3.11"))
    wish = ip_address("10.1.3.10")
    assert addresses.wish(SUBNET, wish, set(), within=within("10.1.3.9-10.1.3.11")) == wish
