"""Programs at devices, and what they go by: made, found by the next process, exchanged, repaired, cleared away."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import if_nametoindex
from typing import Literal

import msgspec
import pytest

from support.bpf_code import CONTROL, COUNTS, HOMES, marking, refused
from support.ear import Ear
from support.namespaces import Home
from support.waiting import until
from weft.base.errors import Unsupported
from weft.bpf import layout
from weft.hoststate import BpfLink, Bridge, FastHome, FastPairs, Key, Link, Netns, NftChain, Object, Sysctl
from weft.hoststate.firewall import INET
from weft.kernel.host import facts as host_facts
from weft.kernel.host import fastpath
from weft.kernel.host.fastpath import Count
from weft.kernel.kinds import bpf_names as names
from weft.kernel.kinds import bpf_read, bpf_write
from weft.kernel.kinds.bpf_names import LINKS, MAPS, NETWORKS, PROGRAMS
from weft.kernel.linux import LinuxKernel
from weft.kernel.plumbing import bpf
from weft.kernel.plumbing.netns import call as netns_call
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Create, Remove
from weft.reconcile.reconciler import Reconciler, key_of

Way = Literal["ingress", "egress"]
DEVICE = Link(name="weft-n", type=Bridge(), mtu=1450, mac="02:11:22:33:44:55", alias="weft:network/n")
UPLINK_IN, UPLINK_OUT = (
    BpfLink(dev="eth0", way="ingress", program="fast"),
    BpfLink(dev="eth0", way="egress", program="seen"),
)
OWN = BpfLink(dev="weft-n", way="ingress", program="fast")
BLUE = FastHome(address="10.0.0.2", dev="weft-n", network="blue")
BLUE6 = FastHome(address="fd00::2", dev="weft-n", network="blue")
RED = FastHome(address="10.1.0.2", dev="weft-n", network="red")
MAPS_OF_IT = CONTROL, HOMES, COUNTS
PROGRAMS_OF_IT = marking("fast", uses=(layout.CONTROL, layout.HOMES)), marking("seen")
ALL: tuple[Object, ...] = (
    DEVICE,
    *MAPS_OF_IT,
    *PROGRAMS_OF_IT,
    *(UPLINK_IN, UPLINK_OUT, OWN),
    *(BLUE, BLUE6, RED),
    FastPairs(),
)


class Host:
    """What is wanted of a host with an uplink, and the process that sees to it. `run`: its run directory. `own`: where
    namespaces of Weft's own have their names."""

    def __init__(self, folder: Path) -> None:
        self.run, self.own = folder / "run", folder / "netns"
        self.desired: dict[Key, Object] = {}
        self.kernel = LinuxKernel(self.desired, self.run, named=self.own)

    def restart(self) -> None:
        self.kernel.close()
        self.kernel = LinuxKernel(self.desired, self.run, named=self.own)

    def want(self, *objects: Object) -> None:
        self.desired |= {obj.key: obj for obj in objects}

    def leave(self, *objects: Object) -> None:
        for obj in objects:
            del self.desired[obj.key]

    def put_right(self) -> list[str]:
        """What was done, a line each."""
        reconciler = Reconciler(self.kernel, self.desired, lambda: 0.0)
        reconciler.complete = True
        report = reconciler.resync()
        assert not report.failures, report.failures
        assert not reconciler.dry_run().ops
        return [f"{type(op).__name__} {describe(key_of(op))}" for op in report.ops]

    def failures(self) -> list[str]:
        reconciler = Reconciler(self.kernel, self.desired, lambda: 0.0)
        return [failure.reason for failure in reconciler.resync().failures]

    def names(self, folder: str, ns: str = "") -> list[str]:
        return [path.name for path in names.listed(names.folder(ns, self.run) / folder)]


@pytest.fixture
def host(uplink: str, tmp_path: Path) -> Iterator[Host]:
    found = Host(tmp_path)
    yield found
    found.kernel.close()
    for path in (found.run / "bpf", *found.own.glob("*"), found.own):
        subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)


@pytest.fixture
def fast(host: Host) -> Host:
    """On which everything stands."""
    host.want(*ALL)
    host.put_right()
    return host


def at(dev: str, way: Way = "ingress") -> list[str]:
    return [bpf.name_of(number) for number in bpf.attached(if_nametoindex(dev), way)]


def test_all_of_it_stands_and_the_next_process_finds_it(fast: Host) -> None:
    assert at("eth0") == at("weft-n") == ["weft_fast"] and at("eth0", "egress") == ["weft_seen"]
    assert fast.names(PROGRAMS) == ["fast-0001", "seen-0001"] and fast.names(MAPS) == ["control", "counts", "homes"]
    fast.restart()
    assert fast.put_right() == []


