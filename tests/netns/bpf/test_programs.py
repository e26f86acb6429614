"""The programs of the fast path against a slow reading of what they are to do: random packets and random states."""

from __future__ import annotations

import random
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from support.fast_oracle import Address, Device, Flow, Packet, State, kept, repeated
from support.fast_path import Loaded, context, key, loaded
from support.namespaces import Home as Namespace
from weft.bpf.layout import (
    ANY_FLOW,
    BRIDGED,
    FLOWS,
    FROM_PORT,
    HOMES,
    LIFE,
    ONE_FLOW,
    ROUTED,
    SLOTS,
    TO_PEER,
    Entry,
    Home,
)
from weft.kernel.plumbing import bpf

_MONOTONIC_COARSE = 6
"""linux/time.h; Python has no name for it."""
REDIRECT, NEXT = 7, -1
WORLDS, PACKETS = 100, 500
"""Of each program: states of what is known, and packets for each."""
_ADDRESSES: dict[int, list[Address]] = {
    4: [ip_address(text) for text in ("10.1.0.2", "10.1.0.3", "10.2.0.2", "192.0.2.255")],
    6: [ip_address(text) for text in ("fd00:1::2", "fd00:1::3", "fd00:2::2", "2001:db8:ffff::1")],
}
_LEAST = 54
"""Octets that BPF_PROG_TEST_RUN wants at least of a frame with IPv6 (34 with IPv4)."""
_PORTS = (53, 443, 40000)
_SLOTS = (0, 5, SLOTS - 1, SLOTS + 3)


class Chance(random.Random):
    """What packets and states are made of."""

    def likely(self, share: float) -> bool:
        return self.random() < share

    def flow(self, family: int) -> Flow:
        source, destination = self.sample(_ADDRESSES[family], 2)
        if self.likely(0.25):
            return Flow(source, destination)
        return Flow(source, destination, self.choice((6, 17)), self.choice(_PORTS), self.choice(_PORTS))

    def entry(self, state: State, devices: list[Device]) -> Entry:
        second = 10**9
        return Entry(
            until=state.now + (-second if self.likely(0.1) else self.choice((60, 3600)) * second),
            generation=state.generation + (self.choice((-1, 1)) if self.likely(0.1) else 0),
            came_by=self.choice(devices[:2]).ifindex,
            out=self.choice(devices).ifindex,
            flags=self.choice((0, ROUTED)) | self.choice((0, TO_PEER)) | self.choice((0, FROM_PORT)),
            mtu=self.choice((100, 576, 1500, 1500, 1500)),
            ether=self.randbytes(14),
            slot=self.choice(_SLOTS),
        )

    def mac(self, device: Device) -> bytes:
        if self.likely(0.7):
            return device.mac
        return self.choice((b"\xff" * 6, b"\x01\0\x5e\0\0\x01", b"\x02" + self.randbytes(5)))

    def transport(self, protocol: int, ports: tuple[int, int], size: int) -> bytes:
        if protocol == 6:
            flags = self.choice((0x10, 0x10, 0x18, 0x10, 0x90, self.randrange(256)))
            head = struct.pack("!HHIIBBHHH", *ports, 1, 1, self.choice((5, 8, 15)) << 4, flags, 500, 0, 0)
        else:
            head = struct.pack("!HHHH", *ports, 8, 0)
        return head + bytes(size)

    def ip(self, flow: Flow, size: int) -> bytes:
        """One of the flow, most often."""
        protocol = flow.protocol or self.choice((1, 6, 17, 50, 58, 132))
        above = self.transport(protocol, (flow.source_port, flow.destination_port), size)
        ttl = self.choice((0, 1, 2, 3, 64, 64, 64, 64, 255))
        if flow.source.version == 6:
            header = self.choice((0, 43, 44, 60)) if self.likely(0.05) else protocol
            first = (7 if self.likely(0.02) else 6) << 4 | self.randrange(16)
            return (
                struct.pack("!BxHHBB", first, 0, len(above) & 0xFFFF, header, ttl)
                + flow.source.packed
                + flow.destination.packed
                + above
            )
        fragment = self.choice((0, 0x4000, 0x4000))
        if self.likely(0.08):
            fragment = self.choice((0x2000, 0x8000, 1, 0x1FFF, 0x6000, 0x0100))
        first = self.choice((0x46, 0x44, 0x55, 0x4F)) if self.likely(0.05) else 0x45
        sum_ = self.choice((0, 0xFFFF, 0xFFFE, 0xFEFF, 0xFF00, 0xFE00, self.randrange(1 << 16)))
        head = struct.pack("!BBHHHBBH", first, 0, (20 + len(above)) & 0xFFFF, 1, fragment, ttl, protocol, sum_)
        return head + flow.source.packed + flow.destination.packed + above

    def packet(self, flow: Flow, device: Device) -> Packet:
        size = self.choice((0, 0, 1, 20, 60, 548, 536, 1460, 1472, 1440, 1452, self.randrange(1600)))
        segment = 0
        if self.likely(0.15):
            size, segment = self.randrange(100, 3000), self.choice((40, 60, 500, 536, 1400, 1420, 1440, 1460))
        kind = {4: 0x0800, 6: 0x86DD}[flow.source.version]
        if self.likely(0.04):
            kind = self.choice((0x0806, 0x8100, 0x0800, 0x86DD))
        ether = self.mac(device) + self.randbytes(6) + struct.pack("!H", kind)
        frame = ether + self.ip(flow, size)
        if self.likely(0.07):
            frame = frame[: self.randrange(34 if kind == 0x0800 else _LEAST, 80)]
        if frame[12:14] == b"\x86\xdd":
            frame = frame.ljust(_LEAST, b"\0")
        return Packet(frame, device, segment=segment)


