"""Sysctls, and the record of what they were before.

/proc/sys/net shows the network namespace of the thread that looks. The record (<run>/sysctl.json) is of the host's own,
also of what is set under a device of ours, which may outlive the need; what is set in a container's
ends with that, and what is not `lasting` with its device.
"""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from weft.base.errors import Failed, Invalid, NotFound, Unsupported, WeftError
from weft.hoststate import HOST, Key, Sysctl
from weft.kernel.kinds.kind import Hearing, Kind, Part, Phase
from weft.kernel.plumbing import netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import attributes
from weft.reconcile.protocol import Change, Create, Disturbed, Event, Failure, Remove

ROOT = Path("/proc/sys")
_NAME = re.compile(r"[a-z0-9_]+(/[A-Za-z0-9_.@:+-]+)+")

SysctlOp = Create | Change | Remove


def _path(name: str) -> Path:
    if not _NAME.fullmatch(name) or "/../" in name or name.endswith("/.."):
        raise Invalid(f"'{name}' is not a sysctl: write it like net/ipv4/ip_forward")
    return ROOT / name


def get(name: str) -> str | None:
    """In the calling thread's namespace; several values with one space between. None: there is none of that name."""
    try:
        return " ".join(_path(name).read_text().split())
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise _explain(name, "", error) from None


def put(name: str, value: str) -> None:
    """Raises Unsupported, Failed."""
    try:
        with _path(name).open("r+") as file:  # "w" would make a missing file, were this not /proc
            file.write(value + "\n")
    except OSError as error:
        raise _explain(name, value, error) from None


def _explain(name: str, value: str, error: OSError) -> WeftError:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            small = " (one with an MTU below 1280 has no IPv6)" if name.startswith("net/ipv6/conf/") else ""
            return Unsupported(
                f"sysctl {name} does not exist: the kernel, or the device it belongs to, lacks it{small}"
            )
        case errno.EROFS:
            return Failed(f"sysctl {name}: /proc/sys is mounted read-only; set it to {value} from outside")
        case errno.EINVAL:
            return Failed(f"sysctl {name}: the kernel does not take '{value}'")
        case errno.EACCES | errno.EPERM:
            return Failed(f"sysctl {name}: not permitted; run as root")
        case _:
            return Failed(f"sysctl {name}: {os.strerror(error.errno or 0)}")


class Sysctls:
    def __init__(self, run: Path) -> None:
        self._file = run / "sysctl.json"

    def record(self) -> dict[str, str]:
        """The host's own sysctls that we have changed, and what they were before. Raises Failed."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Failed(f"cannot read {self._file}: {error.strerror}") from None
        except msgspec.DecodeError:
            return {}  # cut off by a crash of the host; /run is empty after that, so hardly ever

    def read(self, ns: str, wanted: Iterable[Sysctl]) -> dict[Key, Sysctl]:
        record = self.record() if ns == HOST else {}
        asked = {name: Sysctl(name=name, value="", ns=ns) for name in record}
        asked |= {obj.name: obj for obj in wanted}
        values = netns.call(ns, lambda: {name: get(name) for name in asked})
        values |= {name: asked[name].value for name, value in values.items() if value is None and asked[name].optional}
        self._forget(record, [name for name in record if values[name] is None])
        found = (msgspec.structs.replace(asked[name], value=v) for name, v in values.items() if v is not None)
        return {obj.key: obj for obj in found}

    def _forget(self, record: dict[str, str], gone: Iterable[str]) -> None:
        """Sysctls go with their devices, of containers that ended for example, and with them what there was to put back."""
        kept = {name: value for name, value in record.items() if name not in set(gone)}
        if kept != record:
            with suppress(Failed):  # then with the next reading
                self._write(kept)

    def apply(self, op: SysctlOp) -> Failure | None:
        obj = op.new if isinstance(op, Change) else op.obj
        assert isinstance(obj, Sysctl)
        try:
            netns.call(obj.ns, lambda: self._remove(obj) if isinstance(op, Remove) else self._set(obj))
        except WeftError as error:
            gone = isinstance(op, Remove) and isinstance(error, NotFound | Unsupported)
            needless = obj.optional and isinstance(error, Unsupported)
            return None if gone or needless else Failure(obj.key, str(error))
        return None

    def _set(self, obj: Sysctl) -> None:
        if obj.ns == HOST and obj.lasting:
            before, record = get(obj.name), self.record()
            if before is not None and before != obj.value and obj.name not in record:
                self._write(record | {obj.name: before})
        put(obj.name, obj.value)

    def _remove(self, obj: Sysctl) -> None:
        record = self.record() if obj.ns == HOST and obj.lasting else {}
        before = record.pop(obj.name, None)
        if before is not None:
            if get(obj.name) is not None:
                put(obj.name, before)
            self._write(record)

    def _write(self, record: dict[str, str]) -> None:
        """Before the sysctl itself is written, and atomically: a crash in between must not lose what was."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._file.with_suffix(".new")
            fresh.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
            fresh.replace(self._file)
        except OSError as error:
            why = f"cannot write {self._file}: {error.strerror}"
            raise Failed(f"{why}; sysctls are not changed without a record of what they were") from None


def _hear(hearing: Hearing, _kind: int, data: bytes, start: int, end: int, ns: str) -> Iterator[Event]:
    """Forwarding is the only sysctl of ours whose changes the kernel tells."""
    found = attributes(data, start + 4, end)
    index, value = found.get(u.NETCONFA_IFINDEX), found.get(u.NETCONFA_FORWARDING)
    if index is None or value is None or struct.unpack("=i", index)[0] != u.NETCONFA_IFINDEX_ALL:
        return
    name = "net/ipv6/conf/all/forwarding" if data[start] == u.AF_INET6 else "net/ipv4/ip_forward"
    want = hearing.desired.get(("sysctl", ns, name))
    if isinstance(want, Sysctl) and want.value != str(struct.unpack("=i", value)[0]):
        yield Disturbed(ns, f"{name} was changed")


def kind(sysctls: Sysctls) -> Kind:
    def ask(ns: str, wanted: Sequence[Sysctl]) -> Mapping[Key, Sysctl]:
        looked_at = [sysctl for sysctl in wanted if not sysctl.initial]  # of no interest once its device is there
        return sysctls.read(ns, looked_at) if looked_at or ns == HOST else {}

    return Kind(
        name="sysctl",
        phase=Phase("sysctl", lambda _, ops: (failure for op in ops if (failure := sysctls.apply(op)))),
        part=Part("sysctls", ask),
        hears={u.RTM_NEWNETCONF: _hear},
        groups=(u.RTNLGRP_IPV4_NETCONF, u.RTNLGRP_IPV6_NETCONF),
    )