def test_nothing_is_left_of_it_when_nothing_is_wanted(fast: Host) -> None:
    """As when a host is purged: by a process that knows of nothing."""
    theirs = bpf.attach(bpf.load(marking(uses=()).code, "theirs"), if_nametoindex("eth0"), "ingress")
    fast.desired.clear()
    fast.restart()
    assert "Remove bpf-link ingress eth0" in fast.put_right()
    assert not (fast.run / "bpf").exists() and not bpf.mounted(fast.run / "bpf")
    until(lambda: at("eth0") == ["theirs"], 5, "ours to be gone, and somebody else's still to be there")
    os.close(theirs)


def test_a_program_is_exchanged_and_no_packet_is_without_one(fast: Host, netns: Home) -> None:
    """Packets without its mark are dropped. Also another layout of a map, for which all is made anew."""
    netns.sh("nft add table inet gate")
    netns.run("nft", "add chain inet gate in { type filter hook prerouting priority 0; }")
    netns.run("nft", "add rule inet gate in icmp type echo-reply mark != 1 drop")
    router = netns.others[0]
    router.sh("ip addr add 192.168.1.1/24 dev port")
    ping = subprocess.Popen(["ping", "-q", "-i", "0.002", "-w", "20", "192.168.1.1"], stdout=subprocess.PIPE, text=True)
    for version in range(2, 30):
        fast.want(marking("fast", version=version, uses=(layout.CONTROL, layout.HOMES)))
        assert fast.put_right() == ["Change bpf-program fast"]
        assert fast.names(PROGRAMS) == [f"fast-{version:04x}", "seen-0001"]
        fast.restart()
    for entries in (2000, 3000):
        fast.want(msgspec.structs.replace(HOMES, entries=entries))
        done = fast.put_right()
        assert done[:3] == ["Remove bpf-map homes", "Create bpf-map homes", "Create bpf-program fast"]
        assert sorted(done[3:]) == [f"Create {describe(home.key)}" for home in (BLUE, RED, BLUE6)]
    assert at("eth0") == at("weft-n") == ["weft_fast"]
    ping.send_signal(signal.SIGINT)
    told = ping.communicate()[0]
    sent, received = re.findall(r"(\d+) (?:packets transmitted|received)", told)
    assert int(sent) > 20 and sent == received, told


