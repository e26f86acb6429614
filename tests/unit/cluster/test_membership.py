"""A node in the store: its name, its presence, its subnets; also when others want the same."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_interface, ip_network
from pathlib import Path

import msgspec
import pytest

from support.agents import Tap, network, until
from weft.agent.config import Config
from weft.base.errors import Conflict, NotFound, Unavailable
from weft.base.net import IPNetwork
from weft.cluster.cluster import Cluster
from weft.cluster.membership import Membership
from weft.cluster.view import View
from weft.datapaths._tunnel import VTEP_MAC
from weft.datapaths.driver import Host
from weft.ipam.leases import Leases
from weft.model import Lease, Network, Node, decode, encode, keys
from weft.store.protocol import Delete, Put
from weft.store.sqlite import SqliteStore


class Member:
    """One node's view and membership, and a watch that keeps the view."""

    def __init__(self, file: Path, name: str, instance: str, *, ttl: float, v4: bool = True) -> None:
        number = int(name.split("-")[1])
        address = f"192.168.1.{number}/24" if v4 else f"fd00:192::{number}/64"
        self.node = Node(name=name, addresses=(ip_interface(address),), uplink="eth0", instance=instance)
        self.host = Host(node=self.node)
        self.store = Tap(SqliteStore(file))
        self.view = View(name)
        config = Config(presence_ttl=max(ttl, 2.0))
        config = config if ttl >= 2 else _shortened(config, ttl)
        self.cluster = Cluster(self.store, self.view, instance, config.tenure)
        self.membership = Membership(self.cluster, config.presence_ttl)
        self.leases = Leases(self.cluster)
        self.tasks: list[asyncio.Task[None]] = []

    async def look(self) -> None:
        for prefix in self.view.prefixes():
            listing = await self.store.list(prefix)
            self.view.listed((prefix,), listing.items, listing.revision)

    async def watch(self) -> None:
        async def follow(prefix: str, revision: int) -> None:
            async with contextlib.aclosing(self.store.watch(prefix, revision)) as batches:
                async for batch in batches:
                    self.view.apply(batch.changes)

        for prefix in self.view.prefixes():
            listing = await self.store.list(prefix)
            self.view.listed((prefix,), listing.items, listing.revision)
            self.tasks.append(asyncio.create_task(follow(prefix, listing.revision)))

    def keep_alive(self) -> None:
        async def again() -> None:
            await self.membership.register(self.node)

        self.tasks.append(asyncio.create_task(self.membership.keep_alive(lambda: self.node, again)))

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)
        await self.store.close()


def _shortened(config: Config, ttl: float) -> Config:
    """Shorter than a user may have it."""
    short = msgspec.structs.replace(config)
    msgspec.structs.force_setattr(short, "presence_ttl", ttl)
    return short


Join = Callable[..., Member]


@pytest.fixture
async def join(store_file: Path) -> AsyncIterator[Join]:
    members: list[Member] = []

    def make(name: str = "node-1", instance: str = "", ttl: float = 30.0, v4: bool = True) -> Member:
        members.append(Member(store_file, name, instance or f"i-{name}", ttl=ttl, v4=v4))
        return members[-1]

    yield make
    for member in members:
        await member.close()


async def declare(member: Member, wish: Network) -> Network:
    await member.store.commit([], [Put(keys.network(wish.name), encode(wish))])
    await member.look()
    return wish


# Presence.


async def test_register_writes_node_and_presence(join: Join) -> None:
    one = join()
    await one.membership.register(one.node)
    node, presence = await one.store.get("nodes/node-1"), await one.store.get("presence/node-1")
    assert node and decode(Node, node.value) == msgspec.structs.replace(one.node, number=1)
    assert presence and presence.value == b"i-node-1"
    assert one.membership.registered(one.node)  # at once, without a watch


async def test_registering_again_writes_nothing(join: Join) -> None:
    one = join()
    await one.membership.register(one.node)
    commits = one.store.commits
    await one.membership.register(one.node)
    assert one.store.commits == commits


async def test_a_restarted_agent_keeps_its_name_within_its_presence(join: Join) -> None:
    one = join()
    await one.membership.register(one.node)
    again = join()
    await again.look()
    await again.membership.register(again.node)
    assert again.membership.registered(again.node)


