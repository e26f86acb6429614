"""The points at which rules see a packet in a namespace, in the kernel's order, with conntrack and NAT at their places.

At prerouting and output destinations are translated (priority -100), at postrouting and input sources (100), whatever the
priority of the chains that ask for it (nf_nat_core registers once). Conntrack is at -200 of prerouting and output.
A frame that a bridge passes on is shown to rules of family bridge, and, where br_netfilter is told so, to those for IP.
"""

from __future__ import annotations

from dataclasses import replace

from weft.api.dump import LinkDump
from weft.filters.model import Seen, Verdict
from weft.trace import blame, nat
from weft.trace.path import Outcome, Place
from weft.trace.points import Hook, Point, rewritten, seen
from weft.trace.record import Passing, Record
from weft.trace.state import Packet
from weft.trace.tracked import UNTRACKED, Tracked
from weft.trace.world import Judge

CONNTRACK, DST_NAT, SRC_NAT = -200, -100, 100
"""linux/netfilter_ipv4.h."""
_TRACKING: tuple[Hook, ...] = ("prerouting", "output")
_NAT_AT: dict[Hook, int] = {"prerouting": DST_NAT, "output": DST_NAT, "postrouting": SRC_NAT, "input": SRC_NAT}
_NF_CALL = {4: "net.bridge.bridge-nf-call-iptables", 6: "net.bridge.bridge-nf-call-ip6tables"}


def ask(record: Record, at: Point, packet: Packet) -> Packet | Outcome:
    """The rules for IP of one hook: the packet as it goes on, or how it ends."""
    judge = _judge(record, at.place)
    start = None
    if at.hook in _TRACKING:
        found = _range(record, judge, at, packet, None, CONNTRACK)
        if isinstance(found, Outcome):
            return found
        packet, start = track(record, at.place, found), CONNTRACK
    turn = _NAT_AT.get(at.hook)
    found = _range(record, judge, at, packet, start, turn)
    if isinstance(found, Outcome) or turn is None:
        return found
    translated = _translated(record, judge, at, found)
    return translated if isinstance(translated, Outcome) else _range(record, judge, at, translated, turn, None)


def _judge(record: Record, place: Place) -> Judge | None:
    """What could not be read of the rules makes all they would say doubtful."""
    namespace = record.namespace(place)
    for what in namespace.dump.filters.unread if namespace else ():
        record.doubt(f"rules on {record.world.name(place)} that could not be read: {what}")
    return record.world.judge(place)


def track(record: Record, place: Place, packet: Packet) -> Packet:
    """What has an entry keeps it, as what the loopback device brings back does. Others get one (nf_conntrack_in())."""
    tracked = packet.tracked
    if tracked is not None and (tracked is UNTRACKED or tracked.entry is not None):
        return packet
    return replace(packet, tracked=record.connections(place).track(packet, tracked.zone if tracked else 0))


def _range(
    record: Record, judge: Judge | None, at: Point, packet: Packet, above: int | None, below: int | None
) -> Packet | Outcome:
    family = "ip" if packet.dst.version == 4 else "ip6"
    if judge is None or not judge.asked(at.hook, family):
        return packet
    shown = seen(record, at, packet)
    _passing(record, at, packet, shown, family)
    verdict = judge.run(at.hook, family, shown, above=above, below=below)
    return _concluded(record, at, packet, shown, verdict, family)


def _passing(record: Record, at: Point, packet: Packet, shown: Seen, family: str) -> None:
    """What is decided here may be repeated for the packets to come (`weft.trace.short`)."""
    if at.hook == "forward":
        record.passings.append(Passing(at.place, family, shown, packet.tracked, len(record.devices) - 1))


def _translated(record: Record, judge: Judge | None, at: Point, packet: Packet) -> Packet | Outcome:
    """Only the first packet of a connection is asked about; what was found then holds for all."""
    if nat.undecided(at.hook, packet):
        found = nat.decide(record, judge, at, packet)
        if isinstance(found, Verdict):
            return blame.filtered(record, at, packet, found)
    return nat.apply(record, at, packet)


