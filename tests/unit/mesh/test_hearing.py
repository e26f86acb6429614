"""What comes of what hosts say: who is asked, and what is told to be amiss."""

from __future__ import annotations

from ipaddress import ip_address

import msgspec

from weft.mesh.hearing import Heard
from weft.mesh.membership import Member, Standing
from weft.mesh.voters import FACT, Cluster, Said, said

OURS = Cluster("aa")


def member(number: int, words: Said, standing: Standing = Standing.ALIVE, reached: bool = True) -> Member:
    return Member(
        name=f"node-{number}",
        address=ip_address(f"10.0.0.{number}"),
        port=6785,
        uid=f"{number}",
        standing=standing,
        facts={FACT: words.text()},
        reached=reached,
    )


def heard(*members: Member, cluster: Cluster | None = OURS) -> Heard:
    """By the first one."""
    return Heard(me=members[0], members=members, said={one.name: said(one) for one in members}, cluster=cluster)


def names(voters: tuple[object, ...]) -> list[str]:
    return [voter.name for voter in voters]  # type: ignore[attr-defined]


CLIENT, VOTER = Said(cluster=OURS, able=True, zone="x"), Said(cluster=OURS, able=True, role="voter", zone="x")
SILENT, FAR = Said(cluster=OURS, role="silent"), Said(cluster=OURS, role="leader", zone="y")


def test_the_best_one_is_asked_first() -> None:
    around = heard(
        member(1, CLIENT),
        member(2, SILENT),
        member(3, FAR),
        member(4, VOTER, reached=False),
        member(5, VOTER),
        member(6, Said(cluster=OURS, role="learner")),
        member(7, VOTER, Standing.DEAD),
    )
    assert names(around.asked()) == ["node-5", "node-3", "node-4", "node-2"]
    assert names(heard(member(9, VOTER), *around.members).asked())[0] == "node-9"


def test_clients_do_not_all_ask_the_same_voter() -> None:
    voters = [member(number, VOTER) for number in (1, 2, 3)]
    first = {heard(member(number, CLIENT), *voters).asked()[0].name for number in range(10, 40)}
    assert first == {"node-1", "node-2", "node-3"}


def test_a_lost_majority_is_told() -> None:
    around = heard(member(1, VOTER), member(2, SILENT), member(3, VOTER, Standing.DEAD))
    assert [line for line in around.problems() if "only 1 of 3 voters are well" in line and "weft mesh recover" in line]
    others = ("10.0.0.1:6786", "10.0.0.2:6786", "10.0.0.3:6786")
    alone = msgspec.structs.replace(heard(member(1, SILENT)), remembered=others)  # the first one after a power cut
    assert [line for line in alone.problems() if "only 0 of 3 voters are well" in line]
    assert not list(heard(member(1, VOTER), member(2, SILENT), member(3, FAR)).problems())
    assert not list(heard(member(1, VOTER), member(2, VOTER, Standing.LEFT)).problems())


def test_another_cluster_is_told_and_none_of_it_is_asked() -> None:
    theirs = Said(cluster=Cluster("bb"), role="voter")
    around = heard(member(1, VOTER), member(2, theirs))
    assert [line for line in around.problems() if "node-2 belongs to another cluster (bb) than this host (aa)" in line]
    assert names(around.asked()) == ["node-1"]


def test_who_cannot_know_whom_to_follow_says_so() -> None:
    twins = [member(number, Said(cluster=Cluster("aa", 1, f"{number}"), role="leader")) for number in (1, 2)]
    around = heard(member(3, CLIENT), *twins)
    assert [line for line in around.problems() if "different clusters (aa-11, aa-12)" in line]


def test_an_old_generation_is_not_asked_and_no_stranger() -> None:
    later = Cluster("aa", 1, "x")
    around = heard(member(1, Said(cluster=later, role="leader")), member(2, VOTER), cluster=later)
    assert names(around.voters()) == ["node-1"]
    assert not list(around.problems())


def test_what_cannot_be_read_says_nothing() -> None:
    for text in ("", "nonsense", "[1]", '[["aa"],true,"king"]', '[["aa"],true,"voter","x",70000]'):
        broken = Member(
            name="x",
            address=ip_address("10.0.0.1"),
            port=1,
            uid="x",
            standing=Standing.ALIVE,
            facts={FACT: text},
        )
        assert said(broken) == Said()


def test_what_is_said_is_short() -> None:
    longest = Said(Cluster("f" * 16, 10**6, "f" * 6), True, "learner", "f" * 16, 65535, "z" * 63, "n" * 63, True)
    assert len(longest.text()) < 260
