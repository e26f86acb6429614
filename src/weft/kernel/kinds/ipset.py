"""Sets that rules of iptables look up, read and written over netlink: no tool is needed, and an element is one message.

The kernel tells nobody of changes. What was read is kept by what the kernel answered, so that to read again what has not
changed costs little. A set that is not as it should be is made anew under another name and swapped: rules that name it never
meet an empty one.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from weft.base.errors import Failed, Unsupported, WeftError
from weft.hoststate import Ipset, IpsetElement, Key, Object
from weft.hoststate.rules.iptables import SET_PREFIX
from weft.kernel.kinds import ipset_wire as wire
from weft.kernel.kinds.unheard import Unheard
from weft.kernel.plumbing import netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, Netlink, Refused, gone, open_socket
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Failure, Op, Remove

FEATURE = "ipset"
LACKING = "the kernel has no ipset: modprobe ip_set, or a kernel with it, or set policy to nftables"
_PATIENCE = 0.1
"""Seconds."""
_MODULE = Path("/sys/module/ip_set")
_ERRORS = {
    u.IPSET_ERR_FIND_TYPE: "the kernel has no such type of set: modprobe ip_set_hash_ip, ip_set_hash_net, "
    "ip_set_hash_ipport, or a kernel with these, or set policy to nftables",
    u.IPSET_ERR_BUSY: "rules use it",
    u.IPSET_ERR_TYPE_MISMATCH: "somebody made a set of another type under this name, and rules use it: remove these",
}


def there() -> bool:
    """Whether the kernel's part of ipset is loaded: to ask it anything would load it."""
    return _MODULE.exists()


class _Listed(msgspec.Struct):
    """`answer`: what the kernel said of a set, digested."""

    answer: bytes
    objects: dict[Key, Object]


class Ipsets:
    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Listed] = {}
        """By namespace and set, as it was read last."""
        self.unheard = Unheard(_looks)

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, ns: str) -> dict[Key, Object]:
        """Raises WeftError."""
        if not there():
            return {}
        self.unheard.reading(ns)
        return netns.call(ns, lambda: self._read(ns))

    def _read(self, ns: str) -> dict[Key, Object]:
        found: dict[Key, Object] = {}
        netlink = _open()
        try:
            names = _names(netlink)
            for name in names:
                found |= self._set(netlink, ns, name)
        finally:
            netlink.close()
        for old in [key for key in self._known if key[0] == ns and key[1] not in names]:
            del self._known[old]
        return found

    def _set(self, netlink: Netlink, ns: str, name: str) -> dict[Key, Object]:
        bodies = _dump(netlink, wire.listing(name))
        answer = hashlib.sha256(b"".join(bodies)).digest()
        known = self._known.get((ns, name))
        if known is None or known.answer != answer:
            known = self._known[ns, name] = _Listed(answer, _objects(bodies, ns))
        return known.objects

    # -- writing -------------------------------------------------------------------------------------------------------

    def apply(self, ns: str, ops: Sequence[Op]) -> list[Failure]:
        """Raises nothing: what the kernel objects to is told, and the rest done."""
        try:
            with self.unheard.writing(ns):
                return netns.call(ns, lambda: list(self._apply(ops)))
        except WeftError as error:
            return [Failure(_key(op), f"{describe(_key(op))}: {error}") for op in ops]

    def _apply(self, ops: Sequence[Op]) -> Iterator[Failure]:
        netlink = _open()
        try:
            sets = _types(netlink)
            work = _Work(sets, ops)
            yield from work.wrong
            for place, refused in _send(netlink, [message for message, _ in work.messages]):
                op = work.messages[place][1]
                if op is not None and not (isinstance(op, Remove) and gone(refused.errno)):
                    yield _failure(_key(op), refused)
            for obj in work.anew:
                if (refusal := _put_in_place(netlink, obj.name, _other(obj.name))) is not None:
                    yield _failure(obj.key, refusal)
        finally:
            netlink.close()


