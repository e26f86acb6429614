"""The routes that the kernel makes of an address by itself: to the address (it is delivered here), and to its subnet (its
neighbours are on this link). Somebody can remove them, and the kernel does not put them back as long as the address stays.
So whoever looks at an address looks at these too.

Source: fib_add_ifaddr() in net/ipv4/fib_frontend.c, addrconf_prefix_route() and addrconf_add_mroute() in net/ipv6/addrconf.c.
"""

from __future__ import annotations

from ipaddress import ip_interface
from typing import Literal

import msgspec

from weft.hoststate.links import Address
from weft.hoststate.paths import MAIN

LOCAL = 255
"""The routing table of what is delivered on this host (RT_TABLE_LOCAL)."""


ConnectedType = Literal["unicast", "local", "broadcast", "multicast"]


class Connected(msgspec.Struct, frozen=True, gc=False):
    """One of them, on the address's own device."""

    table: int
    prefix: str
    type: ConnectedType


def connected(address: Address) -> tuple[Connected, ...]:
    """Of v4 also the one of the subnet's broadcast address; of v6 the one for multicast, which the kernel makes with a
    device's first address."""
    interface = ip_interface(address.address)
    network, full = interface.network, interface.max_prefixlen
    found = [Connected(LOCAL, f"{interface.ip}/{full}", "local")]
    if network.prefixlen < full:
        found.append(Connected(MAIN, str(network), "unicast"))
    if interface.version == 6:
        found.append(Connected(LOCAL, "ff00::/8", "multicast"))
    elif network.prefixlen < 31:  # RFC 3021: a subnet of two has no broadcast address
        found.append(Connected(LOCAL, f"{network.broadcast_address}/32", "broadcast"))
    return tuple(found)
