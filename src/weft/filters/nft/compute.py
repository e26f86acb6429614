"""What compares, computes and looks up."""

from __future__ import annotations

import msgspec

from weft.base.attributes import attributes, each, name, number
from weft.filters.nft.machine import BREAK, ORDER, Go, Machine, Result, optional, place, value, verdict
from weft.filters.state import Unknown

COMPARE = ("==", "!=", "<", "<=", ">", ">=")


class Cmp(msgspec.Struct, frozen=True):
    """memcmp(), whatever the octets mean (nft_cmp_eval())."""

    register: int
    op: str
    data: bytes

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Cmp:
        return cls(place(found, 1), COMPARE[number(found, 2)], value(found, 3))

    def run(self, machine: Machine) -> Result:
        is_ = machine.load(self.register, len(self.data))
        if isinstance(is_, Unknown):
            return is_
        return None if compared(is_, self.op, self.data) else BREAK


def compared(left: bytes, op: str, right: bytes) -> bool:
    if op == "==":
        return left == right
    if op == "!=":
        return left != right
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[op]


class Range(msgspec.Struct, frozen=True):
    register: int
    inverted: bool
    first: bytes
    last: bytes

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Range:
        return cls(place(found, 1), number(found, 2) == 1, value(found, 3), value(found, 4))

    def run(self, machine: Machine) -> Result:
        is_ = machine.load(self.register, len(self.first))
        if isinstance(is_, Unknown):
            return is_
        return None if (self.first <= is_ <= self.last) is not self.inverted else BREAK


_WORD = 32


class Bitwise(msgspec.Struct, frozen=True):
    """`op`: 0 (is & mask) ^ xor; 1, 2 shifts of 32-bit words, the first being the highest; 3, 4, 5 and, or, xor with another
    register or with `data` (nft_bitwise_eval())."""

    source: int
    register: int
    length: int
    op: int = 0
    mask: bytes = b""
    xor: bytes = b""
    data: bytes = b""
    other: int | None = None

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Bitwise:
        return cls(
            source=place(found, 1),
            register=place(found, 2),
            length=number(found, 3),
            op=number(found, 6),
            mask=value(found, 4),
            xor=value(found, 5),
            data=value(found, 7),
            other=optional(found, 8),
        )

    def run(self, machine: Machine) -> Result:
        is_ = machine.load(self.source, self.length)
        other = self.data if self.other is None else machine.load(self.other, self.length)
        if isinstance(is_, Unknown) or isinstance(other, Unknown):
            machine.store(self.register, is_ if isinstance(is_, Unknown) else Unknown("a register"), self.length)
            return None
        machine.store(self.register, self._computed(is_, other), self.length)
        return None

    def _computed(self, is_: bytes, other: bytes) -> bytes:
        if self.op == 0:
            return bytes((a & m) ^ x for a, m, x in zip(is_, self.mask, self.xor, strict=False))
        if self.op in (1, 2):
            return _shifted(is_, int.from_bytes(self.data[:4], ORDER), left=self.op == 1)
        pairs = zip(is_, other, strict=False)
        if self.op == 3:
            return bytes(a & b for a, b in pairs)
        return bytes(a | b if self.op == 4 else a ^ b for a, b in pairs)


def _shifted(is_: bytes, by: int, *, left: bool) -> bytes:
    """As one long number, whose words the host's byte order orders within. Raises ValueError."""
    if by >= _WORD:  # nft_bitwise_init_shift() refuses it
        raise ValueError(by)
    words = [int.from_bytes(is_[at : at + 4], ORDER) for at in range(0, len(is_), 4)]
    whole = 0
    for word in words:
        whole = whole << 32 | word
    whole = (whole << by if left else whole >> by) & ((1 << 32 * len(words)) - 1)
    return b"".join((whole >> 32 * (len(words) - 1 - at) & 0xFFFFFFFF).to_bytes(4, ORDER) for at in range(len(words)))[
        : len(is_)
    ]


class Byteorder(msgspec.Struct, frozen=True):
    """Each unit of `size` octets is turned round, on a host that is little-endian."""

    source: int
    register: int
    length: int
    size: int

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Byteorder:
        return cls(place(found, 1), place(found, 2), number(found, 4), number(found, 5))

    def run(self, machine: Machine) -> Result:
        is_ = machine.load(self.source, self.length)
        if isinstance(is_, bytes) and ORDER == "little":
            is_ = b"".join(is_[at : at + self.size][::-1] for at in range(0, len(is_), self.size))
        machine.store(self.register, is_, self.length)
        return None


class Immediate(msgspec.Struct, frozen=True):
    """Data into a register, or (`go`) a verdict."""

    register: int
    data: bytes
    go: Go | None

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Immediate:
        data = attributes(found.get(2, b""))
        if 2 in data:
            return cls(0, b"", verdict(data[2]))
        return cls(place(found, 1), data.get(1, b""), None)

    def run(self, machine: Machine) -> Result:
        if self.go is None:
            machine.store(self.register, self.data, len(self.data))
        return self.go


class LookUp(msgspec.Struct, frozen=True):
    """`register`: where the data of a map goes, None for a set; `verdicts`: the map leads to verdicts."""

    set: str
    key: int
    register: int | None
    verdicts: bool
    inverted: bool

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> LookUp:
        verdicts = 3 in found and number(found, 3) == 0
        register = None if verdicts else optional(found, 3)
        return cls(name(found, 1), place(found, 2), register, verdicts, bool(number(found, 5) & 1))

    def run(self, machine: Machine) -> Result:
        named = machine.sets(self.set)
        if named is None:
            return Unknown(f"the set {self.set}, which is not known")
        key = machine.load(self.key, named.key_length)
        if isinstance(key, Unknown):
            return self._unknown(machine, key, named.data_length)
        element = named.find(key)
        if (element is not None) is self.inverted:
            return BREAK
        if element is None:
            return None
        if element.go is not None:
            return element.go
        if self.register is not None:
            machine.store(self.register, element.data, len(element.data))
        return Unknown(element.deciding) if element.deciding else None

    def _unknown(self, machine: Machine, why: Unknown, length: int) -> Result:
        if self.verdicts:
            machine.doubt = machine.doubt or why.why
            return Go("depends")
        if self.register is not None:
            machine.store(self.register, why, length)
        return why


class Dynset(msgspec.Struct, frozen=True):
    """Puts an element into a set: that works, as long as there is room (nft_dynset_eval()). What goes with the element
    may decide."""

    set: str
    op: int
    key: int
    inverted: bool
    deciding: str

    @classmethod
    def decode(cls, found: dict[int, bytes]) -> Dynset:
        own = [name(attributes(found[7]), 1)] if 7 in found else []
        own += [name(attributes(data), 1) for _, data in each(found.get(10, b""))]
        return cls(name(found, 1), number(found, 3), place(found, 4), bool(number(found, 9) & 1), deciding(own))

    def run(self, machine: Machine) -> Result:
        if self.op == 2:
            return Unknown(f"whether set {self.set} has it")
        if self.deciding:
            return Unknown(self.deciding)
        return BREAK if self.inverted else None


_DECIDING = {
    "limit": "how many packets come",
    "quota": "how much has come",
    "connlimit": "how many connections there are",
}


def deciding(names: list[str]) -> str:
    """Which of the expressions of an element may decide, "" for none of them."""
    return next((_DECIDING[each] for each in names if each in _DECIDING), "")
