"""What a table of members says to others on this host: who counts as a member, and what is amiss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from weft.mesh.membership import Member
from weft.mesh.swim import timing
from weft.mesh.swim.table import Known, Table, member
from weft.mesh.swim.wire import Alive, Place

CLUSTER = "cluster"
"""The fact that says of which cluster a host is; "" or none: of none yet."""


def me(table: Table) -> Member:
    return member(table.me, table.standing, table.since)


def members(table: Table) -> list[Member]:
    others = [known.member() for known in table.known.values() if _ours(table, known)]
    return sorted((me(table), *others), key=_name)


def strangers(table: Table) -> list[Member]:
    """Hosts with the same secret that are of another cluster. News pass between both, so that each knows of the other."""
    return sorted((known.member() for known in table.known.values() if not _ours(table, known)), key=_name)


def _name(member: Member) -> str:
    return member.name


def _cluster(claim: Alive) -> str:
    return claim.facts.get(CLUSTER, "")


def _ours(table: Table, known: Known) -> bool:
    mine, theirs = _cluster(table.me), _cluster(known.claim)
    return not (mine and theirs) or mine == theirs


def troubles(table: Table, now: float) -> Iterator[str]:
    """A line each. What has been seen stays for three exchanges, within which it would be seen again."""
    here = table.here()
    yield from table.troubles.lines(now, 3 * timing.EXCHANGE * timing.scale(table.size))
    yield from at_one_address([table.me, *(known.claim for known in here)])
    for claim in (known.claim for known in here if known.tcp_only):
        yield f"{claim.name} at {claim.place[0]} is reached by TCP only: let UDP port {claim.port} through"
    yield from _of_clusters(table, here)


def at_one_address(claims: Sequence[Alive]) -> Iterator[str]:
    """All but one of them lie, or have moved."""
    seen: dict[Place, list[str]] = {}
    for claim in claims:
        seen.setdefault(claim.place, []).append(claim.name)
    for place, names in seen.items():
        if len(names) > 1:
            yield f"{' and '.join(sorted(names))} all say that they are at {place[0]}: only one of them can be right"


def _of_clusters(table: Table, here: Sequence[Known]) -> Iterator[str]:
    if mine := _cluster(table.me):
        for claim in (known.claim for known in here if not _ours(table, known)):
            yield (
                f"{claim.name} at {claim.place[0]} is of another cluster ({_cluster(claim)}; this host's is {mine}): "
                "it does not count as a member"
            )
    elif len(clusters := {_cluster(known.claim) for known in here} - {""}) > 1:
        yield f"hosts of several clusters are there: {', '.join(sorted(clusters))}"
