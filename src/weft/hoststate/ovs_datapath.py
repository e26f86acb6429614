"""The datapath of Open vSwitch in the kernel, without the programs around it: ports, and flows that say where a frame goes.

Ownership mark: the datapath's name, which begins as `PREFIX`; what is in it is ours with it.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from weft.base.net import Family

PREFIX = "weft"
GROUPS = "01:00:00:00:00:00"
"""In place of a MAC address: all that are for more than one (multicast and broadcast)."""


class OvsDatapath(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A datapath of its own, known by a device of the same name. A frame without a flow is dropped: nobody is asked."""

    kind: ClassVar[str] = "ovs-datapath"

    name: str
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("ovs-datapath", self.ns, self.name)


class OvsVport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The device `dev` as a port of a datapath."""

    kind: ClassVar[str] = "ovs-vport"

    datapath: str
    dev: str
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("ovs-vport", self.ns, self.datapath, self.dev)


class OvsOutput(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of the places that frames go to which come in by the port `dev`: out by the port `to`.

    `lladdr`: the destination's MAC address, or GROUPS, or "" for any. `vni`: of those only that come from a tunnel with this
    number; 0: `dev` is no tunnel. `remote`: where `to` is a tunnel, the host that it leads to; `local`: from which address,
    `number`: with which VNI."""

    kind: ClassVar[str] = "ovs-output"

    datapath: str
    dev: str
    to: str
    lladdr: str = ""
    vni: int = 0
    family: Family = 4
    remote: str = ""
    local: str = ""
    number: int = 0
    ns: str = ""

    @property
    def flow(self) -> tuple[str, str, int, Family]:
        """What it shares with the other places that the same frames go to."""
        return self.dev, self.lladdr, self.vni, self.family

    @property
    def key(self) -> tuple[str, ...]:
        found = self.dev, self.lladdr, str(self.vni), str(self.family), self.to, self.remote
        return ("ovs-output", self.ns, self.datapath, *found)
