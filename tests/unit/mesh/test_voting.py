"""The next step of the voters, one situation after the other."""

from __future__ import annotations

import pytest

from weft.mesh.voting import Add, Council, Host, Lead, Nothing, Promote, Remove, Seat, Step, step


def hosts(*names: str, **what: object) -> tuple[Host, ...]:
    """`a/x`: host a in zone x."""
    pairs = (name.partition("/") for name in names)
    return tuple(Host(name=name, zone=zone, **what) for name, _, zone in pairs)  # type: ignore[arg-type]


def voters(*names: str) -> tuple[Seat, ...]:
    """The first one leads; their numbers count from 1."""
    return tuple(Seat(number=n, host=name, leads=n == 1) for n, name in enumerate(names, 1))


def silent(number: int, host: str, seconds: float = 700.0) -> Seat:
    return Seat(number=number, host=host, silent=seconds)


def learner(host: str, silent: float = 0.0) -> Seat:
    return Seat(number=99, host=host, learner=True, silent=silent)


CASES: dict[str, tuple[tuple[Seat, ...], tuple[Host, ...], Step]] = {
    "one host": (voters("a"), hosts("a"), Nothing()),
    "two hosts have one voter": (voters("a"), hosts("a", "b"), Nothing()),
    "three hosts have three": (voters("a"), hosts("a", "b", "c"), Add("b")),
    "both have to be there": (voters("a"), (*hosts("a", "b"), *hosts("c", alive=False, gone=9.0)), Nothing()),
    "a learner is promoted when it is there": ((*voters("a"), learner("b")), hosts("a", "b", "c"), Promote(99)),
    "but not while it is silent": ((*voters("a"), learner("b", 5.0)), hosts("a", "b", "c"), Nothing()),
    "nor where the third host went meanwhile": ((*voters("a"), learner("b")), hosts("a", "b"), Nothing()),
    "a learner that does not come along goes": (
        (*voters("a"), learner("b", 60.0)),
        hosts("a", "b", "c"),
        Remove(99),
    ),
    "the third follows": (voters("a", "b"), hosts("a", "b", "c"), Add("c")),
    "six hosts have three": (voters("a", "b", "c"), hosts(*"abcdef"), Nothing()),
    "seven have five": (voters("a", "b", "c"), hosts(*"abcdefg"), Add("d")),
    "who cannot is not asked": (voters("a"), (*hosts("a", "b"), *hosts("c", able=False)), Nothing()),
    "who is dead is not asked": (voters("a", "b"), (*hosts("a", "b"), *hosts("c", alive=False, gone=9.0)), Nothing()),
    "who is suspected or not reached is not asked": (
        voters("a", "b"),
        (*hosts("a", "b"), *hosts("c", alive=False), *hosts("d", reached=False)),
        Nothing(),
    ),
    "who is named comes first": (voters("a", "b"), (*hosts("a", "b", "c"), *hosts("d", named=True)), Add("d")),
    "zones come before that": (
        voters("a", "b"),
        (*hosts("a/x", "b/x", "c/y"), *hosts("d/x", named=True)),
        Add("c"),
    ),
    "a dead voter is waited for": (
        (*voters("a", "b"), silent(3, "c", 599.0)),
        (*hosts("a", "b", "d"), *hosts("c", alive=False, gone=599.0)),
        Nothing(),
    ),
    "then it makes room": (
        (*voters("a", "b"), silent(3, "c")),
        (*hosts("a", "b", "d"), *hosts("c", alive=False, gone=700.0)),
        Remove(3),
    ),
    "for another one": (
        voters("a", "b"),
        (*hosts("a", "b", "d"), *hosts("c", alive=False, gone=700.0)),
        Add("d"),
    ),
    "where there is none it may come back": (
        (*voters("a", "b"), silent(3, "c")),
        (*hosts("a", "b"), *hosts("c", alive=False, gone=700.0)),
        Nothing(),
    ),
    "two of five are fewer to be missed when they are gone": (
        (*voters("a", "b", "c"), silent(4, "d", 800.0), silent(5, "e")),
        hosts("a", "b", "c"),
        Remove(4),
    ),
    "also the last of them": ((*voters("a", "b", "c"), silent(5, "e")), hosts("a", "b", "c"), Remove(5)),
    "a voter whose host nobody knows is dead": (
        (*voters("a", "b"), Seat(number=3, host="", silent=700.0)),
        hosts("a", "b", "d"),
        Remove(3),
    ),
    "a lost one goes at once": (
        (*voters("a", "b"), Seat(number=3, host="c", lost=True)),
        hosts("a", "b", "c"),
        Remove(3),
    ),
    "who leaves is replaced first": (
        voters("a", "b", "c"),
        (*hosts("a", "b", "d"), *hosts("c", leaving=True)),
        Add("d"),
    ),
    "and goes then": (
        voters("a", "b", "c", "d"),
        (*hosts("a", "b", "d"), *hosts("c", leaving=True)),
        Remove(3),
    ),
    "a leader hands over first": (
        voters("a", "b", "c", "d"),
        (*hosts("b", "c", "d"), *hosts("a", leaving=True)),
        Lead(2),
    ),
    "the only voter hands over to the only other host": (
        voters("a"),
        (*hosts("b"), *hosts("a", leaving=True)),
        Add("b"),
    ),
    "the last host keeps what is stored": (voters("a"), hosts("a", leaving=True), Nothing()),
    "without another one it just goes": (
        voters("a", "b", "c"),
        (*hosts("a", "b"), *hosts("c", leaving=True)),
        Remove(3),
    ),
    "but not where that would cost the majority": (
        (*voters("a", "b"), silent(3, "c", 9.0)),
        (*hosts("a"), *hosts("b", leaving=True), *hosts("c", alive=False, gone=9.0)),
        Nothing(),
    ),
    "a crowded zone gives one away": (voters("a", "b", "c"), hosts("a/x", "b/x", "c/x", "d/y"), Add("d")),
    "which goes when the other one has come": (
        voters("a", "b", "c", "d"),
        hosts("a/x", "b/x", "c/x", "d/y"),
        Remove(3),
    ),
    "but not while a voter is silent": (
        (*voters("a", "b", "c"), silent(4, "d", 9.0)),
        hosts("a/x", "b/x", "c/x", "d/y"),
        Nothing(),
    ),
    "a spread that is as good as can be stays": (
        voters("a", "b", "c"),
        hosts("a/x", "b/x", "c/y", "d/y"),
        Nothing(),
    ),
    "fewer hosts are no reason to take a vote away": (voters("a", "b", "c"), hosts("a", "b", "c")[:2], Nothing()),
}


@pytest.mark.parametrize("case", CASES)
def test_step(case: str) -> None:
    seats, around, expected = CASES[case]
    found = step(Council(seats=seats, hosts=around))
    plain = [
        type(one)(*(getattr(one, name) for name in one.__struct_fields__ if name != "why")) for one in (found, expected)
    ]
    assert plain[0] == plain[1], found


@pytest.mark.parametrize(
    ("seats", "why"),
    [
        (
            (*voters("a"), silent(2, "b"), silent(3, "c")),
            "only 1 of 3 voters answer: nothing can be changed until 2 do",
        ),
        ((*voters("a", "b"), silent(3, "c", 9.0)), "d becomes a voter once c answers, or has been silent for long"),
    ],
)
def test_why_nothing_is_done(seats: tuple[Seat, ...], why: str) -> None:
    found = step(Council(seats=seats, hosts=hosts(*"abcdefg")))
    assert found == Nothing(why)
