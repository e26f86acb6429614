"""The order of operations, and what is known in advance not to be possible."""

from __future__ import annotations

from time import process_time

import msgspec
import pytest

from support.hoststates import keyed
from weft.hoststate import (
    Address,
    Bridge,
    FdbEntry,
    Key,
    Link,
    Neighbour,
    NftChain,
    NftElement,
    NftSet,
    Object,
    Sysctl,
    Veth,
    Vxlan,
    netns,
    route,
)
from weft.hoststate.firewall import FILTER, Hook
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import ACCEPT, Dispatch, Jump
from weft.hoststate.rules.matches import SADDR
from weft.reconcile.plan import Plan, changes, plan
from weft.reconcile.protocol import Change, Create, Op, Reading, Remove

C1 = "/run/netns/c1"
ALL = {"", C1}
BRIDGE = Link(name="weft0", type=Bridge())
VXLAN = Link(name="weft.1", type=Vxlan(1, 8472, "192.168.1.68", "eth0"))
HOST_END = Link(name="veth1", type=Veth("eth0", C1), master="weft0")
PEER_END = Link(name="eth0", type=Veth("veth1", "", False), ns=C1)
GATEWAY = Address(address="10.1.0.1/24", dev="weft0")
NEIGHBOUR = Neighbour(address="10.1.2.0", lladdr="02:00:00:00:00:02", dev="weft.1")
ENTRY = FdbEntry(lladdr="02:00:00:00:00:02", dst="192.168.1.2", dev="weft.1")
REMOTE = route("10.1.2.0/24", via="10.1.2.0", dev="weft.1", onlink=True)
INSIDE = Address(address="10.1.0.2/24", dev="eth0", ns=C1)
DEFAULT = route("0.0.0.0/0", via="10.1.0.1", dev="eth0", ns=C1)
EVERYTHING: tuple[Object, ...] = (BRIDGE, VXLAN, HOST_END, PEER_END, GATEWAY, NEIGHBOUR, ENTRY, REMOTE, INSIDE, DEFAULT)


def diff(
    desired: list[Object], actual: list[Object], foreign: frozenset[Key] = frozenset(), remove: bool = True
) -> Plan:
    return plan(keyed(*desired), Reading(keyed(*actual), foreign), ALL, remove=remove)


def text(ops: tuple[Op, ...]) -> list[str]:
    names = [(op, (op.new if isinstance(op, Change) else op.obj).key) for op in ops]
    return [f"{type(op).__name__} {key[0]} {key[2]}" for op, key in names]


def with_vni(vni: int, name: str = "weft.1") -> Link:
    return Link(name=name, type=Vxlan(vni, 8472, "192.168.1.68", "eth0"))


def test_makes_in_order_and_removes_in_reverse() -> None:
    made = text(diff([*reversed(EVERYTHING)], []).ops)
    assert made == [
        "Create link weft0",
        "Create link weft.1",
        "Create link veth1",
        "Create link eth0",
        "Create address weft0",
        "Create address eth0",
        "Create neighbour weft.1",
        "Create fdb weft.1",
        "Create route 254",
        "Create route 254",
    ]
    assert text(diff([], [*EVERYTHING]).ops) == ["Remove link veth1", "Remove link weft.1", "Remove link weft0"]


def test_removal_of_what_stands_on_a_device_that_stays_is_told() -> None:
    ops = text(diff([VXLAN], [VXLAN, NEIGHBOUR, ENTRY, REMOTE]).ops)
    assert ops == ["Remove route 254", "Remove fdb weft.1", "Remove neighbour weft.1"]


def test_adds_before_it_deletes() -> None:
    old, new = Address(address="10.1.0.9/24", dev="weft0"), GATEWAY
    assert text(diff([BRIDGE, new], [BRIDGE, old]).ops) == ["Create address weft0", "Remove address weft0"]


def test_what_is_right_is_left_alone_also_where_the_kernel_chose() -> None:
    found = [
        msgspec.structs.replace(o, mtu=1500, mac="02:00:00:00:00:07") if isinstance(o, Link) else o for o in EVERYTHING
    ]
    assert not diff([*EVERYTHING], found).ops


