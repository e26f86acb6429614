"""Connections are followed while somebody asks, within limits; and told with names."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_interface

import pytest

from support.agents import until
from weft.agent import flow_watch
from weft.agent.flow_names import Names
from weft.agent.flow_watch import FlowWatch
from weft.base.errors import Failed, NotFound
from weft.kernel.host.tracked import Side, Tracked
from weft.model import Endpoint, Gateway, Namespace
from weft.policy.render.marks import CUT
from weft.services.model import Service


def side(src: str, dst: str, sport: int | None = 40_000, dport: int | None = 80, octets: int | None = None) -> Side:
    return Side(ip_address(src), ip_address(dst), sport, dport, octets, octets)


def seen(there: Side, back: Side, **more: object) -> Tracked:
    about: dict[str, object] = {"protocol": 6, "state": "ESTABLISHED", "timeout": 60, "mark": 0, **more}
    return Tracked(there=there, back=back, **about)  # type: ignore[arg-type]


PLAIN = seen(side("10.1.0.2", "10.1.1.2"), side("10.1.1.2", "10.1.0.2", 80, 40_000))


class Fake:
    def __init__(self) -> None:
        self._here, self._there = socket.socketpair()
        self.waiting: list[tuple[bool, Tracked]] = []
        self.overruns, self.closed, self.broken = 0, False, False
        self.most: list[int] = []

    def say(self, *events: tuple[bool, Tracked]) -> None:
        self.waiting += events
        self._there.send(b"x")

    def fileno(self) -> int:
        return self._here.fileno()

    def read(self, addresses: frozenset[bytes], most: int) -> tuple[list[tuple[bool, Tracked]], int]:
        if self.broken:
            raise Failed("no more")
        self.most.append(most)
        found, self.waiting = self.waiting[:most], self.waiting[most:]
        if not self.waiting:
            self._here.recv(4096)
        return [each for each in found if each[1].there.src.packed in addresses], len(found)

    def close(self) -> None:
        self._here.close()
        self._there.close()
        self.closed = True


class Watched:
    def __init__(self) -> None:
        self.sources: dict[str, Fake] = {}
        self.places: dict[str, frozenset[bytes]] = {"": frozenset({ip_address("10.1.0.2").packed})}
        self.opened = 0
        self.watch = FlowWatch(lambda: self.places, self.listen)

    def listen(self, ns: str) -> Fake:
        if ns == "/gone":
            raise NotFound("gone")
        if ns == "/no":
            raise Failed("no nfnetlink")
        self.opened += 1
        self.sources[ns] = Fake()
        return self.sources[ns]


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    found = Watched()
    yield found
    found.watch.close()


async def test_nothing_is_listened_to_until_somebody_follows(watched: Watched) -> None:
    assert watched.sources == {}
    watched.places |= {"/gone": frozenset(), "/no": frozenset()}
    await watched.watch.follow()
    await watched.watch.follow()
    assert watched.opened == 1 and watched.watch.problems == ("no nfnetlink",)


async def test_events_come_in_order_after_the_one_asked_for(watched: Watched) -> None:
    watch = watched.watch
    await watch.follow()
    watched.sources[""].say((True, PLAIN), (False, PLAIN))
    await watch.wait(0, 5)
    found, missed = watch.after(0)
    assert [(each.number, each.begins) for each in found] == [(1, True), (2, False)] and missed == 0
    assert watch.after(2) == ([], 0)
    assert [each.number for each in watch.after(1)[0]] == [2]
    assert [each.number for each in watch.after(99)[0]] == [1, 2], "the number is of an agent before this one"


async def test_who_asks_too_late_is_told_how_many_are_gone(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watched.watch
    watch._kept = type(watch._kept)(maxlen=3)
    await watch.follow()
    watched.sources[""].say(*[(True, PLAIN)] * 5)
    await until(lambda: watch.last == 5)
    found, missed = watch.after(1)
    assert [each.number for each in found] == [3, 4, 5] and missed == 1


async def test_however_many_there_are_it_reads_so_many_a_second(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_watch, "RATE", 4)
    watch = watched.watch
    await watch.follow()
    watched.sources[""].say(*[(True, PLAIN)] * 6)
    await until(lambda: watch.last == 6)
    assert all(0 < most <= 4 for most in watched.sources[""].most)


async def test_it_ends_when_nobody_asks_any_more(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_watch, "IDLE", 0.01)
    await watched.watch.follow()
    source = watched.sources[""]
    source.overruns = 2
    await until(lambda: source.closed)
    assert watched.watch.overruns == 2
    await watched.watch.follow()
    assert watched.opened == 2


async def test_namespaces_come_and_go(watched: Watched) -> None:
    await watched.watch.follow()
    first = watched.sources[""]
    watched.places = {"/run/netns/weft-ov": watched.places[""]}
    await watched.watch.follow()
    assert first.closed and set(watched.watch._sources) == {"/run/netns/weft-ov"}
    source = watched.sources["/run/netns/weft-ov"]
    source.broken = True
    source.say((True, PLAIN))
    await until(lambda: source.closed)


# -- names -------------------------------------------------------------------------------------------------------------


def endpoint(name: str, node: str, address: str, **more: object) -> Endpoint:
    about: dict[str, object] = {
        "id": f"{name}{node.replace('-', '')}", "name": name, "network": "blue", "node": node, "container": name,
        "namespace": Namespace(path=f"/run/netns/{name}", cookie=7), "interface": "eth0", "mac": "",
        "addresses": (ip_interface(address),), **more,
    }  # fmt: skip
    return Endpoint(**about)  # type: ignore[arg-type]


def names(me: str = "node-1") -> Names:
    way = Gateway(interface="eth1", addresses=(ip_interface("172.30.0.2/16"),))
    return Names(
        me,
        [
            endpoint("web", "node-1", "10.1.0.2/24", gateway=way, floating=(ip_address("203.0.113.7"),)),
            endpoint("db", "node-2", "10.1.1.2/24", gateway=way),
        ],
        [Service(name="shop", network="blue", select="a=b", addresses=(ip_address("10.1.255.9"),))],
        {},
        {ip_address("10.1.1.1"): "node-2", ip_address("10.1.1.2"): "node-2"},
    )


@pytest.mark.parametrize(
    ("address", "kind", "name"),
    [
        ("10.1.0.2", "container", "web"),
        ("10.1.1.2", "container", "db"),  # rather than the address by which a host is in a network
        ("10.1.1.1", "node", "node-2"),
        ("10.1.255.9", "service", "shop"),
        ("203.0.113.7", "floating", "web"),
        ("198.51.100.1", "outside", ""),
    ],
)
def test_who_has_an_address(address: str, kind: str, name: str) -> None:
    found = names().end(ip_address(address), 80)
    assert (found.kind, found.name, found.port) == (kind, name, 80)


def test_of_each_hosts_ways_out_it_is_the_container_that_is_here() -> None:
    assert names().end(ip_address("172.30.0.2")).name == "web"
    assert names("node-2").end(ip_address("172.30.0.2")).name == "db"
    assert names("node-3").end(ip_address("172.30.0.2")).kind == "outside"


def test_what_is_translated_is_told_at_either_end() -> None:
    through = seen(
        side("10.1.0.2", "10.1.255.9", octets=100),
        side("10.1.1.2", "192.168.1.68", 8080, 1024, octets=50),
        mark=CUT,
        began=1_000.0,
    )
    flow = names().flow(through, "", 1_060.0)
    assert flow.target.kind == "service" and flow.cut and flow.age == 60.0
    assert flow.member is not None and (flow.member.name, flow.member.port) == ("db", 8080)
    assert flow.translated is not None and str(flow.translated.address) == "192.168.1.68"
    assert (flow.octets, flow.reply_octets) == (100, 50)
    plain = names().flow(PLAIN, "", 0.0)
    assert plain.member is None and plain.translated is None and plain.age is None and plain.octets is None
