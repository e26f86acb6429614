"""Octets of the packet, and of its extension headers and options."""

from __future__ import annotations

import msgspec

from weft.base.attributes import number
from weft.filters.headers import TCP, UDP
from weft.filters.nft.machine import BREAK, Break, Machine, Result, Value, optional, place
from weft.filters.state import Unknown

LINK, NETWORK, TRANSPORT, INNER, TUNNEL = range(5)


class Payload(msgspec.Struct, frozen=True):
    """nft_payload_eval(), nft_payload_set_eval(). `source`: the register that is written into the packet."""

    base: int
    offset: int
    length: int
    register: int
    source: int | None = None

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Payload:
        return cls(
            number(found, 2),
            number(found, 3),
            number(found, 4),
            place(found, 1) if 1 in found else 0,
            optional(found, 5),
        )

    def run(self, machine: Machine) -> Result:
        if self.source is not None:
            return self._write(machine, self.source)
        value = self._read(machine)
        if isinstance(value, Break):
            return value
        machine.store(self.register, value, self.length)
        return None

    def _read(self, machine: Machine) -> Value | Break:
        run = machine.run
        if "packet" in run.unsure and self.base != LINK:
            return Unknown(run.unsure["packet"])
        octets = run.seen.link if self.base == LINK else run.seen.octets
        start = self._start(machine)
        if start is None:
            return BREAK
        if start + self.length <= len(octets):
            return octets[start : start + self.length]
        headers = run.headers
        carried = headers.inner(run.seen.octets)
        if self.base in (TRANSPORT, INNER) and headers.protocol != TCP and carried is not None and start >= carried:
            return Unknown("what the packet carries")
        return BREAK

    def _start(self, machine: Machine) -> int | None:
        headers = machine.run.headers
        if self.base in (LINK, NETWORK):
            return self.offset
        if headers.protocol is None or headers.fragment:
            return None
        if self.base == TRANSPORT:
            return headers.transport + self.offset
        inner = headers.inner(machine.run.seen.octets)
        return None if inner is None else inner + self.offset

    def _write(self, machine: Machine, source: int) -> Result:
        seen, value, start = machine.run.seen, machine.load(source, self.length), self._start(machine)
        if start is None:
            return BREAK
        machine.changed("packet", not isinstance(value, Unknown))
        if isinstance(value, bytes) and self.base != LINK and not machine.doubtful:
            octets = seen.octets[:start] + value + seen.octets[start + self.length :]
            machine.run.seen = msgspec.structs.replace(seen, octets=octets)
        return None


class ExtensionHeader(msgspec.Struct, frozen=True):
    """nft_exthdr_eval(). `op`: 0 IPv6, 1 TCP's options, 2 IPv4's, 3 SCTP's chunks, 4 DCCP's options. What the options of a
    real packet are nobody knows from here, so of those only that there are none of IPv4 is certain."""

    op: int
    kind: int
    offset: int
    length: int
    register: int
    present: bool = False
    source: int | None = None

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> ExtensionHeader:
        register = place(found, 1) if 1 in found else -1
        kind, offset, length = number(found, 2), number(found, 3), number(found, 4)
        return cls(number(found, 7), kind, offset, length, register, bool(number(found, 6) & 1), optional(found, 8))

    def run(self, machine: Machine) -> Result:
        if self.source is not None or self.register < 0:
            return None  # writes an option, or takes one away
        run = machine.run
        if self.op == 0:
            at = next((at for kind, at in run.headers.extensions if kind == self.kind), None)
            found = at is not None and self.present
            value: Value = run.seen.octets[at + self.offset : at + self.offset + self.length] if at is not None else b""
        elif self.op == 2:
            found, value = False, b""
        elif run.headers.protocol not in (TCP, UDP, None) or self.op == 1:
            if run.headers.protocol != TCP:
                return BREAK
            found, value = False, Unknown("options of TCP")
        else:
            return BREAK
        if isinstance(value, Unknown):
            machine.store(self.register, value, max(1, self.length))
            return None
        if self.present:
            machine.store(self.register, bytes([found]), 1)
            return None
        if len(value) < self.length or not value:
            return BREAK
        machine.store(self.register, value, self.length)
        return None
