"""What does something, counts, limits, or leads out of the rules; and the matches and targets of iptables."""

from __future__ import annotations

from ipaddress import ip_address
from typing import ClassVar

import msgspec

from weft.base.attributes import name, number
from weft.filters import xt
from weft.filters.nft.compute import deciding
from weft.filters.nft.machine import BREAK, Go, Machine, Result, Value, host, place
from weft.filters.nft.meta import text16
from weft.filters.state import Lottery, Unknown


class Nothing(msgspec.Struct, frozen=True):
    """counter, log, last …: the rule goes on as if it were not there."""

    kind: str
    found: dict[int, bytes]

    def run(self, machine: Machine) -> Result:
        return None


class FlowAdd(msgspec.Struct, frozen=True):
    """flow add: further packets of the flow go past all rules (nft_flow_offload_eval()). None that begins or ends one."""

    flowtable: str

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> FlowAdd:
        return cls(name(found, 1))

    def run(self, machine: Machine) -> Result:
        connection = machine.run.seen.connection
        if not machine.doubtful and connection is not None and connection.state == "established":
            machine.run.flowtable = self.flowtable
        return None


class Limit(msgspec.Struct, frozen=True):
    """limit and connlimit: whether they are exceeded shows only when it happens."""

    kind: str
    found: dict[int, bytes]

    def run(self, machine: Machine) -> Result:
        return Unknown(deciding([self.kind]))


class Quota(msgspec.Struct, frozen=True):
    """nft_quota_eval(): what it had when it was dumped, and this packet."""

    octets: int
    consumed: int
    inverted: bool

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Quota:
        return cls(number(found, 1), number(found, 4), bool(number(found, 2) & 1))

    def run(self, machine: Machine) -> Result:
        over = self.consumed + len(machine.run.seen.octets) >= self.octets
        return BREAK if over is not self.inverted else None


class Reject(msgspec.Struct, frozen=True):
    type: int
    code: int

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Reject:
        return cls(number(found, 1), number(found, 2))

    def run(self, machine: Machine) -> Result:
        return Go("reject")


class Ending(msgspec.Struct, frozen=True):
    """queue; dup and fwd to another device, synproxy and tproxy: what becomes of the packet is not up to the rules."""

    kind: str
    found: dict[int, bytes]
    _ENDS: ClassVar[dict[str, Go]] = {"queue": Go("queue"), "fwd": Go("stolen")}

    def run(self, machine: Machine) -> Result:
        if self.kind in self._ENDS:
            return self._ENDS[self.kind]
        return Unknown(f"what {self.kind} makes of it")


class Notrack(msgspec.Struct, frozen=True):
    def run(self, machine: Machine) -> Result:
        machine.changed("tracking")
        if not machine.doubtful:
            machine.run.notrack = True
        return None


class ObjectReference(msgspec.Struct, frozen=True):
    """A named object, or that which a map leads to. Quotas, limits and counts of connections may decide."""

    type: int
    name: str
    map: str
    key: int

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> ObjectReference:
        return cls(number(found, 1), name(found, 2), name(found, 4), place(found, 3) if 3 in found else 0)

    def run(self, machine: Machine) -> Result:
        kind = self.type
        if self.map:
            named = machine.sets(self.map)
            if named is None:
                return Unknown(f"the map {self.map}, which is not known")
            key = machine.load(self.key, named.key_length)
            if isinstance(key, Unknown):
                return key
            if named.find(key) is None:
                return BREAK
            kind = named.object_type
        why = deciding([{2: "quota", 4: "limit", 5: "connlimit"}.get(kind, "")])
        return Unknown(why) if why else None


class Number(msgspec.Struct, frozen=True):
    """numgen: each packet is given another number."""

    register: int
    modulus: int
    random: bool
    offset: int

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Number:
        return cls(place(found, 1), number(found, 2), number(found, 3) == 1, number(found, 4))

    def run(self, machine: Machine) -> Result:
        machine.store(self.register, host(self.offset + machine.run.draw(self.modulus)), 4)
        return None


class Hash(msgspec.Struct, frozen=True):
    """Of fields, or of the whole flow: like a lottery, to whoever does not know the seed."""

    register: int
    modulus: int
    offset: int
    source: int
    length: int
    symmetric: bool

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Hash:
        source = place(found, 1) if 1 in found else 0
        return cls(place(found, 2), number(found, 4), number(found, 6), source, number(found, 3), number(found, 7) == 1)

    def run(self, machine: Machine) -> Result:
        machine.store(self.register, host(self.offset + machine.run.draw(self.modulus)), 4)
        return None


_ADDRESS_TYPES = (
    "unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw",
    "nat", "xresolve",
)  # fmt: skip
SADDR, DADDR, MARK, IIF, OIF, PRESENT = (1 << bit for bit in range(6))
OIF_INDEX, OIF_NAME, TYPE = 1, 2, 3


