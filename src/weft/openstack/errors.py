"""What an answer of Neutron's that is no success means, in plain words. Pure.

Neutron says in its body what went wrong, by the name of a class of its own (`type`) and in a sentence (`message`).
"""

from __future__ import annotations

import json

from weft.base.errors import Conflict, Denied, Exhausted, Failed, Invalid, NotFound, Throttled, Unavailable, WeftError
from weft.base.numbers import is_number

LONGEST_PAUSE = 60.0
"""Seconds that Neutron may ask for."""
LONGEST = 300
"""Characters of a sentence of Neutron's that are passed on."""

KINDS: dict[str, tuple[type[WeftError], str]] = {
    "OverQuota": (Exhausted, "the project's quota is used up: remove some, or have it raised"),
    "IpAddressGenerationFailure": (Exhausted, "no address is left in the subnet: detach some, or make a larger one"),
    "SubnetAllocationError": (Exhausted, "the subnet pool has no room left"),
    "IpAddressInUse": (Conflict, "the address is taken: choose another, or leave the choice to Neutron"),
    "IpAddressAlreadyAllocated": (Conflict, "the address is taken: choose another, or leave the choice to Neutron"),
    "MacAddressInUse": (Conflict, "the MAC address is taken: choose another, or leave the choice to Neutron"),
    "InvalidIpForNetwork": (Invalid, "the address is in none of the network's subnets"),
    "InvalidIpForSubnet": (Invalid, "the address is not one that this subnet gives: choose another"),
    "RoutesExhausted": (Exhausted, "the router has all the extra routes that it may have: have max_routes raised"),
    "AllowedAddressPairExhausted": (Exhausted, "the port has as many allowed address pairs as Neutron permits"),
    "AddressPairAndPortSecurityRequired": (Invalid, "the port has port security switched off, so it takes any address"),
    "NetworkInUse": (Conflict, "somebody else's ports are on it: remove those first"),
    "SubnetInUse": (Conflict, "somebody else's ports are on it: remove those first"),
    "SecurityGroupInUse": (Conflict, "ports still use it"),
    "NoNetworkAvailable": (Exhausted, "no number is left for networks of this type"),
}
"""By Neutron's word for it. Its own sentence follows."""


def refused(status: int, body: bytes, what: str, pause: str = "") -> WeftError:
    """`what`: was asked for, such as "a port in network blue". `pause`: the header Retry-After."""
    kind, said = _said(body)
    said = f" ({said})" if said else ""
    if kind in KINDS:
        cls, reason = KINDS[kind]
        return cls(f"{what}: {reason}{said}")
    match status:
        case 400:
            return Invalid(f"{what}: Neutron does not take it{said}")
        case 401:
            return Denied(f"{what}: OpenStack does not take the credentials: see clouds.yaml, or the variables OS_…")
        case 403:
            return Denied(f"{what}: these credentials may not do that in OpenStack{said}")
        case 404:
            return NotFound(f"{what}: Neutron has no such thing, or not for these credentials{said}")
        case 409:
            return Conflict(f"{what}: Neutron refuses{said}")
        case 412:
            return Conflict(f"{what}: somebody else changed it just now: try again")
        case 429:
            return Throttled(f"{what}: Neutron wants fewer calls{said}: try again", _seconds(pause))
        case _ if status >= 500:
            return Unavailable(f"{what}: Neutron failed with status {status}{said}: try again")
    return Failed(f"{what}: Neutron answered with status {status}{said}")


def _seconds(pause: str) -> float:
    """It may also be a date, which nobody uses here."""
    return min(float(pause), LONGEST_PAUSE) if is_number(pause) else 1.0


def _said(body: bytes) -> tuple[str, str]:
    """Neutron's word and sentence, as far as there are any: proxies before it answer in HTML."""
    try:
        found = json.loads(body)["NeutronError"]
        if isinstance(found, str):
            return "", found[:LONGEST]
        return str(found.get("type", "")), str(found.get("message", ""))[:LONGEST].rstrip(".")
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""