async def test_a_name_in_use_is_a_conflict_and_nothing_is_written(join: Join) -> None:
    one, other = join(), join("node-1", "another")
    await one.membership.register(one.node)
    await other.look()
    commits = other.store.commits
    with pytest.raises(Conflict) as caught:
        await other.membership.register(other.node)
    assert str(caught.value) == (
        "the node name node-1 is in use by a running agent at 192.168.1.1: choose another with --node, "
        "or wait 30 s if that agent was just stopped"
    )
    assert other.store.commits == commits


async def test_of_two_that_register_at_once_one_has_the_name(join: Join) -> None:
    members = [join("node-1", f"i{n}") for n in range(4)]
    results = await asyncio.gather(*(m.membership.register(m.node) for m in members), return_exceptions=True)
    assert sorted(type(r).__name__ for r in results) == ["Conflict", "Conflict", "Conflict", "NoneType"]
    winner = members[results.index(None)]
    presence, node = await winner.store.get("presence/node-1"), await winner.store.get("nodes/node-1")
    assert presence and presence.value.decode() == winner.node.instance
    assert node and decode(Node, node.value).instance == winner.node.instance


async def test_each_node_has_a_number_of_its_own(join: Join) -> None:
    """Also where all take one at once, without having seen each other."""
    members = [join(f"node-{n}", f"i-{n}") for n in range(1, 5)]
    await asyncio.gather(*(member.membership.register(member.node) for member in members))
    found = [decode(Node, item.value).number for item in (await members[0].store.list(keys.NODES)).items]
    assert sorted(found) == [1, 2, 3, 4]
    claims = (await members[0].store.list("claims/mesh/")).items
    assert sorted(item.key for item in claims) == [keys.number_claim(n) for n in range(1, 5)]


async def test_a_number_is_kept_as_long_as_its_claim_is(join: Join) -> None:
    one, other = join(), join("node-2", "i-2")
    await one.membership.register(one.node)
    await other.membership.register(other.node)
    again = join()
    await again.look()
    await again.membership.register(again.node)
    assert again.view.nodes["node-1"].number == 1
    await other.store.commit([], [Delete(keys.number_claim(1))])
    await again.membership.register(again.node)
    assert await one.store.get(keys.number_claim(1)), "a claim that was lost is made again"
    await other.store.commit([], [Put(keys.number_claim(1), b"somebody-else")])
    await again.membership.register(again.node)
    assert again.view.nodes["node-1"].number == 3, "2 is node-2's"
    assert again.membership.registered(again.node)


async def test_presence_is_renewed_while_the_agent_lives_and_ends_with_it(join: Join) -> None:
    one, other = join(ttl=0.6), join("node-2")
    await other.watch()
    await one.watch()
    await one.membership.register(one.node)
    one.keep_alive()
    await until(lambda: "node-1" in other.view.present)
    await asyncio.sleep(1.3)  # twice the time it lasts
    assert "node-1" in other.view.present
    await one.close()
    await until(lambda: "node-1" not in other.view.present)
    assert "node-1" in other.view.nodes  # its tenure goes on


async def test_what_was_lost_meanwhile_is_registered_again(join: Join) -> None:
    one = join(ttl=0.3)
    await one.watch()
    await one.membership.register(one.node)
    await one.store.store.revoke(one.membership.presence_lease)
    await one.store.store.commit([], [Delete("nodes/node-1")])
    await until(lambda: not one.view.present and not one.view.nodes)
    one.keep_alive()
    await until(lambda: one.membership.registered(one.node))
    assert await one.store.get("presence/node-1")


async def test_renewal_outlives_a_lost_store(join: Join, caplog: pytest.LogCaptureFixture) -> None:
    one = join(ttl=0.3)
    await one.watch()
    one.store.lose("etcd: connection refused")
    one.keep_alive()
    await until(lambda: "presence not renewed: etcd: connection refused" in caplog.text)
    one.store.restore()
    await until(lambda: one.view.present.get("node-1") == "i-node-1")


# Subnets.


