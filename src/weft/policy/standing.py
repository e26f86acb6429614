"""Whether connections that are open may be, as policy is now. Pure.

Each host judges its own end of a connection: the egress of who began it, the ingress of where it went to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address

import msgspec

from weft.base.net import IPAddress
from weft.policy.evaluate import Judge
from weft.policy.model import Direction, Identity
from weft.policy.verdict import End, Packet

Place = Mapping[IPAddress, Identity]
"""A namespace in which connections are asked: this host's endpoints that have policy, by address as it is seen there."""


_SENT: tuple[Direction, ...] = ("egress",)
_TAKEN: tuple[Direction, ...] = ("ingress",)


class Connection(msgspec.Struct, frozen=True):
    """`source`: who began it; `target`, `port`: where it went to, whatever it was sent to at first. Addresses are packed;
    `protocol` is a number; `icmp`: type and code, where it has these."""

    source: bytes
    target: bytes
    protocol: int
    port: int
    icmp: tuple[int, int] | None = None


class Standing:
    """`at`: the endpoints that have an address, wherever they are. `nodes`: by address, the names of those whose own it is.
    As all that is judged by is of one moment, what was found out about one connection is remembered for all that are alike."""

    def __init__(
        self, judge: Judge, at: Callable[[IPAddress], Iterable[Identity]], nodes: Mapping[IPAddress, str]
    ) -> None:
        self._judge, self._at, self._nodes = judge, at, nodes
        self._known: dict[tuple[int, Connection], bool] = {}

    def allows(self, place: Place, connection: Connection) -> bool:
        key = id(place), connection
        if key not in self._known:
            self._known[key] = self._allows(place, connection)
        return self._known[key]

    def _allows(self, place: Place, connection: Connection) -> bool:
        source, target = ip_address(connection.source), ip_address(connection.target)
        one, other = place.get(source), place.get(target)
        if source == target:
            return True
        kind, code = connection.icmp or (None, None)
        packet = Packet(protocol=str(connection.protocol), port=connection.port or None, icmp_type=kind, icmp_code=code)
        if one is not None:
            ends = End(address=source, identity=one), self._other(target, one)
            if not self._judge.allowed(*ends, packet, _SENT):
                return False
        if other is not None:
            ends = self._other(source, other), End(address=target, identity=other)
            return self._judge.allowed(*ends, packet, _TAKEN)
        return True

    def _other(self, address: IPAddress, own: Identity) -> End:
        """The other end, as rules know it: by the addresses that endpoints are known by everywhere. Of several that have the
        same one, it is one that `own` can have to do with."""
        found = list(self._at(address))
        identity = next((it for it in found if self._judge.reaches(own, it)), found[0] if found else None)
        return End(address=address, identity=identity, node="" if identity else self._nodes.get(address, ""))
