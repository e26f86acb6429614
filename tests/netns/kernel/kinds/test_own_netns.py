"""Namespaces of our own, and what is in them: a bridge, a VXLAN device whose packets go out on the host, a container."""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.namespaces import Home, Namespace
from weft.hoststate import Address, Bridge, FdbEntry, Key, Link, Neighbour, Netns, NftChain, Object, Veth, Vxlan
from weft.hoststate.paths import ALL
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import ACCEPT
from weft.kernel.linux import LinuxKernel
from weft.kernel.plumbing.netns import exists
from weft.reconcile.protocol import Change, Create, Disturbed, Event, Gone, Remove, Seen
from weft.reconcile.reconciler import Reconciler

MAC = "02:42:0a:14:00:03"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Instead of /run/netns, which is the whole machine's."""
    path = tmp_path / "netns"
    yield path
    for name in path.glob("*"):
        subprocess.run(["umount", "-l", str(name)], check=False, capture_output=True)
    subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)


@pytest.fixture
def kernel(netns: Home, tmp_path: Path, folder: Path) -> Iterator[LinuxKernel]:
    kernel = LinuxKernel(run=tmp_path / "run", named=folder)
    yield kernel
    kernel.close()


def overlay(folder: Path, container: Namespace) -> dict[Key, Object]:
    ns = f"{folder}/weft-blue"
    kind = Vxlan(256, 4789, "192.168.1.68", "", learning=True, proxy=True, l2miss=True, l3miss=True, outside="")
    objects: list[Object] = [
        Netns(path=ns),
        Link(name="br0", type=Bridge(), mtu=1450, ns=ns),
        Link(name="vxlan0", type=kind, mtu=1450, master="br0", ns=ns),
        Link(name="weft1", type=Veth("eth0", container.path), mtu=1450, master="br0", isolated=True, ns=ns),
        Link(name="eth0", type=Veth("weft1", ns, False), mac="02:42:0a:14:00:02", ns=container.path),
        Address(address="10.20.0.2/16", dev="eth0", ns=container.path),
        Neighbour(address="10.20.0.3", lladdr=MAC, dev="vxlan0", ns=ns),
        Neighbour(address="fd20::3", lladdr=MAC, dev="vxlan0", ns=ns),
        FdbEntry(lladdr=MAC, dst="192.168.1.254", dev="vxlan0", ns=ns),
        FdbEntry(lladdr=ALL, dst="192.168.1.254", dev="vxlan0", ns=ns),
        FdbEntry(lladdr=ALL, dst="192.168.1.245", dev="vxlan0", ns=ns),
    ]
    return {obj.key: obj for obj in objects}


def reconciler(kernel: LinuxKernel, desired: dict[Key, Object]) -> Reconciler:
    now = iter(range(1 << 30))
    made = Reconciler(kernel, desired, lambda: float(next(now)))
    made.complete = True
    return made


def test_made_read_and_removed(kernel: LinuxKernel, uplink: str, folder: Path, container: Namespace) -> None:
    desired = overlay(folder, container)
    ours = reconciler(kernel, desired)
    assert ours.resync().failures == ()
    reading = kernel.read(desired, ours.namespaces())
    assert reading.objects == desired
    assert not reconciler(kernel, desired).resync().ops, "a newcomer finds all as it should be"
    # In and out of the same VNI at once, again and again: the kernel ends a namespace in its own time.
    for _ in range(5):
        for keys in (list(desired), []):
            wanted = {key: desired[key] for key in keys}
            report = reconciler(kernel, wanted).resync()
            assert report.failures == ()
    assert not exists(f"{folder}/weft-blue") and not list(folder.iterdir())
    assert container.json("ip", "-j", "link")[1:] == []


def test_packets_leave_by_the_hosts_own_socket(
    netns: Home, kernel: LinuxKernel, uplink: str, folder: Path, container: Namespace
) -> None:
    assert reconciler(kernel, overlay(folder, container)).resync().failures == ()
    (link,) = netns.json("nsenter", f"--net={folder}/weft-blue", "ip", "-j", "-d", "link", "show", "vxlan0")
    data = link["linkinfo"]["info_data"]
    assert {name: data[name] for name in ("id", "port", "proxy", "l2miss", "l3miss", "ageing", "local")} == {
        "id": 256,
        "port": 4789,
        "proxy": True,
        "l2miss": True,
        "l3miss": True,
        "ageing": 300,
        "local": "192.168.1.68",
    }
    assert "4789" in netns.sh("ss -Hunl")
    assert "4789" not in netns.sh(f"nsenter --net={folder}/weft-blue ss -Hunl")


@pytest.mark.parametrize("family", ["10.20.0.3", "fd20::3"])
def test_the_device_answers_for_those_far_away(
    kernel: LinuxKernel, uplink: str, folder: Path, container: Namespace, family: str
) -> None:
    desired = overlay(folder, container)
    six = Address(address="fd20::2/64", dev="eth0", ns=container.path)
    desired[six.key] = six
    assert reconciler(kernel, desired).resync().failures == ()
    container.run("ping", "-c", "1", "-W", "1", family, check=False)
    (entry,) = container.json("ip", "-j", "neigh", "show", "to", family)
    assert entry["lladdr"] == MAC


