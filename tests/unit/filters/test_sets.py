"""Sets answer as the kernel's do, whatever back end it has chosen: what is found is what a plain look at all elements finds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weft.api.dump import NftElementDump, NftSetDump
from weft.filters.nft.sets import CATCHALL, CONCAT, END, INTERVAL, Set

SMALL = st.integers(0, 30)


def octets(number: int, size: int = 4) -> bytes:
    return number.to_bytes(size, "big")


@st.composite
def intervals(draw: st.DrawFn) -> list[tuple[int, int]]:
    """That do not overlap; some follow one another without a gap."""
    bounds = sorted(draw(st.sets(SMALL, min_size=0, max_size=10)))
    if len(bounds) % 2:
        bounds.pop()
    found = list(zip(bounds[::2], bounds[1::2], strict=True))
    for place, (first, last) in enumerate(found[:-1]):
        if draw(st.booleans()):
            found[place] = first, found[place + 1][0] - 1 if found[place + 1][0] > first else last
    return found


@given(intervals(), SMALL, st.permutations(range(40)))
def test_intervals_of_one_field(found: list[tuple[int, int]], key: int, order: list[int]) -> None:
    """The kernel lists first values, and as ends the values after the last ones."""
    elements = [NftElementDump(key=octets(first), data=octets(first)) for first, _ in found]
    elements += [NftElementDump(key=octets(last + 1), flags=END) for _, last in found]
    shuffled = tuple(elements[place] for place in order if place < len(elements))
    answer = Set(NftSetDump(name="s", flags=INTERVAL, key_length=4, elements=shuffled)).find(octets(key))
    expected = [first for first, last in found if first <= key <= last]
    assert ([int.from_bytes(answer.data, "big")] if answer else []) == expected


RANGE = st.tuples(SMALL, SMALL).map(sorted)


@given(st.lists(st.tuples(RANGE, RANGE), max_size=8), SMALL, SMALL)
def test_intervals_of_several_fields(found: list[tuple[list[int], list[int]]], first: int, second: int) -> None:
    """Fields of four octets and of two, each from a word on."""
    elements = tuple(
        NftElementDump(key=octets(a[0]) + octets(b[0], 2) + b"\0\0", end=octets(a[1]) + octets(b[1], 2) + b"\0\0")
        for a, b in found
    )
    dump = NftSetDump(name="s", flags=INTERVAL | CONCAT, key_length=8, fields=(4, 2), elements=elements)
    answer = Set(dump).find(octets(first) + octets(second, 2) + b"\0\0")
    expected = any(a[0] <= first <= a[1] and b[0] <= second <= b[1] for a, b in found)
    assert (answer is not None) is expected


@given(st.sets(SMALL), SMALL, st.booleans())
def test_single_values_and_what_is_for_all_others(found: set[int], key: int, catchall: bool) -> None:
    elements = tuple(NftElementDump(key=octets(one), data=b"one") for one in sorted(found))
    elements += (NftElementDump(flags=CATCHALL, data=b"all"),) if catchall else ()
    answer = Set(NftSetDump(name="s", key_length=4, elements=elements)).find(octets(key))
    assert (answer.data if answer else None) == (b"one" if key in found else b"all" if catchall else None)
