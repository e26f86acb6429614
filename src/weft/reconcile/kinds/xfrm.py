"""ESP's states and policies. A state is never changed: with another key it is another one, under the same SPI. A policy stands
whether or not there is a state for it: without one, what it is about does not leave."""

from __future__ import annotations

from weft.hoststate import XfrmPolicy, XfrmState
from weft.hoststate.encryption import REQID
from weft.reconcile.kinds.kind import Kind
from weft.reconcile.kinds.shell import join, run_in
from weft.reconcile.protocol import Op, Remove

WINDOW = 1024
"""Packets that may overtake one another before the late ones count as replayed."""
PRIORITY = 87


def _state(op: Op, obj: XfrmState) -> list[str]:
    which = f"dst {obj.destination} proto esp spi {obj.spi:#010x}"
    if isinstance(op, Remove):
        return [run_in(obj.ns, f"ip xfrm state delete {which}")]
    how = f"reqid {REQID:#x} mode transport replay-window {WINDOW} flag esn aead 'rfc4106(gcm(aes))' '(hidden)' 128"
    return [run_in(obj.ns, f"ip xfrm state add src {obj.source} {which} {how}")]


def _policy(op: Op, obj: XfrmPolicy) -> list[str]:
    which = f"src {obj.source} dst {obj.destination} proto udp dport {obj.port} dir {obj.direction}"
    if isinstance(op, Remove):
        return [run_in(obj.ns, f"ip xfrm policy delete {which}")]
    ends = f"src {obj.source} dst {obj.destination}"
    how = f"priority {PRIORITY} tmpl {ends} proto esp reqid {REQID:#x} mode transport"
    return [run_in(obj.ns, join(f"ip xfrm policy add {which}", how))]


def _words(rest: list[str]) -> str:
    direction, source, destination, port = rest
    return f"{direction} {source} to {destination} port {port}"


STATE = Kind(
    of=XfrmState,
    commands=_state,
    words=lambda rest: f"{rest[1]} at {rest[0]}",
    told="never",
    in_place=lambda _found, _wanted: False,
)
POLICY = Kind(of=XfrmPolicy, commands=_policy, words=_words, told="never")
