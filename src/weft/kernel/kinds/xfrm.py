"""ESP, read and written over netlink in the host's own namespace. Keys are made here, and nowhere kept.

A state to send with is made once only (`XfrmState.out`). Where it was made before and is gone, whoever took it away, nobody
knows how far it counted: with the same key it would number other packets as it did these, and AES-GCM gives away both, and
the key that protects them from forgery (NIST SP 800-38D section 8). So it is refused here, and the agent draws another start
value.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import msgspec

from weft.base.errors import WeftError
from weft.hoststate import HOST, Object, XfrmPolicy, XfrmState
from weft.kernel.kinds import xfrm_wire as wire
from weft.kernel.kinds.kind import Kind, Look, Part, Phase, Work
from weft.kernel.plumbing import netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, Netlink, gone, open_socket
from weft.kernel.plumbing.secrets import Keys, needed
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Create, Failure, Op, Remove

LACKING = "the kernel has no IPsec: modprobe -a xfrm_user esp4 esp6, or a kernel with it"
_WAITS = "it was there before, and is never made a second time with one key: waits for another start value"


def opened() -> Netlink | None:
    """A socket in the calling thread's namespace; None where the kernel has no IPsec."""
    try:
        return Netlink(open_socket(u.NETLINK_XFRM))
    except OSError as error:
        if error.errno != errno.EPROTONOSUPPORT:
            raise
        return None


def works() -> bool:
    """Tried out in the calling thread's namespace: the modules that it takes are loaded with the first state."""
    if (netlink := opened()) is None:
        return False
    probe = XfrmState(source="192.0.2.1", destination="192.0.2.2", spi=1 << 31, recipe="", out=False)
    try:
        return not netlink.batch([wire.state(probe, bytes(36))])
    finally:
        netlink.close()


def _dump(keys: Keys | None, look: Look) -> Iterable[Object]:
    if look.ns != HOST:
        return ()
    return netns.call(look.ns, lambda: list(_read(keys, look)))


def _read(keys: Keys | None, look: Look) -> Iterator[Object]:
    if (netlink := opened()) is None:
        return
    try:
        recipe = partial(_recipe, keys, look)
        yield from netlink.dump(*wire.STATES, partial(wire.decode_state, ns=look.ns, recipe=recipe))
        yield from netlink.dump(*wire.POLICIES, partial(wire.decode_policy, ns=look.ns))
    finally:
        netlink.close()


def _recipe(keys: Keys | None, look: Look, found: XfrmState, key: bytes) -> XfrmState:
    """With what is desired of it, if its key is made of that."""
    want = look.desired.get(found.key)
    if keys is None or not isinstance(want, XfrmState) or key != keys.esp(want.recipe):
        return found
    return msgspec.structs.replace(found, recipe=want.recipe, out=want.out)


def _apply(keys: Keys | None, _work: Work, ops: Sequence[Op]) -> Iterator[Failure]:
    try:
        yield from netns.call(HOST, lambda: list(_write(keys, ops)))
    except (WeftError, OSError) as error:
        yield from (Failure(_of(op).key, f"{describe(_of(op).key)}: {error}") for op in ops)


def _write(keys: Keys | None, ops: Sequence[Op]) -> Iterator[Failure]:
    """Raises Failed where there are no keys, OSError."""
    if (netlink := opened()) is None:
        yield from (
            Failure(_of(op).key, f"{describe(_of(op).key)}: {LACKING}") for op in ops if not isinstance(op, Remove)
        )
        return
    try:
        again = [op for op in ops if _again(keys, op)]
        yield from (Failure(_of(op).key, f"{describe(_of(op).key)}: {_WAITS}") for op in again)
        left = [op for op in ops if op not in again]
        for place, refused in netlink.batch([_message(keys, op) for op in left]):
            if not (isinstance(left[place], Remove) and gone(refused.errno)):
                obj = _of(left[place])
                yield Failure(obj.key, f"{describe(obj.key)}: {refused.text}", refused.errno)
    finally:
        netlink.close()


def _again(keys: Keys | None, op: Op) -> bool:
    obj = _of(op)
    making = isinstance(op, Create) and isinstance(obj, XfrmState) and obj.out
    return making and isinstance(obj, XfrmState) and not needed(keys).first_use(obj.recipe)


def _message(keys: Keys | None, op: Op) -> Message:
    obj = _of(op)
    if isinstance(obj, XfrmPolicy):
        return wire.without_policy(obj) if isinstance(op, Remove) else wire.policy(obj)
    return wire.without_state(obj) if isinstance(op, Remove) else wire.state(obj, needed(keys).esp(obj.recipe))


def _of(op: Op) -> XfrmState | XfrmPolicy:
    obj = op.new if isinstance(op, Change) else op.obj
    assert isinstance(obj, XfrmState | XfrmPolicy)
    return obj


def kinds(keys: Keys | None) -> tuple[Kind, ...]:
    """All is read at once."""
    part, phase = Part("IPsec"), Phase("xfrm", partial(_apply, keys))
    return (
        Kind(name="xfrm-state", phase=phase, part=part, dump=partial(_dump, keys)),
        Kind(name="xfrm-policy", phase=phase, part=part),
    )
