"""Making, changing and removing devices, one by one.

A new device gets its alias, our mark, in the same system call that makes it, so a process that is killed leaves none
without: creation cannot carry the alias, but two messages can go in one sendmsg(2). That the second does not hit a
device of somebody else's is made sure of by looking first.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from weft.base.errors import Conflict, WeftError
from weft.base.names import device, digest
from weft.hoststate import Ipvlan, Link, Macvlan, Tap, Tun, Veth, Vlan, Vxlan
from weft.kernel.kinds.describe import as_link, ours
from weft.kernel.plumbing import links, netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.links import KIND_NAMES, Device, Surroundings
from weft.kernel.plumbing.netlink import Refused, quietly
from weft.kernel.plumbing.spaces import Space, Spaces
from weft.reconcile.kinds.link import outside
from weft.tunnel import device as tun

BORN = "weftb"
"""How the names of devices begin that have neither their real one nor their mark yet. (Ports of ours go on in hexadecimal
digits, and have no less of them.)"""


def create(spaces: Spaces, link: Link, others: Mapping[tuple[str, str], Link]) -> None:
    """`others`: the links made in the same call, by namespace and name: a veth's other end is made as it asks.
    Raises Refused, WeftError."""
    space = spaces.get(link.ns)
    existing = space.find(link.name)
    _check_master(space, link)
    if isinstance(link.type, Veth) and not link.type.primary:
        _adopt(spaces, space, link, existing)
    elif existing is not None:
        raise clash(link, existing)
    elif isinstance(link.type, Veth):
        _make_pair(spaces, space, link, link.type, others.get((link.type.peer_ns, link.type.peer)))
    elif isinstance(link.type, Tun | Tap):
        _make_tun(spaces, space, link)
    elif outside(link) != link.ns:
        _make_from(spaces, link, spaces.get(outside(link)))
    else:
        _make(spaces, space, link, Surroundings(space.index))


def clash(link: Link, existing: Device) -> WeftError:
    where = f" in {link.ns}" if link.ns else ""
    if existing.marked:
        return Conflict(f"device {link.name}{where} exists already")
    return Conflict(f"device {link.name}{where} exists and is not Weft's: rename or remove it")


def _make(spaces: Spaces, space: Space, link: Link, around: Surroundings) -> None:
    as_port = [] if links.as_port(link) == links.as_port(None) else [links.port(link)]
    refusals = dict(space.netlink.batch([links.create(link, around), links.mark(link), *as_port]))
    spaces.forget()
    if 0 in refusals:
        raise _explain(spaces, link, refusals[0])
    if refusals:
        _unmake(spaces, space, link)
        raise _explain(spaces, link, next(iter(refusals.values())))


def _make_tun(spaces: Spaces, space: Space, link: Link) -> None:
    """Netlink makes none. It stays only once it is marked: until then it ends with us."""
    try:
        kind = tun.IFF_TUN if isinstance(link.type, Tun) else tun.IFF_TAP
        fd = netns.call(link.ns, lambda: tun.attach(link.name, kind))
    except OSError as error:
        raise Refused(error.errno or errno.EIO, f"no TUN device can be made: {tun.PATH}: {error.strerror}") from None
    try:
        spaces.forget()
        found = space.find(link.name)
        assert found is not None
        bare = Link(name=link.name, type=link.type, alias="", up=False, ns=link.ns)
        message = links.change(found.index, bare, link, Surroundings(space.index))
        assert message is not None  # at least the alias
        as_port = [] if links.as_port(link) == links.as_port(None) else [links.port(link)]
        space.netlink.batch_or_raise([message, *as_port])
        tun.persist(fd)
    finally:
        os.close(fd)
        spaces.forget()


def _unmake(spaces: Spaces, space: Space, link: Link) -> None:
    device = space.find(link.name)
    if device is not None:
        quietly(lambda: space.netlink.request(u.RTM_DELLINK, 0, links.delete(device.index)))
    spaces.forget()


def _make_from(spaces: Spaces, link: Link, origin: Space) -> None:
    """A tunnel device is born in its own namespace at the behest of the one where its packets go out: so that is where
    its socket is. One on a parent in another namespace likewise. It gets its mark there.

    The kernel (before 6.15) refuses a name that the namespace has which it is asked in: a host's eth0 would be in the way of a
    container's. So a device on a parent is born under a name of its own, and gets its real one with its mark."""
    born = link
    if isinstance(link.type, Macvlan | Ipvlan):
        born = msgspec.structs.replace(link, name=device(BORN, digest("born", link.ns, link.name).hex()[:9]))
        _unmake(spaces, spaces.get(link.ns), born)  # of one who was killed in between
    fd = spaces.fd(link.ns)
    try:
        origin.netlink.batch_or_raise([links.create(born, Surroundings(origin.index, own_fd=fd))])
    except Refused as refused:
        raise _explain(spaces, link, refused) from None
    finally:
        os.close(fd)
        spaces.forget()
    space = spaces.get(link.ns)
    found = space.find(born.name)
    assert found is not None
    bare = msgspec.structs.replace(born, master="", alias="", up=False)
    message = links.change(found.index, bare, link, Surroundings(space.index))
    assert message is not None  # at least the alias
    try:
        space.netlink.batch_or_raise([message])
    except Refused as refused:
        _unmake(spaces, space, born)
        raise _explain(spaces, link, refused) from None
    spaces.forget()


def _make_pair(spaces: Spaces, space: Space, link: Link, veth: Veth, peer: Link | None) -> None:
    if veth.given:
        peer = Link(name=veth.peer, type=Veth(link.name, link.ns, primary=False), mtu=link.mtu)
    if veth.peer_ns == link.ns:
        _make(spaces, space, link, Surroundings(space.index, None, peer))
        return
    spaces.get(veth.peer_ns)  # is it still the namespace that is meant?
    fd = spaces.fd(veth.peer_ns)
    try:
        _make(spaces, space, link, Surroundings(space.index, fd, peer))
    finally:
        os.close(fd)


