"""Rules are there before the devices that they guard, and go after them."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.hoststates import host, hoststates
from weft.base.net import IPNetwork
from weft.hoststate import Bridge, Key, Link, NftElement, Object
from weft.kernel import guarding
from weft.kernel.guarding import Elements, put_off, stay
from weft.kernel.kinds.iptables import Iptables
from weft.kernel.kinds.nft import Nft
from weft.kernel.kinds.sysctl import Sysctls
from weft.kernel.kinds.table import Adapters, kinds
from weft.kernel.runs import runs
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Change, Create, Op, Remove
from weft.reconcile.reconciler import key_of

State = dict[Key, Object]
NOWHERE = Path("/nonexistent")
ON_LINUX = kinds(Adapters(Nft(lambda _pid: None, {}), Iptables(lambda _pid: None), Sysctls(NOWHERE), NOWHERE, set()))
RULES = ("nft-set", "nft-element", "nft-chain")


def carried_out(ops: tuple[Op, ...]) -> list[Op]:
    """In the order in which the kernel is told; a device's first appearance counts."""
    made = {(op.obj.ns, op.obj.name): op.obj for op in ops if isinstance(op, Create) and isinstance(op.obj, Link)}
    return [op for _, run in runs(ops, ON_LINUX, made) for op in run]


def planned(actual: State, desired: State) -> tuple[Op, ...]:
    kernel = host(*actual.values())
    return plan(desired, kernel.read(desired, kernel.namespaces), kernel.namespaces).ops


@given(hoststates(), hoststates())
def test_rules_come_before_devices_and_go_after_them(actual: State, desired: State) -> None:
    ops = planned(actual, desired)
    order = carried_out(ops)
    assert {key_of(op) for op in order} == {key_of(op) for op in ops}
    new = [i for i, op in enumerate(order) if not isinstance(op, Remove) and key_of(op)[0] in RULES]
    devices = [i for i, op in enumerate(order) if isinstance(op, Create) and isinstance(op.obj, Link)]
    assert not new or not devices or new[-1] < devices[0]
    gone = [i for i, op in enumerate(order) if isinstance(op, Remove) and isinstance(op.obj, Link)]
    for op in put_off([op for op in ops if key_of(op)[0] in RULES]):
        assert not gone or order.index(op) > gone[-1]


@given(hoststates(), hoststates())
def test_only_what_is_in_the_way_of_something_new_goes_at_once(actual: State, desired: State) -> None:
    rules = [op for op in planned(actual, desired) if key_of(op)[0] in RULES]
    at_once = {key_of(op) for op in rules if isinstance(op, Remove)} - {key_of(op) for op in put_off(rules)}
    made = {key_of(op) for op in rules if not isinstance(op, Remove)}
    assert all(key in made or ("nft-set", *key[1:4]) in made or key[0] != "nft-set" for key in at_once)


def element(name: str, value: str) -> NftElement:
    return NftElement(set=name, value=value)


def test_an_element_goes_at_once_where_another_overlaps_it() -> None:
    wide, narrow = element("internal4", "10.22.0.0/16"), element("internal4", "10.22.8.0/24")
    far, other = element("internal4", "10.23.0.0/16"), element("cluster4", "10.22.8.0/24")
    assert put_off([Create(narrow), Remove(wide)]) == []
    assert put_off([Create(wide), Remove(narrow)]) == []
    assert put_off([Create(far), Create(other), Remove(wide)]) == [Remove(wide)]
    way = '"eth0" . 10.22.0.0/16 . 10.22.0.0/16'
    assert put_off([Create(element("inside4", way)), Remove(element("inside4", way.replace("eth0", "eth1")))]) != []
    assert put_off([Create(element("inside4", way)), Remove(element("inside4", way.replace("/16 .", "/24 .")))]) == []


PARTS = st.sampled_from(
    ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3", "10.2.0.0/16", "fd00:1::/48", "fd00:1::1", "fd00::/16"]
)
VALUES = st.one_of(
    PARTS,
    st.tuples(PARTS, PARTS).map(" . ".join),
    st.tuples(st.sampled_from(['"eth0"', '"weft.1"']), PARTS).map(" . ".join),
    st.sampled_from(["80", "tcp . 80", "10.1.2.3 . 80", "10.1.0.0/16 . 80"]),
)


def family_of(part: str) -> int:
    return 0 if '"' in part else 6 if ":" in part else 4 if "." in part else 0


def naively(one: str, other: str) -> bool:
    def meet(a: str, b: str) -> bool:
        return a == b or (family_of(a) == family_of(b) != 0 and ip_network(a).overlaps(ip_network(b)))

    return all(meet(a, b) for a, b in zip(one.split(" . "), other.split(" . "), strict=True))


@given(st.lists(VALUES, max_size=6), VALUES)
def test_what_overlaps_is_found_as_by_looking_at_all(there: list[str], value: str) -> None:
    found = Elements()
    alike = [other for other in there if _shape(other) == _shape(value)]  # a set's elements are
    for other in alike:
        found.add(other)
    assert found.overlap(value) == any(naively(value, other) for other in alike)


def _shape(value: str) -> list[int]:
    return [family_of(part) for part in value.split(" . ")]


def test_what_overlaps_is_found_without_a_look_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Counter[str]()
    parse = guarding.parse_network

    def counted(text: str) -> IPNetwork:
        read["all"] += 1
        return parse(text)

    monkeypatch.setattr(guarding, "parse_network", counted)
    many = [f"10.{n // 250}.{n % 250}.0/24" for n in range(2000)]
    new = [Create(element("within4", f"{prefix} . 10.1.0.0/16")) for prefix in many]
    old = [Remove(element("within4", f"{prefix} . 10.2.0.0/16")) for prefix in many]
    assert put_off([*new, *old]) == old
    assert read["all"] <= 10 * len(many)
    new = [Create(element("hosts4", f"10.{n % 250}.{n // 250}.1")) for n in range(2000)]
    old = [Remove(element("hosts4", f"11.{n % 250}.{n // 250}.1")) for n in range(2000)]
    read.clear()
    assert put_off([*new, *old]) == old
    assert read["all"] <= len(many), "where there are no prefixes, only what is new is read"


def test_rules_stay_while_a_device_cannot_be_removed() -> None:
    device = Link(name="weft-int", type=Bridge())
    rule = Remove(element("internal4", "10.22.0.0/16"))
    (failure,) = stay([Remove(device), rule], [rule], {device.key})
    assert failure.key == rule.obj.key and "stays as long as link weft-int cannot be removed" in failure.reason
    assert stay([Remove(device), rule], [rule], set()) == []
    changed = Change(rule.obj, rule.obj)
    assert stay([Remove(device), changed], [changed], {device.key}) == []
