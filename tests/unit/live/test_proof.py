"""What hosts saw of a packet, each by its own clock, becomes one story, and is held against what the tables said."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from weft.api.live import PacketSeen, Point, Probed, RuleSeen, Watched
from weft.live.packet import Mark
from weft.live.proof import Proof, proof, settled
from weft.live.render import render
from weft.trace.path import Hop, Outcome, Path

TOKEN = bytes.fromhex("5e0d7a1c00ff1122")
MARK = Mark(TOKEN, "udp", 4, 40_000)
TARGET = "node-2/c2"


def packet(sport: int = 40_000, dport: int = 53) -> bytes:
    source, target = ip_address("10.0.0.1").packed, ip_address("10.0.0.2").packed
    if sport != 40_000:
        source, target = target, source
    head = struct.pack("!BBHHHBBH", 0x45, 0, 36, 0, 0, 64, 17, 0) + source + target
    return head + struct.pack("!HHHH", sport, dport, 16, 0) + TOKEN


def tunnelled() -> bytes:
    outer = struct.pack("!BBHHHBBH", 0x45, 0, 78, 0, 0, 64, 17, 0) + bytes((192, 168, 1, 1, 192, 168, 1, 2))
    return outer + struct.pack("!HHHH", 5555, 8472, 58, 0) + bytes(22) + packet()


def seen(at: int, point: Point, place: str, device: str, head: bytes = packet(), **drop: str) -> PacketSeen:
    return PacketSeen(at=at, point=point, namespace=place, place=place, device=device, head=head, **drop)


ONE = (seen(5_000, "out", "c1", "eth0"), seen(9_000, "in", "", "veth1"), seen(11_000, "out", "", "eth0"))
TWO = (seen(700, "in", "", "eth0"), seen(900, "out", "", "veth2"), seen(950, "in", "c2", "eth0"))


def predicted(ending: str = "delivered", place: str = TARGET, fault: str = "", text: str = "there") -> Path:
    places = ["node-1/c1", "node-1", "node-2", TARGET]
    hops = tuple(Hop(place=p, step="route", entry="") for p in places[: places.index(place) + 1])
    outcome = Outcome(ending=ending, place=place, text=text, fault=fault)  # type: ignore[arg-type]
    return Path(
        source=ip_address("10.0.0.1"), target=ip_address("10.0.0.2"), hops=hops, outcome=outcome, mtu=1500, ttl=64
    )


def sent(answer: str = "nothing", text: str = "no answer within 1 s") -> Probed:
    return Probed(source="10.0.0.1", sport=40_000, answer=answer, text=text)  # type: ignore[arg-type]


def shown(
    path: Path, probed: Probed, one: Any = ONE, two: Any = TWO, rules: tuple[RuleSeen, ...] = (), **more: Any
) -> Proof:
    watched = {"node-2": Watched(id="2", packets=two, rules=rules), "node-1": Watched(id="1", packets=one)}
    return proof(path, TARGET, MARK, probed, watched, more.get("unseen", ()))


def test_it_arrives_and_hosts_stand_in_the_order_of_the_way() -> None:
    """Though the second one's clock is far behind the first one's."""
    found = shown(predicted(), sent())
    assert (found.end, found.place, found.agrees, found.arrived) == ("arrived", TARGET, True, True)
    assert [(s.place, s.device, s.after) for s in found.sights] == [
        ("node-1/c1", "eth0", 0),
        ("node-1", "veth1", 4),
        ("node-1", "eth0", 6),
        ("node-2", "eth0", 0),
        ("node-2", "veth2", 0.2),
        (TARGET, "eth0", 0.25),
    ]


def test_an_answer_counts_more_than_copies_that_went_astray() -> None:
    stray = seen(910, "drop", "", "veth3", reason="OTHERHOST", function="ip_rcv_core")
    found = shown(predicted(), sent("reply", "16 octets from 10.0.0.2"), two=(*TWO, stray))
    assert (found.end, found.place, found.agrees, found.faults) == ("answered", TARGET, True, ())
    assert shown(predicted(), sent(), two=(TWO[0], stray, *TWO[1:])).end == "arrived"


def test_a_copy_that_goes_astray_is_the_end_where_nothing_else_is() -> None:
    stray = seen(910, "drop", "", "vx0", reason="NO_TX_TARGET", function="br_handle_frame_finish")
    found = shown(predicted(), sent(), two=(TWO[0], stray))
    assert (found.end, found.place, found.reason, found.agrees) == ("dropped", "node-2", "NO_TX_TARGET", False)


def test_a_drop_with_the_rule_that_decided() -> None:
    drop = seen(800, "drop", "", "eth0", reason="NETFILTER_DROP", function="nft_do_chain")
    rules = (
        RuleSeen("", "inet", "t", "forward", 7, "rule", "jump", "other"),
        RuleSeen("", "inet", "t", "other", 9, "rule", "drop", text="tcp dport 80 drop", comment="no web", owner="ufw"),
    )
    found = shown(predicted("filtered", "node-2", "rule-drops"), sent(), two=(TWO[0], drop), rules=rules)
    assert (found.end, found.place, found.reason, found.agrees) == ("dropped", "node-2", "NETFILTER_DROP", True)
    assert found.rule is not None
    assert (found.rule.chain, found.rule.handle) == ("other", 9)
    assert found.rule.show == "nft -a list chain inet t other"
    assert found.faults == ("rule-drops",)
    assert found.text.endswith(', by `tcp dport 80 drop` (inet t other, handle 9, of ufw, "no web")')


@pytest.mark.parametrize(
    ("rule", "head", "fault"),
    [
        (RuleSeen("", "inet", "t", "input", 9, "rule", "drop"), tunnelled(), "underlay-filtered"),
        (RuleSeen("", "bridge", "t", "f", 9, "rule", "drop"), packet(), "bridge-rule-drops"),
        (RuleSeen("", "inet", "t", "f", 9, "rule", "drop"), packet(), "rule-drops"),
        (RuleSeen("", "inet", "weft", "ep-1-in", 9, "rule", "drop", owner="weft"), packet(), "policy-denies"),
        (RuleSeen("", "inet", "weft", "isolation", 9, "rule", "drop", owner="weft"), packet(), "network-isolated"),
    ],
)
def test_which_fault_a_rule_is(rule: RuleSeen, head: bytes, fault: str) -> None:
    drop = seen(800, "drop", "", "eth0", head=head, reason="NETFILTER_DROP", function="nft_do_chain")
    assert shown(predicted(), sent(), two=(TWO[0], drop), rules=(rule,)).faults == (fault,)


def test_chains_that_end_are_no_rules_but_policies_that_drop_are() -> None:
    drop = seen(800, "drop", "", "eth0", reason="NETFILTER_DROP", function="nft_do_chain")
    rules = (
        RuleSeen("", "inet", "weft", "input", 0, "policy", "accept"),
        RuleSeen("", "inet", "t", "other", 0, "return", "continue"),
        RuleSeen("", "inet", "t", "forward", 0, "policy", "drop"),
    )
    found = shown(predicted(), sent(), two=(TWO[0], drop), rules=rules)
    assert [(r.chain, r.handle, r.verdict) for r in found.rules] == [("forward", 0, "drop")]
    assert found.rule == found.rules[0]
    assert found.text.endswith(", by a rule of inet t forward, its policy: drop")
    assert found.faults == ("forward-policy",)
    assert "the tables say that it arrives at node-2/c2" in found.differs


def test_a_closed_port() -> None:
    drop = seen(990, "drop", "c2", "eth0", reason="NO_SOCKET", function="__udp4_lib_rcv")
    refused = sent("refused", "ICMP port unreachable from 10.0.0.2")
    found = shown(predicted("no-socket", TARGET, "not-listening"), refused, two=(*TWO, drop))
    assert (found.end, found.place, found.agrees, found.arrived) == ("refused", TARGET, True, False)


def test_lost_on_the_wire() -> None:
    found = shown(predicted(), sent(), two=())
    assert (found.end, found.place, found.agrees) == ("lost", "node-1", False)
    assert found.text == "it left by eth0 on node-1, and was not seen again"


def test_it_ends_where_the_tables_say() -> None:
    assert shown(predicted("no-fdb", "node-1"), sent(), two=()).agrees
    assert not shown(predicted("no-fdb", "node-1"), sent()).agrees
    assert not shown(predicted("filtered", "node-2"), sent(), two=()).agrees


def test_what_cannot_be_judged_may_end_either_way() -> None:
    assert shown(predicted("depends", "node-2"), sent()).agrees


def test_it_was_not_sent() -> None:
    unsent = sent("unsent", "it was not sent: no route to the target (ENETUNREACH)")
    found = shown(predicted("no-route", "node-1/c1"), unsent, one=(), two=())
    assert (found.end, found.place, found.agrees, found.arrived) == ("unsent", "node-1/c1", True, False)


def test_another_host_than_expected() -> None:
    watched = {
        "node-1": Watched(id="1", packets=ONE),
        "node-3": Watched(id="3", packets=TWO[:1]),
        "node-2": Watched(id="2", packets=TWO),
    }
    found = proof(predicted(), TARGET, MARK, sent(), watched, ())
    assert found.differs == "it came by node-3, where the tables do not lead"


def test_another_device_than_expected() -> None:
    path = predicted()
    hops = (
        Hop(place="node-1/c1", step="route", entry="", dev="eth0"),
        Hop(place="node-1", step="forward", entry="", dev="eth1"),
    )
    other = msgspec.structs.replace(path, hops=(*hops, *path.hops[2:]))
    assert shown(other, sent()).differs == "on node-1 it left by eth0, where the tables say eth1"
    both = (*ONE, seen(12_000, "out", "", "eth1"))
    assert shown(other, sent(), one=both).agrees


def test_what_was_not_seen_is_said() -> None:
    watched = {"node-1": Watched(id="1", packets=ONE, unseen=("rules: no nftables",))}
    found = proof(predicted(), TARGET, MARK, sent(), watched, ["node-2 does not watch: it is away"])
    assert found.unseen == ("node-2 does not watch: it is away", "node-1: rules: no nftables")


@pytest.mark.parametrize(
    ("probed", "two", "expected"),
    [
        (sent(), (), False),
        (sent(), TWO[:1], False),
        (sent(), TWO, True),
        (sent("reply"), (), True),
        (sent(), (seen(1, "drop", "", "eth0", reason="OTHERHOST"),), False),
        (sent(), (seen(1, "drop", "", "eth0", reason="NEIGH_FAILED"),), True),
    ],
)
def test_when_nothing_more_is_waited_for(probed: Probed, two: tuple[PacketSeen, ...], expected: bool) -> None:
    watched = {"node-1": Watched(id="1", packets=ONE), "node-2": Watched(id="2", packets=two)}
    assert settled(probed, MARK, TARGET, watched) is expected


def test_as_text() -> None:
    answer = seen(960, "out", "c2", "eth0", head=packet(53, 40_000))
    back = seen(13_000, "in", "c1", "eth0", head=packet(53, 40_000))
    rules = (RuleSeen("", "inet", "t", "forward", 7, "rule", "accept"),)
    found = shown(predicted(), sent("reply", "16 octets from 10.0.0.2"), (*ONE, back), (*TWO, answer), rules)
    assert list(render(found, 100, lambda text, _style: text)) == [
        "",
        "sent for real",
        "node-1/c1",
        "       0 µs  out   eth0             10.0.0.1:40000 > 10.0.0.2:53",
        "node-1",
        "       4 µs  in    veth1            10.0.0.1:40000 > 10.0.0.2:53",
        "       6 µs  out   eth0             10.0.0.1:40000 > 10.0.0.2:53",
        "node-2",
        "       0 µs  in    eth0             10.0.0.1:40000 > 10.0.0.2:53",
        "       0 µs  out   veth2            10.0.0.1:40000 > 10.0.0.2:53",
        "             rule  inet t forward handle 7: accept",
        "node-2/c2",
        "       0 µs  in    eth0             10.0.0.1:40000 > 10.0.0.2:53",
        "what came back",
        "node-2/c2",
        "       0 µs  out   eth0             10.0.0.2:53 > 10.0.0.1:40000",
        "node-1/c1",
        "       8 µs  in    eth0             10.0.0.2:53 > 10.0.0.1:40000",
        "answer: 16 octets from 10.0.0.2",
        "as the tables say",
    ]


@pytest.mark.parametrize(
    ("head", "reason", "function", "answer", "faults"),
    [
        (packet(), "NO_SOCKET", "__udp4_lib_rcv", "nothing", ("port-closed", "listens-elsewhere")),
        (tunnelled(), "NO_SOCKET", "__udp4_lib_rcv", "nothing", ("tunnel-port-differs", "tunnel-device-missing")),
        (packet(), "NOT_SPECIFIED", "ip_error", "nothing", ("blackhole", "local-route-missing")),
        (packet(), "NOT_SPECIFIED", "ip_error", "error", ("prohibited",)),
        (tunnelled(), "VXLAN_VNI_NOT_FOUND", "vxlan_rcv", "nothing", ("vni-differs",)),
        (packet(), "NO_TX_TARGET", "vxlan_xmit", "nothing", ("no-fdb",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_drop_is_evidence_of(
    head: bytes, reason: str, function: str, answer: str, faults: tuple[str, ...]
) -> None:
    drop = seen(800, "drop", "", "eth0", head=head, reason=reason, function=function)
    assert shown(predicted(), sent(answer), two=(TWO[0], drop)).faults == faults
