"""What goes by TCP: exchanges of everything, and pings where UDP brings none. One question and one answer for each connection,
as frames: length (4 octets), then what is sealed, compressed inside."""

from __future__ import annotations

import asyncio
import zlib

from weft.base.errors import Denied, Invalid
from weft.mesh.swim import seal
from weft.mesh.swim.seal import Seal
from weft.mesh.swim.wire import Place, Stream, encode, read_stream

PATIENCE = 5.0
"""Seconds for all of it."""
_LARGEST = 4 * 2**20
"""Octets: some 4,000 members with all the facts they may have, before they are compressed."""
_QUICK = 1


def frame(keys: Seal, message: Stream) -> bytes:
    sealed = keys.close(zlib.compress(encode(message), _QUICK), seal.STREAM)
    return len(sealed).to_bytes(4, "big") + sealed


async def read(keys: Seal, reader: asyncio.StreamReader) -> Stream:
    """Raises Denied and Invalid by what is wrong, OSError and EOFError where the other end is gone."""
    size = int.from_bytes(await reader.readexactly(4), "big")
    if size > _LARGEST:
        raise Denied("it is no message of Weft's members")
    opened = keys.open(await reader.readexactly(size), seal.STREAM)
    unpacked = zlib.decompressobj()
    try:
        data = unpacked.decompress(opened, _LARGEST)
    except zlib.error as error:
        raise Invalid(f"not compressed as it should be: {error}") from None
    if unpacked.unconsumed_tail:
        raise Invalid(f"more than {_LARGEST} octets")
    return read_stream(data)


async def ask(keys: Seal, own: str, place: Place, question: Stream) -> Stream:
    """The answer. From this host's own address, so that the other end knows who asks. Raises as `read`, and TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(*place, local_addr=(own, 0))
        try:
            writer.write(frame(keys, question))
            await writer.drain()
            return await read(keys, reader)
        finally:
            writer.close()
