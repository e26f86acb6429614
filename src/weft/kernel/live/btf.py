"""Where the running kernel keeps what: its own description of its types (kernel Documentation/bpf/btf.rst).

The description has 130,000 types. They stand one behind the other, each of a length that its first words tell, so all of them
are walked once (a twentieth of a second), and only those that are asked for are decoded.
"""

from __future__ import annotations

import functools
import struct
from pathlib import Path

from weft.base.errors import Denied, Unsupported

VMLINUX = Path("/sys/kernel/btf/vmlinux")

_HEADER = struct.Struct("=HBBIIIII")
"""struct btf_header: magic, version, flags, its length; offset and length of the types, and of the names."""
_MAGIC = 0xEB9F
_STRUCT, _UNION, _ENUM = 4, 5, 6
_PASSED = (8, 9, 10, 11, 18)
"""BTF_KIND_TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG: another name of the type that they tell."""
_FIXED = {1: 1, 3: 3, 14: 1, 17: 1}
"""Kind → words behind the three of struct btf_type: INT, ARRAY, VAR, DECL_TAG."""
_EACH = {4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}
"""Kind → words for each member: STRUCT, UNION, ENUM, FUNC_PROTO, DATASEC, ENUM64."""


class Btf:
    """Raises Unsupported where `data` is not such a description."""

    def __init__(self, data: bytes) -> None:
        if len(data) < _HEADER.size or _HEADER.unpack_from(data)[0] != _MAGIC:
            raise Unsupported("the kernel's description of its types (BTF) cannot be read: it is in another form")
        _, _, _, size, types, length, names, named = _HEADER.unpack_from(data)
        self._words = memoryview(data)[size + types : size + types + length].cast("I")
        self._names = data[size + names : size + names + named]
        self._places = _places(self._words)
        self._found: dict[tuple[str, int], int] = {}

    def offset(self, struct_name: str, path: str) -> int:
        """In octets, of a member; `path` with dots into members of members. Raises Unsupported."""
        words = path.split(".")
        found = self._member(self._named(struct_name, _STRUCT), words)
        if found is None:
            raise Unsupported(f"the kernel's struct {struct_name} has no {path}")
        return found // 8

    def values(self, enum_name: str) -> dict[int, str]:
        """The names of an enum's values. Raises Unsupported."""
        place = self._named(enum_name, _ENUM)
        members = self._words[place + 3 : place + 3 + 2 * (self._words[place + 1] & 0xFFFF)]
        return {members[i + 1]: self._name(members[i]) for i in range(0, len(members), 2)}

    def _named(self, name: str, kind: int) -> int:
        """Where the type is described. A name stands once among the names, so it is looked for as a number."""
        known = self._names.find(b"\0" + name.encode() + b"\0") + 1
        words = self._words
        for place in self._places:
            if known and words[place] == known and words[place + 1] >> 24 & 31 == kind:
                return place
        raise Unsupported(f"the kernel knows no type {name}")

    def _member(self, place: int, path: list[str]) -> int | None:
        """In bits. Members without a name are looked into: theirs count as the struct's own."""
        info = self._words[place + 1]
        for at in range(place + 3, place + 3 + 3 * (info & 0xFFFF), 3):
            name, of, bits = self._words[at : at + 3]
            bits = bits & 0xFFFFFF if info >> 31 else bits
            if name and self._name(name) != path[0]:
                continue
            if name and len(path) == 1:
                return bits
            inner = self._real(of)
            if self._words[inner + 1] >> 24 & 31 in (_STRUCT, _UNION):
                found = self._member(inner, path[1:] if name else path)
                if found is not None:
                    return bits + found
        return None

    def _real(self, number: int) -> int:
        while self._words[self._places[number] + 1] >> 24 & 31 in _PASSED:
            number = self._words[self._places[number] + 2]
        return self._places[number]

    def _name(self, offset: int) -> str:
        return self._names[offset : self._names.index(b"\0", offset)].decode()


def _places(words: memoryview) -> list[int]:
    """Where each type begins, by its number. Number 0 is `void`, which is not described; it counts as the first."""
    step = [3 + _FIXED.get(kind, 0) for kind in range(32)]
    each = [_EACH.get(kind, 0) for kind in range(32)]
    places, at, end = [0], 0, len(words)
    add = places.append
    while at < end:
        add(at)
        info = words[at + 1]
        kind = info >> 24 & 31
        at += step[kind] + each[kind] * (info & 0xFFFF)
    return places


@functools.cache
def kernel() -> Btf:
    """Of the running kernel. Raises Unsupported, Denied."""
    try:
        return Btf(VMLINUX.read_bytes())
    except PermissionError:
        raise Denied(f"{VMLINUX} may not be read: run as root") from None
    except OSError as error:
        raise Unsupported(f"the kernel does not describe its types ({VMLINUX}: {error.strerror})") from None
