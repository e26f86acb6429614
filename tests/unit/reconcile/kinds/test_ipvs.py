"""IPVS, without a kernel."""

from __future__ import annotations

import msgspec
import pytest

from weft.hoststate import Ipvs, IpvsDestination, IpvsService, Object, netns
from weft.kernel.fake import FakeKernel
from weft.kernel.kinds import ipvs_wire as wire
from weft.kernel.plumbing.netlink import attributes
from weft.reconcile.kinds.table import describe
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Change, Create, Op, Reading, Remove
from weft.reconcile.render import commands

NETNS = netns("blue")
NS = NETNS.path
SETTINGS = Ipvs(established=432000, conntrack=True, expire_nodest_conn=True, sloppy_tcp=True, ns=NS)
SERVICE = IpvsService(family=4, mark=256, ns=NS)
SERVICE6 = IpvsService(family=6, mark=257, scheduler="mh", ns=NS)
MEMBER = IpvsDestination(family=4, mark=256, address="10.20.0.3", port=8080, ns=NS)
MEMBER6 = IpvsDestination(family=6, mark=257, address="fd00::3", weight=0, ns=NS)
IN = "ip netns exec weft-blue"


@pytest.mark.parametrize(
    ("op", "lines"),
    [
        (Create(SERVICE), ["ipvsadm -A -f 256 -s rr"]),
        (Change(SERVICE, SERVICE), ["ipvsadm -E -f 256 -s rr"]),
        (Remove(SERVICE), ["ipvsadm -D -f 256"]),
        (Create(SERVICE6), ["ipvsadm -A -f 257 -6 -s mh -b mh-fallback"]),
        (Create(MEMBER), ["ipvsadm -a -f 256 -r 10.20.0.3:8080 -m -w 1"]),
        (Change(MEMBER, MEMBER), ["ipvsadm -e -f 256 -r 10.20.0.3:8080 -m -w 1"]),
        (Create(MEMBER6), ["ipvsadm -a -f 257 -6 -r [fd00::3]:0 -m -w 0"]),
        (Remove(MEMBER6), ["ipvsadm -d -f 257 -6 -r [fd00::3]:0"]),
        (
            Remove(SETTINGS),
            [
                "sysctl -w net/ipv4/vs/conntrack=0 net/ipv4/vs/expire_nodest_conn=0 net/ipv4/vs/sloppy_tcp=0",
                "ipvsadm --set 900 120 300",
            ],
        ),
    ],
)
def test_commands(op: Op, lines: list[str]) -> None:
    found = [line for line in commands(op) if line != "modprobe ip_vs"]
    assert found == [f"{IN} {line}" for line in lines]


def test_in_words() -> None:
    assert describe(SETTINGS.key) == f"ipvs settings in {NS}"
    assert describe(SERVICE6.key) == f"ipvs-service mark 257 (IPv6) in {NS}"
    assert describe(MEMBER.key) == f"ipvs-destination mark 256 to 10.20.0.3 port 8080 in {NS}"
    assert describe(MEMBER6.key) == f"ipvs-destination mark 257 to fd00::3 in {NS}"


def test_a_service_comes_before_its_destinations_and_takes_them_along() -> None:
    wanted: tuple[Object, ...] = (MEMBER, MEMBER6, SERVICE, SERVICE6, SETTINGS, NETNS)
    kernel = FakeKernel()
    made = plan({obj.key: obj for obj in wanted}, kernel.read({}, frozenset({"", NS})), {"", NS})
    assert kernel.apply(made.ops) == [] and len(made.ops) == len(wanted)
    left = {obj.key: obj for obj in wanted if obj not in (SERVICE, MEMBER)}
    gone = plan(left, kernel.read(left, frozenset({"", NS})), {"", NS})
    assert kernel.apply(gone.ops) == [] and SERVICE.key not in kernel.objects and MEMBER.key not in kernel.objects


def test_another_weight_is_a_change_in_place() -> None:
    drained = msgspec.structs.replace(MEMBER, weight=0)
    there = {obj.key: obj for obj in (NETNS, SETTINGS, SERVICE, MEMBER)}
    done = plan({**there, drained.key: drained}, Reading(dict(there)), {"", NS})
    assert done.ops == (Change(MEMBER, drained),)


@pytest.mark.parametrize("obj", [SERVICE, SERVICE6, msgspec.structs.replace(SERVICE, persistent=300)])
def test_a_service_is_read_as_it_was_written(obj: IpvsService) -> None:
    data = wire.service(obj)
    assert wire.decode_service(attributes(data, 0, len(data))[1], NS) == obj


@pytest.mark.parametrize(("obj", "of"), [(MEMBER, SERVICE), (MEMBER6, SERVICE6)])
def test_a_destination_is_read_as_it_was_written(obj: IpvsDestination, of: IpvsService) -> None:
    data = wire.destination(obj)
    assert wire.decode_destination(attributes(data, 0, len(data))[2], of) == obj
