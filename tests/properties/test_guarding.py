"""Rules are there before the devices that they guard, and go after them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given

from support.hoststates import host, hoststates
from weft.hoststate import Bridge, Key, Link, NftElement, Object
from weft.kernel.guarding import put_off, stay
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


def test_rules_stay_while_a_device_cannot_be_removed() -> None:
    device = Link(name="weft-int", type=Bridge())
    rule = Remove(element("internal4", "10.22.0.0/16"))
    (failure,) = stay([Remove(device), rule], [rule], {device.key})
    assert failure.key == rule.obj.key and "stays as long as link weft-int cannot be removed" in failure.reason
    assert stay([Remove(device), rule], [rule], set()) == []
    changed = Change(rule.obj, rule.obj)
    assert stay([Remove(device), changed], [changed], {device.key}) == []
