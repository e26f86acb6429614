"""This host's voter: the daemon, and what is kept of it on the disk. It runs while there is a seat for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from weft.daemons.plain import Setting
from weft.daemons.supervisor import DaemonSupervisor
from weft.daemons.voter import Beginning, Place, VoterDaemon
from weft.mesh import tls
from weft.mesh.council import Listed
from weft.mesh.founding import Address
from weft.mesh.seat import Disk, Seat
from weft.mesh.secret import Secret
from weft.mesh.voters import Cluster, endpoint

log = logging.getLogger(__name__)


class OwnVoter:
    """`place`: where it listens. Each call may raise Failed."""

    def __init__(self, run: Path, state: Path, secret: Secret, place: Place) -> None:
        self.disk, self.place = Disk(state), place
        self.daemon = VoterDaemon(run, self.disk.home)
        self.supervisor: DaemonSupervisor[Setting] = DaemonSupervisor(self.daemon, self.daemon, self._decide)
        self._secret = secret

    @property
    def endpoint(self) -> str:
        return endpoint(self.place.address, self.place.client)

    @property
    def peer(self) -> str:
        """The URL by which other voters reach it."""
        return self.peer_of(self.place.address)

    def peer_of(self, address: Address) -> str:
        """Of a voter of another host: all listen at the same port."""
        return Place(address, self.place.client, self.place.peer).url(self.place.peer)

    async def _decide(self) -> Setting | None:
        seat = self.disk.seat()
        if seat is None:
            return None
        await asyncio.to_thread(self._certify)
        beginning = seat.beginning
        if not beginning.members:
            beginning = msgspec.structs.replace(beginning, members=f"{beginning.name}={self.peer}")
        return self.daemon.setting(beginning, self.place, alone=seat.alone is not None)

    def _certify(self) -> None:
        addresses = (self.place.address,)
        if tls.fits(self.daemon.keys, self._secret, addresses):
            return
        tls.write(self.daemon.keys, tls.issue(self._secret, addresses))
        self.daemon.dismiss()  # one that runs has the old authority in its memory

    def moved(self, address: Address) -> None:
        """It listens there from now on."""
        if address != self.place.address:
            self.place = Place(address, self.place.client, self.place.peer)
            self.supervisor.touch()

    async def found(self, founders: Sequence[Address]) -> None:
        members = ",".join(f"{address}={self.peer_of(address)}" for address in founders)
        token = self._secret.key(f"voters {members}", 8).hex()
        self.disk.found()
        await self._begin(Beginning(name=str(self.place.address), members=members, token=token))

    async def join(self, number: int, members: Sequence[Listed]) -> None:
        """As that member, which the others have taken in as a learner."""
        listed = ",".join(f"{member.number:x}={member.peer}" for member in members)
        await self._begin(Beginning(name=f"{number:x}", members=listed, existing=True))

    async def _begin(self, beginning: Beginning) -> None:
        log.info("this host's voter of the store begins: %s", beginning.members)
        await self.vacate()
        self.disk.sit(Seat(beginning=beginning))
        self.supervisor.touch()

    async def vacate(self, why: str = "") -> None:
        """It ends, and its data are put aside."""
        async with self.supervisor.lock:
            await asyncio.to_thread(self.daemon.end)
            aside = await asyncio.to_thread(self.disk.put_aside)
        if aside is not None:
            log.warning("%s: this host's voter has ended, its data are in %s", why, aside)

    def go_on_alone(self, seat: Seat, cluster: Cluster) -> None:
        """It is started anew for it, since its command line is another one then."""
        self.note(msgspec.structs.replace(seat, alone=cluster))

    def note(self, seat: Seat) -> None:
        """It has come so far."""
        self.disk.sit(seat)
        self.supervisor.touch()


def forget(run: Path, state: Path) -> bool:
    """Ends a voter that an agent left here, and removes its data; whether there was one. Blocking. Raises Failed."""
    disk = Disk(state)
    ended = VoterDaemon(run, disk.home).end()
    there = disk.folder.exists()
    disk.forget()
    return ended or there
