"""Ports of Open vSwitch's bridges: read all at once, written in one transaction. Only the database is spoken to; what it says
the switch carries out by itself.

No event tells of what others do to them. So what was read last is compared with what is there from time to time, which is one
question.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from weft.base.errors import Conflict, Failed, NotFound, Unsupported, WeftError
from weft.hoststate import HOST, Key, Object, OvsPort
from weft.kernel.kinds.kind import Kind, Look, Part, Phase, Work
from weft.kernel.plumbing.ovsdb import Operation, Ovsdb, Row, as_map, of_map, of_set, select, unreadable
from weft.reconcile.kinds.ovs import OVS_PORT, clash
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Failure, Op, Remove

FEATURE = "openvswitch"
QUICK, REST = 1.0, 20.0
"""Seconds for a look whether something changed, and without looks after one that was not answered in that time: all else that
this host's kernel is asked and told waits meanwhile."""


class _There(msgspec.Struct):
    """All ports there are, whosever. `bridges`: their UUIDs, by name; `ports`: as ours would say it, and the port's UUID, by
    name."""

    bridges: dict[str, Any]
    ports: dict[str, tuple[OvsPort, Any]]

    def ours(self) -> dict[Key, Object]:
        return {port.key: port for port, _ in self.ports.values() if OVS_PORT.is_ours(port)}


class OvsPorts:
    def __init__(self) -> None:
        self._known: dict[Key, Object] = {}
        """Ours, as they were read or written last."""
        self._resting = 0.0
        """Until when a switch that hangs is left alone."""

    def kind(self) -> Kind:
        return Kind(name="ovs-port", phase=Phase("ovs", self._apply), part=Part("Open vSwitch"), dump=self._dump)

    def changed(self) -> set[str]:
        """The namespaces where others changed something of ours. A switch that does not answer now changes nothing; that is
        told where it is read."""
        began = time.monotonic()
        if not self._known or began < self._resting:
            return set()
        try:
            with Ovsdb(QUICK) as db:
                return {HOST} if _look(db).ours() != self._known else set()
        except WeftError:
            now = time.monotonic()
            self._resting = now + REST if now - began >= QUICK / 2 else 0.0
            return set()

    def _dump(self, look: Look) -> Iterable[Object]:
        if look.ns != HOST:
            return ()
        wanted = {key[3]: key for key in look.desired if key[0] == OvsPort.kind}
        try:
            with Ovsdb() as db:
                there = _look(db)
        except Unsupported:
            if wanted:
                raise
            return ()  # who wants nothing of a switch need not have one
        look.foreign |= {
            wanted[name] for name, (port, _) in there.ports.items() if name in wanted and not OVS_PORT.is_ours(port)
        }
        self._known = there.ours()
        return self._known.values()

    # -- writing -------------------------------------------------------------------------------------------------------

    def _apply(self, _work: Work, ops: Sequence[Op]) -> Iterator[Failure]:
        """If one of them is refused, each for itself."""
        with Ovsdb() as db:
            there, sound = _look(db), list[Op]()
            for op in ops:
                try:
                    _operations(op, there)
                    sound.append(op)
                except WeftError as error:
                    yield _failure(op, error)
            try:
                self._write(db, sound, there)
            except Failed:
                for op in sound:
                    try:
                        self._write(db, [op], there)
                    except WeftError as error:
                        yield _failure(op, error)

    def _write(self, db: Ovsdb, ops: Sequence[Op], there: _There) -> None:
        operations = [operation for number, op in enumerate(ops) for operation in _operations(op, there, number)]
        if operations:
            db.transact(*operations)
        for op in ops:
            if isinstance(op, Remove):
                self._known.pop(op.obj.key, None)
            else:
                self._known[_of(op).key] = _of(op)


def switched() -> dict[str, str]:
    """The host's devices that are ports of a bridge of Open vSwitch, whosever, each with the bridge."""
    try:
        with Ovsdb() as db:
            return {name: port.bridge for name, (port, _) in _look(db).ports.items()}
    except WeftError:  # there is none, or it does not answer
        return {}


