"""What a rule of policy has logged: which rule it was, who it was about, and what became of the packet at that end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from weft.base.net import IPAddress
from weft.base.numbers import is_number
from weft.policy.evaluate import Judge
from weft.policy.index import Index
from weft.policy.model import DIRECTIONS, Identity
from weft.policy.program import Chain, Origin
from weft.policy.verdict import End, Packet


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """`origin`: of the rule. `allowed`: what the policies say at this end, as they are known now; None where it is not known
    whose packet it was."""

    origin: Origin
    source: End
    target: End
    packet: Packet
    allowed: bool | None


class Names:
    """Which rule a prefix means, and who has an address, as an index knows it now."""

    def __init__(
        self, index: Index, nodes: Iterable[tuple[str, IPAddress]], former: Mapping[str, Chain] | None = None
    ) -> None:
        """`former`: chains that there were just before, of which something may still be told."""
        self._index = index
        self._nodes = {address: name for name, address in nodes}
        self.chains = {chain.name: chain for program in index.programs() for chain in program.chains}
        self._former = former or {}
        self._judge = Judge(index.world)

    def logged(self, prefix: str, source: IPAddress, target: IPAddress, packet: Packet, ns: str) -> Logged | None:
        """None where the prefix is that of no rule: there are others now, or it is somebody else's."""
        origin = self._origin(prefix)
        if origin is None:
            return None
        one, other = self._end(source, ns), self._end(target, ns)
        own = (one if origin.direction == "egress" else other).identity
        allowed = None
        if own is not None:
            sides = self._judge.verdict(one, other, packet).sides
            allowed = next(side.allowed for side in sides if side.direction == origin.direction)
        return Logged(origin=origin, source=one, target=other, packet=packet, allowed=allowed)

    def _origin(self, prefix: str) -> Origin | None:
        name, _, number = prefix.rpartition(":")
        chain = self.chains.get(name) or self._former.get(name)
        if chain is None or not is_number(number) or int(number) >= len(chain.lines):
            return None
        return chain.lines[int(number)].origin

    def _end(self, address: IPAddress, ns: str) -> End:
        found = self._who(address, ns)
        return End(address=address, identity=found, node="" if found else self._nodes.get(address, ""))

    def _who(self, address: IPAddress, ns: str) -> Identity | None:
        """Networks may have the same addresses: whose packets pass that namespace is meant first."""
        found = list(self._index.at(address))
        local = self._index.local
        for identity in found:
            at = local.get((identity.network, identity.id))
            if at is not None and ns in at.spaces:
                return identity
        return found[0] if found else None


def logging_spaces(index: Index) -> set[str]:
    """The namespaces in which a rule logs something."""
    logs: dict[str, bool] = {}
    found: set[str] = set()
    for key, local in index.local.items():
        for direction in DIRECTIONS:
            for chain in index.program(key, direction).chains:
                if chain.name not in logs:
                    logs[chain.name] = any(line.origin.action == "log" for line in chain.lines)
                if logs[chain.name]:
                    found.update(local.spaces)
    return found
