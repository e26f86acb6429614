"""Where packets take a short way once their flow is open: rules say so, which are a table of answers here, and devices."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import msgspec
import pytest

from support import dumps as d
from support import lab
from weft.api.dump import FiltersDump, LinkDump, NftChainDump, NftFlowtableDump, NftTableDump, ProgramDump
from weft.bpf.layout import ANY_FLOW, FAST, ONE_FLOW, SEEN
from weft.filters.model import Seen, Verdict
from weft.trace import Start
from weft.trace.path import ECHO, TCP, UDP, Flow, Path, Short
from weft.trace.walk import both_ways
from weft.trace.world import World

NODES = {str(a.ip): name for name in d.NODES for a in lab.node(name).addresses}
C1, C2 = d.address("node-1"), d.address("node-2")
WEB = Flow(protocol=TCP, sport=40000, dport=80)
ASSURED, ACK = 1 << 2, 0x10
Say = Callable[[Seen], Verdict]


class Rules:
    def __init__(self, say: Say) -> None:
        self.say = say

    def asked(self, hook: str, family: str) -> list[object]:
        return [self]

    def run(self, hook: str, family: str, seen: Seen, **_: object) -> Verdict:
        return self.say(seen) if hook == "forward" and family == "ip" else Verdict(action="accept", seen=seen)


def marked(bit: int) -> Say:
    """Of what is open alone."""

    def say(seen: Seen) -> Verdict:
        known = seen.connection
        open = known is not None and known.state == "established" and known.status & ASSURED
        if not open or (seen.octets[9] == TCP and seen.octets[33] != ACK):
            return Verdict(action="accept", seen=seen)
        return Verdict(action="accept", seen=msgspec.structs.replace(seen, mark=seen.mark | bit))

    return say


def offloaded(seen: Seen) -> Verdict:
    established = seen.connection is not None and seen.connection.state == "established"
    return Verdict(action="accept", seen=seen, flowtable="short" if established else "")


def host(programs: bool = True, flowtable: tuple[str, ...] = ()) -> d.Dumps:
    """Programs at all devices of node-1, or a flowtable there."""
    dumps = d.reference("host-gw")
    table = NftTableDump(
        family="inet",
        name="weft",
        chains=(NftChainDump(name="short", hook="forward"),),
        flowtables=(NftFlowtableDump(name="short", devices=flowtable),) if flowtable else (),
    )
    dumps = d.change(dumps, "node-1", "", filters=FiltersDump(nft=(table,)))
    return d.change(dumps, "node-1", "", links=tuple(map(_with_programs, _links(dumps)))) if programs else dumps


def _links(dumps: d.Dumps) -> tuple[LinkDump, ...]:
    found = dumps["node-1"].namespace("")
    assert found is not None
    return found.links


def _with_programs(link: LinkDump) -> LinkDump:
    own = tuple(
        ProgramDump(at=at, name=name, judged="accept") for at, name in (("ingress", FAST), ("egress", f"{SEEN}_ip"))
    )
    return msgspec.structs.replace(link, programs=own)


def go(dumps: d.Dumps, say: Say, flow: Flow = WEB) -> tuple[Path, Path]:
    world = World(dumps, NODES, judging=lambda _: Rules(say))
    there, back = both_ways(world, Start(host="node-1", ns=d.path("node-1"), source=C1), C2, flow=flow)
    assert there.outcome.arrived and back is not None and back.outcome.arrived
    return there, back


def ends(short: tuple[Short, ...]) -> list[tuple[str, str, str, str]]:
    return [(one.host, one.by, one.came_by, one.out) for one in short]


PORT = next(link.name for link in _links(d.reference("host-gw")) if link.kind == "veth" and link.master)


@pytest.mark.parametrize("flow", [WEB, Flow(protocol=UDP, sport=5000, dport=53)])
def test_what_rules_mark_goes_by_programs(flow: Flow) -> None:
    there, back = go(host(), marked(ONE_FLOW), flow)
    assert ends(there.short) == [("node-1", "cache", PORT, "eth0")]
    assert ends(back.short) == [("node-1", "cache", "eth0", PORT)]
    assert there.short[0].skips == ("routes", "conntrack", "nft inet weft")


def test_other_protocols_do_not_but_where_it_is_meant_for_all_packets() -> None:
    assert go(host(), marked(ONE_FLOW), ECHO)[0].short == ()
    assert ends(go(host(), marked(ANY_FLOW), ECHO)[0].short) == [("node-1", "bypass", PORT, "eth0")]


def test_without_programs_marks_mean_nothing() -> None:
    assert go(host(programs=False), marked(ONE_FLOW))[0].short == ()


def test_what_rules_do_not_mark_does_not() -> None:
    assert go(host(), marked(0))[0].short == ()


def test_what_is_refused_in_the_middle_does_not() -> None:
    def say(seen: Seen) -> Verdict:
        found = marked(ONE_FLOW)(seen)
        return msgspec.structs.replace(found, action="drop") if found.seen.mark else found

    assert go(host(), say)[0].short == ()


def test_a_flowtable_takes_what_comes_in_by_its_devices() -> None:
    there, back = go(host(programs=False, flowtable=("eth0", PORT)), offloaded)
    assert ends(there.short) == [("node-1", "flowtable", PORT, "eth0")]
    assert ends(back.short) == [("node-1", "flowtable", "eth0", PORT)]
    there, back = go(host(programs=False, flowtable=("eth0",)), offloaded)
    assert there.short == ()
    assert ends(back.short) == [("node-1", "flowtable", "eth0", PORT)]


def test_the_verdict_is_the_same() -> None:
    plain, _ = go(host(programs=False), lambda seen: Verdict(action="accept", seen=seen))
    there, _ = go(host(), marked(ONE_FLOW))
    assert msgspec.structs.replace(there, short=()) == plain


def test_an_address_elsewhere_has_none() -> None:
    world = World(host(), NODES, judging=lambda _: Rules(marked(ONE_FLOW)))
    start = Start(host="node-1", ns=d.path("node-1"), source=C1)
    there, back = both_ways(world, start, ip_address("203.0.113.9"), flow=WEB)
    assert there.short == () and back is None