def test_somebody_elses_under_our_name_stays(
    netns: Home, kernel: LinuxKernel, folder: Path, container: Namespace
) -> None:
    other = folder / "weft-blue"
    folder.mkdir()
    other.touch()
    theirs = netns.new()
    subprocess.run(["mount", "--bind", theirs.path, str(other)], check=True)
    desired = overlay(folder, container)
    report = reconciler(kernel, desired).resync()
    assert not report.ops
    reasons = {failure.key[0]: failure.reason for failure in report.failures}
    assert reasons["netns"] == f"a network namespace {other} exists and is not Weft's: rename or remove it"
    assert reconciler(kernel, {}).resync().ops == ()
    assert exists(str(other))


def test_born_but_not_marked_when_interrupted(
    netns: Home, kernel: LinuxKernel, uplink: str, folder: Path, container: Namespace
) -> None:
    desired = overlay(folder, container)
    ns = f"{folder}/weft-blue"
    assert kernel.apply([Create(desired["netns", "", ns])]) == []
    netns.sh(f"ip link add vxlan0 netns {ns} type vxlan id 256 local 192.168.1.68 dstport 4789 proxy l2miss l3miss")
    report = reconciler(kernel, desired).resync()
    assert report.failures == ()
    assert [op for op in report.ops if isinstance(op, Change)], "adopted, not made anew"
    assert kernel.read(desired, {"", ns, container.path}).objects == desired


def mended(watcher: Any, ours: Reconciler, desired: dict[Key, Object]) -> None:
    """Hear and repair until all is as desired, in the kernel's own words."""
    poll = select.poll()
    poll.register(watcher.fileno(), select.POLLIN)
    deadline = time.monotonic() + 10
    heard: list[object] = []
    while not heard or ours.kernel.read(desired, ours.namespaces()).objects != desired:
        assert time.monotonic() < deadline, heard
        if poll.poll(100):
            events = watcher.drain()
            heard += events
            drift = ours.observe(events)
            ours.repair(drift.keys)
            if drift.namespaces:
                ours.resync(drift.namespaces)
        ours.retry()  # the end of the old ones takes the kernel a moment


@pytest.mark.parametrize(
    "lost",
    [("link", "br0"), ("link", "vxlan0"), ("netns",), ("neighbour", "vxlan0", "10.20.0.3"), ("fdb", "vxlan0", MAC)],
    ids=lambda lost: "-".join(lost[:2]),
)
def test_lost_by_hand_it_comes_back(
    netns: Home, tmp_path: Path, uplink: str, folder: Path, container: Namespace, lost: tuple[str, ...]
) -> None:
    desired = overlay(folder, container)
    ns = f"{folder}/weft-blue"
    kernel = LinuxKernel(desired, run=tmp_path / "run", named=folder)
    ours = reconciler(kernel, desired)
    assert ours.resync().failures == ()
    watcher = kernel.watch()
    inside = f"nsenter --net={ns}"
    commands = {
        "link": f"{inside} ip link del {lost[-1]}",
        "netns": f"umount {ns}",
        "neighbour": f"{inside} ip neigh del 10.20.0.3 dev vxlan0",
        "fdb": f"{inside} bridge fdb del {MAC} dev vxlan0 dst 192.168.1.254 self",
    }
    netns.sh(commands[lost[0]])
    mended(watcher, ours, desired)
    watcher.close()
    kernel.close()


def test_rules_in_it_are_put_back_and_a_containers_are_its_own(
    netns: Home, tmp_path: Path, uplink: str, folder: Path, container: Namespace
) -> None:
    desired = overlay(folder, container)
    ns = f"{folder}/weft-blue"
    chain = NftChain(name="policies", ns=ns, rules=(rule(ACCEPT),))
    kernel = LinuxKernel(desired, run=tmp_path / "run", named=folder)
    ours = reconciler(kernel, desired)
    assert ours.resync().failures == ()
    watcher = kernel.watch()
    desired[chain.key] = chain
    assert ours.resync().failures == ()
    container.run("nft", "add table inet weft; add chain inet weft policies")
    assert not [event for event in watcher.drain() if isinstance(event, Disturbed) and "rules" in event.reason]
    netns.sh(f"nsenter --net={ns} nft flush ruleset")
    mended(watcher, ours, desired)
    watcher.close()
    kernel.close()


def test_removed_with_what_is_in_it_by_one_operation(
    kernel: LinuxKernel, uplink: str, folder: Path, container: Namespace
) -> None:
    desired = overlay(folder, container)
    assert reconciler(kernel, desired).resync().failures == ()
    ours = reconciler(kernel, {})
    assert [type(op) for op in ours.resync().ops] == [Remove]
    assert not ours.known


def test_what_the_bridge_learns_is_nothing_lost(
    netns: Home, tmp_path: Path, uplink: str, folder: Path, container: Namespace
) -> None:
    """Its table has entries for the same MAC addresses on the same device."""
    desired = overlay(folder, container)
    kernel = LinuxKernel(desired, run=tmp_path / "run", named=folder)
    ours = reconciler(kernel, desired)
    assert ours.resync().failures == ()
    watcher = kernel.watch()
    inside = f"nsenter --net={folder}/weft-blue bridge fdb"
    netns.sh(f"{inside} add {MAC} dev vxlan0 master dynamic")
    netns.sh(f"{inside} add 02:42:0a:14:00:09 dev vxlan0 dst 192.168.1.245 self permanent")
    heard: list[Event] = []
    while not any(isinstance(event, Seen) and event.obj.key[-1] == "02:42:0a:14:00:09" for event in heard):
        assert select.select([watcher.fileno()], [], [], 10)[0], heard
        heard += watcher.drain()
    assert not [event for event in heard if isinstance(event, Gone)]
    watcher.close()
    kernel.close()
