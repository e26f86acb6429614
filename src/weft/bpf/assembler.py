"""Writing a program for the kernel's virtual machine (eBPF), instruction by instruction (RFC 9669).

Registers: 0 takes results, 1 to 5 are arguments and lost by each call, 6 to 9 stay, 10 is the end of the stack of 512 octets.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

_INSTRUCTION = struct.Struct("<BBhi")
"""opcode, registers (target in the lower half), offset, immediate."""

STACK = 10
_MOV, _MOV_NUMBER, _ADD, _ADD_NUMBER = 0xBF, 0xB7, 0x0F, 0x07
_LOAD = {4: 0x61, 8: 0x79}
_STORE = {4: 0x63, 8: 0x7B}
_LOAD_64, _IS_MAP, _IS_MAP_VALUE, _JUMP_IF_NOT, _CALL, _EXIT = 0x18, 1, 2, 0x5D, 0x85, 0x95

READ_KERNEL, TIME, RING_OUTPUT = 113, 5, 130
"""Helpers (linux/bpf.h): bpf_probe_read_kernel, bpf_ktime_get_ns, bpf_ringbuf_output."""


class Code(NamedTuple):
    """A whole program. `octets`: its instructions, in which the number of each map is yet to be filled in. `maps`: those that
    it uses, by name: (index of the instruction, name)."""

    octets: bytes
    maps: tuple[tuple[int, str], ...] = ()

    def bound(self, fds: Mapping[str, int]) -> bytes:
        """Ready to be loaded. `fds`: file descriptors of the maps. Raises KeyError."""
        found = bytearray(self.octets)
        for at, name in self.maps:
            struct.pack_into("<i", found, 8 * at + 4, fds[name])
        return bytes(found)


class Program:
    """Each method adds what it says; all return nothing. `octets()` or `code()` when it is whole."""

    def __init__(self) -> None:
        self._maps: list[tuple[int, str]] = []
        self._code: list[tuple[int, int, int, int, int]] = []
        self._labels: dict[str, int] = {}
        self._jumps: list[tuple[int, str]] = []

    def _add(self, opcode: int, target: int = 0, source: int = 0, offset: int = 0, number: int = 0) -> None:
        self._code.append((opcode, target, source, offset, number))

    def copy(self, target: int, source: int) -> None:
        self._add(_MOV, target, source)

    def set(self, target: int, number: int) -> None:
        """A number of 32 bits, with its sign."""
        self._add(_MOV_NUMBER, target, number=number)

    def set_long(self, target: int, number: int) -> None:
        """A number of 64 bits, in two instructions."""
        low, high = struct.unpack("<ii", struct.pack("<Q", number))
        self._add(_LOAD_64, target, number=low)
        self._add(0, number=high)

    def set_map(self, target: int, fd: int) -> None:
        self._add(_LOAD_64, target, _IS_MAP, number=fd)
        self._add(0)

    def map(self, target: int, name: str) -> None:
        """The map that is called so, for helpers."""
        self._maps.append((len(self._code), name))
        self.set_map(target, 0)

    def map_value(self, target: int, name: str, offset: int = 0) -> None:
        """The address of the only value of an array, without a look-up (BPF_PSEUDO_MAP_VALUE)."""
        self._maps.append((len(self._code), name))
        self._add(_LOAD_64, target, _IS_MAP_VALUE)
        self._add(0, number=offset)

    def add(self, target: int, source: int) -> None:
        self._add(_ADD, target, source)

    def add_number(self, target: int, number: int) -> None:
        self._add(_ADD_NUMBER, target, number=number)

    def load(self, target: int, base: int, offset: int, size: int = 8) -> None:
        """`size` octets at `base` + `offset`."""
        self._add(_LOAD[size], target, base, offset)

    def store(self, offset: int, source: int, size: int = 8) -> None:
        """On the stack; `offset` is below its end, so negative."""
        self._add(_STORE[size], STACK, source, offset)

    def zero(self, start: int, size: int) -> None:
        """On the stack; `size` in octets, a multiple of 8."""
        self.set(0, 0)
        for offset in range(start, start + size, 8):
            self.store(offset, 0)

    def call(self, helper: int) -> None:
        self._add(_CALL, number=helper)

    def read(self, to: int, size: int, base: int, offset: int) -> None:
        """Of the kernel's memory at register `base` + `offset`, to the stack; zeros if there is nothing to read."""
        self.copy(1, STACK)
        self.add_number(1, to)
        self.set(2, size)
        self.copy(3, base)
        self.add_number(3, offset)
        self.call(READ_KERNEL)

    def fetch(self, target: int, size: int, base: int, offset: int, scratch: int) -> None:
        """As `read`, on into a register by way of 8 octets of the stack; what is shorter is filled up with zeros."""
        self.zero(scratch, 8)
        self.read(scratch, size, base, offset)
        self.load(target, STACK, scratch)

    def unless_equal(self, one: int, other: int, label: str) -> None:
        """Jump."""
        self._jumps.append((len(self._code), label))
        self._add(_JUMP_IF_NOT, one, other)

    def label(self, name: str) -> None:
        self._labels[name] = len(self._code)

    def end(self) -> None:
        """With the result 0."""
        self.set(0, 0)
        self._add(_EXIT)

    def octets(self) -> bytes:
        code = list(self._code)
        for at, label in self._jumps:
            opcode, target, source, _, number = code[at]
            code[at] = (opcode, target, source, self._labels[label] - at - 1, number)
        return b"".join(_INSTRUCTION.pack(op, target | source << 4, off, num) for op, target, source, off, num in code)

    def code(self) -> Code:
        return Code(self.octets(), tuple(self._maps))