async def test_a_tenure_that_has_ended_begins_anew(join: Join) -> None:
    one = join()
    await one.membership.register(one.node)
    await declare(one, network("blue"))
    await one.store.revoke(one.cluster.tenure_lease)
    assert await one.leases.acquire("blue", one.host)
    await one.store.revoke(one.cluster.tenure_lease)
    assert not (await one.store.list("leases/")).items  # they end together


async def test_a_lease_has_subnets_claims_and_the_data_paths_data(join: Join) -> None:
    one = join()
    await declare(one, network("blue", "10.1.0.0/16", "fd00:1::/48"))
    lease = await one.leases.acquire("blue", one.host)
    assert lease and one.view.lease("blue", "node-1") == lease
    v4, v6 = lease.subnets
    assert v4.subnet_of(ip_network("10.1.0.0/16")) and v4.prefixlen == 24  # type: ignore[arg-type]
    assert v6.subnet_of(ip_network("fd00:1::/48")) and v6.prefixlen == 64  # type: ignore[arg-type]
    assert lease.data[VTEP_MAC]
    holders = {i.key: i.value for i in (await one.store.list("claims/subnets/blue/")).items}
    assert holders == {keys.subnet_claim("blue", s): b"node-1" for s in lease.subnets}


async def test_a_lease_is_kept_over_a_restart(join: Join) -> None:
    one = join()
    await declare(one, network("blue"))
    lease = await one.leases.acquire("blue", one.host)
    await one.close()
    again = join()
    await again.look()
    assert again.leases.missing() == []
    assert await again.leases.acquire("blue", again.host) == lease
    assert again.store.commits == 0


async def test_a_lease_is_found_that_the_view_does_not_know_yet(join: Join) -> None:
    one = join()
    await declare(one, network("blue"))
    lease = await one.leases.acquire("blue", one.host)
    again = join()
    listing = await again.store.list("networks/")
    again.view.listed(("networks/",), listing.items, listing.revision)
    assert again.leases.missing() == ["blue"]
    assert await again.leases.acquire("blue", again.host) == lease
    assert again.store.commits == 0


async def test_own_claims_are_taken_up_again_where_the_lease_was_lost(join: Join) -> None:
    one = join()
    await declare(one, network("blue"))
    lease = await one.leases.acquire("blue", one.host)
    assert lease
    await one.store.commit([], [Delete(keys.lease("blue", "node-1"))])
    await one.look()
    assert await one.leases.acquire("blue", one.host) == lease


async def test_a_claim_that_was_lost_is_made_again(join: Join) -> None:
    one = join()
    await declare(one, network("blue"))
    lease = await one.leases.acquire("blue", one.host)
    assert lease
    claim = keys.subnet_claim("blue", lease.subnets[0])
    await one.store.commit([], [Delete(claim), Delete(keys.lease("blue", "node-1"))])
    await one.store.commit([], [Put(keys.lease("blue", "node-1"), encode(lease))])
    again = join()
    listing = await again.store.list("networks/")
    again.view.listed(("networks/",), listing.items, listing.revision)
    assert await again.leases.acquire("blue", again.host) == lease
    assert await one.store.get(claim)


@pytest.mark.parametrize("agents", [2, 8])
async def test_racing_agents_get_distinct_subnets(join: Join, agents: int) -> None:
    wish = network("blue", "10.1.0.0/24", node_prefix=28, subnet_min="10.1.0.0/28")  # sixteen, so that they do collide
    members = [join(f"node-{n + 1}") for n in range(agents)]
    await declare(members[0], wish)
    for member in members:
        await member.look()
    leases = await asyncio.gather(*(m.leases.acquire("blue", m.host) for m in members))
    subnets = [s for lease in leases if lease for s in lease.subnets]
    assert len(subnets) == len(set(subnets)) == agents
    claims = await members[0].store.list("claims/subnets/blue/")
    assert {i.key for i in claims.items} == {keys.subnet_claim("blue", s) for s in subnets}


