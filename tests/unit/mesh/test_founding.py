"""Who founds the cluster, who waits and what for; and that hosts which name the same ones never make two."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.mesh.founding import GRACE, Address, Decision, Found, Join, View, Wait, decide, founders
from weft.mesh.voters import Cluster

A, B, C, D = (ip_address(f"192.168.1.{n}") for n in (1, 2, 3, 4))
OURS, OTHERS = Cluster("aa"), Cluster("bb")
THREE: frozenset[Address] = frozenset({A, B, C})


def view(me: Address, *seen: Address, named: frozenset[Address] = THREE, **what: object) -> View:
    return View(me=me, named=named, seen={me, *seen}, **what)  # type: ignore[arg-type]


def wait(found: Decision) -> str:
    assert isinstance(found, Wait)
    return found.why


def test_all_are_there() -> None:
    assert decide(view(B, A, C)) == Found((A, B, C))


def test_a_majority_waits_a_moment_for_the_rest() -> None:
    assert "about to found" in wait(decide(view(A, B)))
    assert decide(view(A, B, waited=GRACE)) == Found((A, B, C))


def test_less_says_whom_it_waits_for() -> None:
    assert wait(decide(view(A, waited=99))) == "waiting for 1 more of 192.168.1.2, 192.168.1.3 to found the cluster"


def test_who_cannot_run_a_voter_does_not_count() -> None:
    found = decide(view(A, unable={B}))
    assert "on 192.168.1.2 etcd is not installed: apt install etcd-server" in wait(found)
    mine = View(me=A, named=frozenset({A}), unable={A})
    assert "etcd is not installed on this host" in wait(decide(mine))


def test_a_host_that_names_itself_only_founds_at_once() -> None:
    assert decide(view(A, named=frozenset({A}))) == Found((A,))


def test_of_two_named_ones_the_first_founds_when_both_are_there() -> None:
    two: frozenset[Address] = frozenset({A, B})
    assert "waiting for 1 more of 192.168.1.2" in wait(decide(view(A, named=two)))
    assert decide(view(A, B, named=two)) == Found((A,))
    assert "192.168.1.1, who found" in wait(decide(view(B, A, named=two)))


def test_who_is_not_named_waits_to_hear_of_it() -> None:
    assert "waiting to hear of a cluster" in wait(decide(view(D, A, B, C)))


def test_a_name_without_an_address_is_waited_for() -> None:
    assert wait(decide(view(A, B, unresolved=("node-3",)))) == "waiting for an address of node-3"


def test_a_cluster_that_is_there_is_joined() -> None:
    assert decide(view(A, B, C, told={OURS})) == Join(OURS)
    assert decide(view(A, known=OURS)) == Join(OURS)


def test_the_last_generation_counts() -> None:
    later = Cluster("aa", 1, "x")
    assert decide(view(A, told={OURS, later})) == Join(later)
    assert decide(view(A, known=OURS, told={later})) == Join(later)
    assert decide(view(A, known=later, told={OURS})) == Join(later)


def test_two_clusters_are_not_chosen_between() -> None:
    assert "different clusters (aa, bb)" in wait(decide(view(A, told={OURS, OTHERS})))
    assert decide(view(A, known=OURS, told={OTHERS})) == Join(OURS)
    twice = {Cluster("aa", 1, "x"), Cluster("aa", 1, "y")}
    assert "different clusters" in wait(decide(view(A, known=OURS, told=twice)))


def test_nobody_founds_twice() -> None:
    assert "lost the data" in wait(decide(view(A, B, C, before=True)))


@pytest.mark.parametrize(("hosts", "size"), [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (9, 5)])
def test_the_first_ones_found(hosts: int, size: int) -> None:
    named = [IPv4Address(f"10.0.0.{n}") for n in range(1, hosts + 1)]
    assert founders(frozenset(reversed(named))) == tuple(named[:size])


@given(st.data())
def test_hosts_that_name_the_same_found_one_cluster(data: st.DataObject) -> None:
    """Whoever sees whom, and however many have lost their disks: what is started has one list; and while anybody who is seen
    tells of a cluster, nothing is started."""
    named = frozenset(IPv4Address(f"10.0.0.{n}") for n in range(1, data.draw(st.integers(1, 9)) + 1))
    told: dict[Address, Cluster] = dict.fromkeys(data.draw(st.sets(st.sampled_from(sorted(named)))), OURS)
    lists = set()
    for me in named:
        seen = data.draw(st.sets(st.sampled_from(sorted(named)))) | {me}
        heard = {told[host] for host in seen if host in told}
        found = decide(View(me=me, named=named, seen=seen, told=heard, waited=data.draw(st.sampled_from([0.0, GRACE]))))
        if isinstance(found, Found):
            assert not heard
            assert me in found.founders
            assert len(seen) > len(named) // 2
            assert len(seen & set(found.founders)) > len(found.founders) // 2
            lists.add(found.founders)
    assert len(lists) <= 1