def _concluded(
    record: Record, at: Point, packet: Packet, shown: Seen, verdict: Verdict, family: str
) -> Packet | Outcome:
    """What a verdict makes of the packet. What it depends on is kept, and said where the way ends."""
    if verdict.action in ("drop", "reject"):
        return blame.filtered(record, at, packet, verdict, family)
    if verdict.action != "accept":
        blame.doubt(record, at, verdict)
    return _changed(packet, shown, verdict)


def _changed(packet: Packet, shown: Seen, verdict: Verdict) -> Packet:
    """Marks and the zone that rules set, and what they wrote into the packet."""
    after, tracked = verdict.seen, packet.tracked
    if after.octets != shown.octets:
        packet = rewritten(packet, after.octets)
    if verdict.notrack:
        tracked = UNTRACKED
    elif after.connection is not None and after.connection != shown.connection:
        if tracked is None or tracked.entry is None:
            tracked = Tracked(after.connection.state, zone=after.connection.zone)
        else:
            tracked.entry.mark = after.connection.mark
    return replace(packet, mark=after.mark, tracked=tracked)


# -- bridges and devices -----------------------------------------------------------------------------------------------


def bridged(record: Record, at: Point, bridge: LinkDump, packet: Packet) -> Packet | Outcome:
    """At a hook of a bridge: rules of family bridge, with the ports as devices, then those for IP, if they are shown what is
    bridged. Then the bridge is the device, and the ports are the physical ones (br_nf_pre_routing(), br_nf_forward())."""
    last = at.hook == "postrouting"  # where the kernel tells no device that it came by (br_forward_finish())
    ports = replace(at, iif=None if last else at.physin or at.iif, oif=at.physout or at.oif)
    found = _of_family(record, ports, packet, "bridge")
    if isinstance(found, Outcome) or not shown_to_ip(record, at.place, bridge, packet):
        return found
    asked = replace(at, iif=bridge if at.physin and not last else None, oif=bridge if at.physout else None)
    if at.hook == "prerouting":
        found = replace(found, physin=at.physin.name if at.physin else "")
    elif at.hook not in ("forward", "postrouting") or at.physin is None:
        return found
    return ask(record, asked, found)


def shown_to_ip(record: Record, place: Place, bridge: LinkDump, packet: Packet) -> bool:
    """By the bridge's own word, or the namespace's (which is there only with br_netfilter)."""
    namespace = record.namespace(place)
    family = packet.dst.version
    if bridge.bridge is not None and family in bridge.bridge.nf_call:
        return True
    return namespace is not None and namespace.dump.sysctls.get(_NF_CALL[family]) == "1"


def device(record: Record, at: Point, packet: Packet) -> Packet | Outcome:
    """At ingress or egress of a device: rules of family netdev, and programs, which nobody can judge from here."""
    link = at.iif if at.hook == "ingress" else at.oif
    assert link is not None  # it is the device's hook
    for program in link.programs:
        if program.judged == "drop" and program.at in (at.hook, "xdp" if at.hook == "ingress" else "queue"):
            return blame.program(record, at, link, program)
        if program.judged == "" and program.at in (at.hook, "xdp" if at.hook == "ingress" else "queue"):
            blame.unjudged(record, at, link, program)
    return _of_family(record, at, packet, "netdev")


def _of_family(record: Record, at: Point, packet: Packet, family: str) -> Packet | Outcome:
    judge = record.world.judge(at.place)
    if judge is None or not judge.asked(at.hook, family):
        return packet
    known = packet.tracked
    if family == "bridge":
        packet = replace(packet, tracked=record.connections(at.place, bridge=True).track(packet))
    shown = seen(record, at, packet)
    if family == "bridge":
        _passing(record, at, packet, shown, family)
    found = _concluded(record, at, packet, shown, judge.run(at.hook, family, shown), family)
    return found if isinstance(found, Outcome) else replace(found, tracked=known)
