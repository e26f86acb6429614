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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from weft.base.errors import Conflict, WeftError
from weft.daemons.voter import Place
from weft.mesh import ports, recovery, tls
from weft.mesh.council import Council
from weft.mesh.membership import Membership
from weft.mesh.own import OwnVoter
from weft.mesh.part import Part
from weft.mesh.secret import Secret
from weft.mesh.timing import Timing
from weft.mesh.voters import Cluster, State, Voter, VotersStatus

log = logging.getLogger(__name__)


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
        self.own = OwnVoter(run, state, secret, Place(membership.me.address, ports.VOTER, ports.VOTERS))
        self.council = Council(tls.client(secret))
        self.part = Part(membership, named, self.own, self.council, say, zone, timing)
        self._membership, self._timing = membership, timing
        self._trouble = ""
        self._wake, self._looked = asyncio.Event(), asyncio.Condition()

    # What others ask.

    def endpoints(self) -> tuple[str, ...]:
        """HOST:PORT of the voters to be asked, the best first; those that were known last, where nobody tells of any."""
        return tuple(one.endpoint for one in self.part.heard().asked()) or self.part.known.endpoints

    def voters(self) -> tuple[Voter, ...]:
        """As their hosts tell, by name."""
        return self.part.heard().voters()

    def status(self) -> VotersStatus:
        cluster, seat = self.part.known.cluster, self.own.disk.seat()
        if seat is None:
            state: State = "client" if cluster else "waiting"
        else:
            state = "voter" if seat.member and self.part.role() != "learner" else "joining"
        return VotersStatus(cluster=str(cluster or ""), state=state, why=self.part.why, voters=self.voters())

    def problems(self) -> Iterator[str]:
        """What is amiss, a line each."""
        if self.own.supervisor.trouble:
            yield f"this host's voter: {self.own.supervisor.trouble}"
        if self._trouble:
            yield f"voters of the store: {self._trouble}"
        yield from (f"this host's voter: {alarm}" for alarm in (self.part.being.alarms if self.part.being else ()))
        yield from self.part.heard().problems()

    # What somebody asks for.

    async def recover(self) -> Cluster:
        """The cluster goes on with this host's voter alone, where most of the others are lost; they are fenced by its new
        generation. Raises Conflict, NotFound, Unavailable."""
        cluster = await recovery.successor(self.own, self.council, self.part.heard(), self.part.known)
        seat = self.own.disk.seat()
        assert seat is not None
        self.own.go_on_alone(seat, cluster)
        await self._until(
            lambda: self.part.known.cluster == cluster and self.part.role() == "leader",
            "the store does not go on here yet",
        )
        return cluster

    async def leave(self) -> None:
        """Another host takes over this one's vote, as far as there is one; then the voter ends, its data are put aside. Raises
        Conflict, Unavailable."""
        heard = self.part.heard()
        others = [one.name for one in heard.living() if one.name != heard.me.name]
        if others and self._is_last() and self.own.disk.seat() is not None:
            raise Conflict(
                f"no other host can take over the store: apt install etcd-server on one of {', '.join(others)}"
            )
        self.part.leaving = True
        await self._until(lambda: self.own.disk.seat() is None or self._is_last(), "the vote has not been handed over")
        await self.own.vacate("this host leaves")

    def _is_last(self) -> bool:
        """Whether nobody else could have the store."""
        heard = self.part.heard()
        return all(one.name == heard.me.name or not heard.said[one.name].able for one in heard.living())

    async def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        seconds = self._timing.handing
        try:
            async with asyncio.timeout(seconds), self._looked:
                self.touch()
                await self._looked.wait_for(condition)
        except TimeoutError:
            raise recovery.unfinished(otherwise, seconds, self._trouble or self.part.why) from None

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
            seen = await self._membership.changed(seen)
            self.touch()

    async def _look(self) -> None:
        while True:
            again = False
            try:
                again = await self.part.look()
                self._trouble = ""
            except (WeftError, OSError) as error:
                self._complain(str(error))
            async with self._looked:
                self._looked.notify_all()
            if not again:
                # Not by asyncio.wait_for, which swallows a cancellation now and then.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._timing.look):
                        await self._wake.wait()
            await asyncio.sleep(self._timing.gather)
            self._wake.clear()

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("voters of the store: %s", trouble)
        self._trouble = trouble
