"""This host and one other: what is sent to it by which channel, what came, and which way is chosen.

Each end judges only what comes to it, and tells the other in each probe. A way is good when both say that it is: so both
come to the same choice as soon as each has the other's last word, and nobody has to lead. The choice is

    kernel    if small and full-sized packets pass in it, in both directions. It is taken for good until the contrary is
              known, so that a new pair's first packet waits for nothing.
    sleeve    if small ones pass, in both directions. Where full-sized ones do not, with the size that was found.
    relay     if another host says that it hears the other one, and is heard (`weft.paths.machine`)
    kernel    with the size that was found, where only small packets pass in it and there is nothing else
    as it was otherwise: when in doubt the data plane stays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from weft.datapaths.driver import Path
from weft.paths.channels import (
    FRESH,
    FULL,
    HASTE,
    IDLE,
    LARGE,
    PACE,
    SMALL,
    STRAIGHT,
    TRIED,
    Channel,
    Peer,
    Way,
)
from weft.paths.hearing import Hearing
from weft.paths.probe import DOUBT, DOWN, UP, Probe, Report
from weft.paths.search import Search

STALE = 20
"""Ticks for which it counts that the other host wants to be probed often."""
_ROUND_TRIPS = 8
NOTHING = tuple(Report() for _ in Channel)


class Memory(msgspec.Struct, frozen=True):
    """What a host's next prober begins with. `down`: channels by which nothing comes. `sleeved`: as of `Pair`."""

    path: Path = Path()
    down: tuple[int, ...] = ()
    sleeved: bool = False


