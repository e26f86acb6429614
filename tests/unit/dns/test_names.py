import itertools
import random
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.base.net import IPAddress
from weft.dns.names import Names
from weft.model import Location
from weft.services.index import Member
from weft.services.model import Service
from weft.services.record import At


def location(name: str, *addresses: str, node: str = "a") -> Location:
    return Location(
        node=node, mac="02:00:00:00:00:01", name=name, addresses=tuple(ip_address(address) for address in addresses)
    )


def service(name: str, *addresses: str, aliases: tuple[str, ...] = ()) -> Service:
    return Service(name=name, network="blue", addresses=tuple(ip_address(a) for a in addresses), aliases=aliases)


def said(names: Names, name: str, *networks: str) -> set[str] | None:
    found = names.find(networks or ("blue",), name)
    return None if found is None else {str(address) for address in found.addresses}


@pytest.fixture
def names() -> Names:
    return Names()


def test_members_on_a_dead_host_are_left_out_until_it_is_back() -> None:
    dead, at = set[str](), At("blue", "web")
    names = Names(dead)
    names.put_service(at, service("web"))
    found = (("1", location("web-1", "10.0.0.1")), ("2", location("web-2", "10.0.0.2", node="b")))
    names.put_members(at, [Member(id, there, "ready") for id, there in found])
    for gone, left in (({"b"}, {"10.0.0.1"}), (set(), {"10.0.0.1", "10.0.0.2"})):
        dead.clear()
        dead.update(gone)
        assert said(names, "web") == said(names, "tasks.web") == left


def test_a_container_is_found_by_its_name_and_by_its_address(names: Names) -> None:
    names.put_location("blue", "1", location("web", "10.0.0.1", "fd00::1"))
    assert said(names, "web") == said(names, "web.blue") == {"10.0.0.1", "fd00::1"}
    assert said(names, "web.green") is said(names, "web", "green") is said(names, "blue") is None
    assert names.has(("green", "blue"), ip_address("fd00::1")) == ("web", "blue")
    assert names.has(("green",), ip_address("fd00::1")) is None


def test_one_that_is_gone_leaves_nothing(names: Names) -> None:
    names.put_location("blue", "1", location("web", "10.0.0.1"), ("www", "web"))
    names.put_location("blue", "1", None)
    names.put_location("blue", "2", None)
    assert said(names, "web") is said(names, "www") is None and names.has(("blue",), ip_address("10.0.0.1")) is None
    assert not names._networks


def test_a_moved_container_keeps_its_name_and_loses_its_old_address(names: Names) -> None:
    names.put_location("blue", "1", location("web", "10.0.0.1"), ("www",))
    names.put_location("blue", "1", location("web", "10.0.0.2", node="b"))
    assert said(names, "web") == {"10.0.0.2"} and said(names, "www") is None
    assert names.has(("blue",), ip_address("10.0.0.1")) is None


def test_an_address_that_was_given_again_before_its_last_owner_is_forgotten(names: Names) -> None:
    names.put_location("blue", "1", location("old", "10.0.0.1"))
    names.put_location("blue", "2", location("new", "10.0.0.1"))
    names.put_location("blue", "1", None)
    assert names.has(("blue",), ip_address("10.0.0.1")) == ("new", "blue")


def test_several_containers_with_one_name(names: Names) -> None:
    for id in "123":
        names.put_location("blue", id, location("web", f"10.0.0.{id}"))
    assert said(names, "web") == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
    names.put_location("blue", "2", None)
    assert said(names, "web") == {"10.0.0.1", "10.0.0.3"}


def test_an_alias_is_a_name_in_its_network_only(names: Names) -> None:
    names.put_location("blue", "1", location("web", "10.0.0.1"), ("www",))
    names.put_location("green", "2", location("web", "10.1.0.1"))
    assert said(names, "www", "green", "blue") == {"10.0.0.1"} and said(names, "www", "green") is None
    assert names.has(("blue",), ip_address("10.0.0.1")) == ("web", "blue")


def test_the_first_network_that_has_the_name_counts(names: Names) -> None:
    names.put_location("blue", "1", location("web", "10.0.0.1"))
    names.put_location("green", "2", location("web", "10.1.0.1"))
    assert said(names, "web", "green", "blue") == {"10.1.0.1"}
    assert said(names, "web.blue", "green", "blue") == {"10.0.0.1"}


