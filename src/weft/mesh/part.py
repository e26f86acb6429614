"""This host's part in the cluster of voters: one look at all that is said, and what is to be done here (`weft.mesh.keeper`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import msgspec

from weft.daemons.voter import installed
from weft.mesh import founding, resolving
from weft.mesh.chair import Chair, Floor
from weft.mesh.council import Being, Council, Listed, try_for
from weft.mesh.founding import Address, Found, Join, View
from weft.mesh.hearing import Heard, hear
from weft.mesh.membership import Membership
from weft.mesh.own import OwnVoter
from weft.mesh.seat import Known, Seat
from weft.mesh.timing import Timing
from weft.mesh.voters import FACT, Cluster, Role, Said

log = logging.getLogger(__name__)

LONGEST_ZONE = 63
"""Characters of it that are told: what a host says is short."""


class Part:
    """`being`: how this host's voter answered last. `known`: what is kept of the cluster. `placed`: the peer URL under which
    the others are known to have this host's voter. `why`: what it waits for, or what was done last."""

    def __init__(
        self,
        membership: Membership,
        named: Sequence[str],
        own: OwnVoter,
        council: Council,
        say: Callable[[str], None],
        zone: str,
        timing: Timing,
    ) -> None:
        self.membership, self.own, self.council, self.timing = membership, own, council, timing
        self.known, self.leaving = own.disk.known(), False
        self.being: Being | None = None
        self.why = self.placed = ""
        self._named, self._say, self._zone = tuple(named), say, zone[:LONGEST_ZONE]
        self._chair = Chair(council, own.peer_of, timing)
        self._led = time.monotonic()
        """When this host's voter was last with a leader."""
        self._majority: float | None = None
        """Since when a majority of those who found is seen."""
        self._addresses = frozenset[Address]()
        self._told = ""

    def heard(self) -> Heard:
        return hear(self.membership, self.known.cluster, self.known.endpoints)

    async def look(self) -> bool:
        """One look at all; whether there may be more to do at once."""
        self.own.moved(self.membership.me.address)
        await self._follow()
        if self.own.disk.lost():
            await self.own.vacate("its data are lost")
        seat = self.own.disk.seat()
        try:
            if seat is not None:
                return await self._attend(seat)
            self.being = None
            await (self._found() if self.known.cluster is None else self._accept())
        finally:
            self._tell()
        return False

    async def _follow(self) -> None:
        """To a later generation of the cluster; and what is known of its voters is kept."""
        heard, known = self.heard(), self.known
        if known.cluster is not None:
            last = founding.newest({known.cluster, *(c for c in heard.clusters() if c.replaces(known.cluster))})
            if isinstance(last, Cluster) and last != known.cluster:
                await self.own.vacate(f"the cluster was begun anew as {last}")
                self.know(Known(cluster=last))
                return
        votes = [one for one in heard.voters() if one.role != "learner"]
        endpoints = tuple(sorted(one.endpoint for one in votes))
        led = any(
            one.role == "leader" and one.healthy for one in votes
        )  # else they come one by one, as after a power cut
        if endpoints != known.endpoints and (led or not known.endpoints):
            self.know(Known(cluster=known.cluster, endpoints=endpoints))

    def know(self, known: Known) -> None:
        self.own.disk.know(known)
        self.known = known

    # Without a seat.

    async def _found(self) -> None:
        heard, disk = self.heard(), self.own.disk
        named, unresolved = await resolving.resolve(self._named, heard.me.address)
        self._addresses = frozenset(named)
        able = {one.address for one in heard.living() if heard.said[one.name].able} - {heard.me.address}
        view = View(
            me=heard.me.address,
            named=self._addresses,
            unresolved=unresolved,
            seen=able | ({heard.me.address} if installed() else set()),
            unable={one.address for one in heard.living() if FACT in one.facts} - able,
            told=heard.clusters(),
            before=disk.founded(),
        )
        self._majority = (self._majority or time.monotonic()) if founding.enough(view) else None
        waited = time.monotonic() - self._majority if self._majority else 0.0
        decision = founding.decide(msgspec.structs.replace(view, waited=waited))
        match decision:
            case Found(founders=founders):
                await self.own.found(founders)
                self.why = "founding the cluster"
            case Join(cluster=cluster):
                self.know(Known(cluster=cluster))
            case _:
                self.why = decision.why

    async def _accept(self) -> None:
        """A place among the voters, where the leader's host has one for this host."""
        self.why = ""
        if self.leaving or not installed():
            return
        heard = self.heard()
        for leader in heard.leaders():
            if heard.said[leader.name].invites != heard.me.name:
                continue
            members = await self.council.members(leader.endpoint)
            mine = [m for m in members if m.learner and not m.started and m.peer == self.own.peer]
            if mine:
                await self.own.join(mine[0].number, members)

    # With a seat.

    async def _attend(self, seat: Seat) -> bool:
        self.being = being = await try_for(self.council, self.own.endpoint)
        if being is not None and being.leader:
            self._led, self.why = time.monotonic(), ""
            await self._arrived(seat, being)
            if not being.learner:  # of which etcd tells nobody who the others are
                await self._place(being.member)
            return being.leads and await self._lead()
        self._chair.rise()
        self.why = (
            "this host's voter hears no leader: most voters have to run"
            if self.known.cluster
            else f"founding the cluster: most of {seat.beginning.hosts} have to run"
        )
        if self.leaving or time.monotonic() - self._led >= self.timing.lonely:
            await self._ask(seat)
        return False

    async def _arrived(self, seat: Seat, being: Being) -> None:
        """It is a member, with a leader."""
        member, cluster = f"{being.member:x}", self.known.cluster
        if seat.alone is not None:
            await self._went_alone(seat, seat.alone)
        elif member != seat.member:
            self.own.note(msgspec.structs.replace(seat, member=member))
        if cluster is None:
            self.know(Known(cluster=Cluster(being.cluster)))

    async def _went_alone(self, seat: Seat, cluster: Cluster) -> None:
        """As soon as etcd has dropped the others. Until it is started anew for that, they might be back."""
        if len(await self.council.members(self.own.endpoint)) > 1:
            return
        self.know(Known(cluster=cluster, endpoints=(self.own.endpoint,)))
        self.own.note(msgspec.structs.replace(seat, alone=None))
        log.warning("the store goes on with this host's voter alone, as cluster %s", cluster)

    async def _place(self, number: int) -> None:
        """Tell the others where it is now."""
        peer = self.own.peer
        if self.placed == peer:
            return
        members = await self.council.members(self.own.endpoint)
        if any(one.number == number and one.peer != peer for one in members):
            await self.council.move(self.own.endpoint, number, peer)
            log.info("this host's voter is reached at %s from now on", peer)
        self.placed = peer

    async def _lead(self) -> bool:
        assert self.known.cluster is not None
        heard = self.heard()
        floor = Floor(
            cluster=self.known.cluster, members=heard.members, said=heard.said, named=await self._resolved(heard)
        )
        did = await self._chair.sit(self.own.endpoint, floor)
        self.why = self._chair.why
        return did

    async def _resolved(self, heard: Heard) -> frozenset[Address]:
        if not self._addresses:
            self._addresses = frozenset((await resolving.resolve(self._named, heard.me.address))[0])
        return self._addresses

    async def _ask(self, seat: Seat) -> None:
        """The others, whether it still belongs to them; a founder that knows no cluster yet, those of the one that is told."""
        told = founding.newest(self.heard().clusters())
        heard = self.heard() if self.known.cluster or not isinstance(told, Cluster) else hear(self.membership, told)
        for leader in heard.leaders():
            being = await try_for(self.council, leader.endpoint)
            if being is None or not being.leads:
                continue
            members = await self.council.members(leader.endpoint)
            if not _belongs(seat, members, self.own.peer):
                await self.own.vacate("the other voters have removed it")
            return

    # What is said.

    def role(self) -> Role:
        being = self.being
        if being is None or not being.leader:
            return "silent"
        return "learner" if being.learner else "leader" if being.leads else "voter"

    def _tell(self) -> None:
        seat = self.own.disk.seat()
        words = Said(
            cluster=self.known.cluster,
            able=installed(),
            role=self.role() if seat else "",
            member=seat.member if seat else "",
            port=self.own.place.client,
            zone=self._zone,
            invites=self._chair.invites if self.being and self.being.leads else "",
            leaving=self.leaving,
        ).text()
        if words != self._told:
            self._say(words)
            self._told = words


def _belongs(seat: Seat, members: Sequence[Listed], peer: str) -> bool:
    """Whether it is one of those. By its number; a founder that never heard a leader does not know that: as one with its place
    and a vote, since it may have been taken in again as a learner, which is another member."""
    number = seat.member or (seat.beginning.name if seat.beginning.existing else "")
    if number:
        return any(f"{one.number:x}" == number for one in members)
    return any(one.peer == peer and not one.learner for one in members)
