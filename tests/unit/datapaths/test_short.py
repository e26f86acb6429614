"""Which packets may take the short way, and by which means. What packets do is seen in tests/e2e/test_fast_path.py."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest
from msgspec.structs import replace

from support import lab
from support.parts import all_of_endpoint
from weft.base.errors import Invalid
from weft.bpf.layout import ANY_FLOW, BRIDGED, ONE_FLOW
from weft.datapaths import _isolation, _routing_mesh, _short
from weft.datapaths.driver import FLOWTABLE, MEANS, PROGRAMS, Site, gather
from weft.datapaths.registry import DRIVERS, driver, parse_options
from weft.datapaths.traits import KnownBy
from weft.hoststate import (
    BpfLink,
    BpfMap,
    BpfProgram,
    FastHome,
    NftChain,
    NftElement,
    NftFlowDevice,
    NftFlowtable,
    NftSet,
    Object,
    Sysctl,
)
from weft.hoststate.firewall import BRIDGE, INET
from weft.hoststate.rules.actions import FlowAdd
from weft.model import Bandwidth, Endpoint, Gateway, Namespace

PASSED = sorted(name for name, used in DRIVERS.items() if used.passed and name != "neutron")
BRIDGED_ONES = sorted(set(PASSED) - {"routed"})
L2 = {"overlay", "mesh"}
MAC = "02:42:28:0f:2b:02"
OWN = "/run/netns/weft-blue"
OF_THE_SHORT_WAY = BpfMap | BpfProgram | BpfLink | FastHome | NftFlowtable | NftFlowDevice


def endpoint(**changed: object) -> Endpoint:
    plain = Endpoint(
        id="0123456789abcdef",
        name="c1",
        network="blue",
        node="node-1",
        container="c1",
        namespace=Namespace(path="/run/netns/c1", cookie=4711),
        interface="eth0",
        mac=MAC,
        addresses=(ip_interface("40.15.43.2/24"), ip_interface("fd40:15:0:43::2/64")),
    )
    return replace(plain, **changed)


def site(name: str, *has: str, options: dict[str, object] | None = None, **facts: object) -> Site:
    network = lab.network(name, (4, 6), options=options or {})
    return lab.site(network, lab.node("node-1"), lacking=frozenset(MEANS) - set(has), **facts)


def of_network(found: Site) -> list[Object]:
    used = driver(found.network.driver)
    below = used.segment(found) if used.known_by is KnownBy.LOCATIONS else ()
    return [*gather(used.network(found)).objects, *gather(iter(below)).objects]


def of_endpoint(found: Site, ep: Endpoint) -> list[Object]:
    return list(gather(all_of_endpoint(found, ep)).objects)


def all_of(found: Site, ep: Endpoint | None = None) -> list[Object]:
    return [*of_network(found), *of_endpoint(found, ep or endpoint())]


def links(objects: list[Object]) -> set[tuple[str, str, str, str]]:
    return {(o.ns, o.dev, o.way, o.program) for o in objects if isinstance(o, BpfLink)}


def elements(objects: list[Object], of: str) -> set[str]:
    return {o.value for o in objects if isinstance(o, NftElement) and o.set == of}


@pytest.mark.parametrize("name", sorted(DRIVERS))
def test_a_host_with_neither_has_nothing_of_it(name: str) -> None:
    if name in ("none", "host"):
        return
    found = all_of(site(name))
    assert not [o for o in found if isinstance(o, OF_THE_SHORT_WAY)]
    assert not [o for o in found if isinstance(o, NftChain) and o.name.startswith("short")]
    assert not [o for o in found if isinstance(o, Sysctl) and "conntrack" in o.name]


@pytest.mark.parametrize("name", PASSED)
def test_programs_are_asked_at_both_ways_of_the_containers_end(name: str) -> None:
    found = all_of(site(name, PROGRAMS))
    ns, dev = (OWN if name == "overlay" else ""), endpoint().host_interface
    assert {(ns, dev, "ingress", "fast"), (ns, dev, "egress", "seen")} <= links(found)
    homes = {(o.ns, o.address, o.dev, o.network) for o in found if isinstance(o, FastHome)}
    assert homes == {(ns, str(a.ip), dev, "blue") for a in endpoint().addresses}
    for ns, _, _, program in links(found):
        assert [o for o in found if isinstance(o, BpfProgram) and (o.ns, o.name) == (ns, program)]


@pytest.mark.parametrize(
    ("name", "options", "devices"),
    [
        ("bridge", {}, set()),
        ("host-gw", {}, {"eth0"}),
        ("vxlan", {}, {"weft.1"}),
        ("vxlan", {"direct-routing": True}, {"weft.1", "eth0"}),
        ("routed", {"encap": "vxlan-cross-subnet"}, {"weft.4096", "eth0"}),
        ("aws-vpc", {}, {"eth0"}),
        ("mesh", {"vni": 300}, {"vxlan-300"}),
        ("overlay", {"vni": 300}, {"vxlan0"}),
    ],
)
def test_programs_are_asked_on_the_ways_to_other_hosts(
    name: str, options: dict[str, object], devices: set[str]
) -> None:
    asked = links(of_network(site(name, PROGRAMS, options=options)))
    assert {dev for _, dev, _, _ in asked} == devices
    assert {program for *_, program in asked} <= {"fast", "seen"}


@pytest.mark.parametrize(
    ("name", "options", "dev"), [("udp", {}, "weft.udp8285"), ("routed", {"encap": "ipip"}, "weft.ipip")]
)
def test_tunnels_without_ethernet_have_programs_of_their_own(name: str, options: dict[str, object], dev: str) -> None:
    asked = links(of_network(site(name, PROGRAMS, options=options)))
    assert {("", dev, "ingress", "fast-ip"), ("", dev, "egress", "seen-ip")} <= asked


@pytest.mark.parametrize("name", PASSED)
def test_a_flowtable_has_the_devices_that_the_host_routes_between(name: str) -> None:
    second = Gateway(interface="eth1", addresses=(ip_interface("172.30.0.2/16"),)) if name in L2 else None
    found = all_of(site(name, FLOWTABLE), endpoint(gateway=second))
    devices = {o.dev for o in found if isinstance(o, NftFlowDevice)}
    assert "eth0" in devices, "masqueraded flows go by the uplink"
    assert [o for o in found if isinstance(o, NftFlowtable)] == [NftFlowtable(name="short")]
    assert not links(found)
    if name in L2:
        assert {dev for dev in devices if dev.startswith("weftg")}
    else:
        assert endpoint().host_interface in devices


@pytest.mark.parametrize("name", PASSED)
def test_with_both_programs_repeat_what_is_switched_and_the_flowtable_what_is_routed(name: str) -> None:
    found = all_of(site(name, *MEANS))
    ports = {dev for _, dev, _, _ in links(found)}
    if name == "routed":
        assert not ports
    else:
        assert endpoint().host_interface in ports
    assert "eth0" not in ports


@pytest.mark.parametrize("means", [(PROGRAMS,), (FLOWTABLE,), MEANS])
@pytest.mark.parametrize("name", PASSED)
def test_nothing_has_connections_tracked_that_were_not(name: str, means: tuple[str, ...]) -> None:
    """Rules that ask conntrack would have the kernel track everything."""
    options: dict[str, object] = {} if name in L2 else {"masquerade": False}
    found = of_network(site(name, *means, options=options))
    asking = {o.name for o in found if isinstance(o, NftChain) for rule in o.rules if "ct " in rule.nft or _adds(rule)}
    assert not {chain for chain in asking if chain.startswith("short")} or name in L2, "their way out is masqueraded"


def _adds(rule: object) -> bool:
    return any(isinstance(action, FlowAdd) for action in getattr(rule, "actions", ()))


@pytest.mark.parametrize("means", [(PROGRAMS,), (FLOWTABLE,), MEANS])
def test_where_connections_are_tracked_they_are_judged_as_such(means: tuple[str, ...]) -> None:
    found = of_network(site("vxlan", *means))
    assert elements(found, "short-ways") == {"tcp", "udp"}
    (judged,) = [o for o in found if isinstance(o, NftChain) and o.name == "short-tracked"]
    assert all("ct state established" in rule.nft for rule in judged.rules if "goto" in rule.nft)


@pytest.mark.parametrize("name", PASSED)
@pytest.mark.parametrize("means", [(PROGRAMS,), (FLOWTABLE,), MEANS])
@pytest.mark.parametrize(
    "wish",
    [{"offload": "off"}, {"bandwidth": Bandwidth(ingress=8_000_000)}, {"bandwidth": Bandwidth(egress=8_000_000)}],
)
def test_who_is_limited_or_asks_for_it_takes_the_ordinary_way(
    name: str, means: tuple[str, ...], wish: dict[str, object]
) -> None:
    found = of_endpoint(site(name, *means), endpoint(**wish))
    assert not [o for o in found if isinstance(o, OF_THE_SHORT_WAY)]
    if name != "overlay" or PROGRAMS in means:
        assert {"40.15.43.2"} == elements(found, "ordinary4")
        assert {"fd40:15:0:43::2"} == elements(found, "ordinary6")


@pytest.mark.parametrize("name", PASSED)
@pytest.mark.parametrize("means", [(PROGRAMS,), (FLOWTABLE,), MEANS])
def test_a_network_that_is_off_has_nothing_of_it(name: str, means: tuple[str, ...]) -> None:
    found = all_of(site(name, *means, options={"offload": "off"}))
    assert not [o for o in found if isinstance(o, BpfLink | FastHome | NftFlowDevice)]
    assert elements(found, "ordinary4") == (set() if name == "overlay" else {"40.15.0.0/16"})


def test_ipvs_has_marks_of_its_own() -> None:
    assert not links(all_of(site("overlay", PROGRAMS, options={"balancer": "ipvs"})))


@pytest.mark.parametrize("name", BRIDGED_ONES)
@pytest.mark.parametrize(
    ("option", "own", "strange"), [("drop", "", 0), ("drop", "allow", 1), ("allow", "", 1), ("allow", "drop", 0)]
)
def test_behind_who_may_send_in_others_names_can_be_anybody(name: str, option: str, own: str, strange: int) -> None:
    """A frame to somebody there goes to all ports of the bridge, so that it went to other hosts as well says nothing."""
    wanted = site(name, PROGRAMS, options={"spoofing": option, **({"vni": 300} if name == "mesh" else {})})
    tunnel = {"overlay": '"vxlan0"', "mesh": '"vxlan-300"'}.get(name)
    ways = elements(of_network(wanted), "short-tunnels")
    assert ways == ({tunnel} if tunnel else set())
    assert ways & elements(of_endpoint(wanted, endpoint(spoofing=own)), "strangers") == (ways if strange else set())


@pytest.mark.parametrize("table", [INET, BRIDGE])
def test_who_is_watched_is_asked_for_where_packets_are_marked(table: object) -> None:
    found = of_network(site("vxlan", PROGRAMS))
    sets = {o.name: o for o in found if isinstance(o, NftSet) and o.table == table}
    assert {sets[name].timeout for name in _short.WATCHED.values()} == {_short.WATCHED_FOR}
    marking = [o for o in found if isinstance(o, NftChain) and o.table == table and o.rules and _marks(o)]
    for chain in marking:
        asked = {name for rule in chain.rules for name in rule.sets}
        assert {*_short.WATCHED.values(), *_short.ORDINARY.values()} <= asked


def _marks(chain: NftChain) -> bool:
    return f"{ONE_FLOW:#010x}" in chain.rules[-1].nft or f"{ONE_FLOW | BRIDGED:#010x}" in chain.rules[-1].nft


BITS = ONE_FLOW | ANY_FLOW | BRIDGED


def chains(found: list[Object]) -> list[NftChain]:
    return [o for o in found if isinstance(o, NftChain) and o.name == "short"]


def test_others_marks_say_nothing() -> None:
    for chain in chains(of_network(site("vxlan", PROGRAMS))):
        passing = [rule.nft for rule in chain.rules if f"meta mark & {BITS:#x} == 0x0" not in rule.nft]
        cleared = next(n for n, text in enumerate(passing) if f"{0xFFFFFFFF & ~BITS:#010x}" in text)
        assert cleared <= 1, "before anything that has a mark may pass"


def test_a_mark_for_all_of_two_addresses_is_asked_about_behind_all_rules() -> None:
    """Only such a one that policy, ports or services know nothing of keeps it; and only where anybody asks for it."""
    (chain,) = [o for o in of_network(site("vxlan", PROGRAMS, options={"fast": "bypass"})) if _behind(o)]
    assert isinstance(chain, NftChain) and chain.hook is not None
    assert (chain.table, chain.hook.hook) == (INET, "postrouting") and chain.hook.priority > 10**9
    other, away, *again = (rule.nft for rule in chain.rules)
    assert other.startswith(f"meta mark & {ANY_FLOW:#x} == 0x0 return")
    assert f"{0xFFFFFFFF & ~ANY_FLOW:#010x}" in away
    for family, text in zip(("4", "6"), again, strict=True):
        assert f"@bypass{family} jump short-bypassed{family} " in text
    assert not list(filter(_behind, of_network(site("vxlan", PROGRAMS))))


def _behind(o: Object) -> bool:
    return isinstance(o, NftChain) and o.name == "short-behind"


@pytest.mark.parametrize("name", PASSED)
@pytest.mark.parametrize("means", [(PROGRAMS,), (FLOWTABLE,), MEANS])
def test_one_in_some_packets_is_looked_at_once(name: str, means: tuple[str, ...]) -> None:
    """So a frame that a bridge's chain has marked is not drawn again."""
    found = chains(of_network(site(name, *means)))
    assert {chain.table for chain in found} == ({INET, BRIDGE} if PROGRAMS in means and name != "routed" else {INET})
    for chain in found:
        first, *others = (rule.nft for rule in chain.rules)
        assert first.startswith(f"meta mark & {BITS:#x} == 0x0 numgen random mod 16 != 0 return ")
        assert not [text for text in others if "numgen" in text]