_ON_PARENT = {
    errno.EBUSY: "its parent {0} is a port of a bridge, or carries devices of another kind or mode than this {kind}: `ip -d "
    "link show` shows what there is; choose another parent",
    errno.EINVAL: "{0} cannot be the parent of this {kind} device: it is no Ethernet device, or has another one, and one of "
    "the two takes it whole (mode passthru): `ip -d link show` shows what there is; choose another parent",
    errno.ENETDOWN: "its parent {0} is down: ip link set dev {0} up",
    errno.EEXIST: "{0} has such a {kind} device already, under another name: name that as the parent",
}
"""What the kernel means by refusing a device on a parent (drivers/net/macvlan.c, ipvlan/ipvlan_main.c, net/8021q)."""


def _explain(spaces: Spaces, link: Link, refused: Refused) -> Refused | WeftError:
    kind = KIND_NAMES[type(link.type)]
    if refused.errno == errno.EOPNOTSUPP:
        return Refused(refused.errno, f"the kernel has no {kind} devices: `modprobe {kind}`, or another driver")
    if isinstance(link.type, Vlan | Macvlan | Ipvlan) and (why := _ON_PARENT.get(refused.errno)):
        return Refused(refused.errno, why.format(link.type.dev, kind=kind))
    if refused.errno == errno.EEXIST and isinstance(link.type, Vxlan):
        return _taken(spaces, link, link.type) or refused
    if refused.errno == errno.EEXIST and isinstance(link.type, Veth):
        peer = spaces.get(link.type.peer_ns).find(link.type.peer)
        if peer is not None:
            return clash(Link(name=link.type.peer, type=link.type, ns=link.type.peer_ns), peer)
    return refused


def _taken(spaces: Spaces, link: Link, wanted: Vxlan) -> WeftError | None:
    """Who has the VNI: of all that send from one namespace the kernel has one for a VNI and a port."""
    for other in spaces.get(outside(link)).devices().values():
        if other.vxlan is not None and (other.vxlan.vni, other.vxlan.port) == (wanted.vni, wanted.port):
            return Conflict(
                f"device {other.name} has VNI {wanted.vni} at port {wanted.port}, which only one device can have: "
                f"remove it if nobody needs it (ip link del {other.name})"
            )
    return None


def _adopt(spaces: Spaces, space: Space, link: Link, existing: Device | None) -> None:
    """The end of a veth that its primary end has made: give it its attributes and our mark."""
    if existing is None:
        other = link.type.peer if isinstance(link.type, Veth) else ""
        raise Refused(errno.ENODEV, f"it is made together with its other end {other}, which is not there")
    if not ours(space, existing, link):
        raise clash(link, existing)
    _set(spaces, space, link, existing)


def change(spaces: Spaces, old: Link, link: Link) -> None:
    """`old`: as it was known; of a device that is lent only what differs from that. Raises Refused, WeftError."""
    space = spaces.get(link.ns)
    existing = space.find(link.name)
    if existing is None:
        raise Refused(errno.ENODEV, "the device is gone")
    if not ours(space, existing, link):
        raise clash(link, existing)
    _check_master(space, link)
    if link.lent and (now := as_link(spaces, space, existing, link)) is not None:
        link = msgspec.structs.replace(
            link,
            mtu=now.mtu if link.mtu == old.mtu else link.mtu,
            mac=now.mac if link.mac == old.mac else link.mac,
            master=now.master if link.master == old.master else link.master,
        )
    _set(spaces, space, link, existing)


def _check_master(space: Space, link: Link) -> None:
    """Somebody else's bridge gets no port of ours. Raises Conflict."""
    master = space.find(link.master) if link.master else None
    if master is not None and not master.marked:
        raise Conflict(f"device {link.master} exists and is not Weft's: rename or remove it")


def _set(spaces: Spaces, space: Space, link: Link, existing: Device) -> None:
    """Compared with the device as it is now, not with what was known of it."""
    now = as_link(spaces, space, existing, link)
    if now is None or now.type != link.type:
        kind = KIND_NAMES[type(link.type)]
        raise Conflict(f"device {link.name} cannot be changed in place: a {kind}'s own attributes are for life")
    message = links.change(existing.index, now, link, Surroundings(space.index))
    if message is not None:
        space.netlink.request(message.type, message.flags, message.body)
        spaces.forget()
    if links.as_port(link) != links.as_port(now if now.master == link.master else None):
        as_port = links.port(link)
        space.netlink.request(as_port.type, as_port.flags, as_port.body)
        spaces.forget()


def remove(spaces: Spaces, link: Link) -> None:
    """Nothing happens if there is no such device, or one that is not ours. Raises Refused, WeftError."""
    space = spaces.get(link.ns)
    existing = space.find(link.name)
    if existing is None or not ours(space, existing, link):
        return
    space.netlink.request(u.RTM_DELLINK, 0, links.delete(existing.index))
    spaces.forget()


def settle(spaces: Spaces, ports: Sequence[Link]) -> None:
    """Let bridges forward over their new ports at once. The kernel takes note of a port's carrier, and then of the
    bridge's, up to a second later (net/core/link_watch.c), unless somebody looks; what a container sends until then is
    lost, its first ARP request for instance."""
    for ns, name in (*((p.ns, p.name) for p in ports), *((p.ns, p.master) for p in ports)):
        with suppress(WeftError):
            space = spaces.get(ns)
            space.netlink.request(u.RTM_GETLINK, 0, links.get_by_name(name))
