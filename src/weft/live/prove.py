"""Send a marked packet from where a trace begins, and have it watched on every host on its way.

Who watches is ready before it is sent: a watch has been acknowledged by then. It lasts some seconds at most, also if nobody
comes to end it.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from weft.api import live
from weft.api.live import Probed, ProbeRequest, Watched, WatchRequest
from weft.base.errors import Unsupported, WeftError
from weft.live.packet import Mark
from weft.live.proof import Proof, proof, settled
from weft.trace.path import ICMP, ICMPV6, TCP, UDP, Flow, Path, Place, Trace

TOKEN = 8
ANSWER = 1.0
"""Seconds that an answer is waited for."""
LONGEST = 4.5
"""Seconds after which the watchers are asked for the last time. A neighbour that does not answer is given up after 3."""
_AGAIN = 0.5
_LASTING = 20.0
"""Seconds that a watch lasts if nobody ends it."""
_AT_ONCE = 16
SMALLEST = 64
"""Octets of a packet."""
_NO_NODE = re.compile(r"[\s:]|^[\d.]+$")
"""In the name of a target that begins with no node's: an address, a service."""
_PROTOCOLS: dict[int, live.Protocol] = {TCP: "tcp", UDP: "udp", ICMP: "icmp", ICMPV6: "icmp"}


class Sides(Protocol):
    """One host; `weft.client.Client` is one, by its agent."""

    def start_watch(self, request: WatchRequest) -> Watched: ...

    def watched(self, id: str) -> Watched: ...

    def end_watch(self, id: str) -> Watched: ...

    def send_probe(self, request: ProbeRequest) -> Probed: ...


def prove(found: Trace, at: Callable[[str], Sides]) -> Proof:
    """A packet of the flow that was traced. `at`: a host by its name. Raises Unsupported, and what the sender's host says;
    another one that cannot watch is told in `Proof.unseen`."""
    token, (host, namespace) = secrets.token_bytes(TOKEN), origin(found.there)
    flow, target = found.there.flow, _target(found)
    family, protocol = found.there.source.version, protocol_of(flow)
    mark = Mark(token, protocol, family, 0)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="live") as pool:
        watches = _Watches(at, pool)
        try:
            watches.start(
                {
                    host: WatchRequest(
                        token=token.hex(),
                        protocol=protocol,
                        family=family,
                        namespaces=paths,
                        aside=_ends(found),
                        seconds=_LASTING,
                    )
                    for host, paths in _concerned(found).items()
                }
            )
            begun = time.monotonic()
            sent = at(host).send_probe(
                ProbeRequest(
                    token=token.hex(),
                    target=str(found.there.target),
                    namespace=namespace,
                    source=str(found.there.source),
                    protocol=protocol,
                    port=flow.dport if protocol != "icmp" else 0,
                    sport=0 if flow.free or protocol == "icmp" else flow.sport,
                    mark=flow.mark,
                    size=max(flow.size, SMALLEST),
                    seconds=ANSWER,
                )
            )
            mark = mark._replace(sport=sent.sport)
            never = threading.Event()
            while not settled(sent, mark, target, watches.seen()) and time.monotonic() - begun < LONGEST:
                never.wait(_AGAIN)
        finally:
            seen = watches.end()
    return proof(found.there, target, mark, sent, seen, watches.silent.values())


def protocol_of(flow: Flow) -> live.Protocol:
    """Raises Unsupported."""
    found = _PROTOCOLS.get(flow.protocol)
    if found is None:
        raise Unsupported(f"packets of IP's protocol {flow.protocol} are not sent: --live knows tcp, udp and icmp")
    return found


def origin(path: Path) -> Place:
    """Where it begins."""
    first = path.hops[0] if path.hops else path.outcome
    return Place(first.host, first.ns)


def _ends(found: Trace) -> tuple[str, ...]:
    """The addresses that its packets have, and its answer's, which may be others."""
    ways = (found.there, *((found.back,) if found.back is not None else ()))
    return tuple(dict.fromkeys(str(end) for way in ways for end in (way.source, way.target)))


def _target(found: Trace) -> str:
    """The place where it should arrive: a service's is that of the member that was followed."""
    outcome = found.there.outcome
    return outcome.place if outcome.ending in ("delivered", "no-socket") else found.target


def spots(found: Trace) -> Iterator[tuple[Place, str]]:
    """Where the packet, and its answer, come by, with how that place is called."""
    for path in (found.there, found.back):
        if path is not None:
            yield from ((Place(hop.host, hop.ns), hop.place) for hop in path.hops if hop.host)
            end = path.outcome
            yield Place(end.place.partition("/")[0], end.ns), end.place


def _concerned(found: Trace) -> dict[str, tuple[str, ...]]:
    """Hosts on the way there and back, and the target's, each with the paths of the namespaces on the way."""
    hosts: dict[str, dict[str, None]] = {}
    for place, _ in spots(found):
        hosts.setdefault(place.host, {}).update({place.ns: None} if place.ns else {})
    if not _NO_NODE.search(found.target):
        hosts.setdefault(found.target.partition("/")[0], {})
    return {host: tuple(paths) for host, paths in hosts.items()}


class _Watches:
    """One on each host. `silent`: why a host does not watch, or does not tell what it saw."""

    def __init__(self, at: Callable[[str], Sides], pool: ThreadPoolExecutor) -> None:
        self._at, self._pool = at, pool
        self._last: dict[str, Watched] = {}
        self.silent: dict[str, str] = {}

    def start(self, requests: Mapping[str, WatchRequest]) -> None:
        self._each(requests, lambda host: self._at(host).start_watch(requests[host]))

    def seen(self) -> dict[str, Watched]:
        self._each(self._last, lambda host: self._at(host).watched(self._last[host].id))
        return dict(self._last)

    def end(self) -> dict[str, Watched]:
        """Of a host that does not answer any more, what it told last."""
        self._each(self._last, lambda host: self._at(host).end_watch(self._last[host].id))
        return dict(self._last)

    def _each(self, hosts: Collection[str], call: Callable[[str], Watched]) -> None:
        def one(host: str) -> None:
            try:
                self._last[host] = call(host)
            except WeftError as error:
                self.silent[host] = f"{host} does not watch: {error}"

        list(self._pool.map(one, tuple(hosts)))
