"""What became of a packet that was sent for real, beside what the tables had said.

Each host tells what it saw in the order of its own clock. Clocks of two hosts are never compared: hosts stand in the order in
which the packet was predicted to come by them, then those where it was not expected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from weft.api.live import PacketSeen, Point, Probed, RuleSeen, Watched
from weft.faults.catalogue import by_drop
from weft.faults.kind import Kind
from weft.live.packet import Mark, What, form
from weft.trace.path import Path

End = Literal["answered", "refused", "arrived", "dropped", "reported", "lost", "unsent", "unseen"]
"""answered: the other side did. refused: it says that nothing listens. arrived: in the target's namespace, and nothing dropped
it there. dropped: a kernel ended it. reported: somebody sent an ICMP error. lost: it was seen on its way and not again. unsent:
the sender's own kernel refused it. unseen: no host saw it at all."""

ARRIVED: tuple[End, ...] = ("answered", "refused", "arrived")
_QUEUED = "queue"
_HARMLESS = ("OTHERHOST", "NO_TX_TARGET", "DEV_READY", "UNHANDLED_PROTO")
"""Reasons with which copies of a flooded frame end where they are not for; they decide only where nothing else does."""


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """The packet at one point. `place`: "node-1", or "node-1/web" in an endpoint's namespace. `after`: microseconds since its
    host saw it first. `what`: the packet itself, its answer, or an ICMP error about it. `tunnel`: what it is in."""

    place: str
    point: Point
    device: str
    after: float
    what: What
    addresses: str
    tunnel: str = ""
    reason: str = ""
    function: str = ""


