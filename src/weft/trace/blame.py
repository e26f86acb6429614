"""How a rule is told that lets a packet not pass, or of which nobody can say whether it does."""

from __future__ import annotations

from weft.api.dump import LinkDump, ProgramDump
from weft.filters.model import Verdict, Where
from weft.trace import own
from weft.trace.path import Outcome
from weft.trace.points import Point
from weft.trace.record import Record
from weft.trace.state import Packet

_OWNERS = {
    "docker": "Docker",
    "firewalld": "firewalld",
    "ufw": "ufw",
    "kube-proxy": "kube-proxy",
    "podman": "Podman",
    "weft": "Weft",
}


def rule(where: Where) -> str:
    """In one line, with all that finds it again."""
    owner = f", {_OWNERS.get(where.owner, where.owner)}'s" if where.owner else ""
    handle = f" handle {where.handle}" if where.handle else ""
    place = f"{where.program} {where.family} {where.table} {where.chain}{handle}"
    return f"`{where.text}` ({place}{owner})" if where.text else f"{place}{owner}"


def filtered(record: Record, at: Point, packet: Packet, verdict: Verdict, family: str = "ip") -> Outcome:
    """A rule, or a chain's policy, drops or refuses it."""
    where, name = verdict.where, record.world.name(at.place)
    does = "refuses" if verdict.action == "reject" else "drops"
    what = f"{own.inside(packet)} from {packet.src} to {packet.dst}"
    if where is None:
        return record.end(
            "filtered", at.place, f"a packet filter on {name} {does} {what} at {at.hook}", fault="rule-drops"
        )
    if where.owner == "weft" and (known := own.known(record, at, packet, where, does)):
        return known
    if where.handle or where.text:
        text = f"{name} {does} {what} at {at.hook}: {rule(where)}"
    else:
        text = f"{name} {does} {what} at {at.hook}: no rule of chain {rule(where)} accepts it, and its policy is drop"
    remedy = record.command(at.place, where.remedy) if where.remedy else ""
    advice = f"on {at.place.host}: `{remedy}`" if remedy else f"on {at.place.host}: `{where.show}` shows it"
    return record.end("filtered", at.place, text, advice, fault=_fault(at, packet, where, family), fix=remedy)


def _fault(at: Point, packet: Packet, where: Where, family: str) -> str:
    if packet.tunnel is not None:
        return "underlay-filtered"
    if family == "bridge":
        return "bridge-rule-drops"
    if _bridged(at):
        return "bridge-nf"
    return "forward-policy" if not where.handle and at.hook == "forward" else "rule-drops"


def _bridged(at: Point) -> bool:
    """Whether it is a frame on its way through a bridge, which rules for IP see only by br_netfilter; not what a host routes,
    though that came by a port as well."""
    if at.hook == "prerouting" and at.physin is not None:
        return at.iif is None or at.mac != at.iif.mac
    return at.physout is not None


def doubt(record: Record, at: Point, verdict: Verdict) -> None:
    """Kept for the end of the way."""
    name = record.world.name(at.place)
    if not verdict.doubts:
        where = rule(verdict.where) if verdict.where else "a rule"
        record.doubt(f"{where} on {name}, which hands it to something else ({verdict.action})")
        record.hop(at.place, "filter", where, f"cannot be judged: {verdict.action}", hook=at.hook)
    for each in verdict.doubts:
        record.doubt(f"{rule(each.where)} on {name}: {each.why}")
        record.hop(at.place, "filter", rule(each.where), f"cannot be judged: it depends on {each.why}", hook=at.hook)


def program(record: Record, at: Point, link: LinkDump, found: ProgramDump) -> Outcome:
    what = f"{found.at} program {found.name or found.id or found.text}".rstrip()
    fault = {"xdp": "xdp-drops", "queue": "shaping"}.get(found.at, "tc-drops")
    text = f"{what} at {link.name} of {record.world.name(at.place)} drops it"
    off = {"xdp": f"ip link set {link.name} xdp off", "queue": f"tc qdisc del dev {link.name} root"}
    fix = record.command(at.place, off.get(found.at, f"tc filter del dev {link.name} {found.at}"))
    return record.end("filtered", at.place, text, f"on {at.place.host}: `{fix}`", fault=fault, fix=fix)


def unjudged(record: Record, at: Point, link: LinkDump, found: ProgramDump) -> None:
    what = f"{found.at} program {found.name or found.text or found.id} at {link.name}".replace("  ", " ")
    record.doubt(f"{what} of {record.world.name(at.place)}, which cannot be read from here")
    record.hop(at.place, "filter", what, "cannot be judged", dev=link.name, hook=at.hook)