@pytest.fixture(scope="module")
def seed() -> int:
    return random.randrange(1 << 32)


@pytest.fixture
def devices(netns: Namespace) -> list[Device]:
    found = []
    for number, mtu in enumerate((1500, 1450, 576), 1):
        netns.sh(f"ip link add d{number} address 02:00:00:00:00:0{number} mtu {mtu} type veth peer p{number}")
        index = int(netns.json("ip", "-j", "link", "show", f"d{number}")[0]["ifindex"])
        found.append(Device(index, bytes([2, 0, 0, 0, 0, number]), mtu))
    return found


@pytest.fixture
def programs(netns: Namespace) -> Iterator[Loaded]:
    with loaded() as found:
        yield found


def _now() -> int:
    return time.clock_gettime_ns(_MONOTONIC_COARSE)


def _told(seed: int, packet: Packet, state: State) -> str:
    return f"seed {seed}: {packet.frame.hex()} {packet} of {state}"


@pytest.mark.timeout(300)  # five seconds of work, on a machine that may be busy
def test_fast_repeats_what_its_description_says_and_nothing_else(
    seed: int, devices: list[Device], programs: Loaded
) -> None:
    chance, results = Chance(seed), Counter[str]()
    for world in range(WORLDS):
        state = State(generation=world + 1, any=chance.likely(0.5), now=_now())
        for _ in range(12):
            flow = chance.flow(chance.choice((4, 6)))
            state.flows[flow] = chance.entry(state, devices)
        programs.clear(*FLOWS.values())
        programs.control(state.generation, state.any)
        for flow, entry in state.flows.items():
            programs.flow(flow, entry)
        before = {slot: programs.count(slot)[:2] for slot in _SLOTS[:3]}
        counted = {slot: [0, 0] for slot in _SLOTS}
        known = list(state.flows)
        for _ in range(PACKETS):
            flow = chance.choice(known) if chance.likely(0.9) else chance.flow(chance.choice((4, 6)))
            device = devices[2]
            if flow in state.flows and chance.likely(0.9):
                device = next(d for d in devices if d.ifindex == state.flows[flow].came_by)
            packet = chance.packet(flow, device)
            expected = repeated(packet, state)
            ran = bpf.test_run(
                programs.programs["fast"], packet.frame, context(device=device.ifindex, segment=packet.segment)
            )
            verdict, frame = (REDIRECT, expected[0]) if expected else (NEXT, packet.frame)
            assert (ran.verdict, ran.frame.hex()) == (verdict, frame.hex()), _told(seed, packet, state)
            results[f"{verdict} {flow.source.version}"] += 1
            if expected:
                counted[expected[1].slot][0] += 1
                counted[expected[1].slot][1] += len(packet.frame)
        for slot, (packets, octets) in before.items():
            assert programs.count(slot)[:2] == (packets + counted[slot][0], octets + counted[slot][1]), (seed, slot)
    assert min(results[name] for name in ("7 4", "7 6", "-1 4", "-1 6")) > WORLDS * PACKETS / 20, (seed, results)


