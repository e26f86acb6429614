"""What is asked of other servers, over loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address

import dns.flags
import dns.message
import pytest
from dns.rcode import NOERROR, NXDOMAIN, REFUSED, SERVFAIL

from support.agents import until
from support.nameservers import Stub, ask, exchange, nothing, says, sockets, stub, texts
from weft.dns import forward
from weft.dns.asker import ADDRESS, Asker, Upstream
from weft.dns.forward import Line
from weft.dns.names import Names
from weft.dns.server import Server

HIT = says("@ 300 IN A 192.0.2.1")
SOA = "org. 60 IN SOA a.org. b.org. 1 2 3 4 20"

Serve = Callable[..., tuple[str, int]]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def serve(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serve]:
    """Makes a container that asks these servers, with all the patience that a busy machine may ask for."""
    monkeypatch.setattr(forward, "PATIENCE", 60)
    server = Server(Names(), clock=clock)

    def add(*upstreams: Stub | Upstream, id: str = "1") -> tuple[str, int]:
        udp, tcp = sockets()
        found = tuple(one.upstream if isinstance(one, Stub) else one for one in upstreams)
        server.add(Asker(id=id, networks=("blue",), node="a", upstreams=found), udp, tcp)
        place: tuple[str, int] = udp.getsockname()
        return place

    yield add
    server.close()
    await asyncio.sleep(0.01)
    assert not server._forwarder._under_way and not server._forwarder._shared


@pytest.fixture
def impatient(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a server says nothing."""
    monkeypatch.setattr(forward, "PATIENCE", 0.5)


def unused() -> Upstream:
    """Where nobody listens."""
    udp, tcp = sockets()
    port = udp.getsockname()[1]
    udp.close()
    tcp.close()
    return Upstream(ip_address("127.0.0.1"), port)


async def test_the_case_comes_back_as_it_was_asked(serve: Serve) -> None:
    async with stub(HIT) as other:
        place = serve(other)
        for name in ("WwW.eXample.ORG.", "www.EXAMPLE.org."):
            got = await ask(place, name)
            assert got.question[0].name.to_text() == name and texts(got) == ["192.0.2.1"]
        assert other.asked == ["WwW.eXample.ORG."]


@pytest.mark.parametrize(
    "first", [nothing, says(rcode=SERVFAIL), says(rcode=REFUSED), lambda query, by_tcp: b"nonsense"]
)
@pytest.mark.usefixtures("impatient")
async def test_the_next_one_is_asked(serve: Serve, first: Callable[..., bytes | None]) -> None:
    async with stub(first) as bad, stub(HIT) as good:
        assert texts(await ask(serve(bad, good), "example.org")) == ["192.0.2.1"]
        assert len(bad.asked) == len(good.asked) == 1


async def test_one_that_is_not_there_costs_no_time(serve: Serve) -> None:
    async with stub(HIT) as good:
        assert texts(await ask(serve(unused(), good), "example.org")) == ["192.0.2.1"]


@pytest.mark.usefixtures("impatient")
async def test_a_dead_one_comes_last_for_a_while(serve: Serve, clock: Clock) -> None:
    async with stub(nothing) as bad, stub(HIT) as good:
        place = serve(bad, good)
        for name in ("a.org", "b.org", "c.org"):
            assert texts(await ask(place, name))
        assert bad.asked == ["a.org."]
        clock.now += forward.DEAD
        await ask(place, "d.org")
        assert bad.asked == ["a.org.", "d.org."]


@pytest.mark.parametrize(
    ("say", "rcode", "times"),
    [
        (nothing, SERVFAIL, 2),
        (says(rcode=SERVFAIL), SERVFAIL, 1),
        (says(rcode=REFUSED), REFUSED, 1),
        (says(rcode=NXDOMAIN, authority=(SOA,)), NXDOMAIN, 1),
        (says(authority=(SOA,)), NOERROR, 1),
    ],
)
@pytest.mark.usefixtures("impatient")
async def test_what_the_only_one_says_is_said(
    serve: Serve, say: Callable[..., bytes | None], rcode: int, times: int
) -> None:
    async with stub(say) as other:
        got = await ask(serve(other), "example.org")
        assert got.rcode() == rcode and not got.answer and len(other.asked) == times