class _Work:
    """Operations as messages, each with the operation that it is of. `anew`: sets that are made under another name, to be
    swapped; `wrong`: what cannot be sent."""

    def __init__(self, there: dict[str, Ipset], ops: Sequence[Op]) -> None:
        made = {obj.name: obj for op in ops if not isinstance(op, Remove) and isinstance(obj := _of(op), Ipset)}
        self.anew = [obj for name, obj in made.items() if name in there and there[name] != obj]
        names = {obj.name: _other(obj.name) for obj in self.anew}
        self._sets = there | made
        self.messages: list[tuple[Message, Op | None]] = [(wire.destroy(name), None) for name in names.values()]
        self.wrong: list[Failure] = []
        encoders: dict[str, wire.Encode] = {}
        for op in ops:
            try:
                message = self._message(op, names, encoders)
            except WeftError as error:
                self.wrong.append(Failure(_key(op), f"{describe(_key(op))}: {error}"))
                continue
            if message is not None:
                self.messages.append((message, op))

    def _message(self, op: Op, names: dict[str, str], encoders: dict[str, wire.Encode]) -> Message | None:
        obj = _of(op)
        removal = isinstance(op, Remove)
        if isinstance(obj, Ipset):
            if not removal:
                return wire.create(obj, names.get(obj.name, ""))
            return None if obj.name in names else wire.destroy(obj.name)
        assert isinstance(obj, IpsetElement)
        if obj.set not in self._sets:
            if removal:
                return None
            raise Failed(f"there is no set {obj.set}")
        if obj.set not in encoders:
            encoders[obj.set] = wire.encoder(self._sets[obj.set], names.get(obj.set, ""))
        return encoders[obj.set](obj, u.IPSET_CMD_DEL if removal else u.IPSET_CMD_ADD)


def _put_in_place(netlink: Netlink, name: str, other: str) -> Refused | None:
    """Only sets that are asked for alike can be swapped; one of another type has to go first."""
    refused = netlink.batch([wire.swap(name, other)])
    if refused and not _send(netlink, [wire.destroy(name)]):
        return next((no for _, no in netlink.batch([wire.rename(other, name)])), None)
    _send(netlink, [wire.destroy(other)])
    return next((no for _, no in refused), None)


def _send(netlink: Netlink, batch: Sequence[Message]) -> list[tuple[int, Refused]]:
    """As `Netlink.batch`. nf_tables lets go of sets some milliseconds after the rules that used them are gone."""
    refused = netlink.batch(batch)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and (busy := [place for place, no in refused if no.errno == u.IPSET_ERR_BUSY]):
        os.sched_yield()
        again = netlink.batch([batch[place] for place in busy])
        refused = [(place, no) for place, no in refused if place not in busy]
        refused += [(busy[place], no) for place, no in again]
    return refused


def _other(name: str) -> str:
    return f"{SET_PREFIX}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _open() -> Netlink:
    try:
        return Netlink(open_socket(u.NETLINK_NETFILTER))
    except OSError:
        raise Unsupported(LACKING) from None


def _dump(netlink: Netlink, body: bytes) -> list[bytes]:
    """The bodies of the answers. Nothing where there is no such set."""
    try:
        return netlink.dump(wire.kind(u.IPSET_CMD_LIST), body, lambda data, start, end: data[start:end])
    except Refused as refused:
        if gone(refused.errno):
            return []
        raise Unsupported(LACKING) from None


def _names(netlink: Netlink) -> list[str]:
    """Of ours."""
    bodies = _dump(netlink, wire.listing(flags=u.IPSET_FLAG_LIST_SETNAME))
    names = (wire.set_name(body, 0, len(body)) for body in bodies)
    return [name for name in dict.fromkeys(names) if name.startswith(SET_PREFIX)]


def _looks(_ns: str) -> bytes:
    """See `weft.kernel.kinds.unheard`."""
    netlink = _open()
    try:
        bodies = _dump(netlink, wire.listing(flags=u.IPSET_FLAG_LIST_HEADER))
    finally:
        netlink.close()
    return b"".join(wire.size(body) for body in bodies if wire.set_name(body, 0, len(body)).startswith(SET_PREFIX))


def _types(netlink: Netlink) -> dict[str, Ipset]:
    """Ours, without their elements."""
    bodies = _dump(netlink, wire.listing(flags=u.IPSET_FLAG_LIST_HEADER))
    named = [body for body in bodies if wire.set_name(body, 0, len(body)).startswith(SET_PREFIX)]
    return {obj.name: obj for body in named if (obj := wire.decode_set(body, "")) is not None}


def _objects(bodies: Sequence[bytes], ns: str) -> dict[Key, Object]:
    obj = next((obj for body in bodies if (obj := wire.decode_set(body, ns)) is not None), None)
    if obj is None:
        return {}
    found: dict[Key, Object] = {obj.key: obj}
    for body in bodies:
        for value in wire.values(body, obj.family):
            element = IpsetElement(set=obj.name, value=value, ns=ns)
            found[element.key] = element
    return found


def _failure(key: Key, refused: Refused) -> Failure:
    return Failure(key, f"{describe(key)}: {_ERRORS.get(refused.errno, refused.text)}", refused.errno)


def _of(op: Op) -> Object:
    return op.new if isinstance(op, Change) else op.obj


def _key(op: Op) -> Key:
    return _of(op).key


def put_off(ops: Sequence[Op]) -> list[Op]:
    """Sets that only go: rules may name them until the end."""
    made = {_key(op) for op in ops if not isinstance(op, Remove)}
    return [op for op in ops if isinstance(op, Remove) and isinstance(op.obj, Ipset) and op.obj.key not in made]
