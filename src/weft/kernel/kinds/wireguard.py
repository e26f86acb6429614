"""WireGuard, read and written over netlink, on devices of ours. Keys are made here, and nowhere kept."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from weft.base.errors import WeftError
from weft.hoststate import Object, WireguardEnd, WireguardPeer
from weft.kernel.kinds import wireguard_wire as wire
from weft.kernel.kinds.kind import Kind, Look, Part, Phase, Work
from weft.kernel.plumbing import genl, netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, Netlink, Refused, gone
from weft.kernel.plumbing.secrets import Keys, needed
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Failure, Op, Remove

T = TypeVar("T")

LACKING = "the kernel has no WireGuard: modprobe wireguard, or a kernel with it"


def with_family(ns: str, work: Callable[[Netlink, int], T]) -> T:
    """Given a socket in the namespace, and the number of WireGuard's messages. Raises WeftError."""
    return genl.call(ns, (u.WG_GENL_NAME,), work, lacking=LACKING)


def _dump(keys: Keys | None, look: Look) -> Iterable[Object]:
    devices = [d.name for d in look.space.devices().values() if d.kind == "wireguard" and d.marked]
    if not devices:
        return ()
    return with_family(
        look.ns, lambda netlink, family: [o for dev in devices for o in _read(netlink, family, dev, keys, look.ns)]
    )


def _read(netlink: Netlink, family: int, dev: str, keys: Keys | None, ns: str) -> Iterator[Object]:
    """One that has neither port nor key as yet is not there."""
    told = wire.decode(netlink.dump(family, wire.question(dev), lambda data, start, end: data[start:end]), dev, ns)
    if told.port and told.public:
        yield WireguardEnd(dev=dev, port=told.port, public=told.public, ns=ns)
    for peer, shared in told.peers.values():
        as_meant = keys is not None and shared == keys.shared(peer.public)
        yield WireguardPeer(
            dev=dev,
            public=peer.public,
            endpoint=peer.endpoint,
            port=peer.port,
            allowed=tuple(sorted(peer.allowed)),
            shared=as_meant,
            ns=ns,
        )


def _apply(keys: Keys | None, _work: Work, ops: Sequence[Op]) -> Iterator[Failure]:
    groups: dict[str, list[Op]] = {}
    for op in ops:
        groups.setdefault(_of(op).ns, []).append(op)
    for ns, group in groups.items():
        try:
            yield from with_family(ns, lambda netlink, family, group=group: list(_write(netlink, family, keys, group)))  # type: ignore[misc] # mypy infers no type for the default
        except WeftError as error:
            left = [op for op in group if not isinstance(op, Remove) or netns.exists(ns)]
            yield from (Failure(_of(op).key, f"{describe(_of(op).key)}: {error}") for op in left)


def _write(netlink: Netlink, family: int, keys: Keys | None, ops: Sequence[Op]) -> Iterator[Failure]:
    messages = [_message(family, keys, op) for op in ops]
    for place, refused in netlink.batch(messages):
        op = ops[place]
        if not (isinstance(op, Remove) and gone(refused.errno)):
            yield Failure(_of(op).key, f"{describe(_of(op).key)}: {_explain(op, refused)}", refused.errno)


def _explain(op: Op, refused: Refused) -> str:
    obj = _of(op)
    if isinstance(obj, WireguardEnd) and refused.errno == errno.EADDRINUSE:
        return f"UDP port {obj.port} is held by a program: stop it (ss -ulpn sport = :{obj.port} names it)"
    return refused.text


def _message(family: int, keys: Keys | None, op: Op) -> Message:
    """Raises Failed where there are no keys."""
    obj, removing = _of(op), isinstance(op, Remove)
    if isinstance(obj, WireguardPeer):
        return wire.without(family, obj) if removing else wire.peer(family, obj, needed(keys).shared(obj.public))
    return (
        wire.end(family, obj.dev, 0, bytes(32))
        if removing
        else wire.end(family, obj.dev, obj.port, needed(keys).private)
    )


def _of(op: Op) -> WireguardEnd | WireguardPeer:
    obj = op.new if isinstance(op, Change) else op.obj
    assert isinstance(obj, WireguardEnd | WireguardPeer)
    return obj


def kinds(keys: Keys | None) -> tuple[Kind, ...]:
    """All of a device is read at once."""
    part, phase = Part("WireGuard"), Phase("wireguard", partial(_apply, keys))
    return (
        Kind(name="wireguard", phase=phase, part=part, dump=partial(_dump, keys)),
        Kind(name="wireguard-peer", phase=phase, part=part),
    )
