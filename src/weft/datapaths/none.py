"""Data path `none`: containers that have no network. Their loopback device is up, and nothing else is there."""

from __future__ import annotations

from weft.datapaths.driver import LOOPBACK, Driver, nothing
from weft.datapaths.options import BareOptions
from weft.datapaths.traits import NO_ADDRESSES, KnownBy, Switched

DRIVER = Driver(
    name="none",
    summary="containers with their loopback device only",
    options=BareOptions,
    addresses=NO_ADDRESSES,
    known_by=KnownBy.NOTHING,
    switched=Switched.NOWHERE,
    passed=False,
    own_mac=False,
    interface=lambda _: LOOPBACK,
    network=nothing,
    endpoint=nothing,
    host_end=lambda _: "",
)
