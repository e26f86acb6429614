"""Addresses kept for endpoints to come, where an engine asks for the address first and for the endpoint afterwards.

Kept in memory and for a time only, so none is ever lost; if the agent restarts in between, the address may have gone to
somebody else, and the endpoint is refused. Of a subnet that all hosts share it is claimed in the store as well, for about
as long: `revision` is the claim's, and who attaches takes the claim over.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from weft.base.net import IPAddress


class Promise(msgspec.Struct, frozen=True):
    """`until`: on the clock. `revision`: of its claim; 0 where there is none."""

    owner: str
    until: float
    revision: int = 0


class Promises:
    """`clock`: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[str, dict[IPAddress, Promise]] = {}

    def keep(self, network: str, address: IPAddress, owner: str, seconds: float, revision: int = 0) -> None:
        self._kept.setdefault(network, {})[address] = Promise(owner, self._clock() + seconds, revision)

    def of_others(self, network: str, owner: str) -> list[IPAddress]:
        """What `owner`, which begins with the owner of its own promises, may not have."""
        now, kept = self._clock(), self._kept.get(network, {})
        for address in [a for a, promise in kept.items() if promise.until <= now]:
            del kept[address]
        return [a for a, promise in kept.items() if not (owner and owner.startswith(promise.owner))]

    def to(self, network: str, address: IPAddress, owner: str) -> Promise | None:
        """The promise to `owner`, which begins with the promise's."""
        promise = self._kept.get(network, {}).get(address)
        meant = (
            promise is not None and promise.until > self._clock() and bool(owner) and owner.startswith(promise.owner)
        )
        return promise if meant else None

    def drop(self, network: str, address: IPAddress, owner: str) -> Promise | None:
        """What was promised, if it was to an owner that begins so."""
        promise = self._kept.get(network, {}).get(address)
        if promise is None or not promise.owner.startswith(owner):
            return None
        return self._kept[network].pop(address)
