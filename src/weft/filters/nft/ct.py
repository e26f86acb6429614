"""What conntrack knows of the packet (nft_ct_get_eval(), nft_ct_set_eval())."""

from __future__ import annotations

import msgspec

from weft.base.attributes import number
from weft.filters.model import Connection, Tuple
from weft.filters.nft.machine import BREAK, ORDER, Break, Machine, Result, Value, host, optional, place
from weft.filters.state import Run, Unknown

KEYS = (
    "state", "direction", "status", "mark", "secmark", "expiration", "helper", "l3proto", "saddr", "daddr", "protocol",
    "proto-src", "proto-dst", "label", "packets", "bytes", "avgpkt", "zone", "event", "ip-saddr", "ip-daddr",
    "ip6-saddr", "ip6-daddr", "id",
)  # fmt: skip
"""By their numbers (enum nft_ct_keys)."""
STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
LENGTHS = {"direction": 1, "helper": 16, "l3proto": 1, "protocol": 1, "proto-src": 2, "proto-dst": 2, "zone": 2}
LENGTHS |= {"label": 16, "packets": 8, "bytes": 8, "avgpkt": 8, "ip6-saddr": 16, "ip6-daddr": 16}
_REASONS = {
    "expiration": "how long the connection may stay idle",
    "helper": "the connection's helper",
    "label": "the connection's labels",
    "packets": "how many packets the connection had",
    "bytes": "how many octets the connection had",
    "avgpkt": "the size of the connection's packets",
    "id": "the number of the connection",
}
_HELPER = 1 << 13
"""IPS_HELPER of a connection's status."""


class Ct(msgspec.Struct, frozen=True):
    """`direction`: that of the tuple that is asked for; None: the packet's own does not matter. `source`: the register that is
    written."""

    key: str
    register: int
    direction: int | None = None
    source: int | None = None

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Ct:
        key = number(found, 2)
        name = KEYS[key] if key < len(KEYS) else f"key {key}"
        direction = number(found, 3) if 3 in found else None
        return cls(name, place(found, 1) if 1 in found else 0, direction, optional(found, 4))

    def run(self, machine: Machine) -> Result:
        if self.source is not None:
            return self._write(machine, self.source)
        value = self._read(machine.run)
        if isinstance(value, Break):
            return value
        length = len(value) if isinstance(value, bytes) else LENGTHS.get(self.key, 16 if "addr" in self.key else 4)
        machine.store(self.register, value, length)
        return None

    def _read(self, run: Run) -> Value | Break:
        found = run.seen.connection
        if self.key == "state":
            return host(STATES[_state(run)])
        if found is None or _state(run) in ("untracked", "invalid"):
            return BREAK
        if self.key == "direction":
            return bytes([found.reply])
        if self.key == "status":
            return host(found.status)
        if self.key == "mark":
            return Unknown(run.unsure["connection mark"]) if "connection mark" in run.unsure else host(found.mark)
        if self.key == "zone":
            return host(found.zone, 2)
        if self.key == "helper" and not found.status & _HELPER:
            return BREAK
        if self.key in ("label", "secmark") and found.state == "new":
            return bytes(16 if self.key == "label" else 4)
        if self.key in _TUPLE:
            return self._of_tuple(found)
        return Unknown(_REASONS.get(self.key, f"ct {self.key}"))

    def _of_tuple(self, found: Connection) -> Value | Break:
        what = found.answer if self.direction == 1 else found.original
        if what is None:
            return Unknown("the connection's addresses")
        if self.key in ("ip-saddr", "ip-daddr", "ip6-saddr", "ip6-daddr"):
            return _address(what, self.key) if (what.src.version == 6) == self.key.startswith("ip6") else BREAK
        return {
            "l3proto": bytes([2 if what.src.version == 4 else 10]),
            "protocol": bytes([what.protocol]),
            "saddr": what.src.packed,
            "daddr": what.dst.packed,
            "proto-src": what.sport.to_bytes(2, "big"),
            "proto-dst": what.dport.to_bytes(2, "big"),
        }[self.key]

    def _write(self, machine: Machine, source: int) -> Result:
        run = machine.run
        found = run.seen.connection
        if self.key not in ("mark", "zone") or (found is None and self.key == "mark"):
            return None
        value = machine.load(source, 4 if self.key == "mark" else 2)
        machine.changed(f"connection {self.key}", not isinstance(value, Unknown))
        if isinstance(value, bytes) and not machine.doubtful:
            number_ = int.from_bytes(value, ORDER)
            change = {self.key: number_}
            base = found or Connection(state="new")
            run.seen = msgspec.structs.replace(run.seen, connection=msgspec.structs.replace(base, **change))
        return None


_TUPLE = frozenset(
    (
        "l3proto",
        "protocol",
        "saddr",
        "daddr",
        "proto-src",
        "proto-dst",
        "ip-saddr",
        "ip-daddr",
        "ip6-saddr",
        "ip6-daddr",
    )
)


def _state(run: Run) -> str:
    if run.notrack:
        return "untracked"
    if not run.tracked or run.seen.connection is None:
        return "invalid"
    return run.seen.connection.state


def _address(what: Tuple, key: str) -> bytes:
    return what.src.packed if key.endswith("saddr") else what.dst.packed
