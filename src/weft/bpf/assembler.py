"""Writing a program for the kernel's virtual machine (eBPF), instruction by instruction (RFC 9669).

Registers: 0 takes results, 1 to 5 are arguments and lost by each call, 6 to 9 stay, 10 is the end of the stack of 512 octets.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Literal, NamedTuple

_INSTRUCTION = struct.Struct("<BBhi")
"""opcode, registers (target in the lower half), offset, immediate."""

STACK = 10
_SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
_LOAD, _STORE = 0x61, 0x63
"""RFC 9669, 5.2: of memory at a register + offset, and to it; with the bits of a size."""
_NUMBERS, _REGISTERS = 0x07, 0x0F
"""RFC 9669, 4.1: calculations in 64 bits, with a number or with another register; with the bits of one of these."""
_CALCULATIONS = {"+": 0x00, "-": 0x10, "*": 0x20, "|": 0x40, "&": 0x50, "<<": 0x60, ">>": 0x70, "=": 0xB0}
_JUMP = 0x05
_COMPARISONS = {"==": 0x10, ">": 0x20, ">=": 0x30, "&": 0x40, "!=": 0x50, "<": 0xA0, "<=": 0xB0}
"""RFC 9669, 4.3: jumps. Without signs; "&": if they have a bit in common."""
_LOAD_64, _IS_MAP, _IS_MAP_VALUE, _CALL, _EXIT = 0x18, 1, 2, 0x85, 0x95

Calculation = Literal["+", "-", "*", "|", "&", "<<", ">>", "="]
Comparison = Literal["==", "!=", "<", "<=", ">", ">=", "&"]

MAP_LOOKUP, MAP_UPDATE, TIME, TIME_COARSE = 1, 2, 5, 160
REDIRECT, REDIRECT_PEER, CHANGE_TYPE, CHANGE_HEAD, CHECK_MTU, CSUM_UPDATE = 23, 155, 32, 43, 163, 40
READ_KERNEL, RING_OUTPUT = 113, 130
"""Helpers (linux/bpf.h): bpf_map_lookup_elem, bpf_map_update_elem, bpf_ktime_get_ns, bpf_ktime_get_coarse_ns; bpf_redirect,
bpf_redirect_peer, bpf_skb_change_type, bpf_skb_change_head, bpf_check_mtu, bpf_csum_update; bpf_probe_read_kernel,
bpf_ringbuf_output."""


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

    def calculate(self, target: int, how: Calculation, number: int) -> None:
        """`target` becomes `target` `how` `number` (of 32 bits, with its sign)."""
        self._add(_NUMBERS | _CALCULATIONS[how], target, number=number)

    def combine(self, target: int, how: Calculation, source: int) -> None:
        """As `calculate`, with another register."""
        self._add(_REGISTERS | _CALCULATIONS[how], target, source)

    def copy(self, target: int, source: int) -> None:
        self.combine(target, "=", source)

    def set(self, target: int, number: int) -> None:
        """A number of 32 bits, with its sign."""
        self.calculate(target, "=", number)

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

    def load(self, target: int, base: int, offset: int, size: int = 8) -> None:
        """`size` octets at `base` + `offset`; fewer than 8 are filled up with zeros."""
        self._add(_LOAD | _SIZES[size], target, base, offset)

    def write(self, base: int, offset: int, source: int, size: int) -> None:
        """The lower `size` octets of a register to `base` + `offset`."""
        self._add(_STORE | _SIZES[size], base, source, offset)

    def store(self, offset: int, source: int, size: int = 8) -> None:
        """On the stack; `offset` is below its end, so negative."""
        self.write(STACK, offset, source, size)

    def on_stack(self, target: int, offset: int) -> None:
        """The address of a place on the stack."""
        self.copy(target, STACK)
        self.calculate(target, "+", offset)

    def zero(self, start: int, size: int) -> None:
        """On the stack; `size` in octets, a multiple of 8."""
        self.set(0, 0)
        for offset in range(start, start + size, 8):
            self.store(offset, 0)

    def call(self, helper: int) -> None:
        self._add(_CALL, number=helper)

    def read(self, to: int, size: int, base: int, offset: int) -> None:
        """Of the kernel's memory at register `base` + `offset`, to the stack; zeros if there is nothing to read."""
        self.on_stack(1, to)
        self.set(2, size)
        self.copy(3, base)
        self.calculate(3, "+", offset)
        self.call(READ_KERNEL)

    def fetch(self, target: int, size: int, base: int, offset: int, scratch: int) -> None:
        """As `read`, on into a register by way of 8 octets of the stack; what is shorter is filled up with zeros."""
        self.zero(scratch, 8)
        self.read(scratch, size, base, offset)
        self.load(target, STACK, scratch)

    def jump(self, label: str) -> None:
        self._jumps.append((len(self._code), label))
        self._add(_JUMP)

    def jump_if(self, one: int, how: Comparison, number: int, label: str) -> None:
        """If register `one` is as said to `number` (of 32 bits, with its sign)."""
        self._jumps.append((len(self._code), label))
        self._add(_JUMP | _COMPARISONS[how], one, number=number)

    def jump_if_register(self, one: int, how: Comparison, other: int, label: str) -> None:
        """As `jump_if`, of two registers."""
        self._jumps.append((len(self._code), label))
        self._add(_JUMP | _COMPARISONS[how] | 8, one, other)

    def label(self, name: str) -> None:
        self._labels[name] = len(self._code)

    def end(self, result: int = 0) -> None:
        self.set(0, result)
        self.leave()

    def leave(self) -> None:
        """With the result that register 0 has."""
        self._add(_EXIT)

    def octets(self) -> bytes:
        code = list(self._code)
        for at, label in self._jumps:
            opcode, target, source, _, number = code[at]
            code[at] = (opcode, target, source, self._labels[label] - at - 1, number)
        return b"".join(_INSTRUCTION.pack(op, target | source << 4, off, num) for op, target, source, off, num in code)

    def code(self) -> Code:
        return Code(self.octets(), tuple(self._maps))
