"""Other hosts' leases as events: a list, then a watch, and a list again where changes have been missed.

After a list only subnets are compared: that a lease which is still there says something else now goes unseen."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from ipaddress import IPv4Network

from support.flanneld.registry import Compacted, Event, Lease, Registry

_LEAST, _MOST = 0.1, 5.0
"""Seconds before it is tried again."""


def follow(registry: Registry) -> Iterator[list[Event]]:
    """Without end. Events of our own lease are among them."""
    known: dict[IPv4Network, Lease] = {}
    revision, back_off, never = 0, _LEAST, threading.Event()
    while True:
        try:
            if not revision:
                leases, revision = registry.list()
                yield _compared(known, leases)
            for changed, events in registry.watch(revision + 1):
                revision, back_off = changed, _LEAST
                yield [seen for event in events if (seen := _taken(known, event))]
        except Compacted:
            revision = 0
        except (OSError, http.client.HTTPException, ValueError):
            never.wait(back_off)
            back_off = min(2 * back_off, _MOST)


def _compared(known: dict[IPv4Network, Lease], leases: list[Lease]) -> list[Event]:
    now = {lease.subnet: lease for lease in leases}
    gone = [Event(subnet, None) for subnet in known if subnet not in now]
    new = [Event(subnet, lease) for subnet, lease in now.items() if subnet not in known]
    known.clear()
    known.update(now)
    return gone + new


def _taken(known: dict[IPv4Network, Lease], event: Event) -> Event | None:
    if event.lease:
        known[event.subnet] = event.lease
    elif known.pop(event.subnet, None) is None:
        return None
    return event