@pytest.mark.timeout(300)
def test_seen_keeps_what_its_description_says_and_nothing_else(
    seed: int, devices: list[Device], programs: Loaded
) -> None:
    chance, made = Chance(seed), 0
    for world in range(WORLDS):
        state = State(generation=world + 1, any=chance.likely(0.5), now=0)
        for family in (4, 6):
            for address in chance.sample(_ADDRESSES[family], chance.randrange(4)):
                device = chance.choice(devices).ifindex
                state.homes[address] = Home(device, chance.choice(_SLOTS[:3]))
        programs.clear(*FLOWS.values(), HOMES)
        programs.control(state.generation, state.any)
        for address, home in state.homes.items():
            programs.home(address, home)
        before = {slot: programs.count(slot)[2] for slot in _SLOTS[:3]}
        for _ in range(PACKETS):
            packet = _passing(chance, devices)
            expected = kept(packet, state)
            asked = _now()
            ran = bpf.test_run(
                programs.programs["seen"],
                packet.frame,
                context(packet.mark, packet.ingress, packet.device.ifindex, packet.segment),
            )
            assert (ran.verdict, ran.frame) == (NEXT, packet.frame), _told(seed, packet, state)
            assert struct.unpack_from("=I", ran.context, 8) == (expected.mark,), _told(seed, packet, state)
            found = programs.flows(4) | programs.flows(6)
            made += len(found)
            if expected.flow is None or expected.entry is None:
                assert found == {}, _told(seed, packet, state)
                continue
            assert list(found) == [key(expected.flow)], _told(seed, packet, state)
            (entry,) = found.values()
            assert replace_until(entry, 0) == replace_until(expected.entry, 0), _told(seed, packet, state)
            assert asked <= entry.until - LIFE * 10**9 <= _now(), (seed, entry.until)
            before[entry.slot] += 1
            bpf.delete(programs.maps[FLOWS[expected.flow.source.version]], key(expected.flow))
        assert {slot: programs.count(slot)[2] for slot in before} == before, seed
    assert made > WORLDS * PACKETS / 5, (seed, made)


def replace_until(entry: Entry, until: int) -> Entry:
    return entry._replace(until=until)


def _passing(chance: Chance, devices: list[Device]) -> Packet:
    packet = chance.packet(chance.flow(chance.choice((4, 6))), chance.choice(devices))
    bits = chance.choice((0, ONE_FLOW, ONE_FLOW, ANY_FLOW, ONE_FLOW | ANY_FLOW, BRIDGED, ONE_FLOW | BRIDGED))
    others = chance.choice((0, 0, 0x80000000, 0x00100000, chance.getrandbits(32) & ~0x000E0000))
    ingress = 0 if chance.likely(0.1) else chance.choice(devices).ifindex
    return replace(packet, mark=bits | others, ingress=ingress)
