"""Ports of Open vSwitch's bridges."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from weft.hoststate.links import OWNER


class OvsPort(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The host's device `name` as a port of the bridge `bridge`, somebody else's: Neutron's agent makes it, and gives its ports
    their VLAN tags and flows. By `iface_id`, the id of Neutron's port, and `mac` it knows which one this is; `vm_uuid` says
    whose. Ownership mark: `owner` among the interface's external_ids. What others write to the record stays.

    A switch has one database, and we know the one of the host's own namespace."""

    kind: ClassVar[str] = "ovs-port"
    ns: ClassVar[str] = ""

    bridge: str
    name: str
    iface_id: str
    mac: str
    vm_uuid: str = ""
    status: str = "active"
    owner: str = OWNER

    @property
    def key(self) -> tuple[str, ...]:
        return ("ovs-port", self.ns, self.bridge, self.name)

    @property
    def external_ids(self) -> dict[str, str]:
        """Of the interface, as Neutron's agent reads them (neutron/agent/common/ovs_lib.py)."""
        ids = {
            "attached-mac": self.mac,
            "iface-id": self.iface_id,
            "iface-status": self.status,
            "owner": self.owner,
            "vm-uuid": self.vm_uuid,
        }
        return {name: value for name, value in ids.items() if value}
