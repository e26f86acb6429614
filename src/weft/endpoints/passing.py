"""What cannot be had of a container whose packets do not pass its host (`Driver.passed`): told, not left undone."""

from __future__ import annotations

from weft.api import types as t
from weft.base.errors import Invalid
from weft.containers.find import Target
from weft.datapaths import registry
from weft.datapaths.driver import Driver
from weft.model import Network, PublishedPort


def check(request: t.Attach, network: Network) -> None:
    """Raises Invalid."""
    driver = registry.of(network)
    if request.ports and driver.addresses.made_elsewhere:
        raise Invalid(
            f"{request.target or request.name}: no port of the host leads into network {network.name} (driver "
            f"{network.driver}): leave the published ports out, and ask for its own address"
        )
    if driver.passed:
        return
    if driver.addresses.bare:
        _check_bare(request, network, driver)
    if request.mac and not driver.own_mac:
        raise Invalid(
            f"network {network.name}: driver {driver.name} gives no interface a MAC address of its own: leave --mac out"
        )
    if request.ports and driver.in_host:
        raise Invalid(
            f"network {network.name}: ports of its containers are the host's own (driver {driver.name}), and lead to them "
            "as they are: leave --publish out"
        )
    check_ports(request.ports, network)
    for wish, option in (
        (request.bandwidth, "limits of bandwidth"),
        (request.spoofing, "--spoofing"),
        (request.offload, "--offload"),
    ):
        if wish:
            raise _not_passed(option, network)


def check_ports(ports: tuple[PublishedPort, ...], network: Network) -> None:
    """Also of a container that is there already. Raises Invalid."""
    if ports and not registry.of(network).passed:
        raise _not_passed("--publish", network)


def _not_passed(option: str, network: Network) -> Invalid:
    return Invalid(
        f"network {network.name}: packets of its containers do not pass their host (driver {network.driver}): leave {option} "
        "out, or attach the container to another network"
    )


def check_place(reference: str, target: Target, network: Network | None) -> None:
    """`target`: what was found by `reference`. Raises Invalid."""
    driver = registry.of(network)
    if target.host and not driver.in_host:
        raise Invalid(
            f"{reference} is in the host's own network namespace, which Weft does not attach: for a container, start it with a "
            "network namespace of its own instead of the host's"
        )
    if driver.in_host and not target.host:
        raise Invalid(
            f"{reference} has a network namespace of its own, and driver {driver.name} is for containers in the host's: attach "
            "it to another network, or start it in the host's namespace"
        )


def _check_bare(request: t.Attach, network: Network, driver: Driver) -> None:
    """Where no interface is made, and no address given. Engines take none of these for networks of their own."""
    if request.handover or request.owner:
        raise Invalid(
            f"network {network.name}: driver {driver.name} makes no interface that an engine could take: use the engine's own "
            f"network {driver.name}"
        )
    for wish, option in (
        (request.addresses or request.ranges, "--ip"),
        (request.interface, "--interface"),
        (request.resolv_conf, "--dns"),
    ):
        if wish:
            raise Invalid(
                f"network {network.name}: driver {driver.name} gives neither interface nor addresses: leave {option} out"
            )
