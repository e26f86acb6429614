"""The addresses of the hosts that a store's URL names."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address

from weft.mesh.founding import Address

SECONDS = 2.0


async def resolve(named: Sequence[str], me: Address) -> tuple[tuple[Address, ...], tuple[str, ...]]:
    """One of each, of this host's family; and the names that have none now. A name that leads to loopback is this host's own:
    Debian gives 127.0.1.1 to the host's name."""
    answers = await asyncio.gather(*(_address(name, me) for name in named))
    found = dict(zip(named, answers, strict=True))
    return (
        tuple(address for address in found.values() if address is not None),
        tuple(name for name, address in found.items() if address is None),
    )


async def _address(name: str, me: Address) -> Address | None:
    family = socket.AF_INET if me.version == 4 else socket.AF_INET6
    try:
        async with asyncio.timeout(SECONDS):
            places = await asyncio.get_running_loop().getaddrinfo(
                name.strip("[]"), None, family=family, type=socket.SOCK_STREAM
            )
    except (OSError, TimeoutError, UnicodeError):
        return None
    found = sorted(ip_address(str(where[0]).partition("%")[0]) for *_, where in places)
    address = me if me in found else next(iter(found), None)
    own = address is not None and address.is_loopback and not me.is_loopback
    return me if own else address
