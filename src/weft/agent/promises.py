"""Addresses kept for endpoints to come, where an engine asks for the address first and for the endpoint afterwards.

Kept in memory and for a time only, so none is ever lost; if the agent restarts in between, the address may have gone to
somebody else, and the endpoint is refused.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from weft.base.net import IPAddress


class _Promise(msgspec.Struct, frozen=True):
    owner: str
    until: float


class Promises:
    """`clock`: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[str, dict[IPAddress, _Promise]] = {}

    def keep(self, network: str, address: IPAddress, owner: str, seconds: float) -> None:
        self._kept.setdefault(network, {})[address] = _Promise(owner, self._clock() + seconds)

    def of_others(self, network: str, owner: str) -> list[IPAddress]:
        """What `owner`, which begins with the owner of its own promises, may not have."""
        now, kept = self._clock(), self._kept.get(network, {})
        for address in [a for a, promise in kept.items() if promise.until <= now]:
            del kept[address]
        return [a for a, promise in kept.items() if not (owner and owner.startswith(promise.owner))]

    def drop(self, network: str, address: IPAddress, owner: str) -> bool:
        """Whether there was such a promise to an owner that begins so."""
        promise = self._kept.get(network, {}).get(address)
        if promise is None or not promise.owner.startswith(owner):
            return False
        del self._kept[network][address]
        return True
