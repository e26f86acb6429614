"""Voters for real: etcds on loopback, in the care of keepers, which hear of each other in memory."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest

from support.voters import House, Town, houses, read, until, voting, write
from weft.base.errors import Conflict, NotFound, WeftError
from weft.mesh import ports, tls
from weft.mesh.council import Council
from weft.mesh.secret import Secret
from weft.mesh.voters import FACT, Said

THREE = {"node-1", "node-2", "node-3"}


async def together(hosts: list[House], who: set[str] = THREE, seconds: float = 30.0) -> None:
    await until(lambda: all(voting(h) == who for h in hosts), seconds, f"{', '.join(sorted(who))} vote", hosts)


def leader(hosts: list[House]) -> House:
    return next(h for h in hosts if any(v.name == h.name and v.role == "leader" for v in h.keeper.voters()))


async def test_three_found_a_fourth_joins_and_takes_over_from_one_that_leaves(tmp_path: Path) -> None:
    async with houses(tmp_path, 4) as hosts:
        await hosts[1].come()
        await until(lambda: "waiting for 1 more of" in hosts[1].keeper.status().why, 5, "it says whom it waits for")
        for host in (hosts[2], hosts[0], hosts[3]):
            await host.come()
        await together(hosts)
        await write(hosts[3], "before")
        assert hosts[3].keeper.status().state == "client"

        first = leader(hosts)
        first.kill()
        await write(hosts[3], "after")
        assert await read(hosts[3]) == "after"
        await together(hosts)

        pid = hosts[0].pid()
        await hosts[0].go()
        await hosts[0].come()
        await until(lambda: hosts[0].keeper.status().state == "voter", 10, "a new agent finds the voter", hosts)
        assert hosts[0].pid() == pid

        await hosts[0].keeper.leave()
        assert hosts[0].pid() is None
        assert hosts[0].aside()
        await hosts[0].membership.leave()
        await together(hosts[1:], {"node-2", "node-3", "node-4"})
        assert await read(hosts[3]) == "after"


async def test_a_dead_voter_is_replaced_and_one_without_its_data_begins_anew(tmp_path: Path) -> None:
    async with houses(tmp_path, 4) as hosts:
        for host in hosts:
            await host.come()
        await together(hosts)
        await write(hosts[0], "kept")

        dead = next(host for host in hosts[:3] if host is not leader(hosts))
        rest = [host for host in hosts if host is not dead]
        await dead.die()
        await together(rest, {host.name for host in rest})
        await dead.come()
        await until(dead.aside, 10, "the voter that was replaced has put its data aside", hosts)
        assert dead.keeper.status().state == "client"

        wiped = next(host for host in rest if host is not leader(rest))
        before = wiped.keeper.own.disk.seat()
        assert before is not None
        await wiped.go()
        wiped.kill()
        shutil.rmtree(wiped.keeper.own.disk.home)
        await wiped.come()
        await until(lambda: len(voting(wiped)) == 2, 10, "it is lost", hosts)
        await until(lambda: len(voting(wiped)) == 3, 20, "three vote again", hosts)
        members = await wiped.keeper.council.members(wiped.keeper.endpoints()[0])
        assert before.member not in {f"{member.number:x}" for member in members}
        assert await read(wiped) == "kept"


async def test_all_begin_again_at_once_and_one_goes_on_where_two_are_lost(tmp_path: Path) -> None:
    async with houses(tmp_path, 3) as hosts:
        for host in hosts:
            await host.come()
        await together(hosts)
        await write(hosts[0], "kept")
        with pytest.raises(Conflict, match="the voters have a leader"):
            await hosts[0].keeper.recover()

        for host in hosts:
            await host.power_cycle(Town())  # each alone: nobody has heard of anybody
        await until(lambda: all(h.keeper.status().state == "voter" for h in hosts), 20, "they go by their disks", hosts)
        town = Town()
        for host in hosts:
            await host.go()
            host.move(town)
            await host.come()
        await together(hosts)

        for host in hosts[1:]:
            await host.die()
        last = hosts[0]
        await until(lambda: any("only 0 of 3" in line for line in last.keeper.problems()), 10, "it is told", hosts)
        assert serializable(last) == "kept"
        cluster = await last.keeper.recover()
        assert cluster.generation == 1
        await write(last, "alone")

        for host in hosts[1:]:
            await host.come()
        await until(lambda: all(h.aside() for h in hosts[1:]), 10, "the others are fenced", hosts)
        await until(lambda: {h.keeper.status().cluster for h in hosts} == {str(cluster)}, 5, "all are of one", hosts)
        assert await read(hosts[2]) == "alone"


def serializable(house: House) -> str:
    """Of one voter, without the others."""
    keys, endpoint = house.keeper.own.daemon.keys, house.keeper.own.endpoint
    flags = [f"--cacert={keys / tls.CA}", f"--cert={keys / tls.CERT}", f"--key={keys / tls.KEY}"]
    command = ["etcdctl", f"--endpoints=https://{endpoint}", *flags, "get", "/weft/said", "--consistency=s"]
    done = subprocess.run(
        [*command, "--print-value-only"], env={"ETCDCTL_API": "3"}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


async def test_one_host_is_enough_it_may_move_and_nobody_gets_in_without_the_secret(tmp_path: Path) -> None:
    async with houses(tmp_path, 2, named=1) as hosts:
        one, two = hosts
        await one.come()
        await until(lambda: voting(one) == {"node-1"}, 10, "one votes", [one])
        await write(one, "kept")
        await two.come()
        await until(lambda: two.keeper.status().state == "client", 5, "the other one is a client", hosts)
        with pytest.raises(NotFound, match=r"this host has no voter.* node-1"):
            await two.keeper.recover()

        await two.go()
        two.membership.say({FACT: Said(able=False).text()})
        with pytest.raises(
            Conflict, match="no other host can take over the store: apt install etcd-server on one of node-2"
        ):
            await one.keeper.leave()
        await two.come()

        stranger = Council(tls.client(Secret(b"another secret of many octets")))
        with pytest.raises(WeftError, match=r"CERTIFICATE_VERIFY_FAILED|handshake"):
            await stranger.being(one.keeper.own.endpoint)
        await stranger.close()

        address = ip_address(one.address) + 100
        one.membership._town.set(msgspec.structs.replace(one.membership.me, address=address))
        await until(lambda: two.keeper.endpoints() == (f"{address}:6786",), 10, "it is asked elsewhere", hosts)
        await write(two, "moved")
        await until(
            lambda: one.keeper.part.placed == f"https://{address}:6787", 10, "the others would find it there", hosts
        )
        members = await one.keeper.council.members(f"{address}:6786")
        assert [member.peer for member in members] == [one.keeper.part.placed]


async def test_what_keeps_a_voter_from_running_is_told_and_mended(tmp_path: Path) -> None:
    async with houses(tmp_path, 1, named=1) as hosts:
        (one,) = hosts
        with socket.create_server((one.address, ports.VOTERS)):
            await one.come()
            await until(
                lambda: any("address already in use" in p for p in one.keeper.problems()), 10, "it is told", hosts
            )
        await until(lambda: voting(one) == {one.name}, 15, "it runs", hosts)
        assert not list(one.keeper.problems())
        if os.geteuid() == 0:
            assert Path(f"/proc/{one.pid()}").owner() == "etcd"
