"""Sysctls. A value carries no mark, so what it was before is remembered and put back; it goes with its device, or is
set anew when that is made anew."""

from __future__ import annotations

import re
import shlex

from weft.hoststate import Key, Sysctl
from weft.reconcile.kinds.kind import Kind, link_key, within
from weft.reconcile.kinds.shell import run_in
from weft.reconcile.protocol import Op

_DEVICE = re.compile(r"net/(?:ipv4|ipv6|mpls)/(?:conf|neigh)/(?!(?:all|default)/)([^/]+)/.+")


def device_of(sysctl: Sysctl) -> Key | None:
    """The device that it is a setting of; None for one of the whole namespace."""
    device = _DEVICE.fullmatch(sysctl.name)
    return link_key(sysctl.ns, device[1]) if device else None


def _hosts(sysctl: Sysctl) -> tuple[Key, ...]:
    device = device_of(sysctl)
    return within(sysctl) if device is None else (*within(sysctl), device)


def _carriers(sysctl: Sysctl) -> tuple[Key, ...]:
    """Old values are put back all the same: they are remembered outside the kernel."""
    return () if sysctl.lasting else _hosts(sysctl)


def _rank(sysctl: Sysctl) -> int:
    """Those of devices come before those of the whole host: IPv6 forwarding takes away the routes of devices whose
    accept_ra is not 2."""
    return 0 if device_of(sysctl) else 1


def _joins(sysctl: Sysctl) -> tuple[Key, int] | None:
    """After its device, yet before the other end of a veth, which lets packets through."""
    device = device_of(sysctl)
    return None if device is None else (device, 3)


def _commands(_op: Op, sysctl: Sysctl) -> list[str]:
    return [_set(sysctl, shlex.quote(f"{sysctl.name}={sysctl.value}"))]


def _undo(sysctl: Sysctl, before: str | None) -> list[str]:
    """Where the value before is not known, the command asks for it and, pasted as it is, does nothing but say so."""
    if before is None:
        return [_set(sysctl, sysctl.name + '="${BEFORE:?its value before Weft}"')]
    return [_set(sysctl, shlex.quote(f"{sysctl.name}={before}"))]


def _set(sysctl: Sysctl, setting: str) -> str:
    return run_in(sysctl.ns, f"sysctl {'-e ' if sysctl.optional else ''}-w {setting}")


SYSCTL = Kind(
    of=Sysctl,
    commands=_commands,
    undo=_undo,
    marked=False,
    hosts=_hosts,
    carriers=_carriers,
    rank=_rank,
    joins=_joins,
    fits=lambda _found, wanted: wanted.initial,
    settled_with=lambda sysctl: device_of(sysctl) if sysctl.initial else None,
    told="never",
    refuses=lambda _sysctl, _making, _there: 0,
)
