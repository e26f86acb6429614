"""What is answered to a question about an own name. Pure.

An own name is a container's or a service's in one of the asker's networks. It is answered here whatever type is asked for: no
other server is asked for the rest of it. So are all names in the own domain, and names without a dot, unless their network
says otherwise.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address

from weft.base.net import IPAddress
from weft.dns import message
from weft.dns.asker import Asker
from weft.dns.message import AA, AAAA, ANY, ASKED, NOERROR, NXDOMAIN, PTR, REFUSED, SOA, SRV, A, Query, record, wire
from weft.dns.names import Found, Names
from weft.model import Location
from weft.services.model import ServicePort

LASTING, FLEETING = 5, 1
"""TTL, seconds: of virtual addresses; of containers', which may be elsewhere soon."""
NEGATIVE = 5
"""Seconds for which a client may remember that something is not there (RFC 2308)."""
LOCALHOST = "localhost"
SMALLEST = 16
"""Octets of a record: an A, where the name is a pointer to the question's."""
_TYPES = {4: A, 6: AAAA}
_OF_DOMAINS = frozenset((message.NS, message.SOA, message.DS, message.DNSKEY))
"""What a resolver of the container's own asks about top-level domains, which are names without a dot as well."""


class Answers:
    """`domain`: what names are told with. `also`: another one, in which they are found as well; "": none."""

    def __init__(self, names: Names, domain: str, also: str = "") -> None:
        self._names, self._domain = names, domain
        self._zones = {zone: wire(zone) for zone in (domain, also) if zone}
        self._soa = (
            wire(domain)
            + wire(f"hostmaster.{domain}")
            + b"".join(number.to_bytes(4) for number in (1, 3600, 600, 86400, NEGATIVE))
        )

    def answer(self, query: Query, asker: Asker, limit: int) -> bytes | None:
        """At most `limit` octets. None: other servers are to be asked."""
        if query.version:
            return message.failure(query, message.BADVERS)
        if query.cls not in (message.IN, ANY):
            return message.failure(query, REFUSED)
        if query.name.endswith(".arpa") and (there := self._pointed(query.name, asker)):
            return self._pointer(query, *there, limit)
        if domain := self._domain_of(query.name):
            return self._in_domain(query, asker, limit, domain)
        if (found := self._own(query, query.name, asker, limit)) is not None:
            return found
        if query.name == LOCALHOST or query.name.endswith(f".{LOCALHOST}"):
            return self._localhost(query, limit)
        if "." in query.name or asker.single or query.type in _OF_DOMAINS or not query.name:
            return None
        return self._negative(query, NXDOMAIN, b"\0", limit)

    def _localhost(self, query: Query, limit: int) -> bytes:
        """A container without a file of hosts asks for it, too (RFC 6761 §6.3)."""
        found = [
            record(ASKED, _TYPES[a.version], LASTING, a.packed)
            for a in (IPv4Address("127.0.0.1"), IPv6Address("::1"))
            if query.type in (_TYPES[a.version], ANY)
        ]
        return message.reply(query, limit, AA, found) if found else self._negative(query, NOERROR, ASKED, limit)

    def _domain_of(self, name: str) -> str:
        return next((d for d in self._zones if name.endswith(d) and name[: -len(d)][-1:] in ("", ".")), "")

    def _in_domain(self, query: Query, asker: Asker, limit: int, domain: str) -> bytes:
        name, zone = query.name[: -len(domain) - 1], self._zones[domain]
        if not name and query.type in (SOA, ANY):
            return message.reply(query, limit, AA, (record(ASKED, SOA, NEGATIVE, self._soa),))
        if (found := self._own(query, name, asker, limit, zone)) is not None:
            return found
        there = not name or name in asker.networks
        return self._negative(query, NOERROR if there else NXDOMAIN, zone, limit)

    def _own(self, query: Query, name: str, asker: Asker, limit: int, zone: bytes = ASKED) -> bytes | None:
        """None: it is no own name."""
        if name.startswith("_"):
            return self._port(query, name, asker, limit, zone)
        found = self._names.find(asker.networks, name)
        if found is None:
            return None
        records = [
            record(ASKED, type, ttl, address.packed)
            for address, type, ttl in _ordered(found, asker, limit)
            if query.type in (type, ANY)
        ]
        if records:
            return message.reply(query, limit, AA, records)
        return self._negative(query, NOERROR, zone, limit)

    def _port(self, query: Query, name: str, asker: Asker, limit: int, zone: bytes) -> bytes | None:
        """`_port._protocol.service` (RFC 2782)."""
        port, _, rest = name.partition(".")
        protocol, _, rest = rest.partition(".")
        found = self._names.find(asker.networks, rest) if protocol.startswith("_") else None
        if found is None or found.service is None:
            return None
        asked = next((p for p in found.service.ports if (f"_{p.name}", f"_{p.protocol}") == (port, protocol)), None)
        if asked is None:
            return self._negative(query, NXDOMAIN, b"\0" if zone is ASKED else zone, limit)
        if query.type not in (SRV, ANY):
            return self._negative(query, NOERROR, zone, limit)
        answers, additional = [], []
        for target, number, addresses in self._targets(found, asked, asker, limit):
            ttl = LASTING if found.virtual else FLEETING
            answers.append(record(ASKED, SRV, ttl, b"\0\0\0\1" + number.to_bytes(2) + target))
            additional += [record(target, _TYPES[a.version], ttl, a.packed) for a in addresses]
        if not answers:
            return self._negative(query, NOERROR, zone, limit)
        return message.reply(query, limit, AA, answers, (), additional)

    def _targets(
        self, found: Found, port: ServicePort, asker: Asker, limit: int
    ) -> Iterator[tuple[bytes, int, tuple[IPAddress, ...]]]:
        """(name, port, addresses) of what a service's port leads to: the service itself, or its members."""
        if found.virtual and found.service:
            yield self._full(found.name, found.network), port.port, found.service.addresses
            return
        for location in _chosen(found, asker, limit):
            number = port.of(location.ports)
            if location.name and number is not None:
                yield self._full(location.name, found.network), number, location.addresses

    def _full(self, name: str, network: str) -> bytes:
        return wire(f"{name}.{network}.{self._domain}")

    def _pointed(self, name: str, asker: Asker) -> tuple[str, str] | None:
        address = from_arpa(name)
        return self._names.has(asker.networks, address) if address else None

    def _pointer(self, query: Query, name: str, network: str, limit: int) -> bytes:
        if query.type not in (PTR, ANY):
            return self._negative(query, NOERROR, ASKED, limit)
        return message.reply(query, limit, AA, (record(ASKED, PTR, FLEETING, self._full(name, network)),))

    def _negative(self, query: Query, rcode: int, zone: bytes, limit: int) -> bytes:
        """There is no such name, or nothing of that type; and for how long that may be remembered. `zone`: whose it is."""
        return message.reply(query, limit, AA | rcode, (), (record(zone, SOA, NEGATIVE, self._soa),))


