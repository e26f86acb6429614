"""The relay: octets to a voter and back, within limits."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address

import pytest

from support.waiting import until
from weft.base.errors import Failed
from weft.mesh import relay as relays
from weft.mesh.relay import Place, Relay

HERE = ip_address("127.0.0.1")


@contextlib.asynccontextmanager
async def voter() -> AsyncIterator[Place]:
    """One that says everything back."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, str(HERE), 0)
    async with server:
        yield server.sockets[0].getsockname()


@contextlib.asynccontextmanager
async def relay(*voters: Place) -> AsyncIterator[tuple[Relay, Place]]:
    with socket.socket() as probe:
        probe.bind((str(HERE), 0))
        place: Place = probe.getsockname()
    made = Relay(lambda: voters, place[1])
    task = asyncio.create_task(made.run(HERE))
    try:
        await asyncio.to_thread(until, lambda: made.listening, 10, "the relay")
        yield made, place
    finally:
        task.cancel()
        await asyncio.wait([task])


async def ended(place: Place) -> bool:
    """Whether a connection to it is closed without an octet."""
    reader, writer = await asyncio.open_connection(*place)
    try:
        async with asyncio.timeout(10):
            return not await reader.read(1)
    except ConnectionError:
        return True
    finally:
        writer.close()


async def test_what_is_said_comes_back_from_a_voter_that_is_there() -> None:
    data = bytes(range(256)) * 4000
    async with voter() as there, relay((str(HERE), 1), there) as (_, place):
        reader, writer = await asyncio.open_connection(*place)
        async with asyncio.timeout(10):
            writer.write(data)
            assert await reader.readexactly(len(data)) == data
            writer.write_eof()
            assert await reader.read() == b""
        writer.close()


async def test_without_a_voter_the_connection_ends_at_once() -> None:
    async with relay((str(HERE), 1)) as (made, place):
        assert await ended(place)
        assert made.refused == 1


async def test_no_more_connections_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "MOST_OF_ONE", 1)
    async with voter() as there, relay(there) as (made, place):
        reader, writer = await asyncio.open_connection(*place)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        assert await ended(place)
        assert (made.connections, made.refused) == (1, 1)
        writer.close()


async def test_one_on_which_nothing_goes_to_and_fro_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "IDLE", 0.05)
    async with voter() as there, relay(there) as (_, place):
        assert await ended(place)


async def test_a_port_that_is_taken_is_told() -> None:
    async with voter() as (host, port):
        with pytest.raises(Failed, match=f"TCP port {port} of {host}.*ss -ltnp"):
            await Relay(tuple, port).run(HERE)
