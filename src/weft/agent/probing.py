"""Tests of `weft check`, run in a probe's namespace or the host's; and what answers them in a probe.

A datagram begins with a token and is answered by the token alone, so a large one that arrives is told from an answer that
does not. Nothing is ever answered by more than was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, cast

from weft.api.checks import Test, Tested
from weft.base.errors import NotFound, WeftError
from weft.dns import message
from weft.kernel.host import probes
from weft.kernel.host.probes import left, make, path, unmake

__all__ = ["Answering", "answer", "left", "make", "path", "run", "unmake"]

TOKEN = b"weftchck"
_NONCE = 8
_HEADERS = {4: 28, 6: 48}
"""Of IP and UDP; as many as of IP and an echo."""
_SMALL = len(TOKEN) + _NONCE
TRIES = 3
"""Of a datagram, which may be lost; each has its part of the time."""
RESOLVER = "127.0.0.11"
_SILENCE = 5.0
"""Seconds that a connection to a probe may take."""
_ECHO = {4: (8, 0, socket.IPPROTO_ICMP), 6: (128, 129, socket.IPPROTO_ICMPV6)}
"""Type of the question and of the answer, protocol."""


class Answering:
    """A probe's sockets. `tcp`, `udp`: their ports."""

    def __init__(self, server: asyncio.Server, transport: asyncio.DatagramTransport, tcp: int, udp: int) -> None:
        self._server, self._transport = server, transport
        self.tcp, self.udp = tcp, udp

    def close(self) -> None:
        self._server.close()
        self._transport.close()


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # it is no instance of it, but can the same

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data.startswith(TOKEN) and len(data) >= _SMALL:
            self._transport.sendto(data[:_SMALL], addr)

    def error_received(self, exc: Exception) -> None:
        """Who asked is gone."""


async def answer(where: str) -> Answering:
    """Raises NotFound, Failed."""
    tcp, udp = await asyncio.to_thread(probes.listening, where)
    ports = tcp.getsockname()[1], udp.getsockname()[1]
    try:
        server = await asyncio.start_server(_greet, sock=tcp)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(_Echo, sock=udp)
    except BaseException:
        tcp.close()
        udp.close()
        raise
    return Answering(server, transport, *ports)


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(_SILENCE):
            said = await reader.readexactly(_SMALL)
            if said.startswith(TOKEN):
                writer.write(said)
                await writer.drain()
    writer.close()


# -- asking ------------------------------------------------------------------------------------------------------------


async def run(where: str, tests: Iterable[Test], seconds: float, at_once: int, rate: int) -> tuple[Tested, ...]:
    """In their order. `where`: the namespace's path. Raises nothing for a test that fails."""
    room = asyncio.Semaphore(at_once)

    async def one(number: int, test: Test) -> Tested:
        await asyncio.sleep(number / rate)
        async with room:
            return await ask(where, test, seconds)

    return tuple(await asyncio.gather(*(one(number, test) for number, test in enumerate(tests))))


async def ask(where: str, test: Test, seconds: float) -> Tested:
    began = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            error = await _ASK[test.kind](where, test, seconds)
    except TimeoutError:
        error = f"no answer within {seconds:g} s"
    except ConnectionRefusedError:
        error = "connection refused"
    except OSError as failed:
        error = os.strerror(failed.errno).lower() if failed.errno else str(failed)
    except WeftError as failed:
        error = str(failed)
    return Tested(ms=round((time.monotonic() - began) * 1000, 3), error=error)


@contextlib.asynccontextmanager
async def _socket(
    where: str, test: Test, kind: socket.SocketKind, protocol: int = 0, to: str = ""
) -> AsyncIterator[socket.socket]:
    """Connected to the target."""
    version = 4 if to else test.target.version
    try:
        sock = await asyncio.to_thread(probes.asking, where, version, kind, protocol)
    except NotFound:
        raise NotFound("the probe is gone: begin the check anew") from None
    try:
        address = to or str(test.target), 53 if to else test.port
        if kind is socket.SOCK_STREAM:
            await asyncio.get_running_loop().sock_connect(sock, address)
        else:
            sock.connect(address)
        yield sock
    finally:
        sock.close()


