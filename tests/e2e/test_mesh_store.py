"""A store without a server: hosts that find each other keep it, whatever happens to some of them.

One lab for all; each scene leaves it whole."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import meshes
from support.meshes import cut, heard, kill_voter, status, together, write, writes
from support.reach import NODES, Container, client, make_network, ping, refused, run, run_everywhere, weft
from support.waiting import note, until
from weft.lab import Lab, reference
from weft.mesh import ports

ONE, TWO, THREE, FOUR = NODES


@pytest.fixture(scope="module")
def lab(lab_base: str) -> Iterator[Lab]:
    """Brought up host by host, the named ones not first."""
    with Lab.up(reference(), name="mesh", store="mesh", agents=False) as lab:
        meshes.power_on(lab, (FOUR, THREE))
        meshes.power_on(lab, (ONE, TWO))
        note(f"all four hosts together: {together(lab):.1f} s")
        yield lab


@pytest.fixture(scope="module")
def containers(lab: Lab) -> list[Container]:
    make_network(lab, "office", "vxlan", "172.16.0.0/16", "fd00:16::/48")
    return run_everywhere(lab, "office")


@pytest.fixture(autouse=True)
def _whole(lab: Lab) -> Iterator[None]:
    """After each scene."""
    yield
    together(lab)


def reach(*containers: Container) -> None:
    """Each the first one."""
    first, *others = containers
    assert all(ping(other.inside, first.address(family)).ok for other in others for family in (4, 6))


def test_hosts_find_each_other_and_their_containers_reach_each_other(lab: Lab, containers: list[Container]) -> None:
    reach(*containers)
    for host in NODES:
        found = status(lab, host)
        assert [member.name for member in found.members] == list(NODES)
        assert (found.waiting, found.problems, len(found.cluster) > 4) == ("", (), True)
        assert sorted(voter.name for voter in found.voters) == [ONE, TWO, THREE]
        assert sorted(voter.state for voter in found.voters) == ["leader", "voter", "voter"]
    assert len({status(lab, host).cluster for host in NODES}) == 1
    assert "3 of 3 voters up" in weft(lab, FOUR, "mesh", "status").stdout
    assert len(json.loads(weft(lab, FOUR, "mesh", "voters", "-o", "json").stdout)) == 3


def test_nothing_else_runs_and_each_host_has_its_own_data(lab: Lab, containers: list[Container]) -> None:
    listening = {
        host: lab.host(host).run(["ss", "-Hltn"], check=True).stdout.count(f":{ports.VOTER} ") > 0
        for host in (*NODES, "router")
    }
    assert listening == {ONE: True, TWO: True, THREE: True, FOUR: False, "router": False}
    assert all(list((lab.host(host).own / "var/mesh").rglob("member")) for host in (ONE, TWO, THREE))
    assert not list((lab.host(FOUR).own / "var/mesh").rglob("member"))
    assert not list((lab.directory / "store").glob("etcd"))


def test_a_node_that_is_heard_is_not_forgotten(lab: Lab, containers: list[Container]) -> None:
    assert "agent is running" in refused(lab, f"node rm {FOUR}")


def test_an_agent_that_is_killed_is_missed_and_comes_back(lab: Lab, containers: list[Container]) -> None:
    lab.agent(TWO).end(signal.SIGKILL)
    seconds = until(lambda: TWO not in heard(lab, ONE), 30, lambda: f"{ONE} to miss {TWO}: {heard(lab, ONE)}")
    note(f"a killed agent is missed after {seconds:.1f} s")
    assert write(lab, THREE) == ""  # its voter has outlived it
    reach(*containers)
    lab.agent(TWO).start()


def test_the_leaders_voter_is_killed_and_writing_goes_on(lab: Lab, containers: list[Container]) -> None:
    until(lambda: meshes.leader(lab), 20, "somebody to lead")
    kill_voter(lab, meshes.leader(lab))
    note(f"written again {writes(lab, FOUR, 10):.1f} s after the leader was killed")
    until(lambda: all(meshes.voter_pid(lab, host) for host in (ONE, TWO, THREE)), 20, "the voter to be started again")


def test_the_side_with_fewer_voters_refuses_and_says_why(lab: Lab, containers: list[Container]) -> None:
    one, two, three, four = containers
    with cut(lab, (ONE, TWO), (THREE, FOUR)):
        until(lambda: "not heard from here" in write(lab, FOUR), 30, lambda: f"a refusal: {write(lab, FOUR)}")
        missed = f"2 of 3 voters of the mesh are not heard from here ({ONE}, {TWO})"
        until(lambda: missed in write(lab, THREE), 30, lambda: f"a refusal: {write(lab, THREE)}")
        writes(lab, TWO)
        reach(one, two)
        reach(three, four)
    note(f"whole again {together(lab):.1f} s after two and two")
    reach(*containers)


def test_one_host_alone_goes_on_as_it_is_and_comes_back(lab: Lab, containers: list[Container]) -> None:
    held = client(lab, THREE).networks(brief=True)
    lab.link(THREE, up=False, cable=True)
    try:
        until(lambda: "not heard from here" in write(lab, THREE), 30, lambda: f"a refusal: {write(lab, THREE)}")
        writes(lab, FOUR)
        assert client(lab, THREE).networks(brief=True) == held
        local = containers[2]
        assert ping(lab.host(THREE), local.address(4)).ok
    finally:
        lab.link(THREE, up=True, cable=True)
    note(f"whole again {together(lab):.1f} s after one was alone")
    reach(*containers)


def test_all_hosts_lose_power_and_go_on(lab: Lab, containers: list[Container]) -> None:
    cluster = status(lab, ONE).cluster
    meshes.power_off(lab, NODES)
    meshes.power_on(lab, (FOUR, TWO))
    meshes.power_on(lab, (THREE, ONE))
    note(f"whole again {together(lab):.1f} s after all were off")
    assert status(lab, FOUR).cluster == cluster
    reach(*containers)
    run(lab, FOUR, "late", "office")
    lab.rm(FOUR, "late")


def test_most_voters_are_lost_and_somebody_decides_to_go_on(lab: Lab, containers: list[Container]) -> None:
    assert "there is nothing to recover" in refused(lab, "mesh recover --yes", host=ONE)
    assert "has no voter" in refused(lab, "mesh recover --yes", status=4, host=FOUR)
    meshes.power_off(lab, (TWO, THREE))
    until(lambda: "not heard from here" in write(lab, ONE), 60, lambda: f"a refusal: {write(lab, ONE)}")
    reach(containers[0], containers[3])
    done = weft(lab, ONE, "mesh", "recover", "--yes")
    assert done.returncode == 0, done.stderr
    note(f"written again {writes(lab, FOUR, 20):.1f} s after it was decided to go on")
    meshes.power_on(lab, (TWO, THREE))  # with their old data
    note(f"whole again {together(lab):.1f} s after those that were given up came back")
    until(lambda: len(voted(lab)) == 3, 60, lambda: f"three voters: {status(lab, FOUR).voters}")
    reach(*containers)


def voted(lab: Lab) -> list[str]:
    return [voter.name for voter in status(lab, FOUR).voters if voter.state != "learner"]


def test_where_no_voter_is_reached_a_member_leads_there(lab: Lab, containers: list[Container]) -> None:
    with cut(lab, (FOUR,), (ONE, TWO, THREE), ports.VOTER):
        lab.agent(FOUR).end(signal.SIGKILL)  # connections that are open would go on
        lab.agent(FOUR).start()
        lab.agent(FOUR).wait_ready(ready=lab.agent(FOUR).connected)
        assert status(lab, FOUR).through.endswith(f":{ports.RELAY}")
        assert write(lab, FOUR) == ""
    lab.agent(FOUR).end(signal.SIGKILL)
    lab.agent(FOUR).start()


@contextlib.contextmanager
def other_agent(lab: Lab, host: str, *words: str) -> Iterator[None]:
    """The host's agent with other options meanwhile."""
    agent = lab.agent(host)
    agent.end(signal.SIGTERM)
    strange = dataclasses.replace(agent, argv=(*agent.argv, *words))
    strange.start()
    try:
        yield
    finally:
        strange.end(signal.SIGTERM)
        agent.start()


def test_a_host_with_another_secret_gets_nowhere_and_is_told_of(
    lab: Lab, containers: list[Container], tmp_path: Path
) -> None:
    wrong = lab.directory / "store" / "wrong.secret"
    wrong.touch(mode=0o600)
    wrong.write_text(secrets.token_urlsafe(32))
    with other_agent(lab, FOUR, f"--mesh-secret={wrong}"):
        until(lambda: any("secret" in text for text in status(lab, ONE).problems), 30, "it to be told of")
        assert client(lab, FOUR).status().store.state != "connected"
        assert status(lab, FOUR).through == ""
        reach(*containers)


def test_two_hosts_of_one_name_are_told(lab: Lab, containers: list[Container]) -> None:
    with other_agent(lab, FOUR, f"--node={THREE}"):
        until(
            lambda: any(
                THREE in text and "name" in text for text in status(lab, ONE).problems + status(lab, THREE).problems
            ),
            30,
            "it to be told",
        )
    assert write(lab, THREE) == ""
