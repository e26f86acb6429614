"""Token buckets and redirections: read, written and heard of. `tc` has their messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.hoststate import Object
from weft.kernel.kinds import tc
from weft.kernel.kinds.kind import Hearing, Kind, Look, Phase
from weft.kernel.plumbing import uapi as u
from weft.reconcile.protocol import Disturbed, Event, Gone, Seen

TC = Phase("tc", lambda work, ops: tc.apply(work.spaces, ops))


def _dump(look: Look) -> Iterable[Object]:
    """Both, since only a device with an ingress qdisc is asked for its filters."""
    return tc.read(look.space, look.desired)


def _qdisc(hearing: Hearing, kind: int, data: bytes, start: int, end: int, ns: str) -> Iterator[Event]:
    """Others' at the root is in the way of ours; with an ingress qdisc go its filters."""
    there = kind == u.RTM_NEWQDISC
    index, parent, handle = tc.place(data, start)
    found = tc.decode_qdisc(data, start, end, hearing.names(ns, ours=True), ns, hearing.desired)
    if found is not None:
        yield Seen(found) if there else Gone(found.key)
    elif parent == u.TC_H_ROOT and handle and (key := ("qdisc", ns, hearing.name(ns, index))) in hearing.desired:
        yield Gone(key) if there else Disturbed(ns, f"somebody else's qdisc of {key[2]} is gone")
    elif parent == u.TC_H_INGRESS and not there:
        redirect = ("redirect", ns, hearing.name(ns, index))
        if redirect in hearing.desired:
            yield Gone(redirect)


def _filter(hearing: Hearing, kind: int, data: bytes, start: int, end: int, ns: str) -> Iterator[Event]:
    there = kind == u.RTM_NEWTFILTER
    index, parent, _ = tc.place(data, start)
    if not (tc.is_ingress(parent) and tc.is_ours(data, start) and hearing.marked(ns, index)):
        return
    found = tc.decode_filter(data, start, end, hearing.names(ns), ns) if there else None
    if found is not None:
        yield Seen(found)
    elif not there:
        yield Gone(("redirect", ns, hearing.name(ns, index)))


QDISC = Kind(
    name="qdisc",
    phase=TC,
    dump=_dump,
    hears={u.RTM_NEWQDISC: _qdisc, u.RTM_DELQDISC: _qdisc},
    groups=(u.RTNLGRP_TC,),
)
REDIRECT = Kind(
    name="redirect",
    phase=TC,
    hears={u.RTM_NEWTFILTER: _filter, u.RTM_DELTFILTER: _filter},
    groups=(u.RTNLGRP_TC,),
)
