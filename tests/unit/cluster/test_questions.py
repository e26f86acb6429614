"""What lies in the store of questions and answers, with the store's whims: lost, late, twice, put back."""

from __future__ import annotations

import os
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.base.errors import Failed, Invalid
from weft.cluster import questions
from weft.cluster.questions import Inbox, Question, Reply, cut, identity, joined, lease_of
from weft.model import encode, keys
from weft.store.follow import Changes, Event, Synced
from weft.store.protocol import Batch, Change, Item

ME, OTHER = "node-1", "node-2"
ASKED = Question(operation="kernel", asker=OTHER, seconds=5, arguments={"namespaces": "/run/netns/a"})


def put(key: str, value: bytes) -> Change:
    return Change(key, value, 7)


def changes(*found: Change) -> Event:
    return Changes("", Batch(7, found))


def listing(*found: Change) -> Event:
    return Synced((), tuple(Item(c.key, c.value, 7) for c in found if c.value is not None), 7)


def reply(octets: int) -> Reply:
    """Of random octets, which nothing compresses."""
    return Reply(body=msgspec.Raw(encode(os.urandom(octets))))


def answer(pieces: list[bytes], id: str) -> list[Change]:
    return [put(keys.PIECE.key(ME, id, str(n)), piece) for n, piece in enumerate(pieces)]


@given(st.integers(1, 2**63 - 1))
def test_a_question_is_called_by_its_lease(lease: int) -> None:
    assert lease_of(identity(lease)) == lease and len(identity(lease)) == 16


@pytest.mark.parametrize(
    "id", ["", "0" * 16, "f" * 16, "1", "0000_000_0000001", "000000000000000G", "0x00000000000001"]
)
def test_what_is_no_lease_is_no_question(id: str) -> None:
    with pytest.raises(Invalid):
        lease_of(id)
    event = changes(put(f"questions/{ME}/{id}", encode(ASKED)))
    assert Inbox(ME).heard(event).asked == {}


@pytest.mark.parametrize("octets", [0, 10, questions.PIECE, 3 * questions.PIECE])
def test_an_answer_is_cut_and_joined(octets: int) -> None:
    whole = reply(octets)
    pieces = cut(whole)
    assert joined(pieces) == whole
    assert all(len(piece) <= questions.PIECE + 1 for piece in pieces) and len(pieces) > octets // questions.PIECE / 2


def test_too_large_an_answer_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "MOST", questions.PIECE)
    found = joined(cut(reply(2 * questions.PIECE)))
    assert found.error == "failed" and "too large for the store" in found.message
    long = cut(Reply(message="x" * 999))
    monkeypatch.setattr(questions, "LARGEST", 1000)
    with pytest.raises(Failed, match="longer than"):
        joined(long)


def test_a_damaged_answer_is_an_error() -> None:
    good = cut(reply(100))
    for bad in ([b"\x01nonsense"], [good[0][:-3]], [good[0][:20] + bytes(4) + good[0][24:]]):
        with pytest.raises(Failed, match="damaged"):
            joined(bad)


def test_a_question_is_told_once_and_withdrawn_once() -> None:
    inbox, key = Inbox(ME), keys.QUESTION.key(ME, identity(5))
    asked = put(key, encode(ASKED))
    assert inbox.heard(changes(asked)).asked == {identity(5): ASKED}
    assert inbox.heard(changes(asked)).asked == {} == inbox.heard(listing(asked)).asked
    assert inbox.heard(listing()).withdrawn == (identity(5),)
    assert inbox.heard(changes(Change(key, None, 9))).withdrawn == () == inbox.heard(listing()).withdrawn
    inbox.heard(changes(asked))
    inbox.unheard()
    assert inbox.heard(listing(asked)).asked == {identity(5): ASKED}


def test_a_question_that_came_and_went_is_not_told() -> None:
    key = keys.QUESTION.key(ME, identity(5))
    news = Inbox(ME).heard(changes(put(key, encode(ASKED)), Change(key, None, 8)))
    assert news == ({}, (), {})


def test_what_cannot_be_read_is_passed_over() -> None:
    inbox = Inbox(ME)
    inbox.expect(identity(5))
    odd = [put(keys.QUESTION.key(ME, identity(4)), b"{}"), put(f"answers/{ME}/{identity(5)}/x", b"\x01")]
    odd += [put(f"answers/{ME}/{identity(5)}/{'9' * 5000}", b"\x01"), put(f"answers/{ME}/{identity(6)}/0", b"\x01")]
    assert inbox.heard(changes(*odd)) == ({}, (), {})


@given(st.data(), st.integers(1, 12), st.integers(0, 2**32))
def test_in_whatever_order_pieces_come(data: st.DataObject, count: int, seed: int) -> None:
    """In any order, some of them more than once, in any batches, with listings between, a try that broke off before: the
    answer is told once, whole, and only when all of it is there."""
    id, chance = identity(9), random.Random(seed)
    pieces = [(b"\x01" if n == count - 1 else b"\x00") + chance.randbytes(3) for n in range(count)]
    final = answer(pieces, id)
    shuffled = [*final, *data.draw(st.lists(st.sampled_from(final), max_size=5))]
    chance.shuffle(shuffled)
    inbox, there = Inbox(ME), dict[str, Change]()
    inbox.expect(id)
    broken = answer([b"\x00old"] * data.draw(st.integers(0, count - 1)), id)
    told = [inbox.heard(changes(*broken, *(Change(c.key, None, 8) for c in broken))).answered] if broken else []
    while shuffled:
        some = [shuffled.pop() for _ in range(min(len(shuffled), data.draw(st.integers(1, 4))))]
        there |= {c.key: c for c in some}
        whole_before = any(told)
        event = listing(*there.values()) if data.draw(st.booleans()) else changes(*some)
        told.append(inbox.heard(event).answered)
        assert any(told) == (whole_before or len(there) == count)
    assert [t for t in told if t] == [{id: tuple(pieces)}]


def test_a_listing_tells_what_is_left_of_an_answer() -> None:
    """While nobody listened, another agent began it anew."""
    inbox, id = Inbox(ME), identity(9)
    inbox.expect(id)
    assert inbox.heard(changes(*answer([b"\x00old", b"\x00old"], id))).answered == {}
    assert inbox.heard(listing(*answer([b"\x01new"], id))).answered == {id: (b"\x01new",)}


def test_what_nobody_expects_any_more_is_no_answer() -> None:
    inbox, id = Inbox(ME), identity(3)
    inbox.expect(id)
    inbox.forget(id)
    assert inbox.heard(changes(*answer(cut(Reply()), id))).answered == {}
