"""Data path `host`: containers in the host's own network namespace. Nothing is made: what they send is the host's own, and so
are their addresses and ports.
"""

from __future__ import annotations

from weft.datapaths.driver import Driver, nothing
from weft.datapaths.options import BareOptions
from weft.datapaths.traits import HOSTS_OWN, KnownBy, Switched

DRIVER = Driver(
    name="host",
    summary="containers in the host's own network namespace, with its addresses and ports",
    options=BareOptions,
    addresses=HOSTS_OWN,
    known_by=KnownBy.NOTHING,
    switched=Switched.NOWHERE,
    passed=False,
    own_mac=False,
    in_host=True,
    interface=lambda node: node.uplink,
    network=nothing,
    endpoint=nothing,
    host_end=lambda _: "",
)
