"""Questions of one agent to another, and their answers, as they lie in the store. Pure.

    questions/NODE/ID             the question; NODE is who is asked
    answers/ASKER/ID/NUMBER       a piece of its answer

ID is the number of a store lease in 16 hexadecimal digits. All of these keys are bound to that lease, which lasts as long as
the asker waits. So nothing stays behind, whoever dies; the lease's end is all it takes to withdraw a question; and a question
that is too old cannot be answered, as the store refuses keys for a lease that has ended. No clock is compared with another.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from weft.base.errors import Failed, Invalid
from weft.base.numbers import is_number
from weft.model import decode, encode, keys
from weft.store.follow import Changes, Event, Synced
from weft.store.protocol import Change

PIECE = 256 * 1024
"""Octets of a piece. etcd takes requests of 1.5 MB (--max-request-bytes)."""
MOST = 8 * 1024 * 1024
"""Octets of an answer as it lies in the store. What is told of a kernel is a tenth of its size by then."""
LARGEST = 256 * 1024 * 1024
"""Octets of an answer when it is read."""
_LAST, _MORE = b"\x01", b"\x00"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """`operation`: of `weft.api.operations`, with its parameters and what its request consists of. `seconds`: how long the
    asker waits."""

    operation: str
    asker: str
    seconds: float
    arguments: dict[str, str] = {}
    body: bytes = b""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """`body`: what the operation returns, in JSON; or `error`, the code of an error (`weft.base.errors`), and its message."""

    body: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    message: str = ""


def identity(lease: int) -> str:
    return f"{lease:016x}"


def lease_of(id: str) -> int:
    """Raises Invalid."""
    try:
        lease = int(id, 16) if id.isalnum() else 0
    except ValueError:
        lease = 0
    if not 0 < lease < 1 << 63 or identity(lease) != id:
        raise Invalid(f"'{id}' is not the number of a question")
    return lease


def cut(reply: Reply) -> list[bytes]:
    """The pieces of a reply, in order; where there is too much of it, of one that says so."""
    text = encode(reply)
    packed = zlib.compress(text, 3)
    if len(packed) > MOST or len(text) > LARGEST:
        size = f"{len(text) >> 20} MiB, {len(packed) >> 20} MiB compressed"
        why = f"the answer is too large for the store ({size}; at most {MOST >> 20} MiB compressed): ask for less"
        return cut(Reply(error=Failed.code, message=why))
    starts = range(0, len(packed), PIECE)
    return [(_LAST if start + PIECE >= len(packed) else _MORE) + packed[start : start + PIECE] for start in starts]


def joined(pieces: Iterable[bytes]) -> Reply:
    """What was cut into these. Raises Failed."""
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(b"".join(piece[1:] for piece in pieces), LARGEST)
        if not reader.eof:
            raise Failed(f"the answer is damaged, or longer than {LARGEST >> 20} MiB: ask for less")
        return decode(Reply, text)
    except (zlib.error, Invalid) as error:
        raise Failed(f"the answer is damaged ({error}): ask again") from None


class Pieces:
    """Of one answer, as they come: in any order, more than once, taken back again."""

    def __init__(self) -> None:
        self._found: dict[int, bytes] = {}

    def put(self, number: int, piece: bytes) -> None:
        self._found[number] = piece

    def drop(self, number: int) -> None:
        self._found.pop(number, None)

    def whole(self) -> tuple[bytes, ...]:
        """All of them in order, once the last one and all before it are there; until then none."""
        ordered = [self._found[number] for number in range(len(self._found)) if number in self._found]
        complete = len(ordered) == len(self._found) and bool(ordered) and ordered[-1][:1] == _LAST
        return tuple(ordered) if complete else ()


class News(NamedTuple):
    """`asked`: new questions, by ID. `withdrawn`: IDs of those that nobody waits for any more. `answered`: pieces of whole
    answers, by ID."""

    asked: dict[str, Question]
    withdrawn: tuple[str, ...]
    answered: dict[str, tuple[bytes, ...]]


class Inbox:
    """What the store says of questions to a node, and of answers to its own questions."""

    def __init__(self, me: str) -> None:
        self.questions, self.answers = keys.QUESTION.under(me), keys.PIECE.under(me)
        """The prefixes to follow."""
        self._asked: set[str] = set()
        self._expected: dict[str, Pieces] = {}

    def expect(self, id: str) -> None:
        """An answer to this question."""
        self._expected[id] = Pieces()

    def forget(self, id: str) -> None:
        self._expected.pop(id, None)

    def unheard(self) -> None:
        """All questions are new ones again."""
        self._asked.clear()

    def heard(self, event: Event) -> News:
        """Each question is told once, each answer once, however often the store tells of them."""
        asked, withdrawn, answered = dict[str, Question](), list[str](), dict[str, tuple[bytes, ...]]()
        for change in self._changes(event):
            if change.key.startswith(self.questions):
                id = change.key.removeprefix(self.questions)
                if change.value is None:
                    self._withdraw(id, asked, withdrawn)
                elif id not in self._asked and (question := _question(id, change.value)) is not None:
                    self._asked.add(id)
                    asked[id] = question
            elif (found := self._piece(change)) is not None:
                answered[found[0]] = found[1]
        for id in answered:
            self.forget(id)
        return News(asked, tuple(withdrawn), answered)

    def _withdraw(self, id: str, asked: dict[str, Question], withdrawn: list[str]) -> None:
        if id in self._asked:
            self._asked.discard(id)
            if asked.pop(id, None) is None:
                withdrawn.append(id)

    def _changes(self, event: Event) -> Iterator[Change]:
        """A listing as changes: what it does not have is gone."""
        match event:
            case Changes(batch=batch):
                yield from batch.changes
            case Synced(items=items):
                there = {item.key for item in items}
                for id in [id for id in self._asked if self.questions + id not in there]:
                    yield Change(self.questions + id, None, event.revision)
                for id in self._expected:
                    self._expected[id] = Pieces()
                yield from (Change(item.key, item.value, item.revision) for item in items)

    def _piece(self, change: Change) -> tuple[str, tuple[bytes, ...]] | None:
        """The ID and all pieces of the answer that is whole by this one."""
        id, _, number = change.key.removeprefix(self.answers).partition("/")
        pieces = self._expected.get(id)
        if pieces is None or not is_number(number):
            return None
        if change.value is None:
            pieces.drop(int(number))
            return None
        pieces.put(int(number), change.value)
        whole = pieces.whole()
        return (id, whole) if whole else None


def _question(id: str, value: bytes) -> Question | None:
    """None for what is none: whoever wrote it gets no answer, and there is nobody to tell."""
    try:
        lease_of(id)
        return decode(Question, value)
    except Invalid:
        return None