class Ruled(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of nftables that it matched, or (`handle` 0) the policy of a chain. `show`: the command that lists it. Of one that
    decided against the packet also `text`, `comment` and `owner`, as of `weft.api.live.RuleSeen`."""

    place: str
    family: str
    table: str
    chain: str
    handle: int
    verdict: str
    show: str
    text: str = ""
    comment: str = ""
    owner: str = ""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """`sent`: how it went out, and what answered. `end`, `place`, `text`: what became of it. `reason`, `function`: of the drop
    that ended it, as the kernel names them. `rule`: that which decided so, where one was seen. `faults`: ids of the catalogue
    that such a drop is evidence of. `agrees`: whether it went as the tables said; `differs`: where it did not, a sentence.
    `unseen`: what could not be seen, and why."""

    sent: Probed
    end: End
    place: str
    text: str
    sights: tuple[Sight, ...] = ()
    rules: tuple[Ruled, ...] = ()
    reason: str = ""
    function: str = ""
    rule: Ruled | None = None
    faults: tuple[str, ...] = ()
    agrees: bool = True
    differs: str = ""
    unseen: tuple[str, ...] = ()

    @property
    def arrived(self) -> bool:
        return self.end in ("answered", "arrived")


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    end: End
    place: str
    text: str
    drop: Sight | None = None


def proof(
    predicted: Path, target: str, mark: Mark, sent: Probed, watched: Mapping[str, Watched], unseen: Iterable[str]
) -> Proof:
    """`target`: the place where it should arrive, "" for one outside the cluster. `watched`: by host."""
    order = places(predicted)
    hosts = sorted(watched, key=lambda host: _rank(host, order))
    sights = tuple(sight for host in hosts for sight in _sights(host, watched[host].packets, mark))
    rules = tuple(ruled for host in hosts for ruled in _ruled(host, watched[host]))
    ended = _ended(sights, sent, target, order)
    rule = _deciding(rules, ended)
    differs = _differs(predicted, ended, sights, order)
    told = (f"{host}: {what}" for host in hosts for what in watched[host].unseen)
    return Proof(
        sent=sent,
        end=ended.end,
        place=ended.place,
        text=ended.text + (f", by {_named(rule)}" if rule else ""),
        sights=sights,
        rules=rules,
        reason=ended.drop.reason if ended.drop else "",
        function=ended.drop.function if ended.drop else "",
        rule=rule,
        faults=_faults(predicted, ended, rule, sent),
        agrees=not differs,
        differs=differs,
        unseen=(*unseen, *told),
    )


def settled(sent: Probed, mark: Mark, target: str, watched: Mapping[str, Watched]) -> bool:
    """Whether more need not be waited for."""
    if sent.answer != "nothing":
        return True
    sights = [sight for host, found in watched.items() for sight in _sights(host, found.packets, mark)]
    own = [sight for sight in sights if sight.what == "probe"]
    return any(sight.point == "drop" and sight.reason not in _HARMLESS for sight in own) or any(
        sight.point == "in" and sight.place == target for sight in own
    )


def places(predicted: Path) -> list[str]:
    """Where the packet comes by, in order, each time that it changes."""
    found: list[str] = []
    for name in (*(hop.place for hop in predicted.hops), predicted.outcome.place):
        if name and (not found or found[-1] != name):
            found.append(name)
    return found


def _rank(host: str, order: Sequence[str]) -> tuple[int, str]:
    return next((i for i, place in enumerate(order) if place.partition("/")[0] == host), len(order)), host


# -- what was seen -----------------------------------------------------------------------------------------------------


def _place(host: str, name: str) -> str:
    return f"{host}/{name}" if name else host


def _sights(host: str, packets: Sequence[PacketSeen], mark: Mark) -> list[Sight]:
    found = []
    for one in packets:
        if one.point == _QUEUED:
            continue  # it leaves at once, or is dropped there, which is told as well
        seen = form(one.head, mark)
        sight = Sight(
            place=_place(host, one.place),
            point=one.point,
            device=one.device,
            after=(one.at - packets[0].at) / 1000,
            what=seen.what,
            addresses=seen.addresses,
            tunnel=seen.tunnel,
            reason=one.reason,
            function=one.function,
        )
        found.append(sight)
    return found


def _ruled(host: str, watched: Watched) -> list[Ruled]:
    names = {packet.namespace: packet.place for packet in watched.packets}
    return [
        Ruled(
            place=_place(host, names.get(one.namespace, "")),
            family=one.family,
            table=one.table,
            chain=one.chain,
            handle=one.handle,
            verdict=one.verdict + (f" {one.to}" if one.to else ""),
            show=f"nft -a list chain {one.family} {one.table} {one.chain}",
            text=one.text,
            comment=one.comment,
            owner=one.owner,
        )
        for one in watched.rules
        if _says(one)
    ]


def _says(rule: RuleSeen) -> bool:
    """A rule; or a policy that decided against it, since every chain ends with one."""
    return rule.type == "rule" or (rule.type == "policy" and rule.verdict != "accept")


def _named(rule: Ruled) -> str:
    what = f"handle {rule.handle}" if rule.handle else "its policy"
    place = f"{rule.family} {rule.table} {rule.chain}, {what}"
    owner = f", of {rule.owner}" if rule.owner else ""
    comment = f', "{rule.comment}"' if rule.comment and rule.owner != "weft" else ""
    return f"`{rule.text}` ({place}{owner}{comment})" if rule.text else f"a rule of {place}: {rule.verdict}"


# -- what became of it -------------------------------------------------------------------------------------------------


def _ended(sights: Sequence[Sight], sent: Probed, target: str, order: Sequence[str]) -> Ended:
    own = [sight for sight in sights if sight.what == "probe"]
    drop = _drop(own)
    last = own[-1] if own else None
    at = last.place if last else (order[0] if order else "")
    if sent.answer == "reply":
        return Ended(end="answered", place=target or at, text=sent.text)
    if sent.answer == "refused":
        return Ended(end="refused", place=drop.place if drop else target or at, text=sent.text, drop=drop)
    if drop is not None:
        return Ended(end="dropped", place=drop.place, text=_dropped(drop, sent), drop=drop)
    if sent.answer == "unsent":
        return Ended(end="unsent", place=order[0] if order else "", text=sent.text)
    if sent.answer == "error":
        return Ended(end="reported", place=at, text=sent.text)
    if last is None:
        return Ended(end="unseen", place=at, text="no host has seen it")
    if any(sight.place == target and sight.point == "in" for sight in own):
        return Ended(end="arrived", place=target, text=f"it arrived at {target}, which did not answer")
    way = f"{'came in by' if last.point == 'in' else 'left by'} {last.device} on {last.place}"
    return Ended(end="lost", place=last.place, text=f"it {way}, and was not seen again")


def _drop(own: Sequence[Sight]) -> Sight | None:
    """The last one; of copies that went astray only where there is no other, and the packet itself did not go on."""
    drops = [sight for sight in own if sight.point == "drop"]
    meant = [sight for sight in drops if sight.reason not in _HARMLESS]
    if meant:
        return meant[-1]
    return drops[-1] if drops and own[-1].point == "drop" else None


def _dropped(drop: Sight, sent: Probed) -> str:
    reason = f": {drop.reason}" if drop.reason else ""
    function = f" in {drop.function}" if drop.function else ""
    reported = f"; {sent.text}" if sent.answer == "error" else ""
    at = f" at {drop.device}" if drop.device else ""
    return f"dropped on {drop.place}{at}{reason}{function}{reported}"


def _deciding(rules: Sequence[Ruled], ended: Ended) -> Ruled | None:
    """The last one at that place, if it was against the packet."""
    here = [rule for rule in rules if rule.place == ended.place]
    against = ended.end in ("dropped", "reported", "unsent", "refused")
    return here[-1] if against and here and here[-1].verdict.partition(" ")[0] not in _PASSING else None


_PASSING = ("accept", "continue", "jump", "goto", "return", "break")


def _faults(predicted: Path, ended: Ended, rule: Ruled | None, sent: Probed) -> tuple[str, ...]:
    """By the rule, where one was seen. Of several that such a drop is evidence of, that of the prediction where it is among
    them."""
    if ended.drop is None:
        return ()
    found = tuple(kind.id for kind in by_drop(ended.drop.reason, ended.drop.function) if _fits(kind, ended.drop, sent))
    named = predicted.outcome.fault
    if named and (named in found or not found):
        return (named,)
    return (_fault(rule, ended.drop),) if rule else found


def _fits(kind: Kind, drop: Sight, sent: Probed) -> bool:
    """What else is known than reason and function: whether it was in a tunnel then, and whether somebody said so."""
    if kind.id in _TOLD and _TOLD[kind.id] != (sent.answer == "error"):
        return False
    return bool(drop.tunnel) if kind.id in _OF_TUNNELS else not drop.tunnel or kind.id not in _OF_SOCKETS


_TOLD = {"blackhole": False, "local-route-missing": False, "prohibited": True}
"""Whether an ICMP error comes of it."""
_OF_TUNNELS = ("tunnel-port-differs", "tunnel-device-missing", "underlay-filtered")
"""Faults that only a tunnel's packet meets, and those that it does not."""
_OF_SOCKETS = ("port-closed", "listens-elsewhere")


def _fault(rule: Ruled, drop: Sight) -> str:
    if drop.tunnel:
        return "underlay-filtered"
    if rule.owner == "weft":
        return _WEFTS.get(rule.chain, "policy-denies")
    if rule.family == "bridge":
        return "bridge-rule-drops"
    return "rule-drops" if rule.handle else "forward-policy"


_WEFTS = {"isolation": "network-isolated", "within": "network-isolated", "spoofing": "spoofing", "claims": "spoofing"}
"""By the name of a chain of Weft's."""


def _differs(predicted: Path, ended: Ended, sights: Sequence[Sight], order: Sequence[str]) -> str:
    """ "" where it went as predicted. What was seen of its places counts before how it ended."""
    said = predicted.outcome
    arrived = ended.end in ARRIVED
    refused_as_said = said.ending in ("no-socket", "filtered") and ended.end == "refused"
    if said.arrived and not arrived and not (said.ending == "left" and ended.end in ("lost", "reported")):
        return f"the tables say that it arrives at {said.place}; it {_what(ended)}"
    if not said.arrived and arrived and not refused_as_said and said.ending not in ("elsewhere", "depends"):
        return f"the tables say that it ends on {said.place}: {said.text}; it {_what(ended)}"
    if not said.arrived and not arrived and ended.place != said.place and ended.end != "unseen":
        return f"the tables say that it ends on {said.place}: {said.text}; it {_what(ended)}"
    expected = {place.partition("/")[0] for place in order}
    way = dict.fromkeys(sight.place for sight in sights if sight.what == "probe")
    strange = [place for place in way if place.partition("/")[0] not in expected]
    if strange:
        return f"it came by {', '.join(strange)}, where the tables do not lead"
    return _elsewhere(predicted, sights)


_LEAVING = ("route", "forward", "veth")
"""Steps of which the device is one that the packet goes out by."""


def _elsewhere(predicted: Path, sights: Sequence[Sight]) -> str:
    """Where it left a place by another device than the tables say, and not by that one."""
    for place in places(predicted):
        said = {hop.dev for hop in predicted.hops if hop.place == place and hop.step in _LEAVING and hop.dev}
        own = (sight for sight in sights if sight.what == "probe" and sight.place == place)
        seen = {sight.device for sight in own if sight.point == "out"}
        if said and (lacking := sorted(said - seen)) and (others := sorted(seen - said)):
            return f"on {place} it left by {', '.join(others)}, where the tables say {', '.join(lacking)}"
    return ""


def _what(ended: Ended) -> str:
    if ended.end == "answered":
        return f"was answered: {ended.text}"
    if ended.end in ("refused", "reported"):
        return f"was refused: {ended.text}"
    text = ended.text.removeprefix("it ")
    return {"dropped": f"was {text}", "unsent": f"was not sent: {text}", "unseen": "was seen by no host"}.get(
        ended.end, text
    )
