"""What goes over a wire of the lab: tcpdump writes it down, tshark decodes it.

with Capture(lab.host("node-1"), tmp_path) as capture:
    …
for packet in capture.packets: ...
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.waiting import until
from weft.lab.inside import Inside

_LAST = b"the capture ends with this"
_GATEWAY = "192.168.1.1"
_PORT = 9  # discard, RFC 863


@dataclass(frozen=True)
class Packet:
    """`layers`: the protocols from the outside in, such as ("eth", "ip", "udp", "vxlan", "eth", "ip", "icmp")."""

    layers: tuple[str, ...]
    fields: dict[str, tuple[str, ...]]

    def __getitem__(self, field: str) -> tuple[str, ...]:
        """A field's values (tshark's names and forms), of the outer header first; none where there is no such field."""
        return self.fields.get(field, ())

    @property
    def tunnelled(self) -> bool:
        return "vxlan" in self.layers

    @property
    def ends(self) -> tuple[str, str]:
        """Innermost source and destination address; empty for what is not IP."""
        inner = self.layers[self.layers.index("vxlan") if self.tunnelled else 0 :]
        kind = "ipv6" if "ipv6" in inner else "ip"
        return (self[f"{kind}.src"][-1], self[f"{kind}.dst"][-1]) if kind in inner else ("", "")

    @property
    def asked_for(self) -> tuple[str, ...]:
        """The addresses that ARP or neighbour discovery is about."""
        if "arp" in self.layers:
            return self["arp.src.proto_ipv4"] + self["arp.dst.proto_ipv4"]
        return self["icmpv6.nd.ns.target_address"] + self["icmpv6.nd.na.target_address"]


class Capture:
    """On the uplink of a host of segment a; complete from entering to leaving. `device`: another one, by which packets
    leave `towards` somewhere. `octets`: no frame is larger (0: 256 KiB): tcpdump's buffer is cut into pieces of that size, and
    holds more of a bulk transfer if they are small."""

    def __init__(
        self, inside: Inside, folder: Path, device: str = "eth0", towards: str = _GATEWAY, octets: int = 0
    ) -> None:
        self._inside, self._file, self._towards = inside, folder / f"{inside.name}.pcap", towards
        options = ["-Z", "root", "-n", "-U", "--immediate-mode", "-i", device, "-s", str(octets), "-w", str(self._file)]
        self._process = inside.popen(["tcpdump", *options], stdout=subprocess.DEVNULL)
        self.packets: list[Packet] = []

    def __enter__(self) -> Capture:
        assert self._process.stderr is not None
        heard = ""
        while "listening on" not in heard:
            heard = self._process.stderr.readline()
            assert heard, "tcpdump ended"
        return self

    def __exit__(self, *_: object) -> None:
        try:
            say = f"echo {_LAST.decode()} >/dev/udp/{self._towards}/{_PORT}"
            self._inside.run(["bash", "-c", say], check=True, timeout=20)
            until(lambda: _LAST in self._file.read_bytes(), 20, "the last packet in the capture")
        finally:
            self._process.terminate()
            self._process.communicate(timeout=10)
        self.packets = [p for p in decode(self._file) if p["udp.dstport"] != (str(_PORT),)]


def decode(file: Path) -> list[Packet]:
    words = [
        "tshark",
        "-n",
        "-r",
        str(file),
        "-T",
        "json",
        "--no-duplicate-keys",
        "-d",
        "udp.port==8472,vxlan",
        "-d",
        "udp.port==6784,vxlan",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    return [_packet(entry["_source"]["layers"]) for entry in json.loads(done.stdout)]


def _packet(layers: dict[str, Any]) -> Packet:
    fields: dict[str, tuple[str, ...]] = {}
    for name, value in _leaves(layers):
        fields[name] = (*fields.get(name, ()), value)
    protocols = fields["frame.protocols"][0].split(":")
    return Packet(tuple(p for p in protocols if p != "ethertype"), fields)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Fields with their values; a field or header that comes several times is a list."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, name)
    else:
        yield name, value
