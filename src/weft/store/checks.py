"""What every store asks of a transaction before it begins, so that all refuse the same."""

from __future__ import annotations

from collections.abc import Sequence

from weft.base.errors import Invalid
from weft.store.protocol import Absent, Delete, DeletePrefix, Guard, Op, Put, Unchanged

MAX_PARTS = 128
"""Guards, and ops, in one transaction: etcd's default --max-txn-ops."""


def check_commit(guards: Sequence[Guard], ops: Sequence[Op]) -> None:
    """Raises Invalid for too many parts, for a key that is no text, and for two ops on one key."""
    for kind, count in (("guards", len(guards)), ("operations", len(ops))):
        if count > MAX_PARTS:
            raise Invalid(f"{count} {kind} in one transaction: at most {MAX_PARTS}, split it")
    for part in (*guards, *ops):
        if isinstance(part, Absent | Unchanged | Put | Delete):
            check_key(part.key)
    _check_overlap(ops)


def check_key(key: str) -> None:
    """Printable characters only, so no NUL, no line break, and none of the code points that are no characters."""
    if not key or not key.isprintable():
        raise Invalid(f"{key!r} is not a key: use printable characters, at least one")


def check_lease(lease: int, ttl: float) -> None:
    if not 0 < lease < 1 << 63:
        raise Invalid(f"{lease} is not a lease: use a number from 1 to 2^63 - 1")
    if not ttl > 0:
        raise Invalid(f"a lease cannot last {ttl} s: use a time above 0")


def _check_overlap(ops: Sequence[Op]) -> None:
    """etcd refuses such a transaction ("duplicate key given in txn request"), so no store takes it."""
    keys = [op.key for op in ops if not isinstance(op, DeletePrefix)]
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Invalid(f"two operations on key '{twice}' in one transaction: keep one")
    for op in ops:
        if isinstance(op, DeletePrefix):
            _check_prefix(op, keys, ops)


def _check_prefix(op: DeletePrefix, keys: list[str], ops: Sequence[Op]) -> None:
    others = (other.prefix for other in ops if isinstance(other, DeletePrefix) and other is not op)
    hit = next((key for key in (*keys, *others) if key.startswith(op.prefix)), None)
    if hit is not None:
        raise Invalid(f"'{hit}' lies under '{op.prefix}', which the same transaction deletes: use two transactions")
