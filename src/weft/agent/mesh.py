"""This host's part in a mesh, for an agent whose store is mesh:// (docs/mesh.md).

    members   who is there (`weft.mesh.membership`)
    voters    who keeps the store, and the voter of this host where it has one (`weft.mesh.keeper`)
    relay     leads members that reach no voter to one (`weft.mesh.relay`)

They begin when the host knows its address, before the store is needed, and each is a task of its own: what fails costs that
one. The store's link asks `endpoints` whenever it dials: voters that this host reaches; where none of them answers, relays of
members that may reach one; and at the end voters that only others hear.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from weft.base.errors import Conflict, Failed, Invalid, Unavailable
from weft.base.net import IPAddress, IPInterface, parse_address
from weft.mesh import ports
from weft.mesh.membership import Member, Membership, Standing
from weft.mesh.relay import DIAL, Place, Relay
from weft.mesh.voters import said
from weft.tasks import Supervisor

if TYPE_CHECKING:
    from weft.mesh.voters import Voter, VotersStatus
    from weft.store.etcd_link import Drop, Secrets

log = logging.getLogger(__name__)

TASKS = MEMBERS, VOTERS, RELAY = "members of the mesh", "voters of the mesh", "relay to the voters"
STRAIGHT_ON = "way to the voters"
FOLDER = "mesh"
"""In the state directory: what this host knows of it, and its voter's data."""
HEARD = (Standing.ALIVE, Standing.SUSPECT)
FIRST = 2.5
"""Seconds for which the store's first dial waits for voters: founding takes about as long."""
STRAIGHT = 5.0
"""Seconds between looks for a voter that is reached, while another member leads there."""
RELAYS = 3
"""How many are tried at one dial."""


class Keeper(Protocol):
    """As `weft.mesh.keeper.Keeper`."""

    async def run(self) -> None: ...
    def endpoints(self) -> Sequence[str]: ...
    def voters(self) -> Sequence[Voter]: ...
    def status(self) -> VotersStatus: ...
    def problems(self) -> Iterable[str]: ...
    async def recover(self) -> object: ...
    async def leave(self) -> None: ...


class Facts:
    """What this host says of itself: a fact for each part of Weft that has one."""

    def __init__(self, say: Callable[[Mapping[str, str]], None]) -> None:
        self._say, self._facts = say, dict[str, str]()
        self._ended = False

    def end(self) -> None:
        """Nothing is said any more: who has said that it goes would seem to have come back."""
        self._ended = True

    def put(self, **facts: str) -> None:
        """An empty text takes one back. Raises Invalid where all together are too large: then they are as they were."""
        wanted = {name: text for name, text in {**self._facts, **facts}.items() if text}
        if wanted != self._facts and not self._ended:
            self._say(wanted)
            self._facts = wanted


class Part(NamedTuple):
    """What there is while this host has an address. `counts`: of what members say to each other."""

    address: IPAddress
    membership: Membership
    keeper: Keeper
    facts: Facts
    counts: Mapping[str, int] = {}


Make = Callable[[IPAddress], Part]


