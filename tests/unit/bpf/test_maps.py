"""What a namespace has of maps and programs."""

from __future__ import annotations

from weft.bpf.layout import ENTRY, ENTRY_AT, HOME, HOME_AT, Entry, Home
from weft.bpf.maps import objects
from weft.hoststate.bpf import BpfMap, BpfProgram


def test_a_program_uses_maps_of_its_namespace_and_is_the_same_everywhere() -> None:
    here, there = objects("", 65536), objects("/run/netns/weft-blue", 4096)
    maps = {obj.name for obj in here if isinstance(obj, BpfMap)}
    programs = [obj for obj in here if isinstance(obj, BpfProgram)]
    assert {name for program in programs for _, name in program.maps} == maps
    assert {obj.ns for obj in there} == {"/run/netns/weft-blue"}
    assert [obj.digest for obj in there if isinstance(obj, BpfProgram)] == [program.digest for program in programs]
    assert len({program.digest for program in programs}) == len(programs) == 4


def test_programs_find_fields_where_the_agent_puts_them() -> None:
    entry = Entry(until=1, generation=2, came_by=3, out=4, flags=5, mtu=6, ether=bytes(range(14)), slot=7)
    octets = ENTRY.pack(*entry)
    for name, size in (
        ("until", 8),
        ("generation", 4),
        ("came_by", 4),
        ("out", 4),
        ("flags", 2),
        ("mtu", 2),
        ("slot", 2),
    ):
        at = ENTRY_AT[name]
        assert int.from_bytes(octets[at : at + size], "little") == getattr(entry, name), name
    assert octets[ENTRY_AT["ether"] :][:14] == entry.ether
    home = HOME.pack(*Home(device=1, slot=2))
    assert (home[HOME_AT["device"]], home[HOME_AT["slot"]]) == (1, 2)
