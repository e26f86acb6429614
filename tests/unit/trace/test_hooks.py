"""What rules, conntrack and NAT do to a packet on its way, with rules that are a table of answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

import msgspec
import pytest

from support import dumps as d
from support import lab
from weft.api.dump import ConnectionDump, FiltersDump, IpvsDestinationDump, IpvsServiceDump, NftTableDump, SocketDump
from weft.base.net import IPAddress
from weft.filters.model import Doubt, Seen, Translation, Verdict, Where
from weft.trace.path import SYN_ACK, TCP, Flow, Path, Start
from weft.trace.walk import both_ways
from weft.trace.world import World

NODES = {str(a.ip): name for name in d.NODES for a in lab.node(name).addresses}
WEB = Flow(protocol=TCP, sport=40000, dport=80)
C1, C2 = d.address("node-1"), d.address("node-2")
VIP = ip_address("10.96.0.1")
RULE = Where(
    program="nft", family="inet", table="fw", chain="c", handle=7, text="tcp dport 80 drop", remedy="nft delete rule …"
)
POLICY = Where(
    program="nft", family="ip", table="filter", chain="FORWARD", owner="docker", remedy="iptables -P FORWARD ACCEPT"
)


@dataclass
class Rules:
    """`say`: what comes of a packet at a hook, None for nothing. One for all namespaces, told apart by devices."""

    say: Callable[[str, str, Seen, bool], Verdict | None]
    asked_for: list[tuple[str, str, Seen]] = field(default_factory=list)

    def asked(self, hook: str, family: str) -> Sequence[object]:
        return [self]

    def run(
        self,
        hook: str,
        family: str,
        seen: Seen,
        *,
        above: int | None = None,
        below: int | None = None,
        nat: bool = False,
    ) -> Verdict:
        last = below is None and not nat
        if last:
            self.asked_for.append((hook, family, seen))
        found = self.say(hook, family, seen, nat) if last or nat else None
        return found or Verdict(action="accept", seen=seen)


def filtered(dumps: d.Dumps, host: str, ns: str = "", **more: object) -> d.Dumps:
    """With packet filters in a namespace; which ones is up to `Rules`."""
    filters = FiltersDump(nft=(NftTableDump(family="inet", name="fw"),), **more)  # type: ignore[arg-type]
    return d.change(dumps, host, ns, filters=filters)


def go(
    dumps: d.Dumps, rules: Rules, to: IPAddress = C2, flow: Flow = WEB, member: IPAddress | None = None
) -> tuple[Path, Path | None]:
    world = World(dumps, NODES, judging=lambda _: rules)
    start = Start(host="node-1", ns=d.path("node-1"), source=C1)
    return both_ways(world, start, to, flow=flow, member=member)


def destination(seen: Seen) -> str:
    return str(ip_address(seen.octets[16:20]))


@pytest.fixture(scope="module")
def vxlan() -> d.Dumps:
    return d.reference("vxlan")


def test_a_packet_is_shown_at_each_hook_and_its_tunnel_s_too(vxlan: d.Dumps) -> None:
    rules = Rules(lambda *_: None)
    there, back = go(filtered(vxlan, "node-1"), rules)
    assert there.outcome.ending == "delivered"
    assert back is not None
    assert back.outcome.ending == "delivered"
    of_ip = [(hook, destination(seen)) for hook, family, seen in rules.asked_for if family == "ip"]
    inner, outer = str(C2), "192.168.1.254"
    assert of_ip[:5] == [
        ("prerouting", inner), ("forward", inner), ("postrouting", inner), ("output", outer), ("postrouting", outer)
    ]  # fmt: skip
    assert of_ip[5:] == [
        ("prerouting", "192.168.1.68"), ("input", "192.168.1.68"),
        ("prerouting", str(C1)), ("forward", str(C1)), ("postrouting", str(C1)),
    ]  # fmt: skip


def test_answers_are_of_the_connection_that_the_packet_began(vxlan: d.Dumps) -> None:
    seen_at: list[tuple[str, str, bool]] = []

    def say(hook: str, family: str, seen: Seen, nat: bool) -> None:
        assert seen.connection is not None
        if hook == "forward" and family == "ip":
            flags = seen.octets[33]
            seen_at.append((seen.connection.state, str(flags == SYN_ACK), seen.connection.reply))

    go(filtered(vxlan, "node-1"), Rules(say))
    assert seen_at == [("new", "False", False), ("established", "True", True)]


def test_answers_are_called_so_also_before_conntrack_sees_them(vxlan: d.Dumps) -> None:
    def say(hook: str, family: str, seen: Seen, nat: bool) -> Verdict | None:
        drops = hook == "prerouting" and family == "ip" and destination(seen) == str(C1) and seen.answer
        return _verdict("drop", seen, RULE) if drops else None

    back = go(filtered(vxlan, "node-1"), Rules(say))[1]
    assert back is not None and back.outcome.ending == "filtered"
    assert f"the answer by tcp from port {WEB.dport} from" in back.outcome.text


@pytest.mark.parametrize(
    ("where", "fault", "text"),
    [
        (RULE, "rule-drops", "`tcp dport 80 drop` (nft inet fw c handle 7)"),
        (POLICY, "forward-policy", "its policy is drop"),
        (msgspec.structs.replace(RULE, owner="weft", chain="pi-web"), "policy-denies", "lets nobody in by this way"),
        (msgspec.structs.replace(RULE, owner="weft", chain="closed"), "network-isolated", "do not reach each other"),
    ],
)
def test_what_drops_it_is_named(vxlan: d.Dumps, where: Where, fault: str, text: str) -> None:
    rules = Rules(lambda hook, family, seen, nat: _verdict("drop", seen, where) if hook == "forward" else None)
    there, back = go(filtered(vxlan, "node-2"), rules)
    outcome = there.outcome
    assert (outcome.ending, outcome.place, outcome.host, outcome.fault) == ("filtered", "node-2", "node-2", fault)
    assert text in outcome.text
    assert outcome.fix == ("" if where.owner == "weft" else where.remedy)
    assert back is None


def _verdict(action: str, seen: Seen, where: Where) -> Verdict | None:
    return Verdict(action=action, seen=seen, where=where)  # type: ignore[arg-type]


def test_rules_of_weft_that_deny_name_the_command_that_explains(vxlan: d.Dumps) -> None:
    denied = msgspec.structs.replace(RULE, owner="weft", chain="po-1")
    rules = Rules(lambda hook, family, seen, nat: _verdict("reject", seen, denied) if hook == "forward" else None)
    there, _ = go(filtered(vxlan, "node-1"), rules)
    assert "weft policy explain node-1/c1 node-2/c2 --proto tcp --port 80" in there.outcome.advice


def test_what_cannot_be_judged_is_not_arrived_for_sure(vxlan: d.Dumps) -> None:
    def say(hook: str, family: str, seen: Seen, nat: bool) -> Verdict | None:
        if hook != "forward":
            return None
        return Verdict(action="depends", seen=seen, doubts=(Doubt(where=RULE, why="the time of day", action="drop"),))

    there, back = go(filtered(vxlan, "node-1"), Rules(say))
    assert (there.outcome.ending, there.outcome.arrived, there.outcome.known) == ("depends", False, False)
    assert "delivered to" in there.outcome.text
    assert "the time of day" in there.outcome.text
    assert any(hop.step == "filter" and hop.hook == "forward" for hop in there.hops)
    assert back is None


def test_a_destination_is_translated_and_answers_back(vxlan: d.Dumps) -> None:
    """As a virtual address is, by the host that the container is on."""
    there, back = go(filtered(vxlan, "node-1"), Rules(_dnat(C2, 8080)), VIP)
    assert (there.outcome.ending, there.target) == ("delivered", VIP)
    nat = next(hop for hop in there.hops if hop.step == "nat")
    assert (nat.place, nat.hook, nat.result) == ("node-1", "prerouting", f"to {C2}:8080")
    assert back is not None
    assert (back.outcome.ending, back.outcome.place) == ("delivered", "node-1/c1")
    assert next(hop for hop in back.hops if hop.step == "nat").result == f"from {VIP}:80"


def _dnat(to: IPAddress, port: int) -> Callable[[str, str, Seen, bool], Verdict | None]:
    def say(hook: str, family: str, seen: Seen, nat: bool) -> Verdict | None:
        if not (nat and hook == "prerouting" and destination(seen) == str(VIP)):
            return None
        return Verdict(
            action="accept", seen=seen, translation=Translation(kind="dnat", where=RULE, address=to, port=port)
        )

    return say


def test_members_are_named_and_the_one_that_is_asked_for_is_followed(vxlan: d.Dumps) -> None:
    def say(hook: str, family: str, seen: Seen, nat: bool) -> Verdict | None:
        if not (nat and hook == "prerouting" and destination(seen) == str(VIP)):
            return None
        to = [C2, d.address("node-3")][seen.draws[0] if seen.draws else 0]
        return Verdict(
            action="accept",
            seen=seen,
            drawn=(2,),
            translation=Translation(kind="dnat", where=RULE, address=to, port=80),
        )

    for member, place in ((None, "node-2/c2"), (d.address("node-3"), "node-3/c3")):
        there, _ = go(filtered(vxlan, "node-1"), Rules(say), VIP, member=member)
        assert there.outcome.place == place
        service = next(hop for hop in there.hops if hop.step == "service")
        assert f"2 members: {C2}:80, {d.address('node-3')}:80" in service.entry


def test_masquerading_takes_the_device_s_address_and_answers_come_back(vxlan: d.Dumps) -> None:
    def say(hook: str, family: str, seen: Seen, nat: bool) -> Verdict | None:
        if not (nat and hook == "postrouting" and destination(seen) == "203.0.113.10"):
            return None
        return Verdict(action="accept", seen=seen, translation=Translation(kind="masquerade", where=RULE))

    there, back = go(filtered(vxlan, "node-1"), Rules(say), ip_address("203.0.113.10"))
    assert there.outcome.ending == "left"
    assert next(hop for hop in there.hops if hop.step == "nat").result == "from 192.168.1.68:40000"
    assert back is not None
    assert (back.outcome.ending, back.outcome.place) == ("delivered", "node-1/c1")
    assert (str(back.source), str(back.target)) == ("203.0.113.10", "192.168.1.68")


def test_an_entry_of_conntrack_holds_against_the_rules(vxlan: d.Dumps) -> None:
    stale = ConnectionDump(
        protocol=TCP, src=str(C1), dst=str(VIP), sport=40000, dport=80,
        reply_src="40.15.26.99", reply_dst=str(C1), reply_sport=80, reply_dport=40000,
    )  # fmt: skip
    dumps = filtered(vxlan, "node-1", connections=(stale,))
    there, _ = go(dumps, Rules(_dnat(C2, 8080)), VIP)
    assert there.outcome.ending == "no-neighbour"
    assert there.outcome.fault == "conntrack-stale"
    assert there.outcome.fix.startswith("conntrack -D -p tcp")
    other, _ = go(dumps, Rules(_dnat(C2, 8080)), VIP, msgspec.structs.replace(WEB, sport=40001))
    assert other.outcome.ending == "delivered"


def test_an_answer_without_a_connection_is_invalid(vxlan: d.Dumps) -> None:
    """Node-2's answer is the first that node-1 sees of it."""
    states: list[str] = []

    def say(hook: str, family: str, seen: Seen, nat: bool) -> None:
        if hook == "forward" and seen.connection is not None:
            states.append(seen.connection.state)

    answer = msgspec.structs.replace(WEB, flags=SYN_ACK, answer=True)
    go(filtered(vxlan, "node-1"), Rules(say), flow=answer)
    assert states[0] == "invalid"