async def _tcp(where: str, test: Test, _seconds: float) -> str:
    """A connection, and 16 octets there and back."""
    loop, said = asyncio.get_running_loop(), TOKEN + secrets.token_bytes(_NONCE)
    async with _socket(where, test, socket.SOCK_STREAM) as sock:
        await loop.sock_sendall(sock, said)
        got = b""
        while len(got) < len(said):
            more = await loop.sock_recv(sock, len(said) - len(got))
            if not more:
                return "the connection was closed before it was answered"
            got += more
    return "" if got == said else "somebody else answered"


async def _connect(where: str, test: Test, _seconds: float) -> str:
    async with _socket(where, test, socket.SOCK_STREAM):
        return ""


async def _udp(where: str, test: Test, seconds: float) -> str:
    said = TOKEN + secrets.token_bytes(_NONCE)
    padding = bytes(max(test.size - _HEADERS[test.target.version] - len(said), 0))
    async with _socket(where, test, socket.SOCK_DGRAM) as sock:
        return await _exchanged(sock, said + padding, lambda got: got == said, seconds)


async def _name(where: str, test: Test, seconds: float) -> str:
    id = secrets.token_bytes(2)
    type = message.A if test.target.version == 4 else message.AAAA
    question = message.wire(test.name) + struct.pack(">2H", type, message.IN)
    head = id + struct.pack(">5H", message.RD, 1, 0, 0, 0)
    answers: list[bytes] = []

    def is_it(got: bytes) -> bool:
        if not message.answers(got, int.from_bytes(id), question):
            return False
        answers.append(got)
        return True

    async with _socket(where, test, socket.SOCK_DGRAM, to=RESOLVER) as sock:
        if error := await _exchanged(sock, head + question, is_it, seconds):
            return error
    found = answers[-1]
    if found[3] & message.RCODE:
        return f"the resolver does not know {test.name} (code {found[3] & message.RCODE})"
    return "" if test.target.packed in found else f"{test.name} is not {test.target}, says the resolver"


async def _ping(where: str, test: Test, seconds: float) -> str:
    asks, answers, protocol = _ECHO[test.target.version]
    id = secrets.token_bytes(2)
    said = id + b"\0\1" + TOKEN + bytes(max(test.size - _HEADERS[test.target.version] - len(TOKEN), 0))
    checksum = _checksum(bytes((asks, 0, 0, 0)) + said) if test.target.version == 4 else 0  # of v6 it is the kernel's
    packet = bytes((asks, 0)) + checksum.to_bytes(2) + said

    def is_it(got: bytes) -> bool:
        inner = got[(got[0] & 15) * 4 :] if test.target.version == 4 and got else got
        return len(inner) >= 8 and inner[0] == answers and inner[4:6] == id

    async with _socket(where, test, socket.SOCK_RAW, protocol) as sock:
        return await _exchanged(sock, packet, is_it, seconds)


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data[: len(data) & ~1])) + (
        data[-1] << 8 if len(data) & 1 else 0
    )
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


async def _exchanged(sock: socket.socket, said: bytes, is_it: Callable[[bytes], bool], seconds: float) -> str:
    """Sent some times until the answer comes. Raises TimeoutError, OSError."""
    loop = asyncio.get_running_loop()
    for attempt in range(TRIES):
        await loop.sock_sendall(sock, said)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds / TRIES if attempt < TRIES - 1 else None):
                while not is_it(await loop.sock_recv(sock, 65_535)):
                    pass
                return ""
    raise TimeoutError


_ASK = {"tcp": _tcp, "connect": _connect, "udp": _udp, "ping": _ping, "name": _name}
