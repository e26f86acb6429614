"""What one netlink message means for us: an event about an object of ours, a disturbance, a change of the uplink.

The kernel does not tell everything: IPv4 routes go silently when their device goes down or away, so that is reported as a
disturbance of the whole namespace. Messages about other people's devices and addresses matter only on the host, and
only where something changed: most of them repeat what is known.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from socket import inet_ntop

import msgspec

from weft.hoststate import HOST, PROTO, Key, Link, Object, Sysctl
from weft.hoststate.paths import MAIN, fdb_key
from weft.kernel.kinds import links, tc, wire
from weft.kernel.kinds.addresses import Lost, lose
from weft.kernel.kinds.describe import as_link
from weft.kernel.kinds.links import Device
from weft.kernel.plumbing import netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Netlink, Refused, attributes, open_socket
from weft.kernel.plumbing.spaces import Space, Spaces
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Disturbed, Event, Gone, Seen, UplinkChanged


class Interpreter:
    """`desired` and `nsids` (paths of namespaces by the host's numbers for them) are live views, `lost` is kept here.
    Knows each device by its ifindex, since messages about what stands on a device give no more than that."""

    def __init__(self, desired: Mapping[Key, Object], nsids: dict[int, str], host_fd: int, lost: Lost) -> None:
        self._desired, self._nsids, self._lost = desired, nsids, lost
        self._host_fd = os.dup(host_fd)
        self._space = Space(HOST, Netlink(open_socket()))
        self._devices: dict[str, dict[int, Device]] = {}
        self._addresses: dict[tuple[int, str], int] = {}
        self.start_over()

    def close(self) -> None:
        self._space.netlink.close()
        os.close(self._host_fd)

    def start_over(self) -> None:
        """After events were lost."""
        self._lost.clear()
        self._space.forget()
        self._devices = {HOST: dict(self._space.devices())}
        self._space.forget()

    def event(self, kind: int, data: bytes, start: int, end: int, ns: str) -> Iterator[Event]:
        """`start`: the offset of the message's body."""
        match kind:
            case u.RTM_NEWROUTE | u.RTM_DELROUTE:
                yield from self._route(kind, data, start, end, ns)
            case u.RTM_NEWNEIGH | u.RTM_DELNEIGH:
                yield from self._neighbour(kind, data, start, end, ns)
            case u.RTM_NEWADDR | u.RTM_DELADDR:
                yield from self._address(kind, data, start, end, ns)
            case u.RTM_NEWLINK | u.RTM_DELLINK:
                device = links.decode(data, start, end)
                if device is not None:
                    yield from self._link(kind == u.RTM_NEWLINK, device, ns)
            case u.RTM_NEWQDISC | u.RTM_DELQDISC:
                yield from self._qdisc(kind == u.RTM_NEWQDISC, data, start, end, ns)
            case u.RTM_NEWTFILTER | u.RTM_DELTFILTER:
                yield from self._filter(kind == u.RTM_NEWTFILTER, data, start, end, ns)
            case u.RTM_NEWNETCONF:
                yield from self._forwarding(data, start, end, ns)
            case u.RTM_DELNSID:
                yield from self._forget_namespace(data, start, end)

    def _forget_namespace(self, data: bytes, start: int, end: int) -> Iterator[Event]:
        number = attributes(data, start + 4, end).get(u.NETNSA_NSID)
        if number:
            path = self._nsids.pop(struct.unpack("=i", number)[0], "?")
            self._devices.pop(path, None)
            if ("netns", HOST, path) in self._desired and not netns.exists(path):
                yield Gone(("netns", HOST, path))

    # -- what stands on devices ----------------------------------------------------------------------------------------

    def _route(self, kind: int, data: bytes, start: int, end: int, ns: str) -> Iterator[Event]:
        found = wire.decode_route(data, start, end, _Names(self, ns), ns, proto=None)
        if found is None:
            lost = wire.decode_connected(data, start, end, _Names(self, ns)) if kind == u.RTM_DELROUTE else None
            if lost is not None and ("link", ns, lost[0]) in self._desired:
                if lost[1].type == "local" and ":" in lost[1].prefix:
                    lose(self._lost, ns, lost[0], lost[1].prefix)
                yield Disturbed(ns, f"the kernel's own route to {lost[1].prefix} by {lost[0]} is gone")
            return
        if found.proto == PROTO and found.table != MAIN and found.key not in self._desired:
            copied = msgspec.structs.replace(found, table=MAIN).key  # a route of ours that somebody moves
            if copied in self._desired:
                yield Disturbed(ns, f"a copy of the route to {found.prefix} in table {found.table}")
        elif found.proto == PROTO:
            yield Seen(found) if kind == u.RTM_NEWROUTE else self._gone(found.key)
        elif kind == u.RTM_DELROUTE and found.proto == u.RTPROT_KERNEL and ("link", ns, found.dev) in self._desired:
            yield Disturbed(ns, f"the kernel's own route to {found.prefix} by {found.dev} is gone")
        elif found.key in self._desired:  # made, it may have replaced ours; gone, it makes room for ours
            yield Disturbed(ns, f"somebody else's route to {found.prefix}")
        elif ns == HOST and found.table == u.RT_TABLE_MAIN and found.prefix.endswith("/0"):
            yield UplinkChanged(f"default route by {found.dev} {'changed' if kind == u.RTM_NEWROUTE else 'gone'}")

    def _neighbour(self, kind: int, data: bytes, start: int, end: int, ns: str) -> Iterator[Event]:
        if data[start] == u.AF_BRIDGE:
            if not data[start + 10] & u.NTF_SELF and u.NDA_VLAN in attributes(data, start + 12, end):
                return  # goes with the entry that has none
            entry: Object | None = wire.decode_fdb(data, start, end, _Names(self, ns, ours=True), ns)
        else:
            entry = wire.decode_neighbour(data, start, end, _Names(self, ns), ns)
        if entry is not None:
            yield Seen(entry) if kind == u.RTM_NEWNEIGH else Gone(entry.key)
        elif (key := self._neighbour_key(data, start, end, ns)) in self._desired:
            yield Gone(key)  # what lies there is not permanent (any more), or somebody else's

    def _neighbour_key(self, data: bytes, start: int, end: int, ns: str) -> Key:
        found = attributes(data, start + 12, end)
        dev = self.name(ns, struct.unpack_from("=i", data, start + 4)[0])
        if data[start] == u.AF_BRIDGE:
            own, bridge = data[start + 10] & u.NTF_SELF, found.get(u.NDA_MASTER)
            master = self.name(ns, struct.unpack("=i", bridge)[0]) if bridge and not own else ""
            return fdb_key(ns, dev, found.get(u.NDA_LLADDR, b"").hex(":"), _text(found.get(u.NDA_DST, b"")), master)
        return ("neighbour", ns, dev, _text(found.get(u.NDA_DST, b"")))

    def _address(self, kind: int, data: bytes, start: int, end: int, ns: str) -> Iterator[Event]:
        found, flags = wire.decode_any_address(data, start, end, _Names(self, ns), ns)
        self._lost.pop((ns, found.dev, f"{found.address.partition('/')[0]}/128"), None)
        index, scope = struct.unpack_from("=I", data, start + 4)[0], data[start + 3]
        if kind == u.RTM_DELADDR and data[start] == u.AF_INET:  # with the last one go all routes, silently
            yield from self._shaken(found.dev, ns, "lost an address")
        if found.proto == PROTO:
            yield Seen(found) if kind == u.RTM_NEWADDR else self._gone(found.key)
        elif found.key in self._desired:
            yield Disturbed(ns, f"somebody else's {found.address} on {found.dev}")
        elif ns == HOST and scope == 0 and not self._marked(ns, index):
            about = (index, found.address)
            if kind == u.RTM_DELADDR:
                self._addresses.pop(about, None)
                yield UplinkChanged(f"address {found.address} on {found.dev} gone")
            elif self._addresses.get(about) != flags:  # router advertisements repeat what is known
                self._addresses[about] = flags
                yield UplinkChanged(f"address {found.address} on {found.dev}")
                yield from self._shaken(found.dev, ns, "has an address more")

    def _gone(self, key: Key) -> Event:
        """In a container others have a say, too: what is not there any more may be meant to be so, which only a reading
        of the whole namespace tells."""
        ns = key[1]
        if key in self._desired and ns != HOST and ("netns", HOST, ns) not in self._desired:
            return Disturbed(ns, f"{describe(key)} is gone")
        return Gone(key)

    def _qdisc(self, there: bool, data: bytes, start: int, end: int, ns: str) -> Iterator[Event]:
        """Others' at the root is in the way of ours; with an ingress qdisc go its filters."""
        index, parent, handle = tc.place(data, start)
        found = tc.decode_qdisc(data, start, end, _Names(self, ns, ours=True), ns, self._desired)
        if found is not None:
            yield Seen(found) if there else Gone(found.key)
        elif parent == u.TC_H_ROOT and handle and (key := ("qdisc", ns, self.name(ns, index))) in self._desired:
            yield Gone(key) if there else Disturbed(ns, f"somebody else's qdisc of {key[2]} is gone")
        elif (
            parent == u.TC_H_INGRESS and not there and (key := ("redirect", ns, self.name(ns, index))) in self._desired
        ):
            yield Gone(key)

    def _filter(self, there: bool, data: bytes, start: int, end: int, ns: str) -> Iterator[Event]:
        index, parent, _ = tc.place(data, start)
        if not (tc.is_ingress(parent) and tc.is_ours(data, start) and self._marked(ns, index)):
            return
        found = tc.decode_filter(data, start, end, _Names(self, ns), ns) if there else None
        if found is not None:
            yield Seen(found)
        elif not there:
            yield Gone(("redirect", ns, self.name(ns, index)))

    def _forwarding(self, data: bytes, start: int, end: int, ns: str) -> Iterator[Event]:
        """The only sysctl of ours whose changes the kernel tells."""
        found = attributes(data, start + 4, end)
        index, value = found.get(u.NETCONFA_IFINDEX), found.get(u.NETCONFA_FORWARDING)
        if index is None or value is None or struct.unpack("=i", index)[0] != u.NETCONFA_IFINDEX_ALL:
            return
        name = "net/ipv6/conf/all/forwarding" if data[start] == u.AF_INET6 else "net/ipv4/ip_forward"
        want = self._desired.get(("sysctl", ns, name))
        if isinstance(want, Sysctl) and want.value != str(struct.unpack("=i", value)[0]):
            yield Disturbed(ns, f"{name} was changed")

    # -- devices -------------------------------------------------------------------------------------------------------

    def device(self, ns: str, index: int) -> Device | None:
        """In a container's namespace asked of the kernel, at the first event about it."""
        known = self._devices.setdefault(ns, {})
        if index not in known and ns != HOST:
            number = next((number for number, path in list(self._nsids.items()) if path == ns), None)
            device = self._ask(index, number) if number is not None else None
            if device is not None:
                known[index] = device
        return known.get(index)

    def name(self, ns: str, index: int) -> str:
        device = self.device(ns, index)
        return device.name if device else ""

    def _marked(self, ns: str, index: int) -> bool:
        device = self.device(ns, index)
        return device is not None and device.marked

    def _ask(self, index: int, number: int) -> Device | None:
        try:
            answer = self._space.netlink.request(u.RTM_GETLINK, 0, links.get_by_index(index, number))
        except Refused:
            return None
        return links.decode(answer, 0, len(answer))

    def _link(self, there: bool, device: Device, ns: str) -> Iterator[Event]:
        known = self._devices.setdefault(ns, {})
        before = known.pop(device.index, None)
        if there:
            known[device.index] = device
        if before is not None and before.marked and not (there and device.marked and device.name == before.name):
            yield Gone(("link", ns, before.name))
        if there and device.marked:
            yield from self._seen(device, ns)
        elif ns == HOST and not (before or device).marked and self._news(before, device, there):
            yield UplinkChanged(f"device {device.name} {'changed' if there else 'is gone'}")
        if what := _shock(before, device, there):
            yield from self._shaken(device.name, ns, what)

    def _news(self, before: Device | None, device: Device, there: bool) -> bool:
        """Of a device that is not ours. One that is about to become ours is no news yet: its mark comes next."""
        if before is None:
            return ("link", HOST, device.name) not in self._desired
        return not there or _differ(before, device)

    def _shaken(self, dev: str, ns: str, what: str) -> Iterator[Event]:
        """Routes and neighbours go with their device, not all of them audibly, and can come back when it is up."""
        if any(key[1] == ns and getattr(obj, "dev", "") == dev for key, obj in list(self._desired.items())):
            yield Disturbed(ns, f"{dev} {what}")

    def _seen(self, device: Device, ns: str) -> Iterator[Event]:
        """A device of ours as it is now. Elsewhere than on the host its surroundings are not known here: if it is not as
        it should be, that namespace has to be read."""
        want = self._desired.get(("link", ns, device.name))
        if ns != HOST:
            master = self.name(ns, device.master) if device.master else ""
            if not (isinstance(want, Link) and _agrees(device, want, master)):
                yield Disturbed(ns, f"{device.name} changed")
            return
        self._space.forget()
        try:
            link = as_link(Spaces(self._space, self._host_fd, self._nsids), self._space, device, want)
        except Refused:
            return  # gone in between: another event tells
        if link is not None:
            yield Seen(link)


def _text(address: bytes) -> str:
    return inet_ntop(u.AF_INET if len(address) == 4 else u.AF_INET6, address) if len(address) in (4, 16) else ""


class _Names(dict[int, str]):
    """Names of a namespace's devices by ifindex, looked up when asked for. `ours`: only of devices of ours."""

    def __init__(self, interpreter: Interpreter, ns: str, *, ours: bool = False) -> None:
        super().__init__()
        self._interpreter, self._ns, self._ours = interpreter, ns, ours

    def get(self, index: int, default: str | None = None) -> str | None:  # type: ignore[override] # never called otherwise
        device = self._interpreter.device(self._ns, index)
        return device.name if device is not None and (device.marked or not self._ours) else default


def _shock(before: Device | None, device: Device, there: bool) -> str:
    """What happened to a device that takes along, or lets come back, what stands on it. A device of ours that comes up was
    brought up by us, with all that belongs on it."""
    if not there:
        return "is gone"
    if before is None or before.up == device.up:
        return ""
    if before.up:
        return "went down"
    return "" if device.marked else "is up"


def _differ(one: Device, other: Device) -> bool:
    def looks(device: Device) -> tuple[object, ...]:
        return device.name, device.mtu, device.mac, device.flags & (u.IFF_UP | u.IFF_RUNNING)

    return looks(one) != looks(other)


def _agrees(device: Device, want: Link, master: str) -> bool:
    """As far as a device in another namespace can be compared from here: without its other end."""
    return (
        (want.lent or want.master == master)
        and want.isolated == device.isolated
        and want.learning == device.learning
        and (want.lent or want.mtu in (None, device.mtu))
        and want.mac in (None, device.mac)
        and want.up == device.up
        and want.alias == device.alias
    )
