"""Ports of Open vSwitch's bridges, without a switch."""

from __future__ import annotations

import msgspec
import pytest

from weft.hoststate import Link, OvsPort, Veth
from weft.kernel.fake import FakeKernel
from weft.reconcile.kinds.table import describe, is_ours
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Change, Create, Op, Reading, Remove
from weft.reconcile.reconciler import Reconciler
from weft.reconcile.relations import in_order
from weft.reconcile.render import commands

PORT = OvsPort(bridge="br-int", name="tap0", iface_id="11-22", mac="fa:16:3e:00:00:01", vm_uuid="ab")
LINK = Link(name="tap0", type=Veth("eth0", "/run/netns/c1"), mtu=1450)
OTHER_ID = msgspec.structs.replace(PORT, iface_id="33-44", vm_uuid="")
ELSEWHERE = msgspec.structs.replace(PORT, bridge="br-ex")
IDS = (
    "external_ids:attached-mac=fa:16:3e:00:00:01 external_ids:iface-id={} "
    "external_ids:iface-status=active external_ids:owner=weft"
)


@pytest.mark.parametrize(
    ("op", "command"),
    [
        (
            Create(PORT),
            f"ovs-vsctl add-port br-int tap0 -- set Interface tap0 {IDS.format('11-22')} external_ids:vm-uuid=ab",
        ),
        (Change(PORT, OTHER_ID), f"ovs-vsctl set Interface tap0 {IDS.format('33-44')}"),
        (Remove(PORT), "ovs-vsctl --if-exists del-port br-int tap0"),
    ],
)
def test_commands(op: Op, command: str) -> None:
    assert commands(op) == [command]


def test_in_words() -> None:
    assert describe(PORT.key) == "ovs-port tap0 on br-int"


def test_its_device_comes_first_and_goes_last() -> None:
    assert in_order([PORT, LINK]) == [LINK, PORT]
    removal = plan({}, Reading({o.key: o for o in (LINK, PORT)}), {""})
    assert removal.ops == (Remove(PORT), Remove(LINK))


def test_the_record_stays_when_its_device_goes() -> None:
    """So it is removed for itself; and needs not be made anew with the device."""
    kernel = FakeKernel(["/run/netns/c1"])
    kernel.plant(LINK, PORT)
    kernel.destroy(LINK.key)
    assert PORT.key in kernel.objects
    wanted = {o.key: o for o in (LINK, PORT)}
    assert plan(wanted, kernel.read(wanted, {""}), {""}).ops == (Create(LINK),)


def test_a_name_is_one_ports() -> None:
    """Whichever bridge it is on: the old one goes before the new one is made."""
    found = Reading({LINK.key: LINK, PORT.key: PORT})
    assert plan({LINK.key: LINK, ELSEWHERE.key: ELSEWHERE}, found, {""}).ops == (Remove(PORT), Create(ELSEWHERE))


def test_anothers_port_is_told_and_stays() -> None:
    theirs = msgspec.structs.replace(PORT, owner="kuryr")
    assert is_ours(PORT) and not is_ours(theirs)
    kernel = FakeKernel(["/run/netns/c1"])
    kernel.plant(LINK, theirs)
    reconciler = Reconciler(kernel, {o.key: o for o in (LINK, PORT)}, lambda: 0.0)
    reconciler.complete = True
    (failure,) = reconciler.resync().failures
    assert failure.reason == "Open vSwitch has a port tap0 that is not Weft's: remove it (ovs-vsctl del-port tap0)"
    assert kernel.others() == {theirs.key: theirs}