class Fib(msgspec.Struct, frozen=True):
    """What the routes say of an address (nft_fib4_eval(), nft_fib4_eval_type())."""

    register: int
    result: int
    flags: int

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Fib:
        return cls(place(found, 1), number(found, 2), number(found, 3))

    def run(self, machine: Machine) -> Result:
        value = self._type(machine) if self.result == TYPE else self._device(machine)
        if self.flags & PRESENT and isinstance(value, bytes):
            value = bytes([any(value)])
        length = len(value) if isinstance(value, bytes) else 16 if self.result == OIF_NAME else 4
        machine.store(self.register, value, length)
        return None

    def _type(self, machine: Machine) -> Value:
        run = machine.run
        size = 4 if run.headers.version == 4 else 16
        at = (12 if size == 4 else 8) + (0 if self.flags & SADDR else size)
        address = ip_address(run.seen.octets[at : at + size])
        kind = run.seen.local.get(address)
        if kind is None or kind not in _ADDRESS_TYPES or (kind == "local" and self.flags & (IIF | OIF)):
            return Unknown(f"what kind of address {address} is here")
        return host(_ADDRESS_TYPES.index(kind))

    def _device(self, machine: Machine) -> Value:
        seen = machine.run.seen
        if not self.flags & SADDR or seen.route is None or seen.iif is None:
            return Unknown("the route to the address")
        device, _kind = seen.route
        if self.flags & IIF:
            name_, index = (seen.iif.name, seen.iif.index) if device == seen.iif.name else ("", 0)
        elif device in ("", seen.iif.name):
            name_, index = (seen.iif.name, seen.iif.index) if device else ("", 0)
        elif self.result == OIF_NAME:
            name_, index = device, 0
        else:
            return host(1) if self.flags & PRESENT else Unknown("the number of the device to the source")
        return text16(name_) if self.result == OIF_NAME else host(index)


class Elsewhere(msgspec.Struct, frozen=True):
    """rt, socket, osf, tunnel, xfrm, inner …: not to be known from here."""

    kind: str
    register: int | None
    key: int = 0
    _WHY: ClassVar[dict[str, str]] = {
        "rt": "the route",
        "socket": "the socket that is there for it",
        "osf": "the sender's operating system",
        "tunnel": "the tunnel that it came by",
        "xfrm": "how it was encrypted",
    }

    def run(self, machine: Machine) -> Result:
        why = Unknown(self._WHY.get(self.kind, f"the expression {self.kind}"))
        if self.register is not None:
            machine.store(self.register, why, 16)
        return why


class Match(msgspec.Struct, frozen=True):
    name: str
    revision: int
    info: bytes

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Match:
        return cls(name(found, 1), number(found, 2), found.get(3, b""))

    def run(self, machine: Machine) -> Result:
        judged = xt.match(self.name, self.revision, self.info, machine.run, machine.ipsets)
        if isinstance(judged, Lottery):
            judged = machine.run.draw(judged.outcomes) == 0
        return judged if isinstance(judged, Unknown) else None if judged else BREAK


class Target(msgspec.Struct, frozen=True):
    """It may change the packet, so under doubt it is asked on a copy."""

    name: str
    revision: int
    info: bytes

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Target:
        return cls(name(found, 1), number(found, 2), found.get(3, b""))

    def run(self, machine: Machine) -> Result:
        run = machine.run
        before, notrack = run.seen, run.notrack
        outcome = xt.target(self.name, self.revision, self.info, run, machine.where, machine.ipsets)
        if run.seen is not before or run.notrack is not notrack:
            self._changed(machine, before, notrack)
        if isinstance(outcome, Unknown):
            machine.doubt = machine.doubt or outcome.why
            return Go("depends")
        if outcome.action == "continue":
            return Go("continue")
        return Go(outcome.action, translation=outcome.translation)

    def _changed(self, machine: Machine, before: object, notrack: bool) -> None:
        run, now = machine.run, machine.run.seen
        for what, field in (("mark", "mark"), ("connection mark", "connection"), ("packet", "octets")):
            if getattr(before, field) != getattr(now, field):
                machine.changed(what)
        machine.did = True
        if machine.doubtful:
            run.seen, run.notrack = before, notrack  # type: ignore[assignment]


def elsewhere(kind: str, found: dict[int, bytes]) -> Elsewhere:
    """The attributes of all of them have the register first, but for socket's."""
    where = {"socket": 2, "rt": 1, "osf": 1, "xfrm": 1, "tunnel": 2}.get(kind)
    key = {"socket": 1, "rt": 2, "xfrm": 2, "tunnel": 1}.get(kind, 0)
    register = place(found, where) if where is not None and where in found else None
    return Elsewhere(kind, register, number(found, key))
