"""What translates addresses (nft_nat.c, nft_masq.c, nft_redir.c)."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Literal

import msgspec

from weft.base.attributes import number
from weft.base.net import IPAddress
from weft.filters.model import Translation
from weft.filters.nft.machine import Go, Machine, Result, optional
from weft.filters.state import Run, Unknown

_FAMILIES = {2: "ip", 10: "ip6"}
NETMAP = 1 << 6
"""NF_NAT_RANGE_NETMAP: the prefix is exchanged, the rest of the address stays."""


class Ports(msgspec.Struct, frozen=True):
    """Registers of the first and the last port."""

    first: int
    last: int

    def read(self, machine: Machine) -> tuple[int, int] | Unknown:
        first, last = machine.load(self.first, 2), machine.load(self.last, 2)
        if isinstance(first, Unknown):
            return first
        if isinstance(last, Unknown):
            return last
        return int.from_bytes(first, "big"), int.from_bytes(last, "big")


def _ports(found: dict[int, bytes], first: int, last: int) -> Ports | None:
    low = optional(found, first)
    if low is None:
        return None
    high = optional(found, last)
    return Ports(low, low if high is None else high)


def chosen(ports: tuple[int, int] | None, now: int) -> tuple[int | None, tuple[int, int] | None]:
    """Port and range of a translation: a port that is in the range stays (get_unique_tuple())."""
    if ports is None:
        return None, None
    if ports[0] == ports[1]:
        return ports[0], None
    return (now, ports) if ports[0] <= now <= ports[1] else (None, ports)


class Nat(msgspec.Struct, frozen=True):
    """`address`: registers of the first and the last one, None where only ports change."""

    kind: Literal["dnat", "snat"]
    family: str
    address: tuple[int, int] | None
    ports: Ports | None
    flags: int

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Nat:
        low, high = optional(found, 3), optional(found, 4)
        address = None if low is None else (low, low if high is None else high)
        return cls(
            kind="dnat" if number(found, 1) else "snat",
            family=_FAMILIES.get(number(found, 2), "inet"),
            address=address,
            ports=_ports(found, 5, 6),
            flags=number(found, 7),
        )

    def run(self, machine: Machine) -> Result:
        run = machine.run
        if self.family not in (run.family, "inet"):
            return None
        ports = self.ports.read(machine) if self.ports else None
        if isinstance(ports, Unknown):
            return _doubtful(machine, ports)
        address = self._address(machine)
        if isinstance(address, Unknown):
            return _doubtful(machine, address)
        port, among = chosen(ports, _port(run, source=self.kind == "snat"))
        return Go("accept", translation=_translation(machine, self.kind, address, port, among))

    def _address(self, machine: Machine) -> IPAddress | Unknown | None:
        if self.address is None:
            return None
        size = 4 if machine.run.family == "ip" else 16
        low, high = (machine.load(register, size) for register in self.address)
        if isinstance(low, Unknown) or isinstance(high, Unknown):
            return low if isinstance(low, Unknown) else Unknown("an address")
        first, last = int.from_bytes(low, "big"), int.from_bytes(high, "big")
        if self.flags & NETMAP:
            kept = first ^ last
            now = int.from_bytes(_address(machine.run, source=self.kind == "snat", size=size), "big")
            return ip_address(((now & kept) | (first & ~kept)).to_bytes(size, "big"))
        if first == last:
            return ip_address(low)
        return ip_address((first + machine.run.draw(last - first + 1)).to_bytes(size, "big"))


class Masquerade(msgspec.Struct, frozen=True):
    ports: Ports | None
    flags: int

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Masquerade:
        return cls(_ports(found, 2, 3), number(found, 1))

    def run(self, machine: Machine) -> Result:
        return _without_address(machine, "masquerade", self.ports)


class Redirect(msgspec.Struct, frozen=True):
    ports: Ports | None
    flags: int

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Redirect:
        return cls(_ports(found, 1, 2), number(found, 3))

    def run(self, machine: Machine) -> Result:
        return _without_address(machine, "redirect", self.ports)


def _without_address(machine: Machine, kind: Literal["masquerade", "redirect"], registers: Ports | None) -> Result:
    ports = registers.read(machine) if registers else None
    if isinstance(ports, Unknown):
        return _doubtful(machine, ports)
    port, among = chosen(ports, _port(machine.run, source=kind == "masquerade"))
    return Go("accept", translation=_translation(machine, kind, None, port, among))


def _doubtful(machine: Machine, why: Unknown) -> Result:
    machine.doubt = machine.doubt or why.why
    return Go("depends")


def _translation(
    machine: Machine,
    kind: Literal["dnat", "snat", "masquerade", "redirect"],
    address: IPAddress | None,
    port: int | None,
    ports: tuple[int, int] | None,
) -> Translation:
    return Translation(kind=kind, where=machine.where(), address=address, port=port, ports=ports)


def _port(run: Run, *, source: bool) -> int:
    at = run.headers.transport + (0 if source else 2)
    return int.from_bytes(run.seen.octets[at : at + 2], "big")


def _address(run: Run, *, source: bool, size: int) -> bytes:
    at = (12 if size == 4 else 8) + (0 if source else size)
    return run.seen.octets[at : at + size]
