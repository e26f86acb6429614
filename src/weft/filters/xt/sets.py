"""Whether a packet is in a set of ipset(8), looked up as the kernel does: the most specific networks first, and the first
element found decides (net/netfilter/ipset/ip_set_hash_gen.h)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from ipaddress import ip_network
from itertools import product
from typing import NamedTuple

from weft.api.dump import IpsetDump
from weft.base.net import IPAddress
from weft.filters.model import Seen
from weft.filters.state import Judged, Unknown
from weft.filters.xt.packet import Packet
from weft.filters.xt.words import protocol

Field = tuple[object, ...]
"""One dimension of an element, as it is looked up: ("net", number, length), ("port", "tcp", 80), ("iface", "eth0") …"""


class Ipsets:
    """Those of a namespace, by the number that rules call them by."""

    def __init__(self, dumps: Iterable[IpsetDump] = ()) -> None:
        self._dumps = {dump.index: dump for dump in dumps}
        self._by_name = {dump.name: dump.index for dump in self._dumps.values()}
        self._sets: dict[int, _Set] = {}

    def name(self, index: int) -> str:
        return self._dumps[index].name if index in self._dumps else f"#{index}"

    def holds(self, index: int, seen: Seen, packet: Packet, sides: Sequence[bool]) -> Judged:
        """`sides`: for each dimension of an element, whether it is looked up by the packet's source."""
        if index not in self._dumps:
            return Unknown(f"what the set number {index} holds")
        if index not in self._sets:
            self._sets[index] = _Set(self._dumps[index])
        found = self._sets[index]
        if found.type == "list:set":
            return self._any(found, seen, packet, sides)
        return found.holds(seen, packet, sides)

    def _any(self, found: _Set, seen: Seen, packet: Packet, sides: Sequence[bool]) -> Judged:
        answer: Judged = False
        for member in found.dump.members:
            name = member.split()[0]
            one = self.holds(self._by_name.get(name, -1), seen, packet, sides)
            if one is True:
                return True
            answer = one if one is not False else answer
        return answer


class _Element(NamedTuple):
    nomatch: bool


class _Set:
    def __init__(self, dump: IpsetDump) -> None:
        self.dump = dump
        self.type = dump.type
        self._kinds = dump.type.partition(":")[2].split(",")

    @cached_property
    def _elements(self) -> dict[tuple[Field, ...], _Element]:
        found: dict[tuple[Field, ...], _Element] = {}
        for member in self.dump.members:
            value, *options = member.split()
            fields = [self._field(kind, word) for kind, word in zip(self._kinds, value.split(","), strict=False)]
            found[tuple(fields)] = _Element("nomatch" in options)
        return found

    @cached_property
    def _lengths(self) -> list[list[int]]:
        """Of the networks in each dimension, the longest first."""
        found: list[set[int]] = [set() for _ in self._kinds]
        for fields in self._elements:
            for place, each in enumerate(fields):
                if each[0] == "net":
                    found[place].add(int(str(each[2])))
        return [sorted(each, reverse=True) for each in found]

    def _field(self, kind: str, word: str) -> Field:
        if kind in ("ip", "net"):
            net = ip_network(word, strict=False)
            return "net", int(net.network_address), net.prefixlen
        if kind == "port":
            name, _, number = word.rpartition(":")
            return "port", name, number
        if kind == "mark":
            return "mark", int(word, 0)
        return kind, word.lower() if kind == "mac" else word

    def holds(self, seen: Seen, packet: Packet, sides: Sequence[bool]) -> Judged:
        if any(kind in ("ip", "net") for kind in self._kinds) and packet.family != self.dump.family:
            return False
        fields: list[list[Field]] = []
        for place, kind in enumerate(self._kinds):
            side = sides[place] if place < len(sides) else False
            asked = list(self._asked(kind, place, seen, packet, side))
            if not asked:
                return False
            fields.append(asked)
        for key in product(*fields):
            if (element := self._elements.get(key)) is not None:
                return not element.nomatch
        return False

    def _asked(self, kind: str, place: int, seen: Seen, packet: Packet, source: bool) -> Iterator[Field]:
        at = packet.src if source else packet.dst
        match kind:
            case "ip" | "net":
                yield from (("net", _head(self._masked(at), length), length) for length in self._lengths[place])
            case "port":
                yield from self._port(packet, source)
            case "mark":
                yield "mark", seen.mark
            case "mac":
                if len(seen.link) >= 14:
                    yield "mac", (seen.link[6:12] if source else seen.link[:6]).hex(":")
            case "iface":
                device, port = (seen.iif, seen.physin) if source else (seen.oif, seen.physout)
                yield from (("iface", each.name) for each in (device,) if each)
                yield from (("iface", f"physdev:{each.name}") for each in (port,) if each)

    def _masked(self, at: IPAddress) -> int:
        bits = self.dump.netmask
        return _head(at, bits) if bits else int(at)

    def _port(self, packet: Packet, source: bool) -> Iterator[Field]:
        if packet.protocol in (1, 58) and len(packet.transport) >= 2:
            kind, code = packet.transport[:2]
            yield "port", "icmp" if packet.protocol == 1 else "icmpv6", f"{kind}/{code}"
        elif packet.ports is not None:
            yield "port", protocol(packet.protocol), str(packet.ports[0 if source else 1])
            if self.type == "bitmap:port":
                yield "port", "", str(packet.ports[0 if source else 1])
        else:
            yield "port", protocol(packet.protocol), "0"


def _head(at: IPAddress | int, length: int) -> int:
    number = int(at)
    bits = 128 if number > 0xFFFFFFFF or (not isinstance(at, int) and at.version == 6) else 32
    return number >> (bits - length) << (bits - length)
