"""What an answer of Neutron's that is no success means, in plain words. Pure.

Neutron says in its body what went wrong, by the name of a class of its own (`type`) and in a sentence (`message`).
"""

from __future__ import annotations

import json

from weft.base.errors import Conflict, Denied, Exhausted, Failed, Invalid, NotFound, Unavailable, WeftError

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
    "NetworkInUse": (Conflict, "somebody else's ports are on it: remove those first"),
    "SubnetInUse": (Conflict, "somebody else's ports are on it: remove those first"),
    "SecurityGroupInUse": (Conflict, "ports still use it"),
    "NoNetworkAvailable": (Exhausted, "no number is left for networks of this type"),
}
"""By Neutron's word for it. Its own sentence follows."""


def refused(status: int, body: bytes, what: str) -> WeftError:
    """`what`: was asked for, such as "a port in network blue"."""
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
        case _ if status >= 500 or status == 429:
            return Unavailable(f"{what}: Neutron failed with status {status}{said}: try again")
    return Failed(f"{what}: Neutron answered with status {status}{said}")


def _said(body: bytes) -> tuple[str, str]:
    """Neutron's word and sentence, as far as there are any: proxies before it answer in HTML."""
    try:
        found = json.loads(body)["NeutronError"]
        if isinstance(found, str):
            return "", found[:LONGEST]
        return str(found.get("type", "")), str(found.get("message", ""))[:LONGEST].rstrip(".")
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""
