"""An agent's life: start, restart, reboot, a lost store, a lost uplink, peers that come and go, its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_interface
from pathlib import Path

import msgspec
import pytest

from support.agents import FakeHost, Tap, agent_on, attach, create, make_agent, network, running, settled, until
from weft.agent import agent as agent_module
from weft.agent.agent import Agent
from weft.agent.resources import infos
from weft.agent.resources.service import Service
from weft.base.errors import Conflict, Failed, Unavailable
from weft.cluster import follower, journal
from weft.cluster.changes import Changed
from weft.datapaths import registry
from weft.datapaths.registry import DRIVERS
from weft.hoststate import Address, Link, Route
from weft.hoststate.union import Source
from weft.model import Node, decode, encode, keys, records
from weft.reconcile.protocol import UplinkChanged
from weft.store.follow import Changes, Event, Synced
from weft.store.protocol import Batch, Change, Item, Put


def tap(agent: Agent) -> Tap:
    assert isinstance(agent.store, Tap)
    return agent.store


def routes(host: FakeHost) -> dict[str, Route]:
    return {
        o.prefix: o for o in tuple(host.ours().values()) if isinstance(o, Route) and o.type == "unicast" and not o.ns
    }


def devices(host: FakeHost) -> set[str]:
    return {o.name for o in tuple(host.ours().values()) if isinstance(o, Link) and not o.ns}


def leased(agent: Agent, node: str, name: str = "blue") -> str:
    lease = agent.view.lease(name, node)
    return str(lease.subnets[0]) if lease else ""


# Start and restart.


async def test_it_starts_registers_and_converges(agent: Agent, host: FakeHost) -> None:
    status = infos.status(agent)
    assert (status.node, status.uplink, status.state) == ("node-1", "eth0", "converged")
    assert status.store.state == "connected" and status.store.url.startswith("sqlite://")
    item = await agent.store.get("nodes/node-1")
    assert item and agent.node and decode(Node, item.value) == msgspec.structs.replace(agent.node, number=1)
    assert host.ours() == {}


async def test_a_restart_changes_nothing_that_is_right(host: FakeHost, store_file: Path) -> None:
    async with agent_on(host, store_file) as agent:
        await create(agent, "blue", "10.1.0.0/16", "fd00:1::/48")
        host.open("c1")
        await attach(agent, "c1")
        await settled(agent)
    before, writes = dict(host.objects), len(host.log)
    async with agent_on(host, store_file) as agent:
        await settled(agent)
        assert len(host.log) == writes and host.objects == before
        assert [e.name for e in agent.view.endpoints.values()] == ["c1"]
        assert infos.status(agent).repairs == 0


async def test_what_is_no_longer_wanted_is_removed_at_start(host: FakeHost, store_file: Path) -> None:
    async with agent_on(host, store_file) as agent:
        await create(agent)
        store = tap(agent).store
        await store.commit([], [])
        assert "weft-blue" in devices(host)
    async with agent_on(FakeHost("192.168.1.2/24"), store_file, "node-2") as other:
        await Service(other).remove_network("blue")
    async with agent_on(host, store_file):
        assert devices(host) == set()


async def test_nothing_is_removed_before_the_store_answered(host: FakeHost, store_file: Path) -> None:
    async with agent_on(host, store_file) as agent:
        await create(agent)
    before = dict(host.objects)
    agent = make_agent(host, store_file)
    tap(agent).lose("etcd: no leader")
    async with running(agent):
        await until(lambda: agent.store_status.state == "lost")
        for call in (create(agent, "red", "10.2.0.0/16"), attach(agent, "c1"), Service(agent).detach("c1")):
            with pytest.raises(Unavailable) as caught:
                await asyncio.wait_for(call, 5)
            assert "etcd: no leader" in str(caught.value)
        status = infos.status(agent)
        assert (status.state, status.store.reason) == ("starting", "etcd: no leader")
        assert host.objects == before
        tap(agent).restore()
        await until(lambda: agent.loop.started)
        assert host.objects == before


async def test_an_early_attach_is_given_no_address_that_is_taken(host: FakeHost, store_file: Path) -> None:
    """The API answers before the view is complete: then nothing is known of who has which address."""
    async with agent_on(host, store_file) as agent:
        await create(agent)
        host.open("c1"), host.open("c2")
        first = await attach(agent, "c1")
        await agent.store.commit([], [Put(keys.cursor("node-1", "blue"), b"{}")])
    agent = make_agent(host, store_file)
    async with running(agent):
        with contextlib.suppress(Unavailable):
            await attach(agent, "c2")
        await until(lambda: agent.loop.started)
        assert (await attach(agent, "c2")).addresses != first.addresses


# The uplink.


async def test_without_an_uplink_it_waits_and_touches_nothing(
    host: FakeHost, store_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with agent_on(host, store_file) as agent:
        await create(agent)
    before = dict(host.objects)
    monkeypatch.setattr(agent_module, "IMPATIENCE", 0.02)
    host.no_uplink = "no uplink: no default route and no device with a global address; name one with --iface"
    agent = make_agent(host, store_file)
    async with running(agent):
        await until(lambda: agent.store_status.state == "connected")
        with pytest.raises(Unavailable, match="no uplink: no default route"):
            await asyncio.wait_for(attach(agent, "c1"), 5)
        assert infos.status(agent).state == "starting" and host.objects == before
        host.no_uplink = ""
        await until(lambda: agent.loop.started)
        await until(lambda: infos.status(agent).state == "converged")
        assert host.objects == before


async def test_an_uplink_that_is_lost_later_is_kept_in_mind(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    host.no_uplink = "uplink eth0: there is no such device; name another with --iface"
    await agent.loop.in_thread(lambda: host._tell(UplinkChanged("eth0 is gone")))
    await until(lambda: agent.waiting_for)
    assert "weft-blue" in devices(host) and infos.status(agent).state == "degraded"
    host.no_uplink = ""
    await agent.loop.in_thread(lambda: host._tell(UplinkChanged("eth0 is back")))
    await until(lambda: not agent.waiting_for)


async def test_a_new_address_of_the_uplink_reaches_peers(agent: Agent, host: FakeHost, store_file: Path) -> None:
    await create(agent)
    far = FakeHost("192.168.1.2/24")
    async with agent_on(far, store_file, "node-2") as other:
        await until(lambda: leased(other, "node-2") and leased(other, "node-1") in routes(far))
        host.change(addresses=(ip_interface("192.168.1.99/24"),))
        await agent.loop.in_thread(lambda: host._tell(UplinkChanged("an address")))
        await until(lambda: any(o.kind == "fdb" and o.dst == "192.168.1.99" for o in tuple(far.ours().values())))  # type: ignore[union-attr]
        assert other.view.nodes["node-1"].addresses == (ip_interface("192.168.1.99/24"),)


async def test_a_network_that_stands_outlives_the_loss_of_its_underlays_address(
    host: FakeHost, store_file: Path
) -> None:
    host.change(addresses=(ip_interface("192.168.1.68/24"), ip_interface("fd00:9::1/64")))
    async with agent_on(host, store_file) as agent:
        await create(agent)
        path = host.open("c1")
        await attach(agent, "c1")
        host.change(addresses=(ip_interface("fd00:9::1/64"),))
        await agent.loop.in_thread(lambda: host._tell(UplinkChanged("v4 is gone")))
        await until(lambda: agent.node and len(agent.node.addresses) == 1)
        await settled(agent)
        assert "weft-blue" in devices(host) and host.inside(path)
        assert [p.text for p in infos.status(agent).problems] == [
            "node-1 has no IPv4 address on eth0: give it one, or make network blue with -O underlay=ipv6"
        ]
        assert (await attach(agent, "c1")).network == "blue"


async def test_a_bounce_of_the_uplink_loses_routes_and_they_come_back(
    agent: Agent, host: FakeHost, store_file: Path
) -> None:
    await create(agent, "blue", driver="host-gw")
    async with agent_on(FakeHost("192.168.1.2/24"), store_file, "node-2") as other:
        await until(lambda: leased(other, "node-2") in routes(host))
        prefix = leased(other, "node-2")
        await agent.loop.in_thread(lambda: host.set_up(("link", "", "eth0"), False))
        await until(lambda: prefix not in routes(host) or agent.loop.troubles())
        await agent.loop.in_thread(lambda: host.set_up(("link", "", "eth0"), True))
        await until(lambda: prefix in routes(host), seconds=3)
        await until(lambda: not agent.loop.troubles())


# Boots.


async def test_after_a_reboot_earlier_containers_are_forgotten(
    store_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = tmp_path / "boot_id"
    boot.write_text("first\n")
    monkeypatch.setattr(journal, "BOOT_ID", boot)
    host = FakeHost()
    async with agent_on(host, store_file) as agent:
        await create(agent)
        for name in ("c1", "c2"):
            host.open(name)
            await attach(agent, name)
        subnet = leased(agent, "node-1")
    boot.write_text("second\n")
    rebooted = FakeHost()
    rebooted.cookies = dict(host.cookies)  # cookies begin anew, so that they may well be the same
    rebooted.namespaces |= host.namespaces
    async with agent_on(rebooted, store_file) as agent:
        assert not agent.view.endpoints and leased(agent, "node-1") == subnet
        assert not (await agent.store.list(keys.ENDPOINTS)).items
        assert "weft-blue" in devices(rebooted) and not rebooted.inside("/run/netns/c1")
        await attach(agent, "c1")


# The store.


async def test_a_lost_store_and_its_return(agent: Agent, host: FakeHost, store_file: Path) -> None:
    await create(agent)
    path = host.open("c1")
    await attach(agent, "c1")
    far = FakeHost("192.168.1.2/24")
    async with agent_on(far, store_file, "node-2") as other:
        await until(lambda: leased(other, "node-2") in routes(host))
        await settled(agent)
        before = dict(host.objects)
        tap(agent).lose("etcd 10.0.0.1:2379: connection refused")
        await until(lambda: agent.store_status.state == "lost")
        status = infos.status(agent)
        assert status.store.reason == "etcd 10.0.0.1:2379: connection refused" and status.state == "degraded"
        assert status.store.revision > 0
        await create(other, "red", "10.2.0.0/16", vni=2)
        await Service(other).remove_node("node-9") if "node-9" in other.view.nodes else None
        await settled(agent)
        assert host.objects == before
        await agent.loop.in_thread(lambda: host.destroy(("address", path, "eth0", _address(host, path))))
        await until(lambda: host.objects == before)  # drift is repaired all the same
        tap(agent).restore()
        await until(lambda: "weft-red" in devices(host))
        await until(lambda: leased(agent, "node-1", "red") in routes(far))
        assert infos.status(agent).store.state == "connected" and not infos.status(agent).store.reason


def _address(host: FakeHost, ns: str) -> str:
    return next(o.address for o in host.inside(ns) if isinstance(o, Address))


async def test_what_cannot_be_read_is_told_and_does_no_harm(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    await agent.store.commit([], [Put("networks/new", b'{"made":"by a newer version"}'), Put("nodes/x", b"\xff\x00")])
    await until(lambda: len(agent.view.broken) == 2)
    texts = [p.text for p in infos.status(agent).problems]
    assert any(text.startswith("networks/new in the store cannot be read: ") for text in texts)
    assert "weft-blue" in devices(host)


async def test_a_network_of_another_version_is_listed_and_told(agent: Agent) -> None:
    wish = network("novel", "10.7.0.0/16", driver="warp", factor=9)
    await agent.store.commit([], [Put("networks/novel", encode(wish))])
    await until(lambda: "novel" in agent.view.networks)
    await settled(agent)
    (info,) = await Service(agent).networks()
    assert info.options == {"factor": 9}
    await until(lambda: (agent.loop.problems, agent.leases.refused) != ({}, {}))
    (text, *_) = (await Service(agent).network("novel")).problems
    assert text.startswith(f"unknown driver 'warp': choose one of {', '.join(sorted(DRIVERS))}")
    assert await Service(agent).doctor()


async def test_a_store_that_was_put_back_removes_nothing(
    host: FakeHost, store_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: asyncio.Queue[Event] = asyncio.Queue()

    async def follow(*_: object) -> AsyncIterator[Event]:
        while True:
            yield await told.get()

    monkeypatch.setattr(follower, "follow", follow)
    agent = make_agent(host, store_file)
    async with running(agent):
        blue, red = (Item(f"networks/{n}", encode(network(n)), 90) for n in ("blue", "red"))
        told.put_nowait(Synced(agent.view.prefixes(), (blue,), 100))
        told.put_nowait(Changes("networks/", Batch(105, (Change(red.key, red.value, 105),))))
        await until(lambda: set(agent.view.networks) == {"blue", "red"})
        old = Item("networks/green", encode(network("green")), 7)
        told.put_nowait(Synced(agent.view.prefixes(), (old,), 10))
        await until(lambda: set(agent.view.networks) == {"green", "blue", "red"})
        assert agent.store_status.revision == 10
        assert agent.view.kept == {"networks/blue", "networks/red"} and agent.known.put_back == 1


# Peers.


@contextlib.asynccontextmanager
async def two(host: FakeHost, store_file: Path, **settings: object) -> AsyncIterator[tuple[Agent, Agent]]:
    """node-1 on `host`, and node-2, which has a subnet of network blue."""
    far = FakeHost("192.168.1.2/24")
    async with agent_on(host, store_file, presence_ttl=2.0, **settings) as agent:
        await create(agent)
        async with agent_on(far, store_file, "node-2", presence_ttl=2.0) as other:
            await until(lambda: leased(agent, "node-2") in routes(host) and leased(agent, "node-1") in routes(far))
            yield agent, other


async def dies(agent: Agent, other: Agent) -> None:
    """`other` is there no more, and does not come back."""
    assert isinstance(other.store, Tap)
    other.store.lose()
    await agent.store.revoke(other.membership.presence_lease)
    await until(lambda: "node-2" not in agent.view.present)


async def test_peers_come_and_their_presence_ends(host: FakeHost, store_file: Path) -> None:
    async with two(host, store_file) as (agent, other):
        prefix = leased(agent, "node-2")
        assert [(p.name, p.alive, p.same_segment) for p in infos.status(agent).peers] == [("node-2", True, True)]
        await until(lambda: agent.membership.attention.enough)
        await dies(agent, other)
        await until(lambda: prefix not in routes(host))
        assert leased(agent, "node-2") == prefix  # it stays its own
        [peer] = infos.status(agent).peers
        assert peer.withdrawn and "left 3 probes of 192.168.1.2 in a row unanswered" in peer.evidence
        assert isinstance(other.store, Tap)
        other.store.restore()
        await until(lambda: prefix in routes(host), seconds=5)  # renewed
        assert infos.status(agent).peers[0].evidence == ""


async def test_a_silent_node_that_answers_keeps_its_routes(host: FakeHost, store_file: Path) -> None:
    """It cannot reach the store, but we can reach it: packets go on. When it answers no more, they end."""
    host.answers = {ip_address("192.168.1.2")}
    async with two(host, store_file) as (agent, other):
        prefix = leased(agent, "node-2")
        await until(lambda: agent.membership.attention.enough)
        await dies(agent, other)
        await until(lambda: "but 192.168.1.2 answers" in infos.status(agent).peers[0].evidence)
        await settled(agent)
        assert prefix in routes(host)
        host.answers.clear()
        await until(lambda: prefix not in routes(host))
        host.answers = {ip_address("192.168.1.2")}
        await until(lambda: prefix in routes(host))


async def test_nobody_is_dead_because_the_store_was_away(host: FakeHost, store_file: Path) -> None:
    """All presences ended meanwhile; nobody is asked, and nothing is withdrawn, before the store was listened to again
    for the time that a presence lasts."""
    async with two(host, store_file) as (agent, other):
        prefix = leased(agent, "node-2")
        await until(lambda: agent.membership.attention.enough)
        assert isinstance(agent.store, Tap) and isinstance(other.store, Tap)
        agent.store.lose()
        other.store.lose()
        await agent.store.store.revoke(other.membership.presence_lease)
        await until(lambda: infos.status(agent).store.state == "lost")
        agent.store.restore()
        await until(lambda: "node-2" not in agent.view.present)
        since = asyncio.get_running_loop().time()
        await until(lambda: prefix not in routes(host))
        assert asyncio.get_running_loop().time() - since > 1.5  # of 2 s, as the watch may have come a little later


async def test_a_newly_started_agent_has_seen_nobody_die(host: FakeHost, store_file: Path) -> None:
    async with two(host, store_file) as (agent, other):
        prefix = leased(agent, "node-2")
        await dies(agent, other)
        again = FakeHost("192.168.1.3/24")
        async with agent_on(again, store_file, "node-3", presence_ttl=3600.0) as third:
            await until(lambda: prefix in routes(again))
            assert "not been listened to for a whole presence-ttl" in third.liveness.evidence("node-2")


async def test_routes_to_a_dead_node_may_be_kept(host: FakeHost, store_file: Path) -> None:
    async with two(host, store_file, withdraw=False) as (agent, other):
        await until(lambda: agent.membership.attention.enough)
        await dies(agent, other)
        assert agent.liveness.due() == {}
        assert "withdraw is off: its routes are kept" in infos.status(agent).peers[0].evidence
        await settled(agent)
        assert leased(agent, "node-2") in routes(host)


async def test_a_node_that_is_removed_is_gone_everywhere(agent: Agent, host: FakeHost, store_file: Path) -> None:
    await create(agent)
    async with agent_on(FakeHost("192.168.1.2/24"), store_file, "node-2") as other:
        await until(lambda: leased(agent, "node-2") in routes(host))
        with pytest.raises(Conflict) as caught:
            await Service(agent).remove_node("node-2")
        assert str(caught.value) == (
            "node-2's agent is running: stop it and `weft agent purge` there, or use --force if the host is gone for good"
        )
        lease = other.membership.presence_lease
    prefix = leased(agent, "node-2")
    await agent.store.revoke(lease)
    await until(lambda: "node-2" not in agent.view.present)
    done = await Service(agent).remove_node("node-2")
    assert done.what == ("node-2", prefix)
    await until(lambda: "node-2" not in agent.view.nodes and prefix not in routes(host))
    left = [i.key for p in ("nodes/", "leases/", "claims/", "endpoints/") for i in (await agent.store.list(p)).items]
    assert not [key for key in left if "node-2" in key or prefix.replace("/", "-") in key]


async def test_a_name_in_use_ends_the_second_agent_and_touches_nothing(agent: Agent, store_file: Path) -> None:
    await create(agent)
    second = FakeHost("192.168.1.2/24")
    other = make_agent(second, store_file, "node-1", "another-installation")
    async with running(other) as task:
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(asyncio.shield(task), 5)
    (error,) = caught.value.exceptions
    assert isinstance(error, Conflict) and "the node name node-1 is in use by a running agent at 192.168.1.68" in str(
        error
    )
    assert second.ours() == {} and second.log == []


async def test_exhaustion_on_one_node_is_told_there(agent: Agent, store_file: Path) -> None:
    await create(agent, "blue", "10.1.0.0/28", node_prefix=30, subnet_min="10.1.0.4/30", subnet_max="10.1.0.4/30")
    second = FakeHost("192.168.1.2/24")
    async with agent_on(second, store_file, "node-2") as other:
        await until(lambda: other.leases.refused)
        (problem,) = [p for p in infos.status(other).problems if p.network == "blue"]
        assert problem.text.startswith("network blue: no subnet is left for node-2")
        second.open("c1")
        with pytest.raises(Conflict, match="no subnet is left for node-2"):
            await attach(other, "c1")
        await Service(agent).remove_network("blue")
        await until(lambda: "blue" not in other.view.networks)
        assert infos.status(other).problems == ()


async def test_a_host_gw_peer_on_another_segment_is_told_on_both(agent: Agent, store_file: Path) -> None:
    await create(agent, "blue", driver="host-gw")
    async with agent_on(FakeHost("192.168.0.33/24"), store_file, "node-4") as other:
        for one, peer in ((agent, "node-4"), (other, "node-1")):
            await until(lambda one=one: one.loop.problems)
            (problem,) = infos.status(one).problems
            assert problem.peer == peer and "use driver vxlan with -O direct-routing=true" in problem.text
            assert (await Service(one).network("blue")).problems == (problem.text,)


# Its end.


async def test_its_end_leaves_the_data_plane(host: FakeHost, store_file: Path) -> None:
    async with agent_on(host, store_file) as agent:
        await create(agent)
        before = dict(host.objects)
    assert host.objects == before


async def test_a_kernel_that_raises_costs_what_was_asked_and_not_the_agent(
    host: FakeHost, store_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with agent_on(host, store_file) as agent:
        with monkeypatch.context() as broken:
            broken.setattr(host, "apply", lambda ops: 1 // 0)
            with pytest.raises(
                Failed, match="blue cannot be set up here: this host cannot be changed now: integer division"
            ):
                await asyncio.wait_for(create(agent), 10)
            assert any("the agent's task loop failed" in p.text for p in infos.problems(agent))
            assert "ZeroDivisionError" in caplog.text
        await until(lambda: not agent.loop.busy)
        assert not agent.view.networks  # nothing is left of it
        await create(agent, "red", "10.1.0.0/16")
        assert "weft-red" in devices(host)


async def test_a_task_that_fails_in_whatever_way_is_started_again(
    host: FakeHost, store_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with agent_on(host, store_file) as agent:
        for name in ("apply", "listed"):
            monkeypatch.setattr(agent.view, name, lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space left"):
            await create(agent)
        async with agent_on(
            FakeHost("192.168.1.9/24"), store_file, "node-2"
        ):  # the watch of the store runs into it, too
            await until(lambda: any("task follow failed" in p.text for p in infos.problems(agent)))
            monkeypatch.undo()
            await until(lambda: "node-2" in agent.view.nodes and "blue" in agent.view.networks)
        await until(lambda: infos.status(agent).state == "converged")


async def test_a_listener_that_raises_costs_the_others_nothing_and_hears_of_it_again(agent: Agent) -> None:
    heard: list[set[str]] = []

    def listener(changed: Changed) -> None:
        heard.append({at.network for at in changed.of(records.NETWORKS)})
        if len(heard) == 1:
            raise OSError(28, "No space left")

    agent.view.subscribe("the page", listener, (records.NETWORKS,))
    later: list[Changed] = []
    agent.view.subscribe("the next one", later.append)
    await create(agent)
    assert heard == [{"blue"}] and later
    assert [p.text for p in infos.problems(agent)] == [
        "the page failed over a change, and hears of it again: [Errno 28] No space left"
    ]
    agent.tidy.wake.set()  # as after each interval
    await until(lambda: heard == [{"blue"}, {"blue"}])
    assert not list(infos.problems(agent))
    await create(agent, "red", "10.9.0.0/16")
    assert heard[2:] == [{"red"}]


async def test_a_driver_that_raises_costs_its_own_network_only(
    agent: Agent, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(agent, "good", "10.1.0.0/16")
    await create(agent, "bad", "10.2.0.0/16", driver="bridge")
    host.open("c1")
    before = dict(host.objects)
    with monkeypatch.context() as broken:
        bad = msgspec.structs.replace(registry.driver("bridge"), endpoint=lambda *_: 1 // 0)
        broken.setitem(registry.DRIVERS, "bridge", bad)
        with pytest.raises(Failed, match="its driver failed, what it has stays as it is: integer division"):
            await attach(agent, "c1", "bad")
        assert host.objects == before and not agent.view.endpoints
        await attach(agent, "c1", "good")
        broken.setitem(registry.DRIVERS, "bridge", msgspec.structs.replace(bad, network=lambda *_: 1 // 0))
        agent.loop.touch([Source("network", "bad")])
        await settled(agent)
        assert "weft-bad" in devices(host)
        assert any(p.network == "bad" and "its driver failed" in p.text for p in infos.problems(agent))
    agent.loop.touch([Source("network", "bad")])
    await settled(agent)
    assert not any(p.network == "bad" for p in infos.problems(agent))
