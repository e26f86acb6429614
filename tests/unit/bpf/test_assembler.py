"""Programs for the kernel's virtual machine are written as the kernel reads them, and its types are found by their names."""

from __future__ import annotations

import struct

import pytest

from weft.base.errors import Unsupported
from weft.bpf.assembler import Program
from weft.kernel.live.btf import Btf
from weft.kernel.live.nft_trace import starts


def test_a_jump_leads_to_its_label() -> None:
    program = Program()
    program.set_long(2, 0x1122334455667788)
    program.jump_if_register(1, "!=", 2, "other")
    program.set(0, 7)
    program.label("other")
    program.end()
    code = [struct.unpack_from("<BBhi", program.octets(), at) for at in range(0, len(program.octets()), 8)]
    assert code == [
        (0x18, 2, 0, 0x55667788),
        (0, 0, 0, 0x11223344),
        (0x5D, 0x21, 1, 0),
        (0xB7, 0, 0, 7),
        (0xB7, 0, 0, 0),
        (0x95, 0, 0, 0),
    ]


def test_instructions_are_those_of_rfc_9669() -> None:
    """Opcode, registers (the source in the upper half), offset, number."""
    program = Program()
    program.copy(6, 1)
    program.calculate(2, "&", 0x0F)
    program.calculate(2, "<<", 2)
    program.combine(1, "|", 2)
    for size in (1, 2, 4, 8):
        program.load(3, 7, 12, size)
    for size in (1, 2, 4, 8):
        program.write(7, 12, 3, size)
    program.store(-8, 4)
    program.jump_if(1, "&", 7, "end")
    program.jump_if(1, "<=", -1, "end")
    program.jump_if_register(1, ">", 8, "end")
    program.jump("end")
    program.label("end")
    program.end(-1)
    code = [struct.unpack_from("<BBhi", program.octets(), at) for at in range(0, len(program.octets()), 8)]
    assert code == [
        (0xBF, 0x16, 0, 0),
        (0x57, 2, 0, 0x0F),
        (0x67, 2, 0, 2),
        (0x4F, 0x21, 0, 0),
        *((opcode, 0x73, 12, 0) for opcode in (0x71, 0x69, 0x61, 0x79)),
        *((opcode, 0x37, 12, 0) for opcode in (0x73, 0x6B, 0x63, 0x7B)),
        (0x7B, 0x4A, -8, 0),
        (0x45, 1, 3, 7),
        (0xB5, 1, 2, -1),
        (0x2D, 0x81, 1, 0),
        (0x05, 0, 0, 0),
        (0xB7, 0, 0, -1),
        (0x95, 0, 0, 0),
    ]


def _described() -> bytes:
    """struct pair { u32 first; union { struct { u32 deep; u32 deeper; }; }; }, and an enum of two values."""
    names = b"\0pair\0first\0u32\0deep\0deeper\0why\0NO\0YES\0alias\0"
    at = {
        name: names.index(b"\0" + name.encode() + b"\0") + 1
        for name in ["pair", "first", "u32", "deep", "deeper", "why", "NO", "YES", "alias"]
    }

    def head(name: int, kind: int, count: int, size: int) -> bytes:
        return struct.pack("=III", name, kind << 24 | count, size)

    def member(name: int, of: int, bits: int) -> bytes:
        return struct.pack("=III", name, of, bits)

    types = b"".join(
        (
            head(at["u32"], 1, 0, 4) + struct.pack("=I", 32),
            head(0, 4, 2, 8) + member(at["deep"], 1, 0) + member(at["deeper"], 1, 32),
            head(0, 5, 1, 8) + member(0, 2, 0),
            head(at["alias"], 8, 0, 2),
            head(at["pair"], 4, 3, 20) + member(at["first"], 1, 0) + member(0, 3, 32) + member(at["alias"], 4, 96),
            head(at["why"], 6, 2, 4) + struct.pack("=IIII", at["NO"], 0, at["YES"], 1),
        )
    )
    return struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names)) + types + names


def test_members_are_found_also_in_what_has_no_name_and_behind_other_names() -> None:
    types = Btf(_described())
    assert [types.offset("pair", path) for path in ("first", "deep", "deeper", "alias.deeper")] == [0, 4, 8, 16]
    assert types.values("why") == {0: "NO", 1: "YES"}


@pytest.mark.parametrize(("name", "path"), [("pair", "absent"), ("pairs", "first"), ("pair", "first.deep")])
def test_what_is_not_there_is_said(name: str, path: str) -> None:
    with pytest.raises(Unsupported, match=r"the kernel.* no "):
        Btf(_described()).offset(name, path)


@pytest.mark.parametrize("data", [b"", b"\0" * 64])
def test_something_else_is_no_description(data: bytes) -> None:
    with pytest.raises(Unsupported):
        Btf(data)


def test_where_a_token_may_begin() -> None:
    assert starts("udp", 4) == (8, 28, 36, 58)
    assert starts("tcp", 6) == (20, 60, 68, 90)
