"""What goes with a packet: its devices, mark, protocols (nft_meta_get_eval())."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from weft.base.attributes import number
from weft.filters.model import Device
from weft.filters.nft.machine import BREAK, ORDER, Break, Machine, Result, Value, host, optional, place
from weft.filters.state import Run, Unknown

_PF = {"ip": 2, "ip6": 10, "arp": 3, "netdev": 5, "bridge": 7}
KEYS = (
    "length", "protocol", "priority", "mark", "iif", "oif", "iifname", "oifname", "iiftype", "oiftype", "skuid",
    "skgid", "nftrace", "rtclassid", "secmark", "nfproto", "l4proto", "ibrname", "obrname", "pkttype", "cpu",
    "iifgroup", "oifgroup", "cgroup", "random", "ipsec", "iifkind", "oifkind", "ibrpvid", "ibrvproto", "time", "day",
    "hour", "sdif", "sdifname", "broute", "ibrhwaddr",
)  # fmt: skip
"""By their numbers (enum nft_meta_keys), as nft calls them."""
LENGTHS = {"iifname": 16, "oifname": 16, "ibrname": 16, "obrname": 16, "iifkind": 16, "oifkind": 16, "sdifname": 16}
LENGTHS |= {
    "protocol": 2,
    "iiftype": 2,
    "oiftype": 2,
    "nfproto": 1,
    "l4proto": 1,
    "pkttype": 1,
    "ipsec": 1,
    "nftrace": 1,
}
LENGTHS |= {"time": 8, "day": 1, "ibrpvid": 2, "ibrvproto": 2, "broute": 1, "ibrhwaddr": 6}

_REASONS = {
    "priority": "the packet's priority",
    "rtclassid": "the realm of its route",
    "cpu": "the processor that it comes to",
    "cgroup": "the sender's control group",
    "random": "chance",
    "ipsec": "whether it was encrypted",
    "ibrpvid": "the VLAN of the bridge's port",
    "ibrvproto": "the VLAN of the bridge's port",
    "time": "the time",
    "day": "the day of the week",
    "hour": "the time of day",
    "ibrhwaddr": "the bridge's MAC address",
}


class Meta(msgspec.Struct, frozen=True):
    """`source`: the register that is written there."""

    key: str
    register: int
    source: int | None = None

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Meta:
        key = number(found, 2)
        name = KEYS[key] if key < len(KEYS) else f"key {key}"
        return cls(name, place(found, 1) if 1 in found else 0, optional(found, 3))

    def run(self, machine: Machine) -> Result:
        if self.source is not None:
            return self._write(machine, self.source)
        read = _READ.get(self.key)
        value = read(machine.run) if read else Unknown(_REASONS.get(self.key, f"meta {self.key}"))
        if isinstance(value, Break):
            return value
        machine.store(self.register, value, LENGTHS.get(self.key, 4))
        return None

    def _write(self, machine: Machine, source: int) -> Result:
        if self.key != "mark":
            return None
        value = machine.load(source, 4)
        machine.changed("mark", not isinstance(value, Unknown))
        if isinstance(value, bytes) and not machine.doubtful:
            machine.run.seen = msgspec.structs.replace(machine.run.seen, mark=int.from_bytes(value, ORDER))
        return None


def _mark(run: Run) -> Value:
    return Unknown(run.unsure["mark"]) if "mark" in run.unsure else host(run.seen.mark)


def _index(device: Device | None) -> bytes:
    return host(device.index if device else 0)


def text16(text: str) -> bytes:
    return text.encode()[:15].ljust(16, b"\0")


def _device(device: Device | None, ask: Callable[[Device], bytes]) -> Value | Break:
    return ask(device) if device else BREAK


def _bridge(run: Run, device: Device | None) -> Value | Break:
    if run.family != "bridge" or device is None:
        return BREAK
    return text16(device.master or device.name)


def _kind(device: Device) -> bytes:
    return text16(device.kind)


def _sending(run: Run) -> Value | Break:
    """Only what a program of this namespace sends has a user; what comes in may, if its socket is known early."""
    if run.seen.uid is not None:
        return host(run.seen.uid)
    if run.hook in ("output", "postrouting") and run.seen.iif is None:
        return Unknown("the user that sends it")
    established = run.seen.connection is not None and run.seen.connection.state == "established"
    return Unknown("the user that receives it") if run.hook == "input" and established else BREAK


def _protocol(run: Run) -> Value | Break:
    found = run.headers.protocol
    return BREAK if found is None else bytes([found])


def _pkttype(run: Run) -> Value:
    seen = run.seen
    if run.family in ("bridge", "arp") or not run.headers.version:
        if not seen.link:
            return Unknown("the kind of frame")
        if seen.link[:6] == b"\xff" * 6:
            return b"\1"
        return b"\2" if seen.link[0] & 1 else b"\3" if run.hook == "forward" else Unknown("the kind of frame")
    at, size = (16, 4) if run.headers.version == 4 else (24, 16)
    dst = seen.octets[at : at + size]
    if dst == b"\xff\xff\xff\xff" or any(kind == "broadcast" and a.packed == dst for a, kind in seen.local.items()):
        return b"\1"
    return b"\2" if dst[0] == 255 or (size == 4 and 224 <= dst[0] < 240) else b"\0"


def _sdif(run: Run) -> Value:
    vrf = run.seen.iif is not None and run.seen.iif.kind == "vrf"
    return Unknown("the device below the VRF") if vrf else bytes(16)


_READ: dict[str, Callable[[Run], Value | Break]] = {
    "length": lambda run: host(len(run.seen.octets)),
    "protocol": lambda run: run.seen.protocol.to_bytes(2, "big"),
    "mark": _mark,
    "iif": lambda run: _index(run.seen.iif),
    "oif": lambda run: _index(run.seen.oif),
    "iifname": lambda run: text16(run.seen.iif.name if run.seen.iif else ""),
    "oifname": lambda run: text16(run.seen.oif.name if run.seen.oif else ""),
    "iiftype": lambda run: _device(run.seen.iif, lambda device: host(device.type, 2)),
    "oiftype": lambda run: _device(run.seen.oif, lambda device: host(device.type, 2)),
    "skuid": _sending,
    "skgid": lambda run: Unknown("the group that sends it") if isinstance(_sending(run), bytes | Unknown) else BREAK,
    "nftrace": lambda run: b"\0",
    "secmark": lambda run: bytes(4),
    "nfproto": lambda run: bytes([_PF.get(run.family, 0)]),
    "l4proto": _protocol,
    "ibrname": lambda run: _bridge(run, run.seen.iif),
    "obrname": lambda run: _bridge(run, run.seen.oif),
    "pkttype": _pkttype,
    "iifgroup": lambda run: _device(run.seen.iif, lambda device: host(device.group)),
    "oifgroup": lambda run: _device(run.seen.oif, lambda device: host(device.group)),
    "iifkind": lambda run: _device(run.seen.iif, _kind) if run.seen.iif and run.seen.iif.kind else BREAK,
    "oifkind": lambda run: _device(run.seen.oif, _kind) if run.seen.oif and run.seen.oif.kind else BREAK,
    "sdif": lambda run: _sdif(run),
    "sdifname": _sdif,
}
