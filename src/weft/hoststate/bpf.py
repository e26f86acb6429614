"""Programs of the kernel's virtual machine at devices (eBPF at tcx), and what they go by.

All of it belongs to a namespace: maps and programs are there once for each that needs them. Ownership mark: it is pinned in a
file system of our own, below the run directory, and its name begins with `weft_`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

Way = Literal["ingress", "egress"]


class BpfMap(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`key_size` and `value_size` in octets; `entries`: the most that it holds."""

    kind: ClassVar[str] = "bpf-map"

    name: str
    type: Literal["array", "hash", "lru_hash", "percpu_array"]
    key_size: int
    value_size: int
    entries: int
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("bpf-map", self.ns, self.name)


class BpfProgram(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """For tc (BPF_PROG_TYPE_SCHED_CLS). `code`: instructions, with a 0 for the number of each map; `maps`: which these are:
    (index of the instruction, name). `digest`: of both, by which one that is loaded is known."""

    kind: ClassVar[str] = "bpf-program"

    name: str
    digest: str
    code: bytes
    maps: tuple[tuple[int, str], ...] = ()
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("bpf-program", self.ns, self.name)


class BpfLink(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A program is asked about each packet that comes in ("ingress") or goes out ("egress") by the device `dev`, which need not
    be ours."""

    kind: ClassVar[str] = "bpf-link"

    dev: str
    way: Way
    program: str
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("bpf-link", self.ns, self.dev, self.way)


class FastHome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A container of this host has `address`, and `dev` is the host's end of its interface. It is counted for `network`. An
    element of the map `homes` (`weft.bpf.layout`)."""

    kind: ClassVar[str] = "fast-home"

    address: str
    dev: str
    network: str
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("fast-home", self.ns, self.address)


class FastPairs(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What was decided may go for all packets between two addresses, so programs look for that, too (the map `control`)."""

    kind: ClassVar[str] = "fast-pairs"

    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("fast-pairs", self.ns)
