"""The voters of the store `mesh://`, from the view of one host: it founds or joins the cluster, keeps its own voter, and where
that one leads, looks after all of them.

    membership ──► who is there, what they say ──► founding ──► found · join · wait
                                                   own      ──► etcd runs here, with this host's seat
                                                   chair    ──► the next step of the voters, where ours leads
    membership ◄── what this host says (`weft.mesh.voters`): its cluster, its voter, whom it invites

A host has a *seat* or none. Without one it is a client; when the leader's host invites it, it asks the leader for its place,
and begins as a learner. With a seat it starts its voter from what is on the disk, without asking anybody: after a power cut
of all hosts the cluster is back as soon as a majority runs. A seat ends where the others have removed it (they are asked when
the voter hears no leader), where its data are lost, and where somebody began the cluster anew elsewhere (`recover`): then
gossip tells of a later generation of the same cluster, the old voter is ended, its data are put aside, and the host is a
client of the new one.

Clusters of different numbers have nothing to do with each other and stay apart, whoever is to blame: it is told, and nothing is
done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from weft.base.errors import WeftError
from weft.daemons.voter import Place, installed
from weft.mesh import founding, ports, recovery, resolving, tls
from weft.mesh.chair import Chair, Floor
from weft.mesh.council import Being, Council, Listed, try_for
from weft.mesh.founding import Address, Found, Join, View
from weft.mesh.hearing import Heard, hear
from weft.mesh.membership import Membership
from weft.mesh.own import OwnVoter
from weft.mesh.seat import Known, Seat
from weft.mesh.secret import Secret
from weft.mesh.timing import Timing
from weft.mesh.voters import Cluster, Role, Said, State, Voter, VotersStatus

log = logging.getLogger(__name__)

LONGEST_ZONE = 63
"""Characters of it that are told: what a host says is short."""


class Keeper:
    """`named`: the hosts of the store's URL, as written. `say`: what this host says of itself from now on, under the fact
    `weft.mesh.voters.FACT`. `zone`: voters are spread over zones."""

    def __init__(
        self,
        membership: Membership,
        secret: Secret,
        named: Sequence[str],
        *,
        run: Path,
        state: Path,
        say: Callable[[str], None],
        zone: str = "",
        timing: Timing = Timing(),  # noqa: B008 - it is frozen
    ) -> None:
        self.membership, self.timing = membership, timing
        self.own = OwnVoter(run, state, secret, Place(membership.me.address, ports.VOTER, ports.VOTERS))
        self.council = Council(tls.client(secret))
        self.being: Being | None = None
        """How this host's voter answered last."""
        self.leaving = False
        self.known = self.own.disk.known()
        self._named, self._say, self._zone = tuple(named), say, zone[:LONGEST_ZONE]
        self._chair = Chair(self.council, self.own.peer_of, timing)
        self._led = time.monotonic()
        """When this host's voter was last with a leader."""
        self.placed = ""
        """The peer URL under which the others are known to have it."""
        self._majority: float | None = None
        """Since when a majority of those who found is seen."""
        self._addresses = frozenset[Address]()
        self._told = self._why = self._trouble = ""
        self._wake, self._looked = asyncio.Event(), asyncio.Condition()

    # What others ask.

    def endpoints(self) -> tuple[str, ...]:
        """HOST:PORT of the voters to be asked, the best first; those that were known last, where nobody tells of any."""
        return tuple(one.endpoint for one in self.heard().asked()) or self.known.endpoints

    def voters(self) -> tuple[Voter, ...]:
        """As their hosts tell, by name."""
        return self.heard().voters()

    def status(self) -> VotersStatus:
        cluster, seat = self.known.cluster, self.own.disk.seat()
        if seat is None:
            state: State = "client" if cluster else "waiting"
        else:
            state = "voter" if seat.member and self._role() != "learner" else "joining"
        return VotersStatus(cluster=str(cluster or ""), state=state, why=self._why, voters=self.voters())

    def problems(self) -> Iterator[str]:
        """What is amiss, a line each."""
        if self.own.supervisor.trouble:
            yield f"this host's voter: {self.own.supervisor.trouble}"
        if self._trouble:
            yield f"voters of the store: {self._trouble}"
        yield from (f"this host's voter: {alarm}" for alarm in (self.being.alarms if self.being else ()))
        yield from self.heard().problems()

    def heard(self) -> Heard:
        return hear(self.membership, self.known.cluster)

    # What somebody asks for.

    async def recover(self) -> Cluster:
        """The cluster goes on with this host's voter alone, where most of the others are lost; they are fenced by its new
        generation. Raises Conflict, NotFound, Unavailable."""
        cluster = await recovery.successor(self.own, self.council, self.heard(), self.known)
        seat = self.own.disk.seat()
        assert seat is not None
        self.own.go_on_alone(seat, cluster)
        await self._until(
            lambda: self.known.cluster == cluster and self._role() == "leader", "the store does not go on here yet"
        )
        return cluster

    async def leave(self) -> None:
        """Another host takes over this one's vote, as far as there is one; then the voter ends, its data are put aside. Raises
        Unavailable."""
        self.leaving = True
        await self._until(lambda: self.own.disk.seat() is None or self._is_last(), "the vote has not been handed over")
        await self.own.vacate("this host leaves")

    def _is_last(self) -> bool:
        """Whether nobody else could have the store."""
        heard = self.heard()
        return all(one.name == heard.me.name or not heard.said[one.name].able for one in heard.living())

    async def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        seconds = self.timing.handing
        try:
            async with asyncio.timeout(seconds), self._looked:
                self.touch()
                await self._looked.wait_for(condition)
        except TimeoutError:
            raise recovery.unfinished(otherwise, seconds, self._trouble or self._why) from None

    # The loop.

    async def run(self) -> None:
        """For ever. Its end leaves the voter running."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.own.supervisor.run(), name="weft-voter")
                tasks.create_task(self._listen(), name="weft-voters-hear")
                await self._look()
        finally:
            await self.council.close()

    def touch(self) -> None:
        self._wake.set()

    async def _listen(self) -> None:
        seen = -1
        while True:
            seen = await self.membership.changed(seen)
            self.touch()

    async def _look(self) -> None:
        while True:
            again = False
            try:
                again = await self._step()
                self._trouble = ""
            except (WeftError, OSError) as error:
                self._complain(str(error))
            async with self._looked:
                self._looked.notify_all()
            if not again:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(
                        self.timing.look
                    ):  # asyncio.wait_for swallows a cancellation now and then
                        await self._wake.wait()
            await asyncio.sleep(self.timing.gather)
            self._wake.clear()

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("voters of the store: %s", trouble)
        self._trouble = trouble

    async def _step(self) -> bool:
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
        endpoints = tuple(sorted(one.endpoint for one in heard.asked()))
        if endpoints and endpoints != known.endpoints:
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
            unable={one.address for one in heard.living()} - able,
            told=heard.clusters(),
            before=disk.founded(),
        )
        self._majority = (self._majority or time.monotonic()) if founding.enough(view) else None
        waited = time.monotonic() - self._majority if self._majority else 0.0
        decision = founding.decide(msgspec.structs.replace(view, waited=waited))
        match decision:
            case Found(founders=founders):
                await self.own.found(founders)
                self._why = "founding the cluster"
            case Join(cluster=cluster):
                self.know(Known(cluster=cluster))
            case _:
                self._why = decision.why

    async def _accept(self) -> None:
        """A place among the voters, where the leader's host has one for this host."""
        self._why = ""
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
            self._led, self._why = time.monotonic(), ""
            self._arrived(seat, being)
            if not being.learner:  # of which etcd tells nobody who the others are
                await self._place(being.member)
            return being.leads and await self._lead()
        self._chair.rise()
        founding_now = self.known.cluster is None
        self._why = (
            f"founding the cluster: most of {seat.beginning.members} have to run"
            if founding_now
            else "this host's voter hears no leader: most voters have to run"
        )
        if self.leaving or time.monotonic() - self._led >= self.timing.lonely:
            await self._ask(seat)
        return False

    def _arrived(self, seat: Seat, being: Being) -> None:
        """It is a member, with a leader."""
        known = self.known.cluster
        if seat.alone is not None and being.leads:
            self.know(Known(cluster=seat.alone, endpoints=(self.own.endpoint,)))
            log.warning("the store goes on with this host's voter alone, as cluster %s", seat.alone)
        elif known is None:
            self.know(Known(cluster=Cluster(being.cluster)))
        member = f"{being.member:x}"
        if member != seat.member or seat.alone is not None:
            self.own.note(msgspec.structs.replace(seat, member=member, alone=None))

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
        self._why = self._chair.why
        return did

    async def _resolved(self, heard: Heard) -> frozenset[Address]:
        if not self._addresses:
            self._addresses = frozenset((await resolving.resolve(self._named, heard.me.address))[0])
        return self._addresses

    async def _ask(self, seat: Seat) -> None:
        """The others, whether it still belongs to them."""
        for leader in self.heard().leaders():
            being = await try_for(self.council, leader.endpoint)
            if being is None or not being.leads:
                continue
            members = await self.council.members(leader.endpoint)
            if not _belongs(seat, members, self.own.peer):
                await self.own.vacate("the other voters have removed it")
            return

    # What is said.

    def _role(self) -> Role:
        being = self.being
        if being is None or not being.leader:
            return "silent"
        return "learner" if being.learner else "leader" if being.leads else "voter"

    def _tell(self) -> None:
        seat = self.own.disk.seat()
        words = Said(
            cluster=self.known.cluster,
            able=installed(),
            role=self._role() if seat else "",
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
