"""Registers, and what an expression may come to. A value that is not known from here lies in its register as an `Unknown`;
whatever is computed from it is not known either."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from weft.base.attributes import attributes, name, number
from weft.filters.model import Action, Translation, Where
from weft.filters.state import Run, Unknown
from weft.filters.xt import Ipsets

ORDER: Literal["little", "big"] = sys.byteorder
REGISTERS = 16 * 4
_CODE = struct.Struct(">i")

Value = bytes | Unknown


class Break(msgspec.Struct, frozen=True):
    """The rule does not match (NFT_BREAK)."""


BREAK = Break()


class Go(msgspec.Struct, frozen=True):
    """A verdict. `chain`: of jump and goto."""

    code: Literal["continue", "jump", "goto", "return"] | Action
    chain: str = ""
    translation: Translation | None = None


Result = Go | Break | Unknown | None
"""None: on to the next expression. Unknown: so too, but it may be that the rule does not match."""


class Lookup(Protocol):
    """A set of the table, lengths in octets. `find`: the element of this key."""

    key_length: int
    data_length: int
    object_type: int

    def find(self, key: bytes) -> Element | None: ...


class Element(msgspec.Struct, frozen=True):
    """`go`: where a verdict map leads to. `deciding`: which of its own expressions may decide, "" for none."""

    data: bytes = b""
    go: Go | None = None
    object: str = ""
    deciding: str = ""


NONSENSE = (ValueError, LookupError, ArithmeticError, struct.error)
"""What comes of a rule with numbers that no kernel writes, out of a dump that somebody edited."""


class Machine:
    """Of one base chain's run. `where`: the rule that is run. `doubt`: why it may not match, "" as long as it does.
    `above`: why the packet may not come to it at all. `did`: the rule has done something to the packet."""

    def __init__(self, run: Run, sets: Callable[[str], Lookup | None], ipsets: Ipsets) -> None:
        self.run = run
        self.sets = sets
        self.ipsets = ipsets
        self.doubt = ""
        self.above = ""
        self.did = False
        self.where: Callable[[], Where] = _nowhere
        self._octets = bytearray(REGISTERS)
        self._unknown: dict[int, Unknown] = {}

    @property
    def doubtful(self) -> str:
        return self.doubt or self.above

    def load(self, register: int, length: int) -> Value:
        """`register` is an offset into the file of registers (`place`)."""
        self._check(register, length)
        if self._unknown:
            for word in range(register, register + length, 4):
                if word in self._unknown:
                    return self._unknown[word]
        return bytes(self._octets[register : register + length])

    def store(self, register: int, value: Value, length: int) -> None:
        """A value that ends within a word is filled up with zeros, as nft_reg_store8() does."""
        whole = (length + 3) & ~3
        self._check(register, whole)
        if isinstance(value, Unknown):
            self._unknown |= dict.fromkeys(range(register, register + whole, 4), value)
            return
        if self._unknown:
            for word in range(register, register + whole, 4):
                self._unknown.pop(word, None)
        self._octets[register : register + whole] = value.ljust(whole, b"\0")[:whole]

    def _check(self, register: int, length: int) -> None:
        """The kernel sees to it when a rule is made; who edits a dump does not. Raises ValueError."""
        if not 0 <= register <= register + length <= REGISTERS:
            raise ValueError(register, length)

    def changed(self, what: str, known: bool = True) -> None:
        """The rule changes this of the packet. Where the rule is doubtful, or what it writes is not known, so is that."""
        self.did = True
        if self.doubtful or not known:
            self.run.unsure[what] = self.doubtful or f"what a rule wrote into the {what}"
        else:
            self.run.unsure.pop(what, None)


def _nowhere() -> Where:
    return Where(program="nft", family="", table="", chain="")


class Expression(Protocol):
    """One step of a rule."""

    def run(self, machine: Machine) -> Result: ...


def place(found: dict[int, bytes], kind: int) -> int:
    """The offset of a register: 1 to 4 are of 16 octets, 8 to 23 of 4 in the same file (nft_parse_register())."""
    register = number(found, kind)
    return (register - 1) * 16 if register <= 4 else (register - 8) * 4


def optional(found: dict[int, bytes], kind: int) -> int | None:
    return place(found, kind) if kind in found else None


def value(found: dict[int, bytes], kind: int) -> bytes:
    """NFTA_DATA_VALUE."""
    return attributes(found.get(kind, b"")).get(1, b"")


_CODES: dict[int, Go] = {
    0: Go("drop"),
    1: Go("accept"),
    2: Go("stolen"),
    3: Go("queue"),
    -1: Go("continue"),
    -5: Go("return"),
}


def verdict(data: bytes) -> Go:
    """Of the attributes of NFTA_DATA_VERDICT."""
    found = attributes(data)
    code = _CODE.unpack(found.get(1, b"\0\0\0\0"))[0]
    if code in (-3, -4):
        return Go("jump" if code == -3 else "goto", name(found, 2))
    return _CODES.get(code if code < 0 else code & 0xFF, _CODES[0])


def host(number_: int, length: int = 4) -> bytes:
    """A number in the host's byte order, as the kernel keeps marks, indexes and states."""
    return (number_ & ((1 << length * 8) - 1)).to_bytes(length, ORDER)