def test_a_device_with_another_vni_is_made_anew_with_all_that_stands_on_it() -> None:
    ops = diff([with_vni(2), NEIGHBOUR, ENTRY, REMOTE], [VXLAN, NEIGHBOUR, ENTRY, REMOTE, GATEWAY]).ops
    assert ops[0] == Remove(VXLAN)
    assert set(ops[1:5]) == {Create(with_vni(2)), Create(NEIGHBOUR), Create(ENTRY), Create(REMOTE)}


@pytest.mark.parametrize("changed", [{"mtu": 1400}, {"mac": "02:00:00:00:00:08"}, {"up": False}, {"alias": "weft:x"}])
def test_other_attributes_change_in_place(changed: dict[str, object]) -> None:
    old = msgspec.structs.replace(VXLAN, mtu=1450, mac="02:00:00:00:00:07")
    new = msgspec.structs.replace(old, **changed)
    assert diff([new, REMOTE], [old, REMOTE]).ops == (Change(old, new),)


def test_a_port_joins_the_bridge_that_was_made_anew() -> None:
    was = Link(name="weft0", type=Vxlan(9, 8472, "192.168.1.68", "eth0"))
    ops = diff([BRIDGE, HOST_END, PEER_END], [was, HOST_END, PEER_END]).ops
    alone = msgspec.structs.replace(HOST_END, master="")
    assert ops == (Remove(was), Create(BRIDGE), Change(alone, HOST_END))


def test_another_peer_means_another_pair() -> None:
    end, other = (
        Link(name="veth1", type=Veth("eth1", C1), master="weft0"),
        Link(name="eth1", type=Veth("veth1", "", False), ns=C1),
    )
    ops = diff([BRIDGE, end, other], [BRIDGE, HOST_END, PEER_END, INSIDE]).ops
    assert ops == (Remove(HOST_END), Create(end), Create(other))


def test_a_pair_made_anew_brings_back_what_was_in_a_namespace_that_was_not_read() -> None:
    desired = keyed(BRIDGE, HOST_END, PEER_END, INSIDE, DEFAULT)
    ops = plan(desired, Reading(keyed(BRIDGE)), {""}).ops
    assert set(ops) == {Create(HOST_END), Create(PEER_END), Create(INSIDE), Create(DEFAULT)}


def test_a_vni_is_free_before_it_is_taken() -> None:
    ops = diff([with_vni(1, "new")], [VXLAN, REMOTE]).ops
    assert ops == (Remove(VXLAN), Create(with_vni(1, "new")))
    one, two = with_vni(1, "a"), with_vni(2, "b")
    swapped = diff([with_vni(2, "a"), with_vni(1, "b")], [one, two]).ops
    assert set(swapped[:2]) == {Remove(one), Remove(two)}


def test_a_foreign_device_under_our_name_is_a_failure_and_nothing_is_put_on_it() -> None:
    result = diff([BRIDGE, GATEWAY, HOST_END, PEER_END, INSIDE], [], frozenset({BRIDGE.key}))
    assert not result.ops
    reasons = {failure.key: failure.reason for failure in result.failures}
    assert reasons[BRIDGE.key] == "device weft0 exists and is not Weft's: rename or remove it"
    assert reasons[GATEWAY.key] == "waits for link weft0"
    assert reasons[INSIDE.key] == f"waits for link eth0 in {C1}"


def test_the_other_end_of_our_pair_is_not_foreign() -> None:
    result = diff([BRIDGE, HOST_END, PEER_END], [BRIDGE, HOST_END], frozenset({PEER_END.key}))
    assert result == Plan((Create(PEER_END),))


def test_a_namespace_that_is_gone() -> None:
    reading = Reading(keyed(BRIDGE), gone=frozenset({C1}))
    result = plan(keyed(BRIDGE, HOST_END, PEER_END, INSIDE), reading, ALL)
    assert not result.ops
    assert {failure.reason for failure in result.failures} == {f"network namespace {C1} is gone"}


