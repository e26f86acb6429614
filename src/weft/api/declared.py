"""Requests and replies of the agent's API about what is declared. The rules of `weft.api.types` hold here, too."""

from __future__ import annotations

from typing import Any

import msgspec

from weft.api.types import PolicySource, Reply, Request
from weft.base.names import check_texts

LARGEST = 4 * 2**20
"""Octets of one request: what belongs together is checked together, so it comes at once."""


class Apply(Request, frozen=True, kw_only=True):
    """`dry_run`: only say what would change. `prune`: what has all these labels and is in none of the documents is removed;
    without any nothing is. `wait`: until every host enforces what the documents say of policy."""

    documents: tuple[PolicySource, ...]
    dry_run: bool = False
    prune: dict[str, str] = msgspec.field(default_factory=dict)
    wait: bool = True

    def __post_init__(self) -> None:
        check_texts("prune", self.prune)


class DeclaredChange(Reply, frozen=True, kw_only=True):
    """`id`: "service/blue/web". `change`: "created", "changed", "unchanged", "removed"; "waits" for what is not there yet;
    "failed"; "not-tried" after something failed. `reason`: of the last three. `before`, `after`: documents, of a dry run."""

    id: str
    change: str
    reason: str = ""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class Applied(Reply, frozen=True, kw_only=True):
    """`faults`: where there are any, nothing was changed. `notes`: what the writer of the documents should know. A line
    each."""

    changes: tuple[DeclaredChange, ...] = ()
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Declared(Reply, frozen=True, kw_only=True):
    """`documents`: in an order in which they can be applied."""

    documents: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
