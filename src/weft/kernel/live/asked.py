"""Requests of the API about a marked packet, done on this host."""

from __future__ import annotations

import msgspec

from weft.api.live import Probed, ProbeRequest, Watched, WatchRequest
from weft.base.errors import Invalid
from weft.base.net import IPAddress, parse_address
from weft.kernel.live.probe import Packet, Sent
from weft.kernel.live.watch import Watch

_TOKEN = 8
LONGEST = 30.0
"""Seconds that a watch lasts, or that an answer is waited for."""


def token(request: WatchRequest | ProbeRequest) -> bytes:
    """Raises Invalid."""
    try:
        found = bytes.fromhex(request.token)
    except ValueError:
        found = b""
    if len(found) != _TOKEN:
        raise Invalid(f"{request.token!r} marks no packet: {2 * _TOKEN} hex digits are needed")
    return found


def seconds(request: WatchRequest | ProbeRequest) -> float:
    """Raises Invalid."""
    if not 0 < request.seconds <= LONGEST:
        raise Invalid(f"{request.seconds:g} seconds are not possible: more than 0, at most {LONGEST:g}")
    return request.seconds


MOST_ASIDE = 16


def aside(request: WatchRequest) -> tuple[IPAddress, ...]:
    """Raises Invalid."""
    if len(request.aside) > MOST_ASIDE:
        raise Invalid(f"{len(request.aside)} addresses are too many: at most {MOST_ASIDE}")
    return tuple(map(parse_address, request.aside))


def packet(request: ProbeRequest) -> Packet:
    """Raises Invalid."""
    return Packet(
        target=parse_address(request.target),
        protocol=request.protocol,
        token=token(request),
        port=request.port,
        sport=request.sport,
        source=parse_address(request.source) if request.source else None,
        size=request.size,
        mark=request.mark,
    )


def probed(sent: Sent) -> Probed:
    return msgspec.convert(msgspec.structs.asdict(sent), Probed)


def watched(name: str, watch: Watch) -> Watched:
    return Watched(
        id=name, packets=watch.packets(), rules=watch.rules(), means=tuple(watch.means), unseen=tuple(watch.unseen)
    )
