"""Who gets a port of the host."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from ipaddress import ip_interface, ip_network

import msgspec
import pytest

from support.agents import FakeHost, create
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Conflict, Exhausted, Invalid
from weft.cluster.view import View
from weft.endpoints.ports import Ports
from weft.kernel.host import listeners
from weft.model import Endpoint, Namespace, Network, PublishedPort, encode, keys
from weft.model.ports import parse
from weft.store.protocol import Item

BLUE = Network(name="blue", driver="bridge", subnets=(ip_network("10.1.0.0/16"), ip_network("fd00:1::/48")))
INNER = Network(name="inner", driver="bridge", subnets=(ip_network("10.2.0.0/16"),), internal=True)


def endpoint(name: str, *ports: str, addresses: str = "10.1.0.2/24 fd00:1::2/64") -> Endpoint:
    return Endpoint(
        id=name * 4,
        name=name,
        network="blue",
        node="node-1",
        container=name,
        namespace=Namespace(path=f"/run/netns/{name}", cookie=sum(name.encode())),
        interface="eth0",
        mac="02:42:0a:01:00:02",
        addresses=tuple(map(ip_interface, addresses.split())),
        ports=tuple(map(parse, ports)),
    )


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, ...]]]:
    """What programs were asked for; none of them has it, but whoever is asked for port 666."""
    asked = []

    def check(port: PublishedPort, families: set[int], container: str = "") -> None:
        asked.append((str(port), tuple(sorted(families))))
        if port.host_port == 666:
            raise Conflict("held by a program")

    monkeypatch.setattr(listeners, "check_free", check)
    return asked


def known(*endpoints: Endpoint) -> Ports:
    view = View("node-1")
    for e in endpoints:
        view.present_now(Item(keys.endpoint(e.node, e.network, e.id), encode(e), 1))
    return Ports(view)


async def test_what_is_free_is_had(looked_at: list[object]) -> None:
    ports = known(endpoint("web", "80"), endpoint("six", "81", addresses="fd00:1::3/64"))
    async with ports.taking(endpoint("new", "80/udp", "81:80", addresses="10.1.0.4/24"), BLUE):
        assert looked_at == [("80:80/udp", (4,)), ("81:80/tcp", (4,))]


async def test_one_container_may_have_a_port_in_several_networks(looked_at: list[object]) -> None:
    """Podman passes a container's ports to each of its networks. What differs in anything is another port."""
    ports = known(endpoint("web", "80:8080"))
    again = msgspec.structs.replace(endpoint("web", "80:8080"), id="other", network="green")
    async with ports.taking(again, BLUE):
        pass
    for changes in ({"ports": (parse("80:8081"),)}, {"namespace": Namespace(path="/run/netns/web", cookie=2)}):
        with pytest.raises(Conflict, match="leads to web"):
            async with ports.taking(msgspec.structs.replace(again, **changes), BLUE):
                pass


@pytest.mark.parametrize("wish", ["80", "10.9.9.9:80:81", "79-81", "[::]:80"])
async def test_who_has_it_is_named(looked_at: list[object], wish: str) -> None:
    ports = known(endpoint("web", "80:8080"))
    with pytest.raises(Conflict, match=r"leads to web in network blue already \(80:8080/tcp\): publish another, or"):
        async with ports.taking(endpoint("new", wish), BLUE):
            pass
    assert looked_at == []


async def test_of_several_at_once_one_gets_it(looked_at: list[object]) -> None:
    ports, both = known(), asyncio.Event()

    async def attach(name: str) -> str:
        async with ports.taking(endpoint(name, "80"), BLUE):
            await both.wait()
            return name

    tasks = [asyncio.create_task(attach(name)) for name in ("one", "two", "three")]
    await asyncio.sleep(0)
    both.set()
    won = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in won] == [str, Conflict, Conflict]
    async with ports.taking(endpoint("later", "80"), BLUE):
        pass


async def test_what_a_program_holds_is_given_back(looked_at: list[object]) -> None:
    ports = known()
    with pytest.raises(Conflict, match="held by a program"):
        async with ports.taking(endpoint("one", "80", "666"), BLUE):
            pass
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ports.taking(endpoint("two", "80"), BLUE))


async def test_an_internal_network_has_none(looked_at: list[object]) -> None:
    async with known().taking(endpoint("quiet", addresses="10.2.0.2/24"), INNER):
        pass
    with pytest.raises(Invalid, match="network inner is internal: nothing outside of it reaches its containers"):
        async with known().taking(endpoint("loud", "80", addresses="10.2.0.2/24"), INNER):
            pass


# Ports that are left to us.


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "given_to_any", lambda: (664, 669))


def test_a_port_is_chosen_that_nobody_has(looked_at: list[object], few: None) -> None:
    """664 and 667 are others', 666 a program's, 668 is wished for beside it."""
    ports = known(endpoint("web", "664:80"), endpoint("six", "667:80", addresses="fd00:1::3/64"))
    for _ in range(20):
        chosen = ports.settled((parse(":80"), parse("668:81"), parse(":82")), {4, 6})
        assert chosen[1] == parse("668:81") and {p.container_port for p in chosen} == {80, 81, 82}
        assert {chosen[0].host_port, chosen[2].host_port} == {665, 669}


def test_a_range_is_chosen_whole(looked_at: list[object], few: None) -> None:
    ports = known(endpoint("web", "664:80", "669:80/udp"))
    for _ in range(20):
        [chosen] = ports.settled((parse(":80-82/udp"),), {4, 6})
        assert str(chosen) in ("664-666:80-82/udp", "665-667:80-82/udp")


def test_no_port_is_left(looked_at: list[object], few: None) -> None:
    ports = known(endpoint("web", "664-669:80-85"))
    with pytest.raises(
        Exhausted, match="no port of this host is free for 0:80/tcp: 664 to 669 are tried: say which one"
    ):
        ports.settled((parse(":80"),), {4})


async def test_what_was_chosen_stays(agent: Agent, host: FakeHost, looked_at: list[object], few: None) -> None:
    await create(agent, "blue")
    host.open("c1")
    wish = t.Attach(target="c1", network="blue", ports=(parse(":80"), parse("8080:81")))
    made = await Service(agent).attach(wish)
    assert [p.container_port for p in made.ports] == [80, 81] and 664 <= made.ports[0].host_port <= 669
    assert await Service(agent).attach(wish) == made, "attaching again is harmless"
    assert await Service(agent).attach(msgspec.structs.replace(wish, ports=(parse(":80"),))) == made, "nothing goes"
    more = await Service(agent).attach(
        msgspec.structs.replace(wish, ports=tuple(map(parse, (":80", "8080:81", ":80"))))
    )
    assert more.ports[:2] == made.ports and [p.container_port for p in more.ports[2:]] == [80]
    with pytest.raises(Conflict, match=r"port 8080/tcp leads to c1 already \(8080:81/tcp\): publish another"):
        await Service(agent).attach(msgspec.structs.replace(wish, ports=(parse("8080:82"),)))
    host.open("c2")
    await Service(agent).attach(t.Attach(target="c2", network="blue"))
    with pytest.raises(Conflict, match="port 8080/tcp leads to c1 in network blue already"):
        await Service(agent).attach(t.Attach(target="c2", network="blue", ports=(parse("8080:80"),)))


def test_an_endpoint_has_no_open_port() -> None:
    with pytest.raises(Invalid, match="leads from no port of the host yet"):
        endpoint("web", ":80")
