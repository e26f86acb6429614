"""Routes in a cloud's tables: which of them are this host's business. Pure. The same for all clouds.

Routes carry no mark, so what they are tells whose they are: one is Weft's if its destination is inside the subnets of a
network that is routed by this cloud, and it leads to a host's interface. Of these

    a lease's      belong to the lease's holder, which keeps them right; nobody else touches them
    without lease  are removed: at once by the host that they lead to, else by the janitor, which is the node with the lowest
                   name of those that live

Whatever else lies at a destination that is wanted is somebody else's: it is never replaced, and told as a conflict.

A blackhole says nothing: a host that reboots is one. The lease decides. The janitor waits until it has seen a route without
a lease for `GRACE` seconds, and sweeps only while it hears from the store, because a route may come before the lease that
explains it is heard of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import TypeVar

import msgspec

from weft.base.net import IPNetwork, covers
from weft.cluster.view import View
from weft.datapaths import registry
from weft.hoststate import Key
from weft.hoststate.cloud import CloudRoute

R = TypeVar("R", bound=CloudRoute)

GRACE = 30.0
"""Seconds: far longer than a store's news travel."""


FORMER = 600.0
"""Seconds for which a removed network's prefixes still count as Weft's: somebody else may use them then."""


class Whose(Enum):
    OURS = auto()
    ANOTHER_NODES = auto()
    NOBODYS = auto()
    """Weft's, of a lease that is no more."""
    FOREIGN = auto()


class Territory(msgspec.Struct, frozen=True, kw_only=True):
    """What Weft routes by one cloud. `subnets`: of networks there are, or were a while ago. `holders`: each lease's
    subnets, with the node that holds them. `sweeps`: whether this node is the janitor."""

    me: str
    subnets: tuple[IPNetwork, ...] = ()
    holders: Mapping[IPNetwork, str] = {}
    sweeps: bool = False

    def inside(self, prefix: IPNetwork) -> bool:
        """Whether it is in a network that Weft routes by the cloud."""
        return any(covers(subnet, prefix) for subnet in self.subnets)

    def whose(self, destination: IPNetwork, *, to_host: bool, here: bool) -> Whose:
        """Of a route to this destination. `to_host`: it leads to an interface of a host; `here`: to this one's."""
        if not to_host or not self.inside(destination):
            return Whose.FOREIGN
        holder = self.holders.get(destination)
        if holder is None:
            return Whose.OURS if here else Whose.NOBODYS
        return Whose.OURS if holder == self.me else Whose.ANOTHER_NODES


class Sweep:
    """Since when routes without a lease have been seen."""

    def __init__(self, clock: Callable[[], float], grace: float = GRACE) -> None:
        self._clock, self._grace = clock, grace
        self._since: dict[Key, float] = {}

    def handled(self, whose: Mapping[Whose, Sequence[R]], border: Territory) -> tuple[R, ...]:
        """The routes that this host keeps right or removes: its own, and, of a janitor, nobody's that are due."""
        lone = whose[Whose.NOBODYS]
        due = self.due([route.key for route in lone] if border.sweeps else ())
        return (*whose[Whose.OURS], *(route for route in lone if route.key in due))

    def due(self, seen: Iterable[Key]) -> set[Key]:
        """Of those that are there now, the ones to be removed."""
        now = self._clock()
        self._since = {key: self._since.get(key, now) for key in seen}
        return {key for key, since in self._since.items() if now - since >= self._grace}


class Border:
    """The territory of one target, as the view says it now. `hears`: whether the store's news come in."""

    def __init__(
        self, target: str, view: View, hears: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._target, self._view, self._hears, self._clock = target, view, hears, clock
        self._known: dict[IPNetwork, float] = {}
        """When each prefix was a network's last."""

    def __call__(self) -> Territory:
        """In any thread."""
        view = self._view
        networks = [n for n in tuple(view.networks.values()) if self._target in registry.of(n).targets]
        now = self._clock()
        known = {s: at for s, at in tuple(self._known.items()) if now - at < FORMER}
        self._known = known | dict.fromkeys((s for n in networks for s in n.subnets), now)
        leases = [lease for n in networks for lease in tuple(view.leases.get(n.name, {}).values())]
        return Territory(
            me=view.me,
            subnets=tuple(self._known),
            holders={subnet: lease.node for lease in leases for subnet in lease.subnets},
            sweeps=self._hears() and min(tuple(view.present), default="") == view.me,
        )
