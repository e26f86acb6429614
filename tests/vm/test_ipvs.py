"""IPVS, which is a module: made, found, changed and removed as ipvsadm(8) shows it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec

from support.hoststates import keyed
from support.namespaces import Home
from weft.hoststate import Ipvs, IpvsDestination, IpvsService, Key, Netns, Object
from weft.kernel.host import facts
from weft.kernel.kinds import ipvs
from weft.kernel.linux import LinuxKernel
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Change, Create, Op, Remove
from weft.reconcile.render import script

NS = "/run/netns/weft-blue"
HERE = frozenset({"", NS})
SETTINGS = Ipvs(established=432000, conntrack=True, expire_nodest_conn=True, sloppy_tcp=True, ns=NS)
SERVICES = (
    IpvsService(family=4, mark=256, ns=NS),
    IpvsService(family=4, mark=257, scheduler="mh", ns=NS),
    IpvsService(family=6, mark=256, ns=NS),
)
MEMBERS = (
    IpvsDestination(family=4, mark=256, address="10.20.0.3", ns=NS),
    IpvsDestination(family=4, mark=256, address="10.20.0.4", weight=0, ns=NS),
    IpvsDestination(family=4, mark=257, address="10.20.0.3", port=8080, ns=NS),
    IpvsDestination(family=6, mark=256, address="fd00::3", port=8080, ns=NS),
)
ALL: dict[Key, Object] = keyed(Netns(path=NS), SETTINGS, *SERVICES, *MEMBERS)
SHOWN = """\
-A -f 256 -s rr
-a -f 256 -r 10.20.0.3:0 -m -w 1
-a -f 256 -r 10.20.0.4:0 -m -w 0
-A -f 257 -s mh -b mh-fallback
-a -f 257 -r 10.20.0.3:8080 -m -w 1
-A -f 256 -6 -s rr
-a -f 256 -6 -r [fd00::3]:8080 -m -w 1
"""


def in_ns(line: str) -> str:
    return subprocess.run(
        ["ip", "netns", "exec", "weft-blue", *line.split()], check=True, text=True, capture_output=True, timeout=60
    ).stdout


def ops(kernel: LinuxKernel, wanted: dict[Key, Object]) -> tuple[Op, ...]:
    return plan(wanted, kernel.read(wanted, HERE), set(HERE)).ops


def test_the_module_is_found_before_it_is_loaded(netns: Home) -> None:
    loaded = ipvs.loaded()
    assert ipvs.FEATURE in facts.features()
    assert ipvs.loaded() == loaded


def test_all_of_it(netns: Home, tmp_path: Path) -> None:
    desired: dict[Key, Object] = {}
    kernel = LinuxKernel(desired, tmp_path)
    try:
        desired |= ALL
        assert kernel.apply([Create(Netns(path=NS))]) == []
        in_ns("ip link set lo up")  # where there is no address at all, IPVS takes none to be a host's
        assert kernel.apply(ops(kernel, ALL)) == []
        assert sorted(in_ns("ipvsadm -Sn").splitlines()) == sorted(SHOWN.splitlines())
        assert in_ns("ipvsadm -l --timeout").split()[-3:] == ["432000", "120", "300"]
        assert in_ns("sysctl -n net.ipv4.vs.expire_nodest_conn").strip() == "1"
        assert ops(kernel, ALL) == (), "as it was made it is found"
        _what_others_did_is_put_right(kernel)
        drained = msgspec.structs.replace(MEMBERS[0], weight=0)
        assert kernel.apply(ops(kernel, ALL | keyed(drained))) == []
        assert "-r 10.20.0.3:0 -m -w 0" in in_ns("ipvsadm -Sn")
        only = keyed(Netns(path=NS))
        assert kernel.apply(ops(kernel, only)) == []
        assert ops(kernel, only) == () and in_ns("ipvsadm -Sn") == ""
        assert in_ns("ipvsadm -l --timeout").split()[-3:] == ["900", "120", "300"]
        _as_pasted_from_a_plan(kernel)
    finally:
        kernel.apply([Remove(Netns(path=NS))])
        kernel.close()


def _what_others_did_is_put_right(kernel: LinuxKernel) -> None:
    in_ns("ipvsadm -e -f 256 -r 10.20.0.3:0 -m -w 7")
    in_ns("ipvsadm -E -f 257 -s rr")
    in_ns("ipvsadm -D -f 256 -6")
    in_ns("ipvsadm -A -f 999 -s lc")
    in_ns("ipvsadm --set 900 0 0")
    found = ops(kernel, ALL)
    assert {type(op) for op in found} == {Change, Create, Remove}
    assert kernel.apply(found) == [] and ops(kernel, ALL) == ()


def _as_pasted_from_a_plan(kernel: LinuxKernel) -> None:
    lines = script([Create(obj) for obj in ALL.values() if not isinstance(obj, Netns)])
    subprocess.run(["bash", "-euc", "\n".join(lines)], check=True, timeout=60, capture_output=True)
    assert ops(kernel, ALL) == ()


def test_others_namespaces_are_left_alone(netns: Home, tmp_path: Path) -> None:
    with_theirs = netns.new()
    with_theirs.sh("ipvsadm -A -f 256 -s rr")
    kernel = LinuxKernel({}, tmp_path)
    try:
        found = kernel.read({}, frozenset({"", with_theirs.path})).objects
        assert not [key for key in found if key[0].startswith("ipvs")]
    finally:
        kernel.close()