@pytest.mark.usefixtures("impatient")
async def test_a_lost_packet_is_sent_again(serve: Serve) -> None:
    seen: list[bool] = []

    def second_time(query: dns.message.Message, by_tcp: bool) -> bytes | None:
        seen.append(by_tcp)
        return HIT(query, by_tcp) if len(seen) > 1 else None

    async with stub(second_time) as other:
        assert texts(await ask(serve(other), "example.org")) == ["192.0.2.1"]


async def test_nxdomain_of_the_first_one_is_final(serve: Serve) -> None:
    async with stub(says(rcode=NXDOMAIN)) as first, stub(HIT) as second:
        assert (await ask(serve(first, second), "example.org")).rcode() == NXDOMAIN and not second.asked


async def test_nobody_to_ask(serve: Serve) -> None:
    assert (await ask(serve(), "example.org")).rcode() == REFUSED


async def test_it_is_kept_as_long_as_it_holds_but_not_long(serve: Serve, clock: Clock) -> None:
    say = {"a.org.": HIT, "b.org.": says("@ 7 IN A 192.0.2.2"), "c.org.": says(rcode=NXDOMAIN, authority=(SOA,))}
    async with stub(lambda query, by_tcp: say[query.question[0].name.to_text()](query, by_tcp)) as other:
        place = serve(other)
        for name in say:
            await ask(place, name)
        clock.now += 5
        found = [await ask(place, name) for name in say]
        assert [one.answer[0].ttl for one in found[:2]] == [295, 2] and found[2].rcode() == NXDOMAIN
        assert len(other.asked) == 3
        for passed, name in ((3, "b.org."), (13, "c.org."), (10, "a.org.")):
            clock.now += passed
            await ask(place, name)
            assert other.asked[-1] == name
            assert len(other.asked) == {"b.org.": 4, "c.org.": 5, "a.org.": 6}[name]


async def test_failures_are_not_kept(serve: Serve) -> None:
    async with stub(says(rcode=SERVFAIL)) as other:
        place = serve(other)
        await ask(place, "example.org")
        await ask(place, "example.org")
        assert len(other.asked) == 2


async def test_different_questions_have_different_answers(serve: Serve) -> None:
    """By type, by whether EDNS and signatures are wanted, and by who else is asked."""
    async with stub(says("@ 30 IN A 192.0.2.1")) as other, stub(says("@ 30 IN A 192.0.2.9")) as another:
        place = serve(other)
        for options in ({}, {"use_edns": 0}, {"want_dnssec": True}, {"flags": 0}):
            for _ in range(2):
                got = await ask(place, "example.org", **options)
                assert got.edns == (0 if {"use_edns", "want_dnssec"} & options.keys() else -1)
        assert len(other.asked) == 4
        assert texts(await ask(serve(another, id="2"), "example.org")) == ["192.0.2.9"]
        assert texts(await ask(serve(other, id="3"), "example.org")) == ["192.0.2.1"] and len(other.asked) == 4


async def test_the_same_question_is_asked_once_at_a_time(serve: Serve) -> None:
    async with stub(says("@ 0 IN A 192.0.2.1")) as other:
        place = serve(other)
        sent = [dns.message.make_query("example.org", "A").to_wire() for _ in range(20)]
        answers = await exchange(place, *sent)
        assert {answer[:2] for answer in answers} == {packet[:2] for packet in sent} and len(other.asked) == 1
        await ask(place, "example.org")
        assert len(other.asked) == 2


@pytest.mark.usefixtures("impatient")
async def test_a_circle_ends(serve: Serve) -> None:
    """The other server asks us what it is asked."""
    tasks: list[asyncio.Task[object]] = []

    def again(query: dns.message.Message, by_tcp: bool) -> None:
        tasks.append(asyncio.create_task(ask(place, query.question[0].name.to_text())))

    async with stub(again) as other:
        place = serve(other)
        assert (await ask(place, "example.org")).rcode() == SERVFAIL
        await asyncio.gather(*tasks)
        assert len(other.asked) == 2