def _look(db: Ovsdb) -> _There:
    """Raises Failed."""
    answers = db.transact(
        select("Bridge", "_uuid", "name", "ports"),
        select("Port", "_uuid", "name"),
        select("Interface", "name", "external_ids"),
    )
    try:
        return _read(*answers)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise unreadable() from None


def _read(bridges: Row, ports: Row, interfaces: Row) -> _There:
    uuids = {row["_uuid"][1]: row["name"] for row in ports["rows"]}
    ids = {row["name"]: of_map(row["external_ids"]) for row in interfaces["rows"]}
    found: dict[str, tuple[OvsPort, Any]] = {}
    for bridge in bridges["rows"]:
        for uuid in of_set(bridge["ports"]):
            name = uuids[uuid[1]]
            found[name] = _port(bridge["name"], name, ids.get(name, {})), uuid  # a bond has no interface of its name
    return _There({row["name"]: row["_uuid"] for row in bridges["rows"]}, found)


def _port(bridge: str, name: str, ids: Mapping[str, str]) -> OvsPort:
    return OvsPort(
        bridge=bridge,
        name=name,
        iface_id=ids.get("iface-id", ""),
        mac=ids.get("attached-mac", ""),
        vm_uuid=ids.get("vm-uuid", ""),
        status=ids.get("iface-status", ""),
        owner=ids.get("owner", ""),
    )


def _operations(op: Op, there: _There, number: int = 0) -> list[Operation]:
    """Of a transaction (RFC 7047 section 5.2). Raises Conflict, NotFound."""
    obj = _of(op)
    port, uuid = there.ports.get(obj.name, (None, None))
    if port is not None and not OVS_PORT.is_ours(port):
        if isinstance(op, Remove):
            return []  # it is another's by now
        raise Conflict(clash(obj))
    if isinstance(op, Remove):
        return [] if port is None else [_mutate("Bridge", there.bridges[port.bridge], ["ports", "delete", uuid])]
    if isinstance(op, Change):
        if port is None:
            raise NotFound("it is gone")
        return [_relabel(obj)]
    if port is not None:
        raise Conflict(f"it exists already, on {port.bridge}")
    if obj.bridge not in there.bridges:
        raise NotFound(f"Open vSwitch has no bridge {obj.bridge}: start Neutron's agent here, which makes it")
    return _make(obj, there.bridges[obj.bridge], number)


def _make(obj: OvsPort, bridge: Any, number: int) -> list[Operation]:
    interface, port = f"interface{number}", f"port{number}"
    ids = as_map(obj.external_ids)
    return [
        {"op": "insert", "table": "Interface", "row": {"name": obj.name, "external_ids": ids}, "uuid-name": interface},
        {
            "op": "insert",
            "table": "Port",
            "row": {"name": obj.name, "interfaces": ["named-uuid", interface]},
            "uuid-name": port,
        },
        _mutate("Bridge", bridge, ["ports", "insert", ["named-uuid", port]]),
    ]


def _relabel(obj: OvsPort) -> Operation:
    """The names that are ours; others' stay."""
    names = sorted(OvsPort(bridge="", name="", iface_id="-", mac="-", vm_uuid="-").external_ids)
    return {
        "op": "mutate",
        "table": "Interface",
        "where": [["name", "==", obj.name]],
        "mutations": [
            ["external_ids", "delete", ["set", names]],
            ["external_ids", "insert", as_map(obj.external_ids)],
        ],
    }


def _mutate(table: str, uuid: Any, mutation: Sequence[Any]) -> Operation:
    return {"op": "mutate", "table": table, "where": [["_uuid", "==", uuid]], "mutations": [mutation]}


def _of(op: Op) -> OvsPort:
    obj = op.new if isinstance(op, Change) else op.obj
    assert isinstance(obj, OvsPort)
    return obj


def _failure(op: Op, error: WeftError) -> Failure:
    return Failure(_of(op).key, f"{describe(_of(op).key)}: {error}")