def test_what_is_held_is_left_and_what_needs_it_waits() -> None:
    desired = keyed(BRIDGE, GATEWAY)
    result = plan(desired, Reading({}), ALL, held={BRIDGE.key})
    assert not result.ops
    assert [failure.key for failure in result.failures] == [GATEWAY.key]
    present = plan(desired, Reading(keyed(msgspec.structs.replace(BRIDGE, mtu=9, up=False))), ALL, held={BRIDGE.key})
    assert present == Plan((Create(GATEWAY),))


def test_without_leave_to_remove_nothing_is_removed_not_even_to_be_made_anew() -> None:
    ops = diff([with_vni(2), GATEWAY, BRIDGE], [VXLAN, REMOTE, BRIDGE], remove=False).ops
    assert ops == (Create(GATEWAY),)


def test_other_namespaces_are_not_looked_at() -> None:
    assert not plan(keyed(INSIDE), Reading(keyed(DEFAULT)), {""}).ops


def test_sets_before_rules_and_targets_before_jumps() -> None:
    nft_set, element = NftSet(name="s", type=("ipv4_addr",)), NftElement(set="s", value="10.1.0.0")
    leaf = NftChain(name="z", rules=(rule(SADDR[4].among("s"), ACCEPT),))
    base = NftChain(name="a", hook=Hook(type="filter", hook="forward", priority=FILTER), rules=(rule(Jump("z")),))
    ops = diff([base, leaf, element, nft_set], []).ops
    assert ops == (Create(nft_set), Create(element), Create(leaf), Create(base))
    assert diff([], [base, leaf, element, nft_set]).ops == (Remove(base), Remove(leaf), Remove(nft_set))


def test_verdicts_lead_to_chains_that_are_there() -> None:
    verdicts = NftSet(name="v", type=("ipv4_addr",), to=("verdict",))
    plain, leads = (
        NftElement(set="v", value=value, to=to) for value, to in (("10.1.0.0", "accept"), ("10.1.0.1", "goto y"))
    )
    end = NftChain(name="z", rules=(rule(ACCEPT),))
    between = NftChain(name="y", rules=(rule(Jump("z")),))
    base = NftChain(
        name="a",
        hook=Hook(type="filter", hook="forward", priority=FILTER),
        rules=(rule(Dispatch(by=SADDR[4], map="v")),),
    )
    everything: list[Object] = [base, leads, between, plain, end, verdicts]
    ops = diff(everything, []).ops
    assert [op.obj for op in ops if isinstance(op, Create)][:2] == [verdicts, plain]
    places = {obj: ops.index(Create(obj)) for obj in everything}
    assert places[end] < places[between] < places[leads] and places[verdicts] < places[base]
    assert diff(everything, [obj for obj in everything if obj is not leads]).ops == (Create(leads),)
    ops = diff([], everything).ops
    places = {op.obj: place for place, op in enumerate(ops) if isinstance(op, Remove)}
    assert plain not in places  # it goes with its map
    assert places[leads] < places[between] < places[end] and places[base] < places[verdicts]


def test_a_sysctl_of_a_device_follows_the_device() -> None:
    general, special = (
        Sysctl(name="net/ipv4/ip_forward", value="1"),
        Sysctl(name="net/ipv4/conf/weft0/rp_filter", value="0"),
    )
    assert diff([special, general, BRIDGE], []).ops == (Create(general), Create(BRIDGE), Create(special))


def test_changes_need_no_reading_and_see_only_their_keys() -> None:
    known, desired = keyed(BRIDGE, VXLAN, REMOTE), keyed(BRIDGE, VXLAN, GATEWAY)
    assert changes([GATEWAY.key], desired, known).ops == (Create(GATEWAY),)
    assert changes([REMOTE.key, BRIDGE.key], desired, known).ops == (Remove(REMOTE),)
    assert changes([NEIGHBOUR.key], desired, known) == Plan()


