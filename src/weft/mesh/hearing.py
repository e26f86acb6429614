"""What comes of what all hosts say of the voters, for one that hears it (pure)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from weft.mesh.founding import newest
from weft.mesh.membership import Member, Membership, Standing
from weft.mesh.voters import Cluster, Said, Voter, said
from weft.mesh.voting import quorum

LIVES = (Standing.ALIVE, Standing.SUSPECT)
_ROLES: dict[str, Literal["leader", "learner"]] = {"leader": "leader", "learner": "learner"}


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """`said`: by name. `cluster`: which one this host belongs to. `remembered`: HOST:PORT of
    the voters, when there was a leader last."""

    me: Member
    members: Sequence[Member]
    said: Mapping[str, Said]
    cluster: Cluster | None = None
    remembered: tuple[str, ...] = ()

    def others(self) -> Iterator[tuple[Member, Said]]:
        return ((m, self.said[m.name]) for m in self.members if m.name != self.me.name)

    def living(self) -> Iterator[Member]:
        return (member for member in self.members if member.standing in LIVES)

    def clusters(self) -> frozenset[Cluster]:
        """What others tell, also dead ones: it is no less true for that."""
        return frozenset(words.cluster for _, words in self.others() if words.cluster is not None)

    def voters(self) -> tuple[Voter, ...]:
        """Of this host's cluster, by name."""
        return tuple(
            _voter(member, words)
            for member in self.members
            if (words := self.said[member.name]).role and member.standing is not Standing.LEFT
            if words.cluster in (self.cluster, None)
        )

    def asked(self) -> tuple[Voter, ...]:
        """Those that clients may ask, the best first: this host's own, those that are well, those of this zone; hosts that
        have as good a choice do not all choose the same."""
        zone = self.said[self.me.name].zone
        alive = {member.name: member for member in self.living()}

        def rank(one: Voter) -> tuple[bool, bool, bool, bool, int]:
            far = self.said[one.name].zone != zone
            unreached = not alive[one.name].reached
            return one.name != self.me.name, not one.healthy, unreached, far, _lot(self.me.name, one.name)

        able = (one for one in self.voters() if one.role != "learner" and one.name in alive)
        return tuple(sorted(able, key=rank))

    def leaders(self) -> tuple[Voter, ...]:
        """Other hosts whose voter leads, as they say: there may have been another election just now."""
        return tuple(one for one in self.asked() if one.role == "leader" and one.name != self.me.name)

    def problems(self) -> Iterator[str]:
        yield from self._strangers()
        yield from self._heirs()
        voters = [one for one in self.voters() if one.role != "learner"]
        well = sum(one.healthy for one in voters)
        count = len({one.endpoint for one in voters} | set(self.remembered))
        if self.cluster is not None and voters and well < quorum(count):
            yield (
                f"only {well} of {count} voters are well, so nothing can be written: start the others; where they are "
                "lost for good, run 'weft mesh recover' on the one that is to go on"
            )

    def _heirs(self) -> Iterator[str]:
        """Where several began this host's cluster anew, it follows none."""
        if self.cluster is not None:
            last = newest({self.cluster, *(one for one in self.clusters() if one.replaces(self.cluster))})
            if isinstance(last, str):
                yield last

    def _strangers(self) -> Iterator[str]:
        for member, words in self.others():
            theirs, ours = words.cluster, self.cluster
            if ours is None or theirs is None or theirs == ours or ours.replaces(theirs) or theirs.replaces(ours):
                continue
            yield (
                f"{member.name} belongs to another cluster ({theirs}) than this host ({ours}): they do not merge; give each "
                "its own secret, or stop its agent and remove the folder voter in its state directory"
            )


def hear(membership: Membership, cluster: Cluster | None, remembered: tuple[str, ...] = ()) -> Heard:
    members = tuple(membership.members())
    words = {one.name: said(one) for one in members}
    return Heard(me=membership.me, members=members, said=words, cluster=cluster, remembered=remembered)


def _voter(member: Member, words: Said) -> Voter:
    return Voter(
        name=member.name,
        address=member.address,
        port=words.port,
        role=_ROLES.get(words.role, "voter"),
        healthy=member.standing in LIVES and words.role != "silent",
        since=member.since,
    )


def _lot(me: str, other: str) -> int:
    return zlib.crc32(f"{me} {other}".encode())
