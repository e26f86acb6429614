"""Which networks may talk, out of their records."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

from support import lab
from weft.compile.isolation import answer, answer_endpoint
from weft.datapaths.driver import Site
from weft.hoststate import NftElement, NftSet
from weft.model import Endpoint, Gateway, Namespace, Network
from weft.policy.reach import met, one_sided

SETS = {"networks4": "N", "apart4": "A", "internal4": "I"}


def network(name: str, number: int, reach: str | None = "self", driver: str = "bridge", **more: object) -> Network:
    options = {} if reach is None else {"reach": reach}
    values = {
        "name": name,
        "driver": driver,
        "subnets": (ip_network(f"10.{number}.0.0/16"),),
        "options": options,
        **more,
    }
    return Network(**values)  # type: ignore[arg-type]


def nowhere(_: str) -> None:
    return None


def elements(*networks: Network, host: str = "") -> dict[str, set[str]]:
    """By set, without the prefixes' lengths. `host`: on which the networks are."""
    node = lab.node(host) if host else None
    sites = {n.name: lab.site(n, node) for n in networks} if node else {}
    found: dict[str, set[str]] = {}
    objects = list(answer({n.name: n for n in networks}, sites.get))
    assert len({o.key for o in objects}) == len(objects)
    named = {o.name for o in objects if isinstance(o, NftSet)}
    for o in objects:
        if isinstance(o, NftElement):
            assert o.set in named
            found.setdefault(o.set, set()).add(o.value.replace(".0.0/16", ""))
    return found


def test_where_all_are_open_nothing_is_asked() -> None:
    assert list(answer({"a": network("a", 1, None), "b": network("b", 2, "all")}, nowhere)) == []


def test_a_new_network_beside_an_old_one() -> None:
    found = elements(network("old", 1, None), network("new", 2))
    assert found == {"networks4": {"10.1", "10.2"}, "apart4": {"10.2"}, "within4": {"10.2 . 10.2"}}


def test_an_internal_one_is_closed_to_all_whatever_its_record_lacks() -> None:
    found = elements(network("inner", 1, None, internal=True), network("old", 2, None))
    assert found["internal4"] == found["apart4"] == {"10.1"}
    assert found["within4"] == {"10.1 . 10.1"}


def test_it_takes_both() -> None:
    own = {"10.1 . 10.1", "10.2 . 10.2"}
    both = own | {"10.1 . 10.2", "10.2 . 10.1"}
    assert elements(network("a", 1, "b"), network("b", 2, "a"))["within4"] == both
    assert elements(network("a", 1, "b"), network("b", 2, "self"))["within4"] == own
    assert elements(network("a", 1, "b"), network("b", 2, None))["within4"] == both - {"10.2 . 10.2"}
    assert elements(network("a", 1, "b"), network("b", 2, "a", internal=True))["within4"] == own
    assert elements(network("a", 1, "b, later"))["within4"] == {"10.1 . 10.1"}


def test_from_another_network_packets_come_by_the_ways_of_the_target() -> None:
    networks = network("a", 1, "b", "vxlan"), network("b", 2, "a", "host-gw")
    found = elements(*networks, host="node-1")
    assert found["inside4"] == {'"eth0" . 10.1 . 10.2', '"weft.1" . 10.2 . 10.1'}
    assert "inside4" not in elements(*networks), "they are not on this host"


def test_a_group_is_open_to_what_one_of_it_is_open_to() -> None:
    home, sharer = network("home", 1, driver="routed"), network("sharer", 1, "far", "routed", share="home")
    far = network("far", 2, "sharer")
    assert {"10.1 . 10.2", "10.2 . 10.1"} <= elements(home, sharer, far)["within4"]
    assert elements(home, network("sharer", 1, None, "routed", share="home"), far)["apart4"] == {"10.2"}


def test_overlay_networks_have_no_subnets_in_the_hosts_namespace() -> None:
    assert list(answer({"o": network("o", 1, driver="overlay")}, nowhere)) == []
    assert elements(network("o", 1, driver="overlay"), network("b", 2))["networks4"] == {"10.2"}


def endpoint(*networks: Network) -> set[tuple[str, str]]:
    """Of a container in the first one."""
    one = Endpoint(
        id="0123456789abcdef0123",
        name="c",
        network=networks[0].name,
        node="node-1",
        container="c",
        namespace=Namespace(path="/run/netns/c", cookie=1),
        interface="eth0",
        mac="02:42:0a:01:00:02",
        addresses=(ip_interface("10.1.0.2/16"),),
        gateway=Gateway(interface="eth1", addresses=(ip_interface("172.30.0.2/16"),)),
    )
    found = answer_endpoint(one, {n.name: n for n in networks})
    return {(o.set, o.value.replace(".0.0/16", "")) for o in found if isinstance(o, NftElement)}


def test_a_second_interface_is_told_by_its_address() -> None:
    over = network("over", 1, driver="overlay")
    assert endpoint(over, network("b", 2)) == {("networks4", "172.30"), ("apart4", "172.30.0.2")}
    assert endpoint(network("over", 1, None, "overlay"), network("b", 2)) == {("networks4", "172.30")}
    assert endpoint(network("over", 1, None, "overlay"), network("b", 2, None)) == set()
    open_ = endpoint(network("over", 1, "b", "overlay"), network("b", 2, "over"), network("c", 3))
    assert {v for s, v in open_ if s == "within4"} == {"172.30.0.2 . 10.2", "10.2 . 172.30.0.2"}


# -- what is told ------------------------------------------------------------------------------------------------------


def told(one: Network, *others: Network) -> list[str]:
    return list(one_sided({n.name: n for n in (one, *others)}, one))


def test_what_only_one_of_two_says() -> None:
    a, b = network("a", 1, "b"), network("b", 2)
    assert told(a) == ["reaches b once there is such a network: make that with -O reach=a"]
    (line,) = told(a, b)
    assert line == (
        "does not reach b, though it names it: both have to name each other; `weft network set b -O reach=a`"
    )
    (line,) = told(b, a)
    assert line.startswith("is not reached by a, which names it: both have to name each other; `weft network set b ")
    assert told(a, network("b", 2, internal=True))[0].endswith(
        "b is internal, and nothing outside of it reaches its containers"
    )
    assert told(network("a", 1, "b"), network("b", 2, "a")) == told(network("a", 1, "b"), network("b", 2, None)) == []


def test_the_networks_that_one_meets() -> None:
    networks = [network("a", 1, "b,c"), network("b", 2, "a"), network("c", 3), network("d", 4, None)]
    assert met({n.name: n for n in networks}, networks[0]) == ("b",)


def test_a_site_is_asked_for_on_this_host_only() -> None:
    asked: list[str] = []

    def here(name: str) -> Site | None:
        asked.append(name)
        return None

    list(answer({"a": network("a", 1, "b"), "b": network("b", 2, "a"), "c": network("c", 3)}, here))
    assert set(asked) == {"a", "b"}, "those that come from nowhere else are not looked at"
