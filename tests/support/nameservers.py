"""DNS over loopback: sockets for a server, questions to it, and other servers that it asks."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from weft.dns.asker import Upstream

LOOPBACK = "127.0.0.1"

Say = Callable[[dns.message.Message, bool], bytes | None]
"""What a server answers to a question, asked by TCP or not; None: nothing."""


def sockets() -> tuple[socket.socket, socket.socket]:
    """For UDP and TCP, at one port that the kernel chooses."""
    for _ in range(100):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        udp.bind((LOOPBACK, 0))
        with contextlib.suppress(OSError):
            tcp.bind(udp.getsockname())
            tcp.listen(16)
            return udp, tcp
        udp.close()
        tcp.close()
    raise AssertionError("no port is free for both")


async def exchange(place: tuple[str, int], *packets: bytes, within: float = 10) -> list[bytes]:
    """By UDP: all of them at once, and as many answers."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect(place)
        for packet in packets:
            sock.send(packet)
        async with asyncio.timeout(within):
            return [await loop.sock_recv(sock, 65535) for _ in packets]


async def ask(place: tuple[str, int], name: str, type: str = "A", **options: Any) -> dns.message.Message:
    sent = dns.message.make_query(name, type, **options)
    (packet,) = await exchange(place, sent.to_wire())
    got = dns.message.from_wire(packet)
    assert got.id == sent.id and got.question == sent.question
    return got


def texts(got: dns.message.Message) -> list[str]:
    return [data.to_text() for found in got.answer for data in found]


class Stub:
    """A name server that says what a test wants. `asked`: names, in the order in which they came, by UDP and TCP."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.asked: list[str] = []
        self.sources: list[Any] = []
        self.port = 0
        self.transport: Any = None

    @property
    def upstream(self) -> Upstream:
        return Upstream(ip_address(LOOPBACK), self.port)

    def heard(self, packet: bytes, source: Any, by_tcp: bool) -> bytes | None:
        query = dns.message.from_wire(packet)
        self.asked.append(query.question[0].name.to_text())
        self.sources.append(source)
        return self.say(query, by_tcp)

    def tell(self, packet: bytes) -> None:
        """To who asked last by UDP, besides what is answered."""
        self.transport.sendto(packet, self.sources[-1])

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                packet = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
                reply = self.heard(packet, None, True)
                if reply is not None:
                    writer.write(len(reply).to_bytes(2) + reply)
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, stub: Stub) -> None:
        self._stub = stub

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        reply = self._stub.heard(data, addr, False)
        if reply is not None:
            self._transport.sendto(reply, addr)


@contextlib.asynccontextmanager
async def stub(say: Say) -> AsyncIterator[Stub]:
    one = Stub(say)
    udp, tcp = sockets()
    one.port = udp.getsockname()[1]
    one.transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Datagrams(one), sock=udp)
    server = await asyncio.start_server(one.converse, sock=tcp)
    try:
        yield one
    finally:
        one.transport.close()
        server.close()


def says(*lines: str, rcode: int = 0, authority: tuple[str, ...] = (), flags: int = 0) -> Say:
    """Always this. A line: `NAME TTL IN TYPE DATA`; `@` is the name that was asked for."""

    def say(query: dns.message.Message, by_tcp: bool) -> bytes:
        got = dns.message.make_response(query, recursion_available=True)
        name = query.question[0].name.to_text()
        got.answer = [rrset(line.replace("@", name)) for line in lines]
        got.authority = [rrset(line) for line in authority]
        got.set_rcode(dns.rcode.Rcode(rcode))
        got.flags |= 0 if by_tcp else flags
        return got.to_wire(max_size=65535)

    return say


def nothing(query: dns.message.Message, by_tcp: bool) -> None:
    """Says nothing."""


def rrset(line: str) -> dns.rrset.RRset:
    name, ttl, cls, type, data = line.split(None, 4)
    return dns.rrset.from_text(name, int(ttl), cls, type, data)
