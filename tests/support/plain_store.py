"""What a store keeps, without time and without waiting: for tests that decide themselves who takes the next step."""

from __future__ import annotations

from collections.abc import Sequence

from weft.base.errors import NotFound
from weft.store.protocol import Absent, Delete, DeletePrefix, Guard, Item, Listing, NothingNewer, Op, Put, Unchanged


class Memory:
    """Leases end when they are told to."""

    def __init__(self) -> None:
        self.items: dict[str, tuple[Item, int]] = {}
        self.leases: set[int] = set()
        self.revision = 1

    def get(self, key: str) -> Item | None:
        found = self.items.get(key)
        return found[0] if found else None

    def list(self, prefix: str) -> Listing:
        found = sorted((i for i, _ in self.items.values() if i.key.startswith(prefix)), key=lambda i: i.key)
        return Listing(self.revision, tuple(found))

    def _holds(self, guard: Guard) -> bool:
        match guard:
            case Absent(key):
                return key not in self.items
            case Unchanged(key, revision):
                return key in self.items and self.items[key][0].revision == revision
            case NothingNewer(prefix, revision):
                return all(i.revision <= revision for i, _ in self.items.values() if i.key.startswith(prefix))

    def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int | None:
        assert len(guards) <= 128 and len(ops) <= 128
        if not all(map(self._holds, guards)):
            return None
        if any(isinstance(op, Put) and op.lease and op.lease not in self.leases for op in ops):
            raise NotFound("no such lease")
        self.revision += 1
        for op in ops:
            match op:
                case Put(key, value, lease):
                    self.items[key] = Item(key, value, self.revision), lease
                case Delete(key):
                    self.items.pop(key, None)
                case DeletePrefix(prefix):
                    for key in [key for key in self.items if key.startswith(prefix)]:
                        del self.items[key]
        return self.revision

    def end(self, lease: int) -> None:
        """With all that is bound to it."""
        self.leases.discard(lease)
        gone = [key for key, (_, bound) in self.items.items() if bound == lease]
        self.revision += bool(gone)
        for key in gone:
            del self.items[key]