class Pair:
    def __init__(self, peer: Peer, tick: int, memory: Memory | None = None) -> None:
        """`memory`: of this host's last prober."""
        memory = memory or Memory()
        self.peer, self.begun = peer, tick
        self.hearing = [Hearing(tick, up=channel not in memory.down) for channel in Channel]
        self.sent = [0] * len(Channel)
        self.searches: dict[Way, Search] = {}
        self.uid = self.pending = 0
        """The other prober's number, 0: never heard; one that has yet to show that it is not a recorded one."""
        self.reports, self.reach, self.said = NOTHING, b"", Way.KERNEL
        """What it told last; `said`: the way by which it sends."""
        self.last = tick
        """When anything of it came."""
        self.wanted = -STALE
        """When it last wanted to be probed often."""
        self.helps = False
        """Whether this host may have to send to others by it."""
        self.path = memory.path
        self.sleeved = memory.sleeved
        """Whether the sleeve ever passed: so whose packets the kernel's tunnel cannot encrypt have another way."""
        self.switches, self.since = 0, tick
        self._due, self._rounds = tick, 0
        self._often_since: int | None = None
        self._times: deque[tuple[Channel, int, float]] = deque(maxlen=4 * len(Channel))
        self._trips: dict[Way, deque[float]] = {}
        self._came: list[float] = [0.0] * len(Channel)

    # -- what is known

    @property
    def met(self) -> bool:
        return self.uid != 0

    def heard(self, way: Way) -> Hearing:
        return self.hearing[SMALL[way]]

    def up(self, channel: Channel) -> bool:
        """In both directions, as far as is known."""
        return self.hearing[channel].up and self.reports[channel].standing != DOWN

    def shown(self, way: Way) -> bool:
        """Up in both directions, and probes did come."""
        channel = SMALL[way]
        return self.up(channel) and self.hearing[channel].sure and self.reports[channel].sure

    def straight(self) -> bool:
        """Whether there is a way without a third host, as far as is known."""
        return self.up(Channel.KERNEL) or self.shown(Way.SLEEVE)

    def silence(self, tick: int) -> int:
        """Ticks for which nothing came of it, while it was to send often."""
        return 0 if self._often_since is None else tick - max(self.last, self._often_since)

    def just_heard(self, tick: int) -> bool:
        """In the sleeve, in both directions: this host could help others to reach it."""
        return self.shown(Way.SLEEVE) and tick - self.heard(Way.SLEEVE).last <= FRESH

    def often(self, tick: int) -> bool:
        return self.peer.active or self.helps or tick - self.wanted < STALE

    # -- what is sent

    def due(self, tick: int) -> list[tuple[Channel, int]]:
        """The probes of this tick, with their sizes; 0: as small as they can be."""
        pace = self._pace(tick)
        self._due = min(self._due, tick - 1 + pace)
        if tick < self._due:
            return []
        self._due = tick + pace
        self._rounds += 1
        found = list(self._round())
        for channel, _ in found:
            self.sent[channel] += 1
        return found

    def hurry(self, tick: int) -> None:
        """There is news for the other host."""
        self._due = tick

    def _pace(self, tick: int) -> int:
        if self._doubt(tick):
            return HASTE
        return PACE if self.often(tick) else IDLE

    def _doubt(self, tick: int) -> bool:
        """Something may be amiss, or a size is looked for."""
        if any(not search.done for search in self.searches.values()):
            return True
        return self.met and (
            any(hearing.standing(tick) == DOUBT for hearing in self.hearing)
            or any(report.standing == DOUBT for report in self.reports)
        )

    def _round(self) -> Iterator[tuple[Channel, int]]:
        for way, size in self.peer.full.items():
            yield SMALL[way], 0
            if self._rounds % LARGE == 1 or not self._certain(FULL[way]):
                yield FULL[way], size
            if (search := self.searches.get(way)) and (trial := search.send(self.sent[TRIED[way]] + 1)):
                yield TRIED[way], trial

    def _certain(self, channel: Channel) -> bool:
        hearing = self.hearing[channel]
        return hearing.up and hearing.overdue is None and self.reports[channel].standing == UP

    @property
    def way(self) -> Way:
        return Way[self.path.way.upper()]

    def report(self, tick: int, now: float) -> tuple[Report, ...]:
        return tuple(
            Report(
                sent=self.sent[channel],
                heard=hearing.heard,
                held=max(int((now - self._came[channel]) * 1e6), 0) if hearing.sure else 0,
                standing=hearing.standing(tick),
                sure=hearing.sure,
            )
            for channel, hearing in zip(Channel, self.hearing, strict=True)
        )

    def note_sent(self, channels: list[tuple[Channel, int]], now: float) -> None:
        self._times.extend((channel, self.sent[channel], now) for channel, _ in channels)

    # -- what comes

    def take(self, channel: Channel, probe: Probe, mine: int, tick: int, now: float) -> bool:
        """Whether it counts. `mine`: this prober's number."""
        number = probe.reports[channel].sent
        if probe.uid != self.uid:
            if probe.yours != mine:
                if self.pending != probe.uid:
                    self.pending = probe.uid
                    self.hurry(tick)
                return False
            self.uid = self.pending = probe.uid
            for hearing, report in zip(self.hearing, probe.reports, strict=True):
                hearing.begin(report.sent, tick)
        elif number <= self.hearing[channel].heard:
            return False
        self.hearing[channel].come(number, tick)
        self._came[channel] = now
        self.last = tick
        if probe.yours == mine:
            self._hear_of_mine(channel, probe, tick, now)
        return True

    def _hear_of_mine(self, channel: Channel, probe: Probe, tick: int, now: float) -> None:
        for hearing, report in zip(self.hearing, probe.reports, strict=True):
            hearing.tell(report.sent, tick)
        turned = any(
            (new.standing == UP) != (old.standing == UP) for new, old in zip(probe.reports, self.reports, strict=True)
        )
        if turned:
            self.hurry(tick)
        self.reports, self.reach = probe.reports, probe.reach
        self.said = Way(probe.way)
        if probe.active:
            self.wanted = tick
        for way, search in self.searches.items():
            search.told(probe.reports[TRIED[way]].heard)
        self._time(channel, probe.reports[channel], now)

    def _time(self, channel: Channel, report: Report, now: float) -> None:
        for where, number, at in self._times:
            if where == channel and number == report.heard:
                took = now - at - report.held / 1e6
                self._trips.setdefault(channel.way, deque(maxlen=_ROUND_TRIPS)).append(max(took, 0.0))

    def rtt(self, way: Way) -> float | None:
        """Seconds, of the quickest of the last probes: what a busy host adds is not the way's."""
        return min(self._trips[way], default=None) if way in self._trips else None

    # -- what is made of it

    def judge(self, tick: int) -> None:
        for way in STRAIGHT:
            self.hearing[SMALL[way]].judge(tick)
            self.hearing[FULL[way]].judge(tick)
        for way in STRAIGHT:
            self._look_for_size(way)
        if not self.often(tick):
            self._often_since = None
        elif self._often_since is None:
            self._often_since = tick

    def _look_for_size(self, way: Way) -> None:
        """While the other host hears small packets, and no full-sized ones."""
        lost = self.reports[FULL[way]].standing == DOWN and self.up(SMALL[way])
        if lost and way in self.peer.full and way not in self.searches:
            self.searches[way] = Search(self.peer.full[way])
        elif self.up(FULL[way]):
            self.searches.pop(way, None)

    def fall_silent(self, tick: int) -> None:
        """Others hear it, this host does not."""
        for way in STRAIGHT:
            for channel in (SMALL[way], FULL[way]):
                self.hearing[channel].fall(tick)

    def best(self, via: str) -> Path:
        """`via`: a third host that reaches it, "" where there is none."""
        if not self.met and not via:
            return self.path
        if self.up(Channel.KERNEL) and self.up(Channel.KERNEL_FULL):
            return Path()
        if self.shown(Way.SLEEVE):
            return Path(way="sleeve", mtu=self.size(Way.SLEEVE))
        if via:
            return Path(way="relay", via=via)
        if self.shown(Way.KERNEL):
            return Path(mtu=self.size(Way.KERNEL))
        return self.path

    def size(self, way: Way) -> int:
        """The largest packet that passes to it, 0 where all do."""
        search = self.searches.get(way)
        return search.known if search else 0

    def choose(self, path: Path, tick: int) -> bool:
        """Whether it is another one than before."""
        if path == self.path:
            return False
        if (path.way, path.via) != (self.path.way, self.path.via):
            self.switches, self.since = self.switches + 1, tick
        self.path = path
        self.hurry(tick)
        return True

    def opened(self) -> bool:
        """Whether the sleeve passes for the first time."""
        if self.sleeved or not self.shown(Way.SLEEVE):
            return False
        self.sleeved = True
        return True

    def known_as(self, peer: Peer, tick: int) -> None:
        if peer.full != self.peer.full:
            self.searches.clear()
        self.peer = peer

    def memory(self) -> Memory:
        down = (channel for channel, hearing in zip(Channel, self.hearing, strict=True) if not hearing.up)
        return Memory(self.path, tuple(down), self.sleeved)
