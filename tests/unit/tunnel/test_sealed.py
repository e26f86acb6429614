"""What is sealed for one host is opened by it once, and by nobody else; whatever is altered, repeated or old is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.tunnel import frame, seal
from weft.tunnel.frame import CLEAR, HEAD, HELLO, SEALED, STALE
from weft.tunnel.hello import Asking, heard, told, welcome
from weft.tunnel.seal import Opening, Refused, Sealing
from weft.tunnel.window import SIZE, Window

A, B = 3, 5
OLD, NEW = b"o" * 32, b"n" * 32
HEADS = frame.head(A, B, 7, SEALED), frame.head(A, B, 7, SEALED, hops=0)
FRAME = bytes(range(200)) * 5


def sealing(to: Opening, own: bytes = b"sender01", secret: bytes = NEW) -> Sealing:
    found = Sealing(HEADS[0][2:6], own)
    found.begin(secret, to.own, 0.0)
    return found


def opening(*secrets: bytes) -> Opening:
    found = Opening()
    found.secrets = secrets or (NEW,)
    return found


def seal_one(by: Sealing, content: bytes = FRAME) -> bytearray:
    return bytearray(by.seal(*HEADS, content))


def refused(by: Opening, datagram: bytes | bytearray) -> str:
    with pytest.raises(Refused) as found:
        by.open(memoryview(datagram))
    return found.value.reason


# -- sealed and opened -------------------------------------------------------------------------------------------------


@given(st.binary(max_size=2000))
def test_what_is_sealed_is_opened(content: bytes) -> None:
    there = opening()
    found = seal_one(sealing(there), content)
    assert len(found) == HEAD.size + 36 + len(content)
    assert there.open(memoryview(found)) == content
    assert refused(there, found) == "replayed"


@given(st.data())
def test_one_bit_makes_it_another(data: st.DataObject) -> None:
    """But of the octet that is counted down on the way."""
    there = opening()
    found = seal_one(sealing(there))
    at = data.draw(st.integers(0, len(found) - 1))
    found[at] ^= 1 << data.draw(st.integers(0, 7))
    if at == frame.TTL_AT:
        assert there.open(memoryview(found)) == FRAME
    else:
        assert refused(there, found) in ("forged", seal.EARLIER)


def test_another_secret_another_host_another_network_open_nothing() -> None:
    there = opening()
    assert refused(there, seal_one(sealing(there, secret=OLD))) == "forged"
    found = seal_one(sealing(there))
    for header in (frame.head(A, B, 8, SEALED), frame.head(A, 6, 7, SEALED), frame.head(4, B, 7, SEALED)):
        assert refused(there, header + found[HEAD.size :]) == "forged"
    assert refused(there, found[:40]) == "malformed"


def test_what_was_recorded_before_a_start_is_nothing_after() -> None:
    before, after = opening(), opening()
    found = seal_one(sealing(before))
    assert refused(after, found) == seal.EARLIER
    found[HEAD.size : HEAD.size + 4] = after.own[:4]
    assert refused(after, found) == "forged"


def test_a_change_of_keys_costs_nothing_and_ends_what_is_older(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "MOST", 100)
    there = opening()
    by = sealing(there)
    kept = []
    for number in range(500):
        by.refresh(0.0)
        kept.append(seal_one(by, bytes((number & 255,))))
    newest = kept[-1][22:26]
    late = kept[0], next(one for one in reversed(kept) if one[22:26] != newest)
    for number, one in enumerate(kept):
        if one not in late:
            assert there.open(memoryview(one)) == bytes((number & 255,))
    assert refused(there, late[0]) == "replayed", "its key is gone"
    assert there.open(memoryview(late[1])), "of the key before"
    assert refused(there, late[1]) == "replayed"


def test_a_key_ends_by_time_as_well() -> None:
    there = opening()
    by = sealing(there)
    first = seal_one(by)
    by.refresh(seal.LONGEST + 1)
    assert seal_one(by)[22:26] > first[22:26]


def test_of_a_host_that_starts_again_the_last_two_lives_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "HELD", 3)
    there = opening()
    lives = [sealing(there, own=f"sender{n:02}".encode()) for n in range(6)]
    for by in lives[:3]:
        assert there.open(memoryview(seal_one(by))) == FRAME
    assert refused(there, seal_one(lives[0])) == "replayed"
    assert there.open(memoryview(seal_one(lives[1]))) == FRAME
    for by in lives[3:]:
        assert there.open(memoryview(seal_one(by))) == FRAME
    again = sealing(there, own=b"sender99")
    assert there.open(memoryview(seal_one(again))) == FRAME
    assert refused(there, seal_one(lives[5])) == seal.EARLIER, "too many to be remembered: all ask anew"


def test_an_older_secret_is_taken_from_hosts_that_have_no_other() -> None:
    there = opening(NEW, OLD)
    assert there.open(memoryview(seal_one(sealing(there, b"sender01", OLD)))) == FRAME
    assert there.open(memoryview(seal_one(sealing(there, b"sender02", NEW)))) == FRAME
    assert refused(there, seal_one(sealing(there, b"sender03", OLD))) == "forged"


# -- what hosts tell each other ----------------------------------------------------------------------------------------


def test_a_host_that_is_asked_is_sent_what_it_can_open() -> None:
    there, asking = opening(), Asking(A, B, b"sender01")
    (question,) = asking.questions([NEW], 1.0)
    assert question[HEAD.size - 1] == HELLO and list(asking.questions([NEW], 1.1)) == []
    answer = welcome(B, memoryview(question), [NEW], there.own)
    assert answer
    asking.hear(memoryview(answer), [NEW], 1.2)
    assert asking.sealing.ready and list(asking.questions([NEW], 9.0)) == []
    assert there.open(memoryview(seal_one(asking.sealing))) == FRAME


def test_only_an_answer_to_a_question_counts() -> None:
    there, earlier, asking = opening(), opening(), Asking(A, B, b"sender01")
    (first,) = asking.questions([NEW], 1.0)
    recorded = welcome(B, memoryview(first), [NEW], earlier.own)
    assert recorded
    asking.hear(memoryview(recorded), [NEW], 1.1)
    asking.hear(memoryview(told(STALE, B, A, NEW, b"")), [NEW], 1.2)
    assert not asking.sealing.ready
    asking.hear(memoryview(recorded), [NEW], 1.3)
    assert not asking.sealing.ready, "an answer of before"
    (second,) = asking.questions([NEW], 2.0)
    for wrong in (
        welcome(B, memoryview(second), [NEW], there.own)[:-1] + b"x",  # type: ignore[index]
        told(STALE, B, A, OLD, b""),
        first,
    ):
        asking.hear(memoryview(wrong), [NEW], 2.1)
    assert not asking.sealing.ready
    assert welcome(B, memoryview(second), [OLD], there.own) is None
    assert heard(memoryview(second), [OLD]) is None


def test_a_new_secret_comes_to_one_host_before_the_other() -> None:
    there, asking = opening(OLD), Asking(A, B, b"sender01")

    def ask(now: float, *secrets: bytes) -> None:
        for question in asking.questions(secrets, now):
            if answer := welcome(B, memoryview(question), there.secrets, there.own):
                asking.hear(memoryview(answer), secrets, now)

    ask(1.0, NEW, OLD)
    assert there.open(memoryview(seal_one(asking.sealing))) == FRAME and asking.sealing.secret == OLD
    there.secrets = (NEW, OLD)
    ask(10.0, NEW, OLD)
    assert asking.sealing.secret == NEW
    assert there.open(memoryview(seal_one(asking.sealing))) == FRAME


# -- numbers that were seen --------------------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.integers(1, 60), st.integers(1, 4 * SIZE)), max_size=200))
def test_each_number_is_taken_once_and_none_that_is_too_old(numbers: list[int]) -> None:
    window, seen = Window(), set[int]()
    for number in numbers:
        fresh = number not in seen and number > max(seen, default=0) - SIZE
        assert window.fresh(number) == fresh
        if fresh:
            window.saw(number)
            seen.add(number)


@pytest.mark.parametrize("order", [lambda n: n, lambda n: n ^ 7, lambda n: n ^ 2047])
def test_datagrams_that_overtake_each_other_are_all_taken(order: Callable[[int], int]) -> None:
    window = Window()
    for number in map(order, range(1 << 13)):
        assert window.fresh(number + 1)
        window.saw(number + 1)
    assert SIZE >= 1 << 12


def test_kinds_are_told_apart_by_the_head() -> None:
    assert HEAD.unpack(frame.head(A, B, 0xABCDEF, CLEAR)) == (1, frame.HOPS, A, B, 0xABCDEF << 8 | CLEAR)