def test_our_own_address_is_left_out() -> None:
    here, docker = Upstream(ADDRESS, inside=True), Upstream(ADDRESS, 4711, inside=True)
    outside = Upstream(ADDRESS)
    asker = Asker(id="1", networks=(), node="a", upstreams=(here, docker, outside))
    assert Line(asker).upstreams == (docker, outside)
    internal = Asker(id="1", networks=(), node="a", upstreams=(here, docker, outside), outside=False)
    assert Line(internal).upstreams == (docker,)


async def test_an_upstream_inside_is_asked_from_there() -> None:
    opened: list[tuple[str, Upstream]] = []

    def opener(asker: Asker, upstream: Upstream, kind: socket.SocketKind) -> socket.socket:
        opened.append((asker.id, upstream))
        return socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)

    async with stub(HIT) as other:
        server = Server(Names(), opener)
        inside = Upstream(ip_address("127.0.0.1"), other.port, inside=True)
        places = []
        for id in "12":
            udp, tcp = sockets()
            server.add(Asker(id=id, networks=(), node="a", upstreams=(inside,), outside=False), udp, tcp)
            places.append(udp.getsockname())
        for got in await asyncio.gather(*(ask(place, "example.org") for place in places)):
            assert texts(got) == ["192.0.2.1"]
        assert sorted(opened, key=str) == [("1", inside), ("2", inside)], (
            "the one is not told what the other's server said"
        )
        await ask(udp.getsockname(), "example.org")
        assert len(opened) == 3, "what an engine's own resolver says is not kept"
        server.close()


