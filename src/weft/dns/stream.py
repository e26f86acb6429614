"""Messages over TCP: each follows its length, two octets (RFC 1035 §4.2.2)."""

from __future__ import annotations

import asyncio
import socket


async def receive(sock: socket.socket, most: int = 65535) -> bytes:
    """The next message. Raises EOFError where the other end has closed or has more than `most` octets to say, and OSError."""
    length = int.from_bytes(await _octets(sock, 2))
    if length > most:
        raise EOFError
    return await _octets(sock, length)


async def send(sock: socket.socket, packet: bytes) -> None:
    """Raises OSError."""
    await asyncio.get_running_loop().sock_sendall(sock, len(packet).to_bytes(2) + packet)


async def _octets(sock: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = await asyncio.get_running_loop().sock_recv(sock, count - len(found))
        if not more:
            raise EOFError
        found += more
    return found