def test_marks_choose_routes(vxlan: d.Dumps) -> None:
    from weft.api.dump import RouteDump, RuleDump

    def say(hook: str, family: str, seen: Seen, nat: bool) -> Verdict | None:
        return Verdict(action="accept", seen=msgspec.structs.replace(seen, mark=5)) if hook == "prerouting" else None

    marked = d.with_entry(
        filtered(vxlan, "node-1"), "node-1", "", "rules", RuleDump(priority=9, family=4, mark=5, mask=255, table=9)
    )
    marked = d.with_entry(marked, "node-1", "", "routes", RouteDump(prefix="0.0.0.0/0", table=9, type="blackhole"))
    assert go(marked, Rules(lambda *_: None))[0].outcome.ending == "delivered"
    assert go(marked, Rules(say))[0].outcome.ending == "blackhole"


@pytest.mark.parametrize(
    ("sockets", "fault"),
    [
        ((), "port-closed"),
        ((SocketDump(protocol=TCP, port=80, address="127.0.0.1"),), "listens-elsewhere"),
        ((SocketDump(protocol=TCP, port=80, address="0.0.0.0"),), ""),
        ((SocketDump(protocol=TCP, port=80, address="::"),), ""),
        (None, ""),
    ],
)
def test_somebody_has_to_listen(vxlan: d.Dumps, sockets: tuple[SocketDump, ...] | None, fault: str) -> None:
    dumps = d.change(vxlan, "node-2", d.path("node-2"), sockets=sockets)
    there, _ = go(dumps, Rules(lambda *_: None))
    assert (there.outcome.ending, there.outcome.fault) == ("no-socket" if fault else "delivered", fault)


def test_ipvs_sends_on_and_the_answer_comes_from_the_virtual_address(vxlan: d.Dumps) -> None:
    service = IpvsServiceDump(
        protocol=TCP,
        address="40.15.43.1",
        port=80,
        scheduler="rr",
        destinations=(
            IpvsDestinationDump(address=str(C2), port=8080),
            IpvsDestinationDump(address="40.15.56.2", port=8080, weight=0),
        ),
    )
    dumps = filtered(vxlan, "node-1", ipvs=(service,))
    there, back = go(dumps, Rules(lambda *_: None), ip_address("40.15.43.1"))
    assert (there.outcome.ending, there.outcome.place) == ("delivered", "node-2/c2")
    assert next(hop for hop in there.hops if hop.step == "service").entry.endswith(f"1 member: {C2}")
    assert back is not None
    assert back.outcome.place == "node-1/c1"
    assert next(hop for hop in back.hops if hop.step == "nat").result == "from 40.15.43.1:80"
    nobody = msgspec.structs.replace(service, destinations=())
    there, _ = go(filtered(vxlan, "node-1", ipvs=(nobody,)), Rules(lambda *_: None), ip_address("40.15.43.1"))
    assert (there.outcome.ending, there.outcome.fault) == ("filtered", "no-backends")