@pytest.mark.parametrize("name", PASSED)
@pytest.mark.parametrize("means", [(PROGRAMS,), (FLOWTABLE,), MEANS])
def test_whoever_names_a_set_or_a_chain_brings_it(name: str, means: tuple[str, ...]) -> None:
    found = all_of(site(name, *means))
    there = {o.key for o in found}
    for chain in (o for o in found if isinstance(o, NftChain) and o.name.startswith("short")):
        assert chain.sets | chain.jumps | chain.flowtables <= there
    for element in (o for o in found if isinstance(o, NftElement)):
        assert element.holder in there


def test_bits_of_marks_are_apart() -> None:
    used = ONE_FLOW | ANY_FLOW | BRIDGED
    assert used & (_routing_mesh.MASK | _isolation.ANEW) == 0


@pytest.mark.parametrize("name", ["macvlan", "ipvlan", "host", "none"])
def test_offload_means_nothing_where_packets_do_not_pass(name: str) -> None:
    families = () if name == "none" else (4,)
    with pytest.raises(Invalid, match="offload=off: packets of these containers do not pass their host"):
        parse_options(lab.network(name, families, options={"offload": "off"}))


@pytest.mark.parametrize("name", PASSED)
def test_conntrack_minds_no_gaps_once_it_is_off(name: str) -> None:
    """Connections that were open before have them."""
    found = {obj for obj in all_of(site(name, PROGRAMS)) if isinstance(obj, Sysctl) and "liberal" in obj.name}
    assert found and found <= set(all_of(site(name, PROGRAMS, options={"offload": "off"})))
