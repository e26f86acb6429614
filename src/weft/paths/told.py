"""How a pair stands, in words: for people who ask why it is not on its best way."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from weft.paths.channels import FULL, IDLE, SILENT, SMALL, TICK, Way
from weft.paths.pair import Pair
from weft.paths.probe import DOWN

LONG = 60.0
"""Seconds for which a pair is not on its best way before it is worth a word in `weft doctor`."""
FRAMES = {
    Way.KERNEL: "VXLAN frame of {} has come by UDP 6784",
    Way.SLEEVE: "datagram of {}'s sleeve has come by UDP 6783",
}
MISSES = {Way.KERNEL: "VXLAN frame of this host by UDP 6784", Way.SLEEVE: "datagram of this host's sleeve by UDP 6783"}
NAMES = {Way.KERNEL: "fastdp", Way.SLEEVE: "sleeve", Way.RELAY: "relay"}


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: "established", "silent": it was heard, and is no more, "unheard". `way`, `via`: by which this host sends;
    `theirs`: by which the other one does, as it said last. `mtu`: the largest packet known to pass, 0: not known. `rtt`:
    seconds. `since`: for how many seconds it is this way. `why`: what keeps it from better ways, a line each. `sleeve`: what is
    amiss with the sleeve while others go by the kernel's tunnel: what this cannot encrypt has no other way."""

    name: str
    state: str
    active: bool
    way: Way
    via: str = ""
    theirs: Way = Way.KERNEL
    mtu: int = 0
    rtt: float | None = None
    since: float = 0.0
    switches: int = 0
    why: tuple[str, ...] = ()
    sleeve: tuple[str, ...] = ()

    @property
    def worse(self) -> bool:
        return self.way is not Way.KERNEL or bool(self.why)


def standing(name: str, pair: Pair, tick: int) -> Standing:
    return Standing(
        name=name,
        state=_state(pair, tick),
        active=pair.peer.active,
        way=pair.way,
        via=pair.path.via,
        theirs=pair.said,
        mtu=_mtu(pair),
        rtt=pair.rtt(pair.way),
        since=(tick - pair.since) * TICK,
        switches=pair.switches,
        why=tuple(_why(name, pair, tick)) if pair.met else (),
        sleeve=tuple(_reasons(name, pair, Way.SLEEVE, tick)) if pair.met and pair.way is Way.KERNEL else (),
    )


def _state(pair: Pair, tick: int) -> str:
    if not pair.met:
        return "unheard"
    return "silent" if tick - pair.last > (SILENT if pair.often(tick) else 3 * IDLE) else "established"


def _mtu(pair: Pair) -> int:
    if pair.way is Way.RELAY or not pair.shown(pair.way):
        return 0
    full = FULL[pair.way]
    if pair.up(full) and pair.hearing[full].sure and pair.reports[full].sure:
        return pair.peer.full.get(pair.way, 0)
    return pair.size(pair.way)


def _why(name: str, pair: Pair, tick: int) -> Iterator[str]:
    for way in (Way.KERNEL, Way.SLEEVE):
        if way is Way.SLEEVE and pair.way is not Way.RELAY:
            return
        yield from _reasons(name, pair, way, tick)


def _reasons(name: str, pair: Pair, way: Way, tick: int) -> Iterator[str]:
    return (f"{NAMES[way]}: {reason}" for reason in _way(name, pair, way, tick))


def _way(name: str, pair: Pair, way: Way, tick: int) -> Iterator[str]:
    small, full = SMALL[way], FULL[way]
    if way not in pair.peer.full:
        yield f"{name} has no number yet, or no address of this family"
    elif not pair.hearing[small].up:
        yield (
            _again(pair, small) or f"no {FRAMES[way].format(name)} for {(tick - pair.hearing[small].last) * TICK:.0f} s"
        )
    elif pair.reports[small].standing == DOWN:
        yield f"{name} hears no {MISSES[way]}"
    elif not pair.hearing[full].up:
        yield _again(pair, full) or f"packets of {pair.peer.full[way]} octets from {name} get lost, smaller ones come"
    elif pair.reports[full].standing == DOWN:
        best = pair.size(way)
        most = f"the largest that pass have {best}" if best else "smaller ones pass"
        yield f"packets of {pair.peer.full[way]} octets to {name} get lost on the way, {most}"
    elif way is Way.SLEEVE and not pair.shown(way):
        yield f"no {FRAMES[way].format(name)} yet"


def _again(pair: Pair, channel: int) -> str:
    """Where probes come again, and the way is not trusted yet."""
    hearing = pair.hearing[channel]
    return f"probes come again, {hearing.good} of {hearing.need} without a gap" if hearing.good else ""