def test_changes_make_anew_what_stands_on_a_device_made_anew() -> None:
    known, desired = keyed(VXLAN, REMOTE, ENTRY), keyed(with_vni(2), REMOTE, ENTRY)
    ops = changes([VXLAN.key], desired, known).ops
    assert ops == (Remove(VXLAN), Create(with_vni(2)), Create(ENTRY), Create(REMOTE))


@pytest.mark.serial
def test_thirty_thousand_unchanged_objects_cost_little() -> None:
    def objects() -> dict[Key, Object]:
        return keyed(
            *(
                obj
                for n in range(10_000)
                for base in [f"10.{n >> 8}.{n & 255}.0"]
                for obj in (
                    route(f"{base}/24", via=base, dev="weft.1", onlink=True),
                    Neighbour(address=base, lladdr=f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}", dev="weft.1"),
                    FdbEntry(lladdr=f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}", dst="192.168.1.2", dev="weft.1"),
                )
            )
        )

    desired, reading = objects(), Reading(objects())
    start = process_time()
    assert plan(desired, reading, {""}) == Plan()
    assert process_time() - start < 0.2


# Namespaces of our own.

OWN = netns("blue")
BR0 = Link(name="br0", type=Bridge(), ns=OWN.path)
VXLAN0 = Link(name="vxlan0", type=Vxlan(256, 4789, "192.168.1.68", "", outside=""), master="br0", ns=OWN.path)
PORT = Link(name="veth1", type=Veth("eth0", C1), master="br0", ns=OWN.path)
OTHER_END = Link(name="eth0", type=Veth("veth1", OWN.path, False), ns=C1)
SEGMENT: tuple[Object, ...] = (OWN, BR0, VXLAN0, PORT, OTHER_END, INSIDE)


def overlay(desired: list[Object], reading: Reading, namespaces: set[str] | None = None) -> Plan:
    return plan(keyed(*desired), reading, namespaces or {*ALL, OWN.path})


def test_a_namespace_of_ours_that_is_gone_is_made_with_all_that_was_in_it() -> None:
    """A container's that is gone stays gone."""
    found = overlay([*SEGMENT], Reading({}, gone=frozenset({OWN.path})))
    assert text(found.ops) == [
        "Create netns /run/netns/weft-blue",
        "Create link br0",
        "Create link vxlan0",
        "Create link veth1",
        "Create link eth0",
        "Create address eth0",
    ]
    assert found.failures == ()
    lost = overlay([*SEGMENT], Reading({}, gone=frozenset({C1})))
    assert {f.key for f in lost.failures} == {PORT.key, OTHER_END.key, INSIDE.key}


def test_reading_its_inside_alone_is_enough_to_miss_it() -> None:
    found = overlay([*SEGMENT], Reading(keyed(OTHER_END, INSIDE), gone=frozenset({OWN.path})), {OWN.path})
    assert text(found.ops)[:2] == ["Remove link eth0", "Create netns /run/netns/weft-blue"]
    assert text(found.ops)[-2:] == ["Create link eth0", "Create address eth0"]


def test_it_goes_with_all_that_is_in_it() -> None:
    assert text(overlay([], Reading(keyed(*SEGMENT))).ops) == ["Remove netns /run/netns/weft-blue"]


def test_somebody_elses_namespace_of_that_name_is_left_alone() -> None:
    found = overlay([*SEGMENT], Reading({}, foreign=frozenset({OWN.key})))
    assert found.ops == ()
    reasons = {failure.key: failure.reason for failure in found.failures}
    assert reasons[OWN.key] == "a network namespace /run/netns/weft-blue exists and is not Weft's: rename or remove it"
    assert reasons[BR0.key] == "waits for netns /run/netns/weft-blue"


def test_a_vni_is_taken_where_the_packets_go_out() -> None:
    """Two devices in namespaces of their own share it no more than two on the host."""
    elsewhere = msgspec.structs.replace(VXLAN0, ns="/run/netns/weft-red", master="")
    red = netns("red")
    found = plan(keyed(red, elsewhere), Reading(keyed(OWN, VXLAN0)), {"", OWN.path, red.path})
    assert text(found.ops)[:2] == ["Remove link vxlan0", "Create netns /run/netns/weft-red"]
