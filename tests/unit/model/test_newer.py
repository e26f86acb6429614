"""What a newer version wrote stays, whatever an older one makes of the rest."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from weft.model import decode, encode, newer


class Port(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    name: str = ""


class NewerPort(Port, frozen=True, kw_only=True):
    weight: int = 1


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    mtu: int | None = None
    flags: dict[str, str | int | bool] = {}
    ports: tuple[Port, ...] = ()
    first: Port | None = None


class NewerThing(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    mtu: int | None = None
    flags: dict[str, str | int | bool] = {}
    ports: tuple[NewerPort, ...] = ()
    first: NewerPort | None = None
    offload: str = "auto"


PORTS = st.builds(Port, number=st.integers(1, 3), name=st.sampled_from(["", "web"]))
NEWER_PORTS = st.builds(
    NewerPort, number=st.integers(1, 3), name=st.sampled_from(["", "web"]), weight=st.integers(1, 3)
)
FLAGS = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["1", 1, True, 0, False]))
NAMES, MTUS = st.sampled_from(["x", "y"]), st.none() | st.integers(1, 2)
THINGS = st.builds(
    Thing,
    name=NAMES,
    mtu=MTUS,
    flags=FLAGS,
    ports=st.lists(PORTS, max_size=3).map(tuple),
    first=st.none() | PORTS,
)
NEWER = st.builds(
    NewerThing,
    name=NAMES,
    mtu=MTUS,
    flags=FLAGS,
    ports=st.lists(NEWER_PORTS, max_size=3).map(tuple),
    first=st.none() | NEWER_PORTS,
    offload=st.sampled_from(["auto", "off"]),
)


@given(NEWER, THINGS)
def test_what_the_older_one_wrote_holds_and_the_rest_stays(there: NewerThing, wanted: Thing) -> None:
    written = encode(there)
    known = decode(Thing, written)
    result = newer.carried(written, known, encode(wanted))
    assert encode(decode(Thing, result)) == encode(wanted)
    found = decode(NewerThing, result)
    assert found.offload == there.offload
    if there.first and found.first:
        assert found.first.weight == there.first.weight
    weights = {encode(decode(Port, encode(p))): p.weight for p in there.ports}
    for port in found.ports:
        same = encode(decode(Port, encode(port)))
        assert port.weight in {p.weight for p in there.ports if encode(decode(Port, encode(p))) == same} | (
            set() if same in weights else {1}
        )


@given(NEWER)
def test_who_changes_nothing_changes_nothing(there: NewerThing) -> None:
    written = encode(there)
    result = newer.carried(written, decode(Thing, written), encode(decode(Thing, written)))
    assert encode(decode(NewerThing, result)) == written


def test_what_is_not_known_has_names() -> None:
    there = NewerThing(name="x", ports=(NewerPort(number=1), NewerPort(number=2)), first=NewerPort(number=3))
    written = encode(there)
    assert newer.unknown(written, decode(Thing, written)) == written
    assert sorted(newer.fields(written, decode(Thing, written))) == ["first.weight", "offload", "ports.weight"]


def test_an_older_record_says_nothing_more() -> None:
    written = b'{"name": "x"}'
    assert newer.unknown(written, decode(Thing, written)) == b""
    assert newer.unknown(b"10.1.0.0/16", "10.1.0.0/16") == b""