def test_what_an_agent_of_the_version_before_has_in_a_map_of_another_layout_is_made_anew(fast: Host) -> None:
    """Values had 12 octets then. The programs go by the new map, and stay at their devices."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (bpf_read, bpf_write):
            patch.setattr(module, "HOME", struct.Struct("=I6xH"))
        fast.want(msgspec.structs.replace(HOMES, value_size=12))
        fast.put_right()
    before = bpf.attached(if_nametoindex("weft-n"), "ingress")
    fast.restart()
    fast.want(HOMES)
    done = fast.put_right()
    assert done[:3] == ["Remove bpf-map homes", "Create bpf-map homes", "Create bpf-program fast"]
    assert sorted(done[3:]) == [f"Create {describe(home.key)}" for home in (BLUE, RED, BLUE6)]
    place = names.folder("", fast.run)
    slots, device = names.slots(place), if_nametoindex("weft-n")
    found = dict(bpf_read.homes(place))
    assert {found[bpf_read.octets(home.address)] for home in (BLUE, BLUE6)} == {layout.Home(device, slots["blue"])}
    assert found[bpf_read.octets(RED.address)] == layout.Home(device, slots["red"])
    assert at("weft-n") == ["weft_fast"] and bpf.attached(device, "ingress") != before


def _without(folder: str, name: str) -> Callable[[Path], None]:
    return lambda place: next((place / folder).glob(name)).unlink()


def _taken_off(place: Path) -> None:
    """As `bpftool link detach`: the name stays."""
    with names.opened(next((place / LINKS).glob("*-egress"))) as fd:
        bpf.detach(fd)


def _unmounted(place: Path) -> None:
    bpf.unmount(place.parent)


HARM: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "a link": (_without(LINKS, "*-egress"), {"Create bpf-link egress eth0"}),
    "a program off its device": (_taken_off, {"Create bpf-link egress eth0"}),
    "a program": (_without(PROGRAMS, "seen-*"), {"Create bpf-program seen", "Change bpf-link egress eth0"}),
    "the map of one program": (
        _without(MAPS, "homes"),
        {"Create bpf-map homes", "Change bpf-program fast", *(f"Create {describe(x.key)}" for x in (BLUE, BLUE6, RED))},
    ),
    "all": (_unmounted, {f"Create {describe(obj.key)}" for obj in ALL[1:]}),
}


@pytest.mark.parametrize("harm", HARM)
def test_what_is_taken_away_by_hand_is_noticed_and_put_back(fast: Host, harm: str) -> None:
    assert fast.kernel.unheard() == set()
    before = at("eth0"), at("eth0", "egress"), at("weft-n")
    do, repairs = HARM[harm]
    do(names.folder("", fast.run))
    assert fast.kernel.unheard() == {""}
    assert set(fast.put_right()) == repairs
    # One whose name is gone ends some moments later.
    until(lambda: (at("eth0"), at("eth0", "egress"), at("weft-n")) == before, 5, "one program at each device")
    assert fast.kernel.unheard() == set(), "what we do ourselves is no news"


def test_a_device_that_goes_takes_its_link_along_and_gets_another(fast: Host, netns: Home) -> None:
    netns.sh("ip link del weft-n")
    assert set(fast.put_right()) == {
        "Create link weft-n",
        "Create bpf-link ingress weft-n",
        *(f"Change {describe(home.key)}" for home in (BLUE, BLUE6, RED)),
    }
    assert at("weft-n") == ["weft_fast"]
    assert fast.names(LINKS) == ["eth0-egress", "eth0-ingress", "weft-n-ingress"]
    netns.sh("ip link del weft-n")
    assert fast.kernel.unheard() == set(), "that is told as the device's going"
    assert fast.names(LINKS) == ["eth0-egress", "eth0-ingress"]
    fast.put_right()
    fast.leave(DEVICE, OWN, BLUE, BLUE6, RED)
    assert "Remove bpf-link ingress weft-n" not in fast.put_right(), "it goes with the device"
    assert fast.names(LINKS) == ["eth0-egress", "eth0-ingress"] and not fast.names(NETWORKS)


def test_what_the_kernel_refuses_is_told_and_what_was_before_is_taken_off(fast: Host) -> None:
    """Its maps may be others by now."""
    fast.want(refused())
    reasons = fast.failures()
    assert reasons[0] == "bpf-program fast: the kernel's verifier refuses weft_fast: R0 !read_ok"
    assert at("eth0") == [] and at("eth0", "egress") == ["weft_seen"]
    assert set(fast.failures()) == {
        reasons[0],
        "bpf-link ingress eth0: waits for bpf-program fast",
        "bpf-link ingress weft-n: waits for bpf-program fast",
    }
    fast.want(marking("fast", version=3))
    fast.put_right()
    assert at("eth0") == at("weft-n") == ["weft_fast"]


def test_a_device_of_somebody_elses_gets_no_program_of_ours(host: Host, netns: Home) -> None:
    netns.sh("ip link add weft-n type bridge")
    host.want(*ALL)
    assert "waits for link weft-n" in host.failures()
    refused = host.kernel.apply([Create(obj) for obj in ALL if not isinstance(obj, Link)])
    assert "bpf-link ingress weft-n: waits for link weft-n" in [failure.reason for failure in refused]
    assert at("weft-n") == []


# -- in a namespace of ours --------------------------------------------------------------------------------------------


def test_a_namespace_has_its_own_and_takes_it_along(fast: Host, netns: Home) -> None:
    """Also one that ended while nobody looked."""
    ns = f"{fast.own}/weft-a.b"
    inside = [
        Netns(path=ns),
        Link(name="br0", type=Bridge(), mtu=1450, ns=ns),
        *(msgspec.structs.replace(obj, ns=ns) for obj in (CONTROL, marking(), HOMES)),
        BpfLink(dev="br0", way="ingress", program="fast", ns=ns),
        FastHome(address="10.9.0.2", dev="br0", network="a.b", ns=ns),
    ]
    fast.want(*inside)
    fast.put_right()
    assert set(names.namespaces(fast.run)) == {"", ns}
    assert names.slots(names.folder(ns, fast.run)) == {"a.b": 0}
    netns.run("umount", "-l", ns)
    Path(ns).unlink()
    fast.restart()
    assert "Create netns " + ns in fast.put_right()
    assert netns_call(ns, lambda: at("br0")) == ["weft_fast"]
    fast.leave(*inside)
    fast.put_right()
    assert names.namespaces(fast.run) == [""] and not fast.names(MAPS, ns)


# -- how it is counted -------------------------------------------------------------------------------------------------


def count(host: Host, network: str, packets: int) -> None:
    """As if so many had gone the short way, seen by one CPU."""
    place = names.folder("", host.run)
    value = layout.COUNT.pack(packets, packets * 100, 1) + bytes(layout.COUNT.size * (names.cpus() - 1))
    with names.opened(place / MAPS / layout.COUNTS) as fd:
        bpf.update(fd, names.slot_key(names.slots(place)[network]), value)


def test_a_network_keeps_its_number_as_long_as_it_has_a_container_here(fast: Host) -> None:
    place = names.folder("", fast.run)
    slots = names.slots(place)
    assert sorted(slots) == ["blue", "red"] and sorted(slots.values()) == [0, 1]
    count(fast, "blue", 5)
    count(fast, "red", 7)
    fast.leave(BLUE)
    fast.restart()
    fast.put_right()
    assert names.slots(place) == slots, "there is another one"
    assert fastpath.counts("", fast.run) == {"blue": Count(5, 500, 1), "red": Count(7, 700, 1)}
    fast.leave(BLUE6)
    fast.put_right()
    green = FastHome(address="10.2.0.2", dev="weft-n", network="green")
    fast.want(green)
    fast.put_right()
    assert names.slots(place) == {"red": slots["red"], "green": slots["blue"]}
    assert fastpath.counts("", fast.run) == {"green": Count(), "red": Count(7, 700, 1)}, (
        "and nothing of who had it before"
    )


def test_networks_beyond_the_last_number_share_it(fast: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.kernel.kinds.bpf_write.SLOTS", 3)
    homes = [FastHome(address=f"10.3.0.{n}", dev="weft-n", network=f"n{n}") for n in range(1, 4)]
    fast.want(*homes)
    fast.put_right()
    slots = names.slots(names.folder("", fast.run))
    assert {slots["n1"], slots["n2"], slots["n3"]} == {2}
    assert fast.put_right() == []


# -- what was decided before -------------------------------------------------------------------------------------------


def generation(host: Host, ns: str = "") -> int:
    return names.control(names.folder(ns, host.run))[0]


def test_after_any_change_what_was_decided_before_does_not_count(fast: Host, netns: Home) -> None:
    fast.restart()  # which waits for what is under way
    before = generation(fast)
    fast.put_right()
    assert generation(fast) == before, "nothing was done"
    rules = NftChain(table=INET, name="x", rules=())
    for change in (Create(rules), Remove(rules)):
        fast.kernel.apply([change])
        before += 1
        assert generation(fast) == before, "when no packet is under way"
    for change in (Create(Sysctl(name="net/ipv4/ip_forward", value="1")), Create(Link(name="weft-o", type=Bridge()))):
        fast.kernel.apply([change])
        assert generation(fast) > before, "at once"
        until(lambda: generation(fast) == before + 2, 5, "and when no packet is under way")  # noqa: B023
        before += 2
    fastpath.forget("", fast.run)
    assert generation(fast) == before + 1
    assert names.control(names.folder("", fast.run))[1] == 1, "and this says what it said"


def test_what_others_change_of_rules_counts_too(fast: Host, netns: Home) -> None:
    ear = Ear(fast.kernel.watch())
    ear.settle()
    fastpath.forget("", fast.run)
    before = generation(fast)
    netns.sh("nft add table inet theirs")  # which concerns no rule of ours
    until(lambda: ear.settle() == [] and generation(fast) == before + 2, 5, "what was decided not to count")
    ear.watcher.close()


def test_where_it_cannot_be_forgotten_the_programs_go(fast: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise Unsupported("the kernel has no membarrier")

    monkeypatch.setattr(bpf, "settle", fails)
    fastpath.forget("", fast.run)
    assert at("eth0") == at("eth0", "egress") == at("weft-n") == []
    assert fast.names(LINKS) == []


def test_where_its_number_is_gone_the_programs_go(fast: Host) -> None:
    """They would repeat what is not so any more, until somebody notices."""
    (names.folder("", fast.run) / MAPS / CONTROL.name).unlink()
    fastpath.forget("", fast.run)
    assert at("eth0") == at("eth0", "egress") == at("weft-n") == []
    fast.put_right()
    assert at("eth0") == at("weft-n") == ["weft_fast"]


def test_nothing_is_waited_for_where_there_is_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpf, "settle", lambda: pytest.fail("waited"))
    host.want(DEVICE)
    assert host.put_right() == ["Create link weft-n"]


# -- whether it can be -------------------------------------------------------------------------------------------------


def test_whether_it_can_be_is_tried_out_and_why_not_is_said(netns: Home) -> None:
    assert fastpath.refusal() == ""
    assert fastpath.TCX in host_facts.features()
    ask = "from weft.kernel.host import fastpath; print(fastpath.refusal())"
    told = netns.run("unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", ask)
    assert told.startswith("the kernel does not let BPF be used here: CAP_BPF and CAP_NET_ADMIN")