def test_dots_in_names_of_containers_and_of_networks(names: Names) -> None:
    every = (("", "a.b.c.d", 1), ("d", "a.b.c", 2), ("c.d", "a.b", 3), ("b.c.d", "a", 4))
    networks = ("b.c.d", "c.d", "d", "other")
    for network, name, number in every:
        names.put_location(network or "other", str(number), location(name, f"10.0.0.{number}"))
    for network, _, number in every:
        assert said(names, "a.b.c.d", *networks) == {f"10.0.0.{number}"}
        names.put_location(network or "other", str(number), None)
    assert said(names, "a.b.c.d", *networks) is None


@pytest.mark.parametrize("name", [".", "..", ".blue", "web.", "web..blue", ""])
def test_odd_names_are_nobodys(names: Names, name: str) -> None:
    names.put_location("blue", "1", location("web", "10.0.0.1"))
    assert said(names, name) is None


def test_a_service_says_its_own_addresses_and_tasks_its_members(names: Names) -> None:
    at = At("blue", "web")
    members = [Member(id, location(f"web-{id}", f"10.0.0.{id}"), "ready") for id in "12"]
    names.put_service(at, service("web", "10.0.9.1", aliases=("www",)))
    names.put_members(at, [*members, Member("3", location("web-3", "10.0.0.3"), "unready")])
    assert said(names, "web") == said(names, "www.blue") == {"10.0.9.1"}
    assert said(names, "tasks.web") == said(names, "tasks.www.blue") == {"10.0.0.1", "10.0.0.2"}
    assert names.has(("blue",), ip_address("10.0.9.1")) == ("web", "blue")
    names.put_members(at, members[:1])
    assert said(names, "tasks.web") == {"10.0.0.1"}
    names.put_service(at, None)
    assert said(names, "web") is said(names, "www") is said(names, "tasks.web") is None and not names._networks


def test_a_service_without_an_address_of_its_own_says_its_members(names: Names) -> None:
    at = At("blue", "web")
    names.put_service(at, service("web"))
    assert said(names, "web") == set()
    names.put_members(at, [Member("1", location("x", "10.0.0.1"), "ready")])
    assert said(names, "web") == {"10.0.0.1"}


def test_a_services_name_comes_before_a_containers_and_its_own_before_an_alias(names: Names) -> None:
    names.put_location("blue", "1", location("web", "10.0.0.1"))
    names.put_service(At("blue", "db"), service("db", "10.0.9.2", aliases=("web", "x")))
    assert said(names, "web") == {"10.0.9.2"}
    names.put_service(At("blue", "web"), service("web", "10.0.9.1", aliases=("x",)))
    assert said(names, "web") == {"10.0.9.1"} and said(names, "x") == {"10.0.9.2"}
    names.put_service(At("blue", "db"), service("db", "10.0.9.2"))
    assert said(names, "x") == {"10.0.9.1"}


ADDRESSES: list[IPAddress] = [ip_address(f"10.0.0.{n}") for n in range(1, 6)]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["blue", "green"]),
        st.sampled_from("1234"),
        st.none() | st.tuples(st.sampled_from(["", "web", "db"]), st.lists(st.sampled_from(["x", "web"]), max_size=2)),
    ),
    max_size=30,
)


@given(CHANGES)
def test_however_it_came_to_be_so_the_same_is_answered(
    changes: list[tuple[str, str, tuple[str, list[str]] | None]],
) -> None:
    """Fed change by change or only with what is there in the end, in another order."""
    fed, last = Names(), {}
    for network, id, change in changes:
        last[network, id] = change
        found = location(change[0], f"10.0.0.{id}") if change else None
        fed.put_location(network, id, found, tuple(change[1]) if change else ())
    direct = Names()
    for (network, id), change in random.sample(sorted(last.items(), key=lambda one: one[0]), len(last)):
        if change:
            direct.put_location(network, id, location(change[0], f"10.0.0.{id}"), tuple(change[1]))
    for network, name in itertools.product(("blue", "green"), ("web", "db", "x")):
        assert said(fed, name, network) == said(direct, name, network)
    for network, address in itertools.product(("blue", "green"), ADDRESSES):
        assert fed.has((network,), address) == direct.has((network,), address)
    assert fed._networks.keys() == direct._networks.keys()