async def test_all_nodes_start_at_one_candidate_and_still_differ(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst case: every decision is for the same subnet."""
    monkeypatch.setattr("weft.alloc.subnets.digest", lambda *parts: bytes(16))
    members = [join(f"node-{n + 1}") for n in range(8)]
    await declare(members[0], network("blue", "10.1.0.0/24", node_prefix=28))
    for member in members:
        await member.look()
    leases = await asyncio.gather(*(m.leases.acquire("blue", m.host) for m in members))
    assert len({lease.subnets for lease in leases if lease}) == 8


async def test_an_exhausted_network_is_a_refusal_until_one_is_free(join: Join) -> None:
    members = [join(f"node-{n + 1}") for n in range(4)]
    await declare(members[0], network("blue", "10.1.0.0/28", node_prefix=30))  # three without the first
    for member in members:
        await member.look()
        await member.leases.acquire("blue", member.host)
    refused = [m for m in members if m.leases.refused]
    assert [m.node.name for m in refused] == ["node-4"]
    assert refused[0].leases.refused["blue"] == (
        "network blue: no subnet is left for node-4: of 3 /30 in 10.1.0.0/28 3 are leased and 0 reserved: "
        "remove nodes that are gone with weft node rm, or make a larger network"
    )
    lease = members[0].view.lease("blue", "node-1")
    assert lease
    await members[0].store.commit(
        [], [Delete(keys.lease("blue", "node-1")), Delete(keys.subnet_claim("blue", lease.subnets[0]))]
    )
    got = await refused[0].leases.acquire("blue", refused[0].host)
    assert got and got.subnets == lease.subnets and not refused[0].leases.refused


async def test_a_host_without_the_underlays_family_is_refused(join: Join) -> None:
    one = join(v4=False)
    await declare(one, network("blue"))
    assert await one.leases.acquire("blue", one.host) is None
    assert one.leases.refused["blue"] == (
        "node-1 has no IPv4 address on eth0: give it one, or make network blue with -O underlay=ipv6"
    )


async def test_what_another_version_made_is_refused(join: Join) -> None:
    one = join()
    await declare(one, network("blue", driver="warp"))
    assert await one.leases.acquire("blue", one.host) is None
    assert one.leases.refused["blue"].startswith("unknown driver 'warp'")


async def test_a_network_that_is_gone_before_the_attempt(join: Join) -> None:
    one = join()
    with pytest.raises(NotFound, match="no network blue"):
        await one.leases.acquire("blue", one.host)
    assert one.leases.refused == {}


async def test_a_network_removed_while_acquiring(join: Join) -> None:
    one = join()
    await declare(one, network("blue"))

    async def remove() -> None:
        await one.store.store.commit([], [Delete("networks/blue")])

    removal: list[asyncio.Task[None]] = []
    listed = one.store.list

    async def list_and_remove(prefix: str) -> object:
        listing = await listed(prefix)
        if not removal:
            removal.append(asyncio.create_task(remove()))
            await removal[0]
        return listing

    one.store.list = list_and_remove  # type: ignore[method-assign,assignment]
    with pytest.raises(NotFound, match="no network blue: it was just removed"):
        await asyncio.wait_for(one.leases.acquire("blue", one.host), 5)
    assert not (await listed("leases/")).items and not (await listed("claims/subnets/")).items
    assert one.leases.refused == {}


async def test_a_network_replaced_while_acquiring(join: Join) -> None:
    one = join()
    await declare(one, network("blue"))
    await one.store.commit([], [Put("networks/blue", encode(network("blue", "10.9.0.0/16")))])
    with pytest.raises(Unavailable, match="was just changed by someone else: try again"):
        await one.leases.acquire("blue", one.host)
    lease = await one.leases.acquire("blue", one.host)
    assert lease and _inside(lease, ip_network("10.9.0.0/16"))


def _inside(lease: Lease, whole: IPNetwork) -> bool:
    return lease.subnets[0].subnet_of(whole)  # type: ignore[arg-type]


async def test_a_lost_store_is_no_refusal(join: Join) -> None:
    one = join()
    await declare(one, network("blue"))
    one.store.lose()
    with pytest.raises(Unavailable):
        await one.leases.acquire("blue", one.host)
    assert one.leases.refused == {}


async def test_the_lag_of_the_watch_is_measured_for_own_writes_only(join: Join) -> None:
    one = join()
    await one.membership.register(one.node)
    revision = one.view.revision("nodes/node-1")
    assert one.cluster.echoed(revision - 1) is None
    assert (one.cluster.echoed(revision) or -1) >= 0
    assert one.cluster.echoed(revision) is None