def _ordered(found: Found, asker: Asker, limit: int) -> list[tuple[IPAddress, int, int]]:
    """(address, type, TTL)."""
    if found.virtual and found.service:
        return [(address, _TYPES[address.version], LASTING) for address in found.service.addresses]
    chosen = _chosen(found, asker, limit)
    return [(address, _TYPES[address.version], FLEETING) for one in chosen for address in one.addresses]


def _chosen(found: Found, asker: Asker, limit: int) -> Sequence[Location]:
    """In an order that spreads connections: another one each time, but containers on the asker's own host first, unless their
    service wants it otherwise. Of very many, one more than an answer has room for: who asks for them must not keep others
    waiting."""
    if len(found.locations) < 2:
        return found.locations
    chosen = random.sample(found.locations, min(len(found.locations), limit // SMALLEST + 1))
    if not (found.service and found.service.traffic == "any"):
        chosen.sort(key=lambda location: location.node != asker.node)
    return chosen


def from_arpa(name: str) -> IPAddress | None:
    """The address that a reverse name (RFC 1035 §3.5, RFC 3596 §2.5) speaks of."""
    labels = name.split(".")
    labels.reverse()
    try:
        match labels:
            case ["arpa", "in-addr", a, b, c, d]:
                return IPv4Address(f"{a}.{b}.{c}.{d}")
            case ["arpa", "ip6", *digits] if len(digits) == 32 and all(len(digit) == 1 for digit in digits):
                return IPv6Address(bytes.fromhex("".join(digits)))
    except ValueError:
        pass
    return None
