"""The programs of the fast path, loaded without an agent: for tests that ask them about octets, or put them at devices."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Literal

from support.fast_oracle import Address, Flow
from weft.bpf.assembler import Code
from weft.bpf.layout import (
    CONTROL,
    CONTROL_VALUE,
    COUNT,
    COUNTS,
    ENTRY,
    FLOWS,
    HOME,
    HOMES,
    KEY4,
    KEY6,
    Entry,
    Home,
)
from weft.bpf.maps import objects
from weft.hoststate.bpf import BpfMap
from weft.kernel.plumbing import bpf


def context(mark: int = 0, ingress: int = 0, device: int = 0, segment: int = 0) -> bytes:
    """struct __sk_buff, as much of it as BPF_PROG_TEST_RUN takes."""
    octets = bytearray(192)
    for at, value in ((8, mark), (36, ingress), (40, device), (176, segment)):
        struct.pack_into("=I", octets, at, value)
    return bytes(octets)


def key(flow: Flow) -> bytes:
    shape = KEY4 if flow.source.version == 4 else KEY6
    ports = flow.source_port, flow.destination_port
    return shape.pack(flow.source.packed, flow.destination.packed, *ports, flow.protocol)


def mapped(address: Address) -> bytes:
    return bytes(10) + b"\xff\xff" + address.packed if isinstance(address, IPv4Address) else address.packed


class Loaded:
    """`maps`, `programs`: file descriptors by name. They and the links end with `close`."""

    def __init__(self, entries: int = 1024) -> None:
        self.maps: dict[str, int] = {}
        self.programs: dict[str, int] = {}
        self.links: dict[tuple[int, str], int] = {}
        self._sizes: dict[str, int] = {}
        for obj in objects("", entries):
            if isinstance(obj, BpfMap):
                self.maps[obj.name] = bpf.create_map(obj.type, obj.key_size, obj.value_size, obj.entries, obj.name)
                self._sizes[obj.name] = obj.entries
            else:
                code = Code(obj.code, obj.maps).bound(self.maps)
                self.programs[obj.name] = bpf.load(code, obj.name.replace("-", "_"))

    def close(self) -> None:
        for fd in (*self.links.values(), *self.programs.values(), *self.maps.values()):
            os.close(fd)

    def control(self, generation: int, any: bool = False) -> None:
        bpf.update(self.maps[CONTROL], bytes(4), CONTROL_VALUE.pack(generation, any))

    def home(self, address: Address, home: Home) -> None:
        bpf.update(self.maps[HOMES], mapped(address), HOME.pack(*home))

    def flow(self, flow: Flow, entry: Entry) -> None:
        bpf.update(self.maps[FLOWS[flow.source.version]], key(flow), ENTRY.pack(*entry))

    def flows(self, family: int) -> dict[bytes, Entry]:
        shape = {4: KEY4, 6: KEY6}[family]
        found = bpf.items(self.maps[FLOWS[family]], shape.size, ENTRY.size)
        return {name: Entry(*ENTRY.unpack(value)) for name, value in found}

    def clear(self, *names: str) -> None:
        for name in names:
            size = {"flows4": KEY4.size, "flows6": KEY6.size}.get(name, 16)
            value = HOME.size if name == HOMES else ENTRY.size
            for found, _ in list(bpf.items(self.maps[name], size, value)):
                bpf.delete(self.maps[name], found)

    def count(self, slot: int) -> tuple[int, int, int]:
        """Of all CPUs together: packets and octets that were repeated, entries made."""
        possible = _possible_cpus()
        octets = bpf.lookup(self.maps[COUNTS], struct.pack("=I", slot), COUNT.size * possible)
        assert octets is not None
        each = list(COUNT.iter_unpack(octets))
        packets, length, asked = (sum(column) for column in zip(*each, strict=True))
        return packets, length, asked

    def attach(self, ifindex: int, *, ether: bool = True) -> None:
        """Both programs at a device of the calling thread's namespace."""
        ways: tuple[tuple[str, Literal["ingress", "egress"]], ...] = (("fast", "ingress"), ("seen", "egress"))
        for name, way in ways:
            program = self.programs[name if ether else f"{name}-ip"]
            self.links[ifindex, way] = bpf.attach(program, ifindex, way)


def _possible_cpus() -> int:
    with open("/sys/devices/system/cpu/possible") as file:  # noqa: PTH123 — read once for each count
        first, _, last = file.read().strip().rpartition("-")
    return int(last) + 1 if first or last else 1


@contextmanager
def loaded(entries: int = 1024) -> Iterator[Loaded]:
    found = Loaded(entries)
    try:
        yield found
    finally:
        found.close()
