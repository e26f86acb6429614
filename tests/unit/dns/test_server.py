"""The server over loopback: own names, limits, and what must not stop it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import NamedTuple

import dns.flags
import dns.message
import pytest
from dns.rcode import FORMERR, NOERROR, NOTIMP, NXDOMAIN, REFUSED

from support.agents import until
from support.nameservers import ask, exchange, sockets, stub, texts
from weft.dns import server as module
from weft.dns.asker import Asker
from weft.dns.names import Names
from weft.dns.server import Server
from weft.model import Location

ONE = Asker(id="1", networks=("blue",), node="a")
TWO = Asker(id="2", networks=("green",), node="a")


def location(name: str, *addresses: str) -> Location:
    return Location(node="a", mac="02:00:00:00:00:01", name=name, addresses=tuple(map(ip_address, addresses)))


class Serving(NamedTuple):
    server: Server
    names: Names
    places: dict[str, tuple[str, int]]

    def add(self, asker: Asker) -> tuple[str, int]:
        udp, tcp = sockets()
        self.server.add(asker, udp, tcp)
        place: tuple[str, int] = udp.getsockname()
        self.places[asker.id] = place
        return place


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    names = Names()
    names.put_location("blue", "1", location("web", "10.0.0.1"))
    names.put_location("green", "2", location("web", "10.1.0.2"))
    for n in range(200):
        names.put_location("blue", f"many-{n}", location("many", f"10.0.1.{n}"))
    one = Serving(Server(names), names, {})
    yield one
    one.server.close()
    await asyncio.sleep(0.01)


async def converse(place: tuple[str, int], *packets: bytes) -> list[bytes]:
    """All of them by one TCP connection, at once."""
    reader, writer = await asyncio.open_connection(*place)
    writer.write(b"".join(len(packet).to_bytes(2) + packet for packet in packets))
    answers = [await reader.readexactly(int.from_bytes(await reader.readexactly(2))) for _ in packets]
    writer.close()
    return answers


async def test_the_socket_tells_who_asks(serving: Serving) -> None:
    one, two = serving.add(ONE), serving.add(TWO)
    assert texts(await ask(one, "web")) == ["10.0.0.1"] and texts(await ask(two, "web")) == ["10.1.0.2"]


async def test_a_change_is_seen_by_the_next_question(serving: Serving) -> None:
    place = serving.add(ONE)
    serving.names.put_location("blue", "1", None)
    assert (await ask(place, "web")).rcode() == NXDOMAIN
    serving.server.change(Asker(id="1", networks=("green", "blue"), node="a"))
    assert texts(await ask(place, "web")) == ["10.1.0.2"]


async def test_one_that_is_gone_has_no_sockets(serving: Serving) -> None:
    place, other = serving.add(ONE), serving.add(TWO)
    open_one = await asyncio.open_connection(*place)
    assert texts(await ask(place, "web"))
    serving.server.remove("1")
    serving.server.remove("1")
    async with asyncio.timeout(module.IDLE / 2):
        assert await open_one[0].read() == b"", "open connections are closed, too"
    open_one[1].close()
    with pytest.raises(ConnectionRefusedError):
        await ask(place, "web")
    assert texts(await ask(other, "web"))


async def test_the_same_one_may_be_added_again(serving: Serving) -> None:
    old, new = serving.add(ONE), serving.add(ONE)
    assert texts(await ask(new, "web"))
    with pytest.raises(ConnectionRefusedError):
        await ask(old, "web")


async def test_what_is_cut_is_there_by_tcp(serving: Serving) -> None:
    place = serving.add(ONE)
    cut = await ask(place, "many", use_edns=0, payload=600)
    assert cut.flags & dns.flags.TC and 30 < len(texts(cut)) < 40
    (whole,) = await converse(place, dns.message.make_query("many", "A").to_wire())
    assert len(texts(dns.message.from_wire(whole))) == 200


async def test_several_questions_by_one_connection(serving: Serving) -> None:
    place = serving.add(ONE)
    names = ["web", "missing", "web.blue"]
    answers = await converse(place, *(dns.message.make_query(name, "A").to_wire() for name in names))
    assert [dns.message.from_wire(answer).rcode() for answer in answers] == [NOERROR, NXDOMAIN, NOERROR]


async def test_a_message_by_tcp_may_come_octet_by_octet(serving: Serving) -> None:
    reader, writer = await asyncio.open_connection(*serving.add(ONE))
    packet = dns.message.make_query("web", "A").to_wire()
    for octet in len(packet).to_bytes(2) + packet:
        writer.write(bytes((octet,)))
        await writer.drain()
        await asyncio.sleep(0)
    assert texts(dns.message.from_wire(await reader.readexactly(int.from_bytes(await reader.readexactly(2)))))
    writer.close()


async def test_what_is_no_question_is_told_or_dropped(serving: Serving) -> None:
    place = serving.add(ONE)
    question = dns.message.make_query("web", "A").to_wire()
    two, notify = bytearray(question), bytearray(question)
    two[5], notify[2] = 2, 0x21
    answers = await exchange(place, bytes(two), bytes(notify))
    assert [dns.message.from_wire(answer).rcode() for answer in answers] == [FORMERR, NOTIMP]
    response = bytearray(question)
    response[2] |= 0x80
    assert await exchange(place, question) and serving.server.counts.malformed == 2
    with pytest.raises(TimeoutError):
        await exchange(place, bytes(response), within=0.05)
    for end in (b"\0\0", (module.LONGEST + 1).to_bytes(2)):
        reader, writer = await asyncio.open_connection(*place)
        writer.write(end)
        assert await reader.read() == b"", "by TCP that is the end"
        writer.close()


async def test_an_idle_connection_is_closed(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE", 0.05)
    place = serving.add(ONE)
    for beginning in (b"", b"\0\x20half"):
        reader, writer = await asyncio.open_connection(*place)
        writer.write(beginning)
        assert await reader.read() == b""
        writer.close()


async def test_there_are_so_many_connections_and_no_more(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTIONS", 3)
    place, other = serving.add(ONE), serving.add(TWO)
    idle = [await asyncio.open_connection(*place) for _ in range(3)]
    reader, writer = await asyncio.open_connection(*place)
    async with asyncio.timeout(module.IDLE / 2):
        assert await reader.read() == b""
    writer.close()
    question = dns.message.make_query("web", "A").to_wire()
    assert await converse(other, question) and texts(await ask(place, "web"))
    for _, writer in idle:
        writer.close()
    await until(lambda: not serving.server._connections)
    assert await converse(place, question)


class Exhausted(socket.socket):
    """There is no file descriptor for the first connection when it comes."""

    tries = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.tries += 1
        if self.tries == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_without_file_descriptors_connections_wait(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.05)
    udp, tcp = sockets()
    listening = Exhausted(socket.AF_INET, socket.SOCK_STREAM, fileno=tcp.detach())
    serving.server.add(ONE, udp, listening)
    answer = await converse(udp.getsockname(), dns.message.make_query("web", "A").to_wire())
    assert texts(dns.message.from_wire(answer[0])) and listening.tries == 2, "and nobody asked meanwhile"


async def test_one_that_asks_without_end_by_tcp_does_not_keep_others_waiting(serving: Serving) -> None:
    """It sends as fast as it can, and reads as fast."""
    place, other = serving.add(ONE), serving.add(TWO)
    packet = dns.message.make_query("web", "A").to_wire()
    reader, writer = await asyncio.open_connection(*place)
    writer.write((len(packet).to_bytes(2) + packet) * 20_000)
    reading = asyncio.create_task(reader.read(10_000_000))
    assert texts(await ask(other, "web"))
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert serving.server.counts.questions < 10_000, "the other one was answered in between"
    writer.close()


async def test_nobody_may_be_asked_for_internal_networks(serving: Serving) -> None:
    def never(query: dns.message.Message, by_tcp: bool) -> bytes:
        raise AssertionError("was asked")

    async with stub(never) as other:
        asker = Asker(id="3", networks=("blue",), node="a", outside=False, upstreams=(other.upstream,))
        place = serving.add(asker)
        assert (await ask(place, "example.org")).rcode() == REFUSED and texts(await ask(place, "web"))
        assert not other.asked and serving.server.counts.refused == 1


def fuzzed(chance: random.Random) -> bytes:
    """A question in which something was changed, or noise."""
    good = dns.message.make_query(
        chance.choice(["web", "many.blue", "x.org", "_a._b.c"]), "A", use_edns=chance.choice([0, False])
    )
    packet = bytearray(good.to_wire())
    match chance.randrange(5):
        case 0:
            return chance.randbytes(chance.randrange(100))
        case 1:
            del packet[chance.randrange(len(packet)) :]
        case 2:
            packet += chance.randbytes(chance.randrange(600))
        case _:
            for _ in range(chance.randrange(1, 8)):
                packet[chance.randrange(len(packet))] = chance.choice([0, 0xC0, 0xFF, 63, 64, chance.randrange(256)])
    return bytes(packet)


async def pelted(place: tuple[str, int], seed: int, count: int) -> None:
    """Odd packets by UDP, and now and then by TCP."""
    chance = random.Random(seed)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect(place)
        for number in range(count):
            packet = fuzzed(chance)
            sock.send(packet)
            if number % 10 == 0:
                with contextlib.suppress(ConnectionError):
                    _, writer = await asyncio.open_connection(*place)
                    writer.write(chance.choice([packet, len(packet).to_bytes(2) + packet]))
                    writer.close()
            await asyncio.sleep(0)


async def test_odd_packets_leave_it_answering(serving: Serving) -> None:
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context))
    place = serving.add(ONE)
    await pelted(place, 1, 500)
    assert texts(await ask(place, "web")) == ["10.0.0.1"]
    assert serving.server.counts.questions >= 501 and serving.server.counts.malformed > 100 and not failed


@pytest.mark.figures
@pytest.mark.timeout(120)
async def test_a_minute_of_odd_packets(serving: Serving) -> None:
    """100 each second."""
    place = serving.add(ONE)
    for second in range(60):
        await pelted(place, second, 100)
        assert texts(await ask(place, "web")) == ["10.0.0.1"]
        await asyncio.sleep(1)
    assert serving.server.counts.questions >= 6060