async def test_servers_with_ipv6_are_asked(serve: Serve) -> None:
    """A link-local one by its interface: ::1 serves as one, as no other interface is certain to be there."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind(("::1", 0))
        for number, address in enumerate(("::1", "::1%lo")):
            place = serve(Upstream(ip_address(address), sock.getsockname()[1]), id=str(number))
            asking = asyncio.create_task(ask(place, "example.org"))
            packet, source = await asyncio.get_running_loop().sock_recvfrom(sock, 4096)
            sock.sendto(HIT(dns.message.from_wire(packet), False) or b"", source)
            assert texts(await asking) == ["192.0.2.1"]


async def test_a_server_by_an_interface_that_is_not_there_is_passed_over(serve: Serve) -> None:
    async with stub(HIT) as other:
        assert texts(await ask(serve(Upstream(ip_address("fe80::1%nowhere")), other), "example.org")) == ["192.0.2.1"]


async def test_one_that_cannot_be_asked_is_passed_over(serve: Serve) -> None:
    async with stub(HIT) as other:
        inside = Upstream(ip_address("127.0.0.1"), 53, inside=True)
        assert texts(await ask(serve(inside, other), "example.org")) == ["192.0.2.1"]


LONG = says(*(f"@ 30 IN TXT {'x' * 250}{n}" for n in range(30)), flags=dns.flags.TC)


async def test_what_was_cut_is_fetched_by_tcp(serve: Serve) -> None:
    async with stub(LONG) as other:
        place = serve(other)
        cut = await ask(place, "example.org", "TXT", use_edns=0, payload=1232)
        assert cut.flags & dns.flags.TC and len(other.asked) == 2
        reader, writer = await asyncio.open_connection(*place)
        packet = dns.message.make_query("example.org", "TXT").to_wire()
        writer.write(len(packet).to_bytes(2) + packet)
        whole = dns.message.from_wire(await reader.readexactly(int.from_bytes(await reader.readexactly(2))))
        writer.close()
        assert len(texts(whole)) == 30 and not whole.flags & dns.flags.TC


@pytest.mark.usefixtures("impatient")
async def test_where_tcp_fails_the_client_is_told_that_it_was_cut(serve: Serve) -> None:
    def only_udp(query: dns.message.Message, by_tcp: bool) -> bytes | None:
        return None if by_tcp else says("@ 30 IN A 192.0.2.1", flags=dns.flags.TC)(query, by_tcp)

    async with stub(only_udp) as other:
        got = await ask(serve(other), "example.org")
        assert got.flags & dns.flags.TC and texts(got) == ["192.0.2.1"]


async def test_a_server_without_edns_is_asked_without(serve: Serve) -> None:
    def old(query: dns.message.Message, by_tcp: bool) -> bytes | None:
        return says(rcode=1)(query, by_tcp) if query.edns >= 0 else HIT(query, by_tcp)

    async with stub(old) as other:
        assert texts(await ask(serve(other), "example.org", use_edns=0)) == ["192.0.2.1"]


async def test_answers_to_something_else_are_not_believed(serve: Serve) -> None:
    """Wrong ids, other questions; and what comes from elsewhere the kernel drops."""
    async with stub(nothing) as other:
        elsewhere = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

        def lies(query: dns.message.Message, by_tcp: bool) -> bytes | None:
            other.tell(wrong_id(HIT(query, False) or b""))
            other.tell(HIT(dns.message.make_query("other.org", "A", id=query.id), False) or b"")
            elsewhere.sendto(HIT(query, False) or b"", other.sources[-1])
            return says("@ 9 IN A 192.0.2.7")(query, False)

        other.say = lies
        with elsewhere:
            assert texts(await ask(serve(other), "example.org")) == ["192.0.2.7"]


def wrong_id(packet: bytes) -> bytes:
    return bytes((packet[0] ^ 1,)) + packet[1:]


async def test_ids_and_ports_cannot_be_foretold(serve: Serve) -> None:
    ids: set[int] = set()

    def noted(query: dns.message.Message, by_tcp: bool) -> bytes | None:
        ids.add(query.id)
        return HIT(query, by_tcp)

    async with stub(noted) as other:
        place = serve(other)
        for n in range(20):
            await ask(place, f"{n}.org", id=1)
        assert len(ids) > 15 and len({source[1] for source in other.sources}) > 10


async def test_one_asker_has_so_many_questions_under_way(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "PER_ASKER", 5)
    async with stub(nothing) as other:
        place, second = serve(other), serve(other, id="2")
        waiting = asyncio.gather(*(ask(place, f"{n}.org") for n in range(5)))
        await until(lambda: len(other.asked) == 5)
        assert (await ask(place, "6.org")).rcode() == SERVFAIL
        other.say = HIT
        assert texts(await ask(second, "6.org")) == ["192.0.2.1"]
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        serve(other)


async def test_what_has_ended_is_under_way_no_more(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "PER_ASKER", 1)
    async with stub(HIT) as other:
        place = serve(other)
        for n in range(3):
            assert texts(await ask(place, f"{n}.org")) == ["192.0.2.1"]


@pytest.mark.usefixtures("impatient")
async def test_all_have_so_many_together(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "IN_ALL", 3)
    async with stub(nothing) as other:
        places = [serve(other, id=str(n)) for n in range(4)]
        sent = [asyncio.create_task(ask(place, f"{n}.org")) for n, place in enumerate(places)]
        assert [(await one).rcode() for one in sent] == [SERVFAIL] * 4
        assert len(set(other.asked)) == 3
        other.say = HIT
        assert texts(await ask(places[3], "x.org")) == ["192.0.2.1"], "there is room again"


async def test_when_an_asker_goes_its_questions_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "PATIENCE", 60)
    async with stub(nothing) as other:
        server = Server(Names())
        for id in "12":
            udp, tcp = sockets()
            server.add(Asker(id=id, networks=(), node="a", upstreams=(other.upstream,)), udp, tcp)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(dns.message.make_query("example.org", "A").to_wire(), udp.getsockname())
        await until(lambda: server._forwarder._under_way == 2)
        server.remove("1")
        await until(lambda: server._forwarder._under_way == 1)
        assert len(server._forwarder._shared) == 1, "the other one still waits for it"
        server.close()
        await until(lambda: not server._forwarder._under_way and not server._forwarder._shared)
        await until(lambda: not any(task.get_name() == "weft-dns-ask" for task in asyncio.all_tasks()))
        assert len(other.asked) == 1