class Mesh:
    """One for each agent: the `Voters` of its store (`weft.store.url`). `through`: where that is asked now, or ""."""

    def __init__(self, name: str, named: Sequence[str], secrets: Secrets, make: Make) -> None:
        """`named`: the hosts of the store's URL. `make`: makes the part, under an address."""
        self.name, self.named, self._secrets, self._make = name, tuple(named), secrets, make
        self._address: IPAddress | None = None
        self._moved, self._begun = asyncio.Event(), asyncio.Event()
        self._left = self._waited = False
        self.through = ""
        self._drop: Drop | None = None
        self.part: Part | None = None
        self.relay = Relay(self._own_voters)

    # Its tasks.

    def at(self, addresses: Iterable[IPInterface]) -> None:
        """Where this host is from now on. One that another address than the one before is given begins anew under it."""
        wanted = self._best([address.ip for address in addresses])
        if wanted is not None and wanted != self._address:
            self._address = wanted
            self._moved.set()

    def _best(self, addresses: Sequence[IPAddress]) -> IPAddress | None:
        """The one that the store's URL names; else one of the family of those that it names."""
        named = {host for host in self.named if host[0].isdigit() or ":" in host}
        families = {6 if ":" in host else 4 for host in named}
        return min(addresses, key=lambda a: (str(a) not in named, a.version not in families), default=None)

    def is_named(self) -> bool:
        """Whether the store's URL names this host, by its address: then it is to be a voter."""
        return str(self._address) in self.named

    async def run(self, supervisor: Supervisor) -> None:
        """For ever. Its end leaves the voter of this host running."""
        while True:
            self._moved.clear()
            if self._address is None or self._left:
                await self._moved.wait()
                continue
            self.part = self._make(self._address)
            self._begun.set()
            log.info("this host is %s in the mesh, at %s", self.name, self._address)
            async with asyncio.TaskGroup() as tasks:
                works = [tasks.create_task(work, name=name) for name, work in self._works(self.part, supervisor)]
                await self._moved.wait()
                for work in works:
                    work.cancel()

    def _works(self, part: Part, supervisor: Supervisor) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        works: dict[str, Callable[[], Awaitable[None]]] = {
            MEMBERS: part.membership.run,
            VOTERS: part.keeper.run,
            RELAY: lambda: self.relay.run(part.address),
            STRAIGHT_ON: self._go_straight,
        }
        for name, work in works.items():
            yield name, supervisor.keep(name, partial(_contained, work))

    # The store's way to the voters.

    async def endpoints(self) -> Sequence[str]:
        """Raises Unavailable: why there is none."""
        if not self._waited:
            self._waited = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST):
                    await self._known()
        if found := self._ways():
            return found
        raise Unavailable(self.waiting())

    async def _known(self) -> None:
        """Until there is a voter to ask."""
        await self._begun.wait()
        seen = -1
        while not self._ways() and self.part is not None:
            seen = await self.part.membership.changed(seen)

    def _ways(self) -> tuple[str, ...]:
        if self.part is None:
            return ()
        members = {member.address: member for member in self.part.membership.members()}
        at = {way: members.get(_address(way)) for way in self.part.keeper.endpoints()}
        reached = [way for way, member in at.items() if member is None or self.is_reached(member)]
        heard = [way for way, member in at.items() if member and self._is_heard(member) and way not in reached]
        relays = self._relays(members.values()) if at else ()
        return (*reached, *relays, *heard)

    def is_reached(self, member: Member) -> bool:
        return member.name == self.name or (member.standing in HEARD and member.reached)

    def _is_heard(self, member: Member) -> bool:
        """By this host or by others. Who is alone suspects everybody for a while, and reaches nobody."""
        return member.standing is Standing.ALIVE or self.is_reached(member)

    def _relays(self, members: Iterable[Member]) -> list[str]:
        """Any member may reach a voter, and a relay that reaches none says so at once. One of another cluster, or of another
        beginning of this one, would lead to another store."""
        assert self.part is not None
        ours = self.part.keeper.status().cluster
        able = [
            member
            for member in members
            if member.name != self.name and self.is_reached(member) and str(said(member).cluster or "") in ("", ours)
        ]
        return [endpoint(member.address, ports.RELAY) for member in random.sample(able, min(RELAYS, len(able)))]

    def _own_voters(self) -> Sequence[Place]:
        """Where the relay of this host leads: never to another relay."""
        direct = (way.rpartition(":") for way in self._ways())
        return [(host.strip("[]"), int(port)) for host, _, port in direct if int(port) != ports.RELAY]

    def secrets(self) -> Secrets:
        return self._secrets

    def use(self, endpoint: str, drop: Drop) -> None:
        self.through, self._drop = endpoint, drop

    async def _go_straight(self) -> None:
        """For ever: a store that is asked by way of another member is dialled anew as soon as a voter takes connections."""
        while True:
            await asyncio.sleep(STRAIGHT)
            if self._drop and self.through.endswith(f":{ports.RELAY}") and await self._straight():
                log.info("the store is asked at %s no more: a voter is reached", self.through)
                await self._drop()

    async def _straight(self) -> bool:
        for host, port in self._own_voters():
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(DIAL):
                    _, writer = await asyncio.open_connection(host, port)
                writer.close()
                return True
        return False

    def why(self, reasons: Sequence[str]) -> str:
        """Of a dial at which none of the voters answered."""
        direct = [reason for reason in reasons if f":{ports.RELAY}" not in reason]
        return self._minority() or "; ".join(direct or reasons)

    def waiting(self) -> str:
        """Why no voter is known, or none may be asked."""
        if self._left:
            return "this host has left the mesh: start its agent anew to take part again"
        if self.part is None:
            return "this host has no address yet, so the other hosts of the mesh are not asked"
        why = self._minority() or self.part.keeper.status().why
        return why or "no voter of the mesh is known yet: see `weft mesh status`"

    def _minority(self) -> str:
        """Which voters are missed; nothing while most of them are heard, or none is known."""
        if self.part is None:
            return ""
        heard = {member.name for member in self.part.membership.members() if self._is_heard(member)}
        votes = [voter.name for voter in self.part.keeper.voters() if voter.role != "learner"]
        lost = sorted(name for name in votes if name not in heard)
        if 2 * len(lost) < max(1, len(votes)):
            return ""
        return (
            f"{len(lost)} of {len(votes)} voters of the mesh are not heard from here ({', '.join(lost)}): nothing can be "
            "written until most of them are; where they are gone for good, see `weft mesh recover`"
        )

    # What users see and decide.

    @property
    def membership(self) -> Membership | None:
        return self.part.membership if self.part else None

    def heard(self, name: str) -> bool:
        """Whether any member hears this one, as far as is known here."""
        members = self.part.membership.members() if self.part else ()
        return any(member.name == name and member.standing in HEARD for member in members)

    def problems(self) -> Iterator[str]:
        """What is amiss, a line each."""
        if self.part is not None:
            yield from self.part.membership.troubles()
            yield from self.part.keeper.problems()

    async def recover(self) -> Sequence[str]:
        """Go on with this host's voter alone: what became of it, in words. Raises WeftError."""
        part = self._taking_part()
        return (f"cluster {await part.keeper.recover()}",)

    async def leave(self) -> Sequence[str]:
        """Raises WeftError where the voter cannot be moved elsewhere; then the host stays."""
        part = self._taking_part()
        await part.keeper.leave()
        part.facts.end()
        await part.membership.leave()
        self._left = True
        self._moved.set()
        return (self.name,)

    def _taking_part(self) -> Part:
        """Raises Unavailable."""
        if self.part is None or self._left:
            raise Unavailable(self.waiting())
        return self.part


async def _contained(work: Callable[[], Awaitable[None]]) -> None:
    """What would end the agent (Conflict, Invalid) costs this task only. Raises Failed."""
    try:
        await work()
    except (Conflict, Invalid) as error:
        raise Failed(str(error)) from error


def endpoint(address: IPAddress, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _address(way: str) -> IPAddress:
    return parse_address(way.rpartition(":")[0].strip("[]"))
