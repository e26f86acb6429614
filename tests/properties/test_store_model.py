"""Any transactions on the embedded store against a dictionary, and the changes told about them against both."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from weft.store.protocol import (
    Absent,
    Delete,
    DeletePrefix,
    Guard,
    Item,
    NothingNewer,
    Op,
    Put,
    Unchanged,
)
from weft.store.sqlite import SqliteStore

Step = tuple[Sequence[Guard], Sequence[Op]]

KEYS = ["a", "a/", "a/b", "a/b/c", "a/ü", "a0", "b", "b/\U0001f9f5"]
PREFIXES = ["", "a", "a/", "a/b", "b/", "c/"]

keys = st.sampled_from(KEYS)
prefixes = st.sampled_from(PREFIXES)
revisions = st.integers(0, 8)
guards = st.one_of(
    st.builds(Absent, keys), st.builds(Unchanged, keys, revisions), st.builds(NothingNewer, prefixes, revisions)
)
puts_and_deletes = st.one_of(st.builds(Put, keys, st.binary(max_size=3)), st.builds(Delete, keys))
transactions = st.tuples(
    st.lists(guards, max_size=1),
    st.one_of(
        st.lists(puts_and_deletes, max_size=4, unique_by=lambda op: op.key),
        st.lists(st.builds(DeletePrefix, prefixes), min_size=1, max_size=1),
    ),
)


class Model:
    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.revision = 0

    def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int | None:
        if not all(self.holds(guard) for guard in guards):
            return None
        after = dict(self.items)
        for op in ops:
            if isinstance(op, Put):
                after[op.key] = Item(op.key, op.value, self.revision + 1)
            elif isinstance(op, Delete):
                after.pop(op.key, None)
            else:
                after = {key: item for key, item in after.items() if not key.startswith(op.prefix)}
        if after != self.items:
            self.items, self.revision = after, self.revision + 1
        return self.revision

    def holds(self, guard: Guard) -> bool:
        if isinstance(guard, Absent):
            return guard.key not in self.items
        if isinstance(guard, Unchanged):
            return guard.key in self.items and self.items[guard.key].revision == guard.revision
        return all(self.items[item.key].revision <= guard.revision for item in self.under(guard.prefix))

    def under(self, prefix: str) -> tuple[Item, ...]:
        return tuple(self.items[key] for key in sorted(self.items) if key.startswith(prefix))


async def play(store: SqliteStore, steps: Sequence[Step]) -> None:
    model = Model()
    states = {0: model.items}
    first: list[Step] = [([], [Put(key, b"first")]) for key in KEYS[::2]]  # for the guards to hold on to
    for guards, ops in (*first, *steps):
        assert await store.commit(guards, ops) == model.commit(guards, ops)
        states[model.revision] = model.items
    for prefix in PREFIXES:
        listing = await store.list(prefix)
        assert (listing.revision, listing.items) == (model.revision, model.under(prefix))
    for since, state in states.items():
        if since < model.revision:
            assert await replayed(store, since, dict(state), model.revision) == model.items
    await store.close()


async def replayed(store: SqliteStore, since: int, state: dict[str, Item], until: int) -> dict[str, Item]:
    """`state` with the changes after `since` made to it."""
    async with aclosing(store.watch("", since)) as batches:
        while since < until:
            for change in (await anext(batches)).changes:
                assert change.revision >= since, "in order"
                since = change.revision
                state.pop(change.key, None)
                if change.value is not None:
                    state[change.key] = Item(change.key, change.value, change.revision)
    return state


@settings(max_examples=100, deadline=None)
@given(st.lists(transactions, max_size=12))
def test_the_store_is_a_dictionary_with_a_history(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(play(SqliteStore(Path(directory) / "weft.db"), steps))
