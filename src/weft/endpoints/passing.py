"""What cannot be had of a container whose packets do not pass its host (`Driver.passed`): told, not left undone."""

from __future__ import annotations

from weft.api import types as t
from weft.base.errors import Invalid
from weft.datapaths import registry
from weft.model import Network


def check(request: t.Attach, network: Network) -> None:
    """Raises Invalid."""
    driver = registry.of(network)
    if request.mac and not driver.own_mac:
        raise Invalid(
            f"network {network.name}: driver {driver.name} gives no interface a MAC address of its own: leave --mac out"
        )
    if driver.passed:
        return
    for wish, option in (
        (request.ports, "--publish"),
        (request.bandwidth, "limits of bandwidth"),
        (request.spoofing, "--spoofing"),
    ):
        if wish:
            raise Invalid(
                f"network {network.name}: packets of its containers do not pass their host (driver {driver.name}): leave "
                f"{option} out, or attach the container to another network"
            )
