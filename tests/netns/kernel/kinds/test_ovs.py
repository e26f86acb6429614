"""Ports of a real Open vSwitch, which runs in user space."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.namespaces import Home
from support.switches import Switch, switch
from support.waiting import until
from weft.hoststate import Link, OvsPort, Veth
from weft.kernel.kinds import ovs as kinds
from weft.kernel.kinds.ovs import OvsPorts
from weft.kernel.plumbing import ovsdb
from weft.reconcile.protocol import Create, Remove
from weft.reconcile.reconciler import Reconciler
from weft.reconcile.render import script

PORT = OvsPort(bridge="br-int", name="tap0", iface_id="11-22", mac="fa:16:3e:00:00:01", vm_uuid="ab")
OTHER = OvsPort(bridge="br-int", name="tap1", iface_id="33-44", mac="fa:16:3e:00:00:02")
LINKS = tuple(Link(name=f"tap{n}", type=Veth(f"c{n}", ""), mtu=1450, alias="weft:endpoint/n/a") for n in (0, 1))


@pytest.fixture
def ovs(netns: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Switch]:
    monkeypatch.setenv("OVS_RUNDIR", str(tmp_path / "ovs"))
    with switch(tmp_path / "ovs") as made:
        made.bridge("br-int")
        yield made


def by_hand(ovs: Switch) -> str:
    """Ports of others, one of which calls itself as ours do in another field; and how all looks."""
    ovs.vsctl("add-port", "br-int", "vm0", "--", "set", "Interface", "vm0", "type=internal")
    ovs.vsctl("set", "Interface", "vm0", "external_ids:iface-id=99", "external_ids:owner=kuryr")
    ovs.vsctl("set", "Port", "vm0", "external_ids:owner=weft", "tag=7")
    return ovs.records()


def test_made_found_changed_and_removed(bench: Any, ovs: Switch) -> None:
    """What the agent of Neutron's says of our ports stays, and so do others' ports."""
    before = by_hand(ovs)
    bench.made(*LINKS, PORT, OTHER)
    assert bench.converged(), bench.difference()
    assert ovs.vsctl("iface-to-br", "tap0").strip() == "br-int"
    until(
        lambda: ovs.vsctl("get", "Interface", "tap0", "ofport").strip() not in ("[]", "-1"), 10, "the switch to take it"
    )
    ovs.vsctl("set", "Port", "tap0", "tag=1", "other_config:net_uuid=42")
    ovs.vsctl("set", "Interface", "tap0", "external_ids:ovn-installed=true")
    changed = msgspec.structs.replace(PORT, iface_id="55-66", vm_uuid="")
    assert bench.change(PORT, changed) == []
    assert bench.converged(), bench.difference()
    assert ovs.vsctl("get", "Port", "tap0", "tag", "other_config").split() == ["1", '{net_uuid="42"}']
    assert "ovn-installed" in ovs.vsctl("get", "Interface", "tap0", "external_ids")
    bench.remove(changed, OTHER, *LINKS)
    assert ovs.records() == before and bench.read().objects == {}


def test_the_commands_make_the_same(bench: Any, ovs: Switch) -> None:
    bench.made(*LINKS)
    bench.desired[PORT.key] = PORT
    (line,) = script([Create(PORT)])
    bench.netns.sh(line)
    assert bench.converged(), bench.difference()
    (line,) = script([Remove(PORT)])
    bench.netns.sh(line)
    bench.netns.sh(line)  # a second time does no harm
    del bench.desired[PORT.key]
    assert bench.converged(), bench.difference()


def test_a_restarted_agent_finds_them_and_changes_nothing(bench: Any, ovs: Switch) -> None:
    bench.made(*LINKS, PORT, OTHER)
    before = ovs.records()
    reconciler = Reconciler(bench.kernel, bench.desired, time.monotonic)
    reconciler.complete = True
    assert reconciler.resync().ops == ()
    ovs.kill()
    assert {unread.what for unread in bench.read().unread} == {"Open vSwitch"} and bench.kernel.unheard() == set()
    assert reconciler.resync().ops == ()  # what cannot be read is neither there nor missing
    ovs.start()
    assert reconciler.resync().ops == () and ovs.records() == before


def test_what_others_do_to_them_is_noticed_and_put_right(bench: Any, ovs: Switch) -> None:
    bench.made(LINKS[0], PORT)
    reconciler = Reconciler(bench.kernel, bench.desired, time.monotonic)
    reconciler.complete = True
    reconciler.resync()
    assert bench.kernel.unheard() == set()
    by_hand(ovs)
    assert bench.kernel.unheard() == set()
    ovs.vsctl("del-port", "tap0")
    assert bench.kernel.unheard() == {""}
    assert reconciler.resync({""}).ops == (Create(PORT),) and bench.kernel.unheard() == set()
    ovs.vsctl("set", "Interface", "tap0", "external_ids:iface-id=0")
    assert bench.kernel.unheard() == {""}
    assert [type(op).__name__ for op in reconciler.resync({""}).ops] == ["Change"] and bench.converged()


def test_a_switch_that_hangs_holds_up_nothing_else(bench: Any, ovs: Switch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "REST", 3.0)
    bench.made(LINKS[0], PORT)
    bench.read()
    ovs.vsctl("del-port", "tap0")
    ovs.freeze()
    try:
        began = time.monotonic()
        assert [bench.kernel.unheard() for _ in range(20)] == [set()] * 20
        assert time.monotonic() - began < 2.5
    finally:
        ovs.thaw()
    until(lambda: bench.kernel.unheard() == {""}, 10, "the switch to be looked at again")


def test_anothers_port_is_told_and_stays(bench: Any, ovs: Switch) -> None:
    ovs.vsctl("add-port", "br-int", "tap0", "--", "set", "Interface", "tap0", "type=internal")
    before = ovs.records()
    bench.desired[PORT.key] = PORT
    assert PORT.key in bench.read().foreign
    (failure,) = bench.kernel.apply([Create(PORT)])
    assert failure.reason.endswith("that is not Weft's: remove it (ovs-vsctl del-port tap0)")
    assert bench.kernel.apply([Remove(PORT)]) == [] and ovs.records() == before


def test_one_that_is_refused_costs_the_others_nothing(bench: Any, ovs: Switch) -> None:
    nowhere = OvsPort(bridge="br-none", name="tap9", iface_id="9", mac="fa:16:3e:00:00:09")
    bench.made(*LINKS, PORT)
    failures = bench.create(nowhere, OTHER, PORT)
    assert [failure.reason for failure in failures] == [
        "ovs-port tap9 on br-none: Open vSwitch has no bridge br-none: start Neutron's agent here, which makes it",
        "ovs-port tap0 on br-int: it exists already, on br-int",
    ]
    del bench.desired[nowhere.key]
    assert bench.converged(), bench.difference()


def test_hundreds_are_one_transaction(bench: Any, ovs: Switch) -> None:
    """So the switch is told once, and answers longer than a read of the socket are read whole."""
    ports = [OvsPort(bridge="br-int", name=f"none{n}", iface_id=f"{n}", mac="fa:16:3e:00:00:01") for n in range(300)]
    bench.made(*ports)
    assert bench.converged(), bench.difference()
    bench.remove(*ports)
    assert bench.read().objects == {}


def test_without_a_switch(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants nothing of one need not have one; who does is told what to do."""
    monkeypatch.setenv("OVS_RUNDIR", str(tmp_path))
    assert bench.read().unread == () and not ovsdb.answers() and OvsPorts().changed() == set()
    (failure,) = bench.create(PORT)
    assert "start it (systemctl start openvswitch-switch)" in failure.reason
    (unread,) = bench.read().unread
    assert unread.kinds == {"ovs-port"} and str(tmp_path) in unread.reason
