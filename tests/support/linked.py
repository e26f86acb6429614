"""Driver `linked`, for tests: overlay's data path, with addresses out of blocks of one subnet that all hosts share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from weft.datapaths import overlay, registry
from weft.datapaths._tunnel import OverVxlan
from weft.datapaths.options import LinkInBlocksOptions, Port, Underlay, Vni
from weft.datapaths.overlay import By, Flood
from weft.datapaths.traits import SHARED_IN_BLOCKS

NAME = "linked"


class LinkedOptions(OverVxlan, LinkInBlocksOptions, frozen=True, kw_only=True):
    vni: Vni = 0
    port: Port = 4789
    underlay: Underlay = "ipv4"
    flood: Flood = False
    balancer: By = "nft"
    tunnel_device: str = ""


DRIVER = msgspec.structs.replace(overlay.DRIVER, name=NAME, options=LinkedOptions, addresses=SHARED_IN_BLOCKS)


@contextmanager
def linked() -> Iterator[None]:
    """Within, there is this driver."""
    registry.DRIVERS[NAME] = DRIVER
    try:
        yield
    finally:
        del registry.DRIVERS[NAME]
