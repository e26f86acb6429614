"""What a contributor is: a handful of pure functions that say what one feature wants of this host.

The desired state of a host is the union of what *sources* contribute (`weft.hoststate.union`). A contributor knows one kind
of source: which of them a change in the model touches, which there are, and what each of them contributes. Data paths reach
the host by contributors (`network`, `peer`, `endpoint` …), and so does every feature beside them (`ports`, `floating`).

To add one, write one module with a `Contributor` and name it in `weft.compile.contributors`. If it has records of its own,
declare them (`weft.model.record`) and name them in `weft.cluster.kinds`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from typing import Any

import msgspec

from weft.cluster.changes import Changed
from weft.cluster.follower import Part
from weft.cluster.view import View
from weft.compile.known import Known
from weft.hoststate import Contribution
from weft.hoststate.union import Source
from weft.model.record import Record


def _no_sources(*_: object) -> Iterable[Source]:
    return ()


class Needs(msgspec.Struct, frozen=True):
    """What has to be followed for a contributor. `kinds`: by whose changes it changes. `parts`: what it is now."""

    kinds: tuple[Record[Any, Any], ...]
    parts: Callable[[View], Iterable[Part]]


class Contributor(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: in its sources. `contribute`: what a source wants now; None where there is no such thing any more. It may
    raise: that costs this source its turn.

    `touched`: sources of which a change may change the contribution. It need not look after what concerns all: after a
    change of a network, or of what this node holds in it, `of_network` is asked for all that depends on the network on this
    host; after nodes other than this one came, went or changed, `of_nodes` for all that depends on them. `everything`: all
    its sources, where these are more than those of all networks. `pending`: sources that say something else for what the
    feature itself concluded from the changes since it was asked last. `needs`: of what is followed on demand only."""

    name: str
    contribute: Callable[[Known, Source], Contribution | None]
    touched: Callable[[View, Changed], Iterable[Source]] = _no_sources
    of_network: Callable[[View, str], Iterable[Source]] = _no_sources
    of_nodes: Callable[[View, Set[str]], Iterable[Source]] = _no_sources
    everything: Callable[[View], Iterable[Source]] = _no_sources
    pending: Callable[[View], Iterable[Source]] = _no_sources
    needs: Needs | None = None
