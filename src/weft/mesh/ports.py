"""Ports that hosts of a mesh listen at, on their underlay addresses. They lie side by side, for firewalls; of two of them the
numbers are Weave's."""

from __future__ import annotations

from weft.datapaths.options import KERNEL_PORT, MEMBERS_PORT, SECURED_PORT, SLEEVE_PORT
from weft.model.ciphers import WIREGUARD_PORT

SLEEVE = SLEEVE_PORT
"""UDP: packets of containers, carried by a program."""
KERNEL = KERNEL_PORT
"""UDP: packets of containers in the kernel's VXLAN, of networks of driver mesh."""
MEMBERS = MEMBERS_PORT
"""UDP and TCP: who is there."""
VOTER = 6786
"""TCP: the store, at hosts that are voters; etcd's client port."""
VOTERS = 6787
"""TCP: voters among themselves; etcd's peer port."""
RELAY = 6788
"""TCP: leads to a voter, for hosts that reach none themselves."""
WIREGUARD = WIREGUARD_PORT
"""UDP: what is encrypted by WireGuard."""
SECURED = SECURED_PORT
"""UDP: as `KERNEL`, of networks that are encrypted; on the wire inside WireGuard or ESP only."""

TCP = (MEMBERS, VOTER, VOTERS, RELAY)
"""What is to be kept from containers."""
