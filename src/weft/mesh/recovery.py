"""Whether a cluster that lost most of its voters may begin anew with the data of one: only a person can know that the others
are lost, and only what would throw away more than need be is refused."""

from __future__ import annotations

import secrets

from weft.base.errors import Conflict, NotFound, Unavailable
from weft.mesh.council import Being, Council, beings
from weft.mesh.hearing import Heard
from weft.mesh.own import OwnVoter
from weft.mesh.seat import Known
from weft.mesh.voters import Cluster


async def successor(own: OwnVoter, council: Council, heard: Heard, known: Known) -> Cluster:
    """What the cluster is called when it goes on with this host's voter. Raises Conflict, NotFound, Unavailable."""
    if own.disk.seat() is None or not own.disk.has_data():
        raise NotFound(
            "this host has no voter, so there is nothing here to go on with: run it on one of "
            + (", ".join(one.name for one in heard.voters()) or "those that have one ('weft mesh voters')")
        )
    if known.cluster is None:
        raise Conflict("this host's voter was never in a cluster that worked: there is nothing to recover")
    mine, others = await _logs(own, council, heard)
    led = [name for name, being in others.items() if being.leader]
    if led or (mine is not None and mine.leader):
        raise Conflict(
            f"the voters have a leader ({led[0] if led else 'also here'} says so): there is nothing to recover"
        )
    if mine is not None and mine.learner:
        raise Conflict(f"this host's voter had not taken over all data yet: run it on {_elsewhere(heard)}")
    further = [name for name, one in others.items() if mine is None or (one.term, one.index) > (mine.term, mine.index)]
    if further:
        raise Conflict(f"the voter of {further[0]} has later data than this host's: run it there")
    return Cluster(known.cluster.number, known.cluster.generation + 1, secrets.token_hex(3))


async def _logs(own: OwnVoter, council: Council, heard: Heard) -> tuple[Being | None, dict[str, Being]]:
    """How far each voter has come, of those that answer."""
    voters = [one for one in heard.voters() if one.name != heard.me.name and one.role != "learner"]
    endpoints = {number: one.endpoint for number, one in enumerate(voters)}
    answers = await beings(council, {**endpoints, -1: own.endpoint})
    return answers.get(-1), {voters[number].name: one for number, one in answers.items() if number >= 0}


def _elsewhere(heard: Heard) -> str:
    others = [one.name for one in heard.voters() if one.role != "learner" and one.name != heard.me.name]
    return ", ".join(others) or "another voter"


def unfinished(what: str, seconds: float, why: str) -> Unavailable:
    return Unavailable(f"{what} after {seconds:.0f} s{': ' if why else ''}{why}: it goes on; see 'weft mesh status'")
