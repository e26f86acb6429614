"""Which device is the uplink, and which of its addresses are the node's. Pure: facts in, a choice and its reasons out.

Tunnels, BGP and the peers' routes stand on the choice, so what was chosen stays as long as it is as good as anything else. A
bridge of ours or of a container engine is never the uplink, also where it is the last device with an address. A prefix of one
address (/32, /128) on a device that has a real one is a service's, such as keepalived's, and moves between hosts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from weft.base.errors import Conflict, NotFound
from weft.base.net import FAMILIES, Family, IPAddress, IPInterface, family

ENGINES = re.compile(
    r"weft.*|docker0|docker_gwbridge|br-[0-9a-f]{12}|cni-?podman\d+|cni0|cbr0|podman\d+|nerdctl\d+|virbr\d+|lxcbr\d+|lxdbr\d+"
    r"|incusbr\d+|kube-ipvs0|flannel.*|cali.*|veth.*"
)
"""Devices of Weft and of container engines, by their names."""


class Assigned(msgspec.Struct, frozen=True):
    """A global address of a device. `fit`: neither temporary, secondary, deprecated nor tentative."""

    address: IPInterface
    fit: bool = True

    @property
    def alone(self) -> bool:
        """Whether its prefix has no room for another host."""
        return self.address.network.prefixlen == self.address.max_prefixlen


Addresses = Mapping[tuple[str, Family], Sequence[Assigned]]
"""By device and family, in the kernel's order."""


class Uplink(msgspec.Struct, frozen=True):
    """`why`: this device, and these addresses, in words."""

    name: str
    addresses: tuple[IPInterface, ...]
    why: str


def choose(
    found: Addresses,
    defaults: Sequence[str],
    exists: Callable[[str], bool],
    *,
    iface: str = "",
    fixed: Sequence[IPAddress] = (),
    before: Uplink | None = None,
) -> Uplink:
    """`defaults`: devices with a default route, IPv4's first, the best first. `iface`, `fixed`: as the operator says.
    `before`: what was chosen last. Raises NotFound, Conflict."""
    name, why = _device(found, defaults, exists, iface, fixed, before)
    chosen, reasons = list[IPInterface](), [why]
    for fam in FAMILIES:
        wanted = next((a for a in fixed if family(a) == fam), None)
        address, reason = _address(found.get((name, fam), ()), wanted, before)
        if wanted is not None and address is None:
            raise NotFound(f"address {wanted}: {name} does not have it: give another with --address, or leave it out")
        if address is not None:
            chosen.append(address)
        reasons += [reason] if reason else []
    return Uplink(name, tuple(chosen), "; ".join(reasons))


def _device(
    found: Addresses,
    defaults: Sequence[str],
    exists: Callable[[str], bool],
    iface: str,
    fixed: Sequence[IPAddress],
    before: Uplink | None,
) -> tuple[str, str]:
    if iface:
        if not exists(iface):
            raise NotFound(f"uplink {iface}: there is no such device; name another with --iface")
        return iface, "named by --iface"
    for address in fixed:
        for (name, _), held in found.items():
            if address in (a.address.ip for a in held):
                return name, f"has {address}, given by --address"
        raise NotFound(f"address {address}: no device has it: give another with --address, or leave it out")
    able = [name for name in defaults if not ENGINES.fullmatch(name)]
    if before is not None and before.name in able:
        return before.name, "has a default route, and was the uplink before" if able[0] != before.name else _DEFAULT
    if able:
        return able[0], _DEFAULT
    if before is not None and exists(before.name) and not ENGINES.fullmatch(before.name):
        return before.name, "was the uplink before, and no other device has a default route"
    return _only(found), "the only device with a global address, and none has a default route"


_DEFAULT = "has the default route"


def _only(found: Addresses) -> str:
    names = sorted({name for (name, _), held in found.items() if held and not ENGINES.fullmatch(name)})
    if len(names) == 1:
        return names[0]
    if not names:
        raise NotFound("no uplink: no default route and no device with a global address; name one with --iface")
    raise Conflict(f"which is the uplink, {', '.join(names)}? There is no default route: name one with --iface")


def _address(
    held: Sequence[Assigned], wanted: IPAddress | None, before: Uplink | None
) -> tuple[IPInterface | None, str]:
    """The best, and what was left aside for it."""
    if wanted is not None:
        given = next((a.address for a in held if a.address.ip == wanted), None)
        return given, f"{wanted} given by --address" if len(held) > 1 else ""
    known = before.addresses if before else ()
    ranked = sorted(held, key=lambda a: (not a.fit, a.alone, a.address not in known))  # stable: then the kernel's order
    if not ranked:
        return None, ""
    best, *others = ranked
    aside = [f"{a.address} ({_flaw(a)})" for a in others if a.alone > best.alone or best.fit > a.fit]
    return best.address, f"{best.address} before {', '.join(aside)}" if aside else ""


def _flaw(assigned: Assigned) -> str:
    return "a prefix of one address" if assigned.fit else "temporary, secondary or deprecated"
