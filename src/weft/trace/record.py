"""What a walk has seen so far, and how it says that it ends."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from weft.api.dump import LinkDump
from weft.base.net import IPAddress
from weft.filters.model import Seen, Where
from weft.trace.conntrack import Table, Tracker
from weft.trace.namespace import Namespace
from weft.trace.path import Ending, Hop, Outcome, Place, Step
from weft.trace.state import Frame, Packet
from weft.trace.tracked import Entry, Tracked
from weft.trace.world import World

LARGEST = 65535
"""Octets; of an IP packet."""


class At(NamedTuple):
    """`depth`: how many tunnels the packet is in there."""

    place: Place
    depth: int
    dev: str
    comes: bool


class Passing(NamedTuple):
    """`family`: of the rules that were asked, "ip", "ip6" or "bridge". `device`: which of the record's devices came last."""

    place: Place
    family: str
    seen: Seen
    tracked: Tracked | None
    device: int


class Record:
    """`size`: of the traced packet in octets, 0 for one that is small enough everywhere. `member`: which of a service's is
    followed. `draws`: how lotteries in rules go. `doubts`: what the way depends on that nobody can judge from here.
    `by_entry`: an entry of the dump's conntrack by which the packet went, and where; `by_rule`: somebody else's rule that gave
    it another receiver, and where. `arrived`: where the packet came to its end, as it was then, and the device that it came or
    left by. `devices`: by which it came and left, in order; `passings`: where it was judged to be passed on."""

    def __init__(self, world: World, tracker: Tracker, *, size: int = 0, member: IPAddress | None = None) -> None:
        self.world = world
        self.hops: list[Hop] = []
        self.mtu = LARGEST
        self.size = size
        self.member = member
        self.draws: tuple[int, ...] = ()
        self.doubts: list[str] = []
        self.notes: list[str] = []
        self.by_entry: tuple[Place, Entry] | None = None
        self.by_rule: tuple[Place, Where] | None = None
        self.arrived: tuple[Place, Packet, str] | None = None
        self.devices: list[At] = []
        self.passings: list[Passing] = []
        self._tracker = tracker

    def connections(self, place: Place, *, bridge: bool = False) -> Table:
        """`bridge`: those that its bridges keep for themselves (nf_conntrack_bridge)."""
        if bridge:
            return self._tracker.table(Place(place.host, f"{place.ns} bridge"), ())
        namespace = self.namespace(place)
        return self._tracker.table(place, namespace.dump.filters.connections if namespace else ())

    def doubt(self, what: str) -> None:
        if what not in self.doubts:
            self.doubts.append(what)

    def note(self, what: str) -> None:
        if what not in self.notes:
            self.notes.append(what)

    def command(self, place: Place, words: str) -> str:
        """As it is run on the host, whatever namespace it is about."""
        return f"nsenter --net={place.ns} {words}" if place.ns else words

    def hop(self, place: Place, step: Step, entry: str, result: str = "", *, dev: str = "", hook: str = "") -> None:
        name = self.world.name(place)
        self.hops.append(
            Hop(place=name, step=step, entry=entry, result=result, host=place.host, ns=place.ns, dev=dev, hook=hook)
        )

    def end(
        self,
        ending: Ending,
        place: Place,
        text: str,
        advice: str | None = None,
        *,
        fault: str = "",
        fix: str = "",
        host: str = "",
    ) -> Outcome:
        """`advice`: None for what helps where an entry is missing. `host`: where the advice is for another one."""
        where = host or place.host
        usual = f"on {where}: `weft status` says what fails there, `weft plan` what Weft would put right"
        return Outcome(
            ending=ending,
            place=self.world.name(place),
            text=text,
            advice=usual if advice is None else advice,
            host=where,
            ns=place.ns,
            fault=fault,
            fix=fix,
        )

    def room(self, link: LinkDump, frame: Frame) -> None:
        """A device takes frames of its MTU, which in a tunnel is not all for the traced packet."""
        self.mtu = min(self.mtu, link.mtu - frame.packet.overhead)

    def namespace(self, place: Place) -> Namespace | None:
        return self.world.namespace(place)

    def missing(self, place: Place) -> Outcome:
        """The namespace is not in the dumps."""
        if place.host not in self.world.hosts():
            return self.end(
                "no-state", place, f"the state of {place.host} is not at hand", f"run the trace on {place.host}"
            )
        return self.end(
            "no-state",
            place,
            f"there is no namespace {place.ns} on {place.host}: the container may have ended",
            f"attach it again, or on {place.host} `weft detach` what is gone (`weft endpoint ls --node {place.host}`)",
            fault="namespace-gone",
        )

    def lost(self, address: IPAddress) -> Outcome | None:
        """An address that a host should have on the wire, and has not."""
        host = self.world.expected(address)
        if not host:
            return None
        place = Place(host)
        text = f"{address} is not an address of {host} (any more)"
        return self.end("no-address", place, text, f"on {host}: `ip address`", fault="address-missing")

    def unusable(self, place: Place, namespace: Namespace, dev: str) -> Outcome | None:
        """Why a device carries nothing, if so."""
        link, name = namespace.links.get(dev), self.world.name(place)
        if link is None:
            text = f"there is no device {dev or 'for this route'} on {name}"
            return self.end("no-device", place, text, fault="no-device")
        if not link.up:
            return self._down(place, place, link, f"{dev} on {name} is down")
        if link.carrier:
            return None
        return self._without_carrier(place, namespace, link)

    def _down(self, place: Place, where: Place, link: LinkDump, text: str) -> Outcome:
        """`where`: the namespace of the device, which the packet is not in if it is the other end of a veth."""
        fix = self.command(where, f"ip link set {link.name} up")
        fault = "bridge-down" if link.kind == "bridge" else "link-down"
        return self.end("link-down", place, text, f"on {place.host}: `{fix}`", fault=fault, fix=fix)

    def _without_carrier(self, place: Place, namespace: Namespace, link: LinkDump) -> Outcome:
        """A bridge has none if none of its ports has; a veth if its other end is down."""
        text = f"{link.name} on {self.world.name(place)} has no carrier"
        peer = self.world.peer(place, link)
        if peer is not None and not peer.link.up:
            why = f"its other end, {peer.link.name} on {self.world.name(peer.place)}, is down"
            return self._down(place, peer.place, peer.link, f"{text}: {why}")
        if link.kind == "bridge":
            reasons = [
                bad for port in namespace.ports(link.name) if (bad := self.unusable(place, namespace, port.name))
            ]
            if not reasons:
                return self.end("link-down", place, f"{text}: it has no ports", fault="not-in-bridge")
            return msgspec.structs.replace(reasons[0], text=f"{text}: {reasons[0].text}")
        advice = f"look at what {link.name} is connected to: cable, switch, port"
        return self.end("link-down", place, text, advice, fault="no-carrier")

    def down(self, namespace: Namespace) -> str:
        """Devices that are down, for when routes are missing: the kernel removes those of a device with it. Only those
        in use: Weft's, and those with an address (v4 addresses stay)."""
        names = self.unused(namespace)
        if not names:
            return ""
        return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} down, which takes routes away with it"

    def unused(self, namespace: Namespace) -> list[str]:
        """The devices that `down` tells of."""
        used = {dev for _, dev in namespace.addresses}
        used |= {link.name for link in namespace.links.values() if link.alias.partition(":")[0] == "weft"}
        return [n for n, link in namespace.links.items() if n in used and not link.up and link.kind != "loopback"]
