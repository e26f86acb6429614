"""What one netlink message means for us: an event about an object of ours, a disturbance, a change of the uplink.

The kernel does not tell everything: IPv4 routes go silently when their device goes down or away, so that is reported as a
disturbance of the whole namespace. Messages about other people's devices and addresses matter only on the host, and
only where something changed: most of them repeat what is known.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from weft.hoststate import HOST, Key, Object
from weft.kernel.kinds.kind import Hear, Kind
from weft.kernel.plumbing import links
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.links import Device
from weft.kernel.plumbing.netlink import Netlink, Refused, open_socket
from weft.kernel.plumbing.spaces import Space, Spaces
from weft.reconcile.kinds.kind import namespace_key
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Disturbed, Event, Gone


class Interpreter:
    """`desired` and `nsids` (paths of namespaces by the host's numbers for them) are live views. Tells each message to the
    `kinds` that hear it. Knows each device by its ifindex, since messages about what stands on a device give no more."""

    def __init__(
        self, desired: Mapping[Key, Object], nsids: dict[int, str], host_fd: int, kinds: Mapping[str, Kind]
    ) -> None:
        self.desired, self.nsids = desired, nsids
        self.heard: dict[object, object] = {}
        self._kinds = tuple(kinds.values())
        self._hears: dict[int, list[Hear]] = {}
        for kind in self._kinds:
            for message, hear in kind.hears.items():
                self._hears.setdefault(message, []).append(hear)
        self._host_fd = os.dup(host_fd)
        self._space = Space(HOST, Netlink(open_socket()))
        self._devices: dict[str, dict[int, Device]] = {}
        self.start_over()

    def close(self) -> None:
        self._space.netlink.close()
        os.close(self._host_fd)

    def start_over(self) -> None:
        """After events were lost."""
        for kind in self._kinds:
            kind.forget()
        self._space.forget()
        self._devices = {HOST: dict(self._space.devices())}
        self._space.forget()

    def event(self, kind: int, data: bytes, start: int, end: int, ns: str) -> Iterator[Event]:
        """`start`: the offset of the message's body."""
        for hear in self._hears.get(kind, ()):
            yield from hear(self, kind, data, start, end, ns)

    # -- what kinds ask ------------------------------------------------------------------------------------------------

    def gone(self, key: Key) -> Event:
        """In a container others have a say, too: what is not there any more may be meant to be so, which only a reading
        of the whole namespace tells."""
        ns = key[1]
        if key in self.desired and ns != HOST and namespace_key(ns) not in self.desired:
            return Disturbed(ns, f"{describe(key)} is gone")
        return Gone(key)

    def devices(self, ns: str) -> dict[int, Device]:
        return self._devices.setdefault(ns, {})

    def names(self, ns: str, *, ours: bool = False) -> Mapping[int, str]:
        return _Names(self, ns, ours=ours)

    def spaces(self) -> Spaces:
        self._space.forget()
        return Spaces(self._space, self._host_fd, self.nsids)

    def device(self, ns: str, index: int) -> Device | None:
        """In a container's namespace asked of the kernel, at the first event about it."""
        known = self.devices(ns)
        if index not in known and ns != HOST:
            number = next((number for number, path in list(self.nsids.items()) if path == ns), None)
            device = self._ask(index, number) if number is not None else None
            if device is not None:
                known[index] = device
        return known.get(index)

    def name(self, ns: str, index: int) -> str:
        device = self.device(ns, index)
        return device.name if device else ""

    def marked(self, ns: str, index: int) -> bool:
        device = self.device(ns, index)
        return device is not None and device.marked

    def _ask(self, index: int, number: int) -> Device | None:
        try:
            answer = self._space.netlink.request(u.RTM_GETLINK, 0, links.get_by_index(index, number))
        except Refused:
            return None
        return links.decode(answer, 0, len(answer))

    def shaken(self, dev: str, ns: str, what: str) -> Iterator[Event]:
        """Routes and neighbours go with their device, not all of them audibly, and can come back when it is up."""
        if any(key[1] == ns and getattr(obj, "dev", "") == dev for key, obj in list(self.desired.items())):
            yield Disturbed(ns, f"{dev} {what}")


class _Names(dict[int, str]):
    """Names of a namespace's devices by ifindex, looked up when asked for. `ours`: only of devices of ours."""

    def __init__(self, interpreter: Interpreter, ns: str, *, ours: bool = False) -> None:
        super().__init__()
        self._interpreter, self._ns, self._ours = interpreter, ns, ours

    def get(self, index: int, default: str | None = None) -> str | None:  # type: ignore[override] # never called otherwise
        device = self._interpreter.device(self._ns, index)
        return device.name if device is not None and (device.marked or not self._ours) else default
