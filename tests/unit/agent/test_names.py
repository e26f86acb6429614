"""Who can ask for names, on a host in memory: its containers ask over loopback."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from ipaddress import ip_address
from pathlib import Path

import dns.rcode
import pytest

from support.agents import FakeHost, FakeResolvers, agent_on, attach, create, settled, until
from support.nameservers import ask, sockets, texts
from weft.agent import names
from weft.agent.agent import Agent
from weft.agent.resolv_conf import HostConf
from weft.agent.resources import infos
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Failed, WeftError
from weft.dns.asker import Upstream
from weft.hoststate import NftChain
from weft.kernel.host.resolvers import Sockets


class Resolvers(FakeResolvers):
    """Sockets on loopback, for each namespace that the host has. `broken`: paths at which none can be opened."""

    def __init__(self, host: FakeHost) -> None:
        self.host, self.broken = host, set[str]()
        self.opened: dict[str, Sockets] = {}
        self.engine: int | None = None
        """The port of an engine's own resolver."""
        self.files: list[str] = []

    def identity(self, path: str) -> int:
        return self.host.cookies.get(path, 0)

    def open_all(self, places: Mapping[str, int]) -> dict[str, Sockets | WeftError]:
        return {path: Failed("no room") if path in self.broken else self._open(path) for path in places}

    def _open(self, path: str) -> Sockets:
        udp, tcp = sockets()
        found = self.opened[path] = Sockets(udp, tcp, udp.getsockname()[1])
        return found

    def others(self, places: Mapping[str, int]) -> dict[str, int]:
        return dict.fromkeys(places, self.engine) if self.engine else {}

    def write_files(self, wanted: Collection[str], search: str) -> list[str]:
        self.files = sorted(wanted)
        return []

    def place(self, path: str) -> tuple[str, int]:
        found: tuple[str, int] = self.opened[path].udp.getsockname()
        return found


@pytest.fixture
def host() -> FakeHost:
    found = FakeHost()
    found.resolvers = Resolvers(found)
    return found


@pytest.fixture
def resolvers(host: FakeHost) -> Resolvers:
    assert isinstance(host.resolvers, Resolvers)
    return host.resolvers


def rules(host: FakeHost, path: str) -> set[str]:
    return {obj.name for obj in host.objects.values() if isinstance(obj, NftChain) and obj.ns == path}


async def test_a_container_that_is_attached_can_ask_at_once(agent: Agent, host: FakeHost, resolvers: Resolvers) -> None:
    await create(agent, "blue", "10.1.0.0/16")
    path, other = host.open("web"), host.open("db")
    await attach(agent, "web")
    assert rules(host, path) == {"names", "names-wait"}
    db = await attach(agent, "db", aliases=("store",))
    for name in ("db", "store", "db.blue", "DB.blue.weft.local"):
        assert texts(await ask(resolvers.place(path), name)) == [str(db.addresses[0].ip)]
    assert (await ask(resolvers.place(path), "nobody")).rcode() == dns.rcode.NXDOMAIN
    await Service(agent).detach(target="db")
    assert rules(host, other) == set() and resolvers.opened[other].udp.fileno() == -1
    assert (await ask(resolvers.place(path), "db")).rcode() == dns.rcode.NXDOMAIN


async def test_all_interfaces_in_a_namespace_are_one_asker(agent: Agent, host: FakeHost, resolvers: Resolvers) -> None:
    """It sees the names of all its networks, and of no other."""
    for number, name in enumerate(("blue", "red", "green"), start=1):
        await create(agent, name, f"10.{number}.0.0/16", vni=number)
    path = host.open("web")
    for name in ("blue", "red"):
        host.open(f"in-{name}")
        await attach(agent, "web", name)
        await attach(agent, f"in-{name}", name)
    host.open("far")
    await attach(agent, "far", "green")
    first = resolvers.opened[path]
    assert texts(await ask(resolvers.place(path), "in-blue")) and texts(await ask(resolvers.place(path), "in-red"))
    assert (await ask(resolvers.place(path), "far")).rcode() == dns.rcode.NXDOMAIN
    await Service(agent).detach(target="web", network="red")
    await until(lambda: agent.names._rooms[host.cookies[path]].asker.networks == ("blue",))
    assert (await ask(resolvers.place(path), "in-red")).rcode() == dns.rcode.NXDOMAIN
    assert resolvers.opened[path] is first and rules(host, path) == {"names", "names-wait"}


def told(agent: Agent) -> list[str]:
    return [problem.text for problem in infos.problems(agent)]


async def test_where_it_fails_that_one_is_told_and_others_go_on(
    agent: Agent, host: FakeHost, resolvers: Resolvers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "LOOK", 0.01)
    await create(agent, "blue", "10.1.0.0/16")
    path = host.open("web")
    host.open("db")
    resolvers.broken.add(path)
    await attach(agent, "web")
    await attach(agent, "db")
    await settled(agent)
    await until(lambda: told(agent) == ["container web cannot ask for names: no room"])
    assert rules(host, "/run/netns/db") and not rules(host, path)
    resolvers.broken.clear()
    await until(lambda: rules(host, path) and not told(agent))


async def test_a_namespace_that_ends_is_let_go(
    agent: Agent, host: FakeHost, resolvers: Resolvers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its endpoint with it, long before the next full look."""
    monkeypatch.setattr(names, "LOOK", 0.01)
    await create(agent, "blue", "10.1.0.0/16")
    path = host.open("web")
    await attach(agent, "web")
    held = resolvers.opened[path]
    host.vanish(path)
    await until(lambda: held.udp.fileno() == -1)
    await until(lambda: not agent.view.endpoints)


async def test_switched_off_for_a_network(agent: Agent, host: FakeHost, resolvers: Resolvers) -> None:
    await create(agent, "blue", "10.1.0.0/16", dns="off")
    path = host.open("web")
    assert (await attach(agent, "web")).resolver == ""
    assert not resolvers.opened and not rules(host, path)
    with pytest.raises(WeftError, match="dns is off"):
        await attach(agent, "web", interface="eth1", resolv_conf=True)


async def test_an_internal_network_asks_nobody_outside(agent: Agent, host: FakeHost, resolvers: Resolvers) -> None:
    await create(agent, "blue", "10.1.0.0/16", internal=True)
    path = host.open("web")
    assert (await attach(agent, "web")).resolver == "127.0.0.11"
    assert (await ask(resolvers.place(path), "example.org")).rcode() == dns.rcode.REFUSED


async def test_an_engine_s_own_resolver_is_asked_for_the_rest(
    agent: Agent, host: FakeHost, resolvers: Resolvers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a namespace that comes after its endpoint."""
    monkeypatch.setattr(names, "SOON", 0.01)
    resolvers.engine = 4711
    await create(agent, "blue", "10.1.0.0/16")
    lease = agent.view.lease("blue", "node-1")
    assert lease is not None
    first = t.Attach(
        target="", network="blue", owner="docker/n/e", handover=True, addresses=(lease.subnets[0][9],), name="web"
    )
    await Service(agent).attach(first)
    await Service(agent).attach(t.Attach(target="/run/netns/later", network="blue", owner="docker/n/e", handover=True))
    assert not resolvers.opened
    path = host.open("later")
    await until(lambda: path in resolvers.opened)
    await until(lambda: agent.names._rooms[host.cookies[path]].asker.single)
    asker = agent.names._rooms[host.cookies[path]].asker
    assert asker.upstreams == (Upstream(ip_address("127.0.0.11"), 4711, inside=True),) and asker.single
    await until(lambda: rules(host, path) == {"names", "names-wait"})


async def test_the_file_of_a_named_namespace(agent: Agent, host: FakeHost, resolvers: Resolvers) -> None:
    await create(agent, "blue", "10.1.0.0/16")
    host.open("web")
    await attach(agent, "web", resolv_conf=True)
    await until(lambda: resolvers.files == ["web"])
    host.open("db")
    await attach(agent, "db")
    with pytest.raises(WeftError, match="attached to blue without --dns: detach it first"):
        await attach(agent, "db", resolv_conf=True)
    await Service(agent).detach(target="web")
    await until(lambda: resolvers.files == [])


async def test_a_file_that_was_read_half_written_is_read_again(tmp_path: Path) -> None:
    """Both with the same time, as files have it that were changed within one tick of the kernel's clock."""
    file = tmp_path / "resolv.conf"
    conf = HostConf(file)
    for text, found in (("", ()), ("nameserver 127.0.0.53\n", (Upstream(ip_address("127.0.0.53")),))):
        file.write_text(text)
        os.utime(file, ns=(10**18, 10**18))
        await conf.follow()
        assert conf.upstreams == found


async def test_the_host_s_own_file_is_followed(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    conf = HostConf(file)
    await conf.follow()
    assert conf.upstreams == ()
    file.write_text("nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch example.org example.net\n")
    await conf.follow()
    assert [str(u.address) for u in conf.upstreams] == ["192.0.2.1", "2001:db8::1"]
    assert conf.search == "example.org example.net"
    new = tmp_path / "new"
    new.write_text("nameserver 127.0.0.53\n")
    new.replace(file)
    await conf.follow()
    assert conf.upstreams == (Upstream(ip_address("127.0.0.53")),) and not conf.search
    file.unlink()
    await conf.follow()
    assert conf.upstreams == ()


async def test_an_agent_that_is_started_again_answers_before_its_first_step(
    host: FakeHost, resolvers: Resolvers, store_file: Path
) -> None:
    path = host.open("web")
    async with agent_on(host, store_file) as agent:
        await create(agent, "blue", "10.1.0.0/16")
        await attach(agent, "web")
    assert resolvers.opened[path].udp.fileno() == -1
    writes = rules(host, path)
    async with agent_on(host, store_file) as agent:
        assert texts(await ask(resolvers.place(path), "web")) and rules(host, path) == writes
